//! What the running kernel can do. It is asked by trying, never by its version: distributions carry younger features
//! back to older kernels.
#![expect(unsafe_code, reason = "tiny programs and maps are handed to the kernel to see whether it takes them")]

use std::io;
use std::os::fd::OwnedFd;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_XDP;
use aya_obj::generated::{BPF_F_XDP_HAS_FRAGS, bpf_cmd, bpf_insn};

use super::Error;
use super::syscall::{attribute, bpf_fd};

/// What some supported kernels lack. There is a way without each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// XDP over frames in fragments (Linux 5.18). Without it, a driver that splits frames of a large MTU takes no program.
    pub frags: bool,
}

/// A feature that there is no way without.
struct Needed {
    name: &'static str,
    /// First release that has it, for people.
    since: &'static str,
    is_missing: fn() -> bool,
}

const NEEDED: [Needed; 2] = [
    Needed {
        name: "atomic compare-and-exchange in BPF programs",
        since: "5.12",
        is_missing: || refuses(load(&exchange(), 0)),
    },
    Needed {
        name: "the jiffies in BPF programs (bpf_jiffies64)",
        since: "5.5",
        is_missing: || matches!(is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_jiffies64), Ok(false)),
    },
];

impl Features {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`Error::Kernel`], with all that it lacks and that there is no way without.
    pub fn probe() -> Result<Self, Error> {
        require(&NEEDED)?;
        Ok(Self { frags: !refuses(load(&pass(), BPF_F_XDP_HAS_FRAGS)) })
    }
}

fn require(needed: &[Needed]) -> Result<(), Error> {
    let missing: Vec<String> = needed
        .iter()
        .filter(|feature| (feature.is_missing)())
        .map(|Needed { name, since, .. }| format!("{name} (Linux {since})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    Err(Error::Kernel { missing: missing.join(" and "), release: release.unwrap_or_default() })
}

/// Whether the kernel doesn't know what it was asked for. Any other failure, such as a missing privilege, is told by
/// whatever meets it next.
fn refuses<T>(tried: io::Result<T>) -> bool {
    tried.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG)))
}

/// Loads a program, which goes at once.
fn load(program: &[bpf_insn], flags: u32) -> io::Result<OwnedFd> {
    let mut attribute = attribute();
    // SAFETY: the union is all zeros, which is valid for each member.
    let load = unsafe { &mut attribute.__bindgen_anon_3 };
    load.prog_type = BPF_PROG_TYPE_XDP as u32;
    load.prog_flags = flags;
    load.insns = program.as_ptr() as u64;
    load.insn_cnt = program.len() as u32;
    load.license = c"Dual MIT/GPL".as_ptr() as u64;
    // SAFETY: the program and the licence outlive the call, and the kernel returns a file descriptor.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attribute) }
}

/// `r0 = XDP_PASS; exit`
fn pass() -> [bpf_insn; 2] {
    [instruction(0xb7, 0, 0, 0, 2), instruction(0x95, 0, 0, 0, 0)]
}

/// The same after `cmpxchg_64(r10 - 8, r0, r1)` (kernel, Documentation/bpf/standardization/instruction-set.rst).
fn exchange() -> [bpf_insn; 6] {
    const SLOT: i16 = -8;
    const CMPXCHG: i32 = 0xf1;
    let [set, exit] = pass();
    [
        instruction(0xb7, 0, 0, 0, 0),
        instruction(0xb7, 1, 0, 0, 0),
        instruction(0x7b, 10, 1, SLOT, 0),
        instruction(0xdb, 10, 1, SLOT, CMPXCHG),
        set,
        exit,
    ]
}

fn instruction(code: u8, destination: u8, source: u8, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn { code, _bitfield_align_1: [], _bitfield_1: Default::default(), off, imm };
    instruction.set_dst_reg(destination);
    instruction.set_src_reg(source);
    instruction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let feature = |name, is_missing| Needed { name, since: "5.12", is_missing };
        let told = require(&[feature("a", || true), feature("b", || false), feature("c", || true)]).unwrap_err();
        let told = told.to_string();
        assert!(told.contains("this kernel lacks a (Linux 5.12) and c (Linux 5.12)"), "{told}");
        assert!(require(&[feature("a", || false)]).is_ok());
    }

    #[test]
    fn only_what_the_kernel_does_not_know_is_missing() {
        let failed = |code| refuses::<()>(Err(io::Error::from_raw_os_error(code)));
        assert!(failed(libc::EINVAL) && failed(libc::E2BIG));
        assert!(!failed(libc::EPERM) && !failed(libc::ENOMEM) && !refuses(Ok(())));
    }
}
