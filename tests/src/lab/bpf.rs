//! The few BPF programs of the lab's switch, written as instructions so that the lab needs no BPF toolchain.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use nix::net::if_::if_nametoindex;

use super::host::Host;
use super::port::Port;
use super::sys::{self, Insn};

/// Where on an interface a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Native XDP, before the stack.
    Xdp,
    /// A frame that has come in, before the bridge.
    Ingress,
    /// A frame that the bridge sends out.
    Egress,
}

/// `XDP_PASS` for everything. Its presence is the point: a veth takes `XDP_TX` frames of its peer only when it has
/// a program itself.
pub(crate) fn pass() -> Vec<Insn> {
    ret(XDP_PASS).to_vec()
}

/// What a VLAN-aware port does with a frame that comes in: an untagged one joins the port's own VLAN, a tagged one
/// must be of a VLAN that the port carries.
pub(crate) fn vlan_ingress(port: &Port) -> Vec<Insn> {
    let untagged = match port.ingress {
        None => ret(TC_DROP).to_vec(),
        Some(vlan) => {
            let mut push = vec![
                mov(R2, i32::from(ETH_P_8021Q.to_be())),
                mov(R3, i32::from(vlan)),
                call(BPF_SKB_VLAN_PUSH),
                jump_if_equal(R0, 0, 2),
            ];
            push.extend(ret(TC_DROP));
            push.extend(ret(TC_PASS));
            push
        }
    };
    let mut program = vec![load_word(R2, R1, SKB_VLAN_PRESENT), jump_if_not_equal(R2, 0, short(untagged.len()))];
    program.extend(untagged);
    program.extend(vlan_id());
    program.extend(port.tagged.iter().flat_map(|vlan| pass_if(*vlan)));
    program.extend(ret(TC_DROP));
    program
}

/// What a VLAN-aware port does with a frame that the bridge sends out: one of the port's own VLAN loses its tag, one
/// of a VLAN that the port carries keeps it, all others stay inside.
pub(crate) fn vlan_egress(port: &Port) -> Vec<Insn> {
    let mut program = vec![load_word(R2, R1, SKB_VLAN_PRESENT), jump_if_not_equal(R2, 0, 2)];
    program.extend(ret(TC_DROP));
    program.extend(vlan_id());
    program.extend(port.tagged.iter().flat_map(|vlan| pass_if(*vlan)));
    if let Some(vlan) = port.egress {
        program.push(jump_if_not_equal(R2, i32::from(vlan), 4));
        program.push(call(BPF_SKB_VLAN_POP));
        program.push(jump_if_not_equal(R0, 0, 2));
        program.extend(ret(TC_PASS));
    }
    program.extend(ret(TC_DROP));
    program
}

/// Loads a program and attaches it to an interface of the calling thread's network namespace. The program runs
/// for as long as the returned link is open or pinned.
pub(crate) fn attach(name: &str, program: &[Insn], hook: Hook, ifindex: u32) -> io::Result<OwnedFd> {
    let (kind, attach_type, flags) = match hook {
        Hook::Xdp => (bpf_prog_type::BPF_PROG_TYPE_XDP, bpf_attach_type::BPF_XDP, XDP_FLAGS_DRV_MODE),
        Hook::Ingress => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, bpf_attach_type::BPF_TCX_INGRESS, 0),
        Hook::Egress => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, bpf_attach_type::BPF_TCX_EGRESS, 0),
    };
    let loaded = sys::prog_load(kind as u32, attach_type as u32, name, program)?;
    sys::link_create(loaded.as_fd(), ifindex, attach_type as u32, flags)
}

/// Runs a program that is not the balancer's on an interface, for as long as what is returned is open.
///
/// # Errors
/// When there is no such interface, or it runs one already.
pub fn occupy(host: &Host, device: &str) -> Result<OwnedFd> {
    host.within(|| attach("somebody", &pass(), Hook::Xdp, if_nametoindex(device)?).map_err(io::Error::into))?
}

/// Takes every place that the kernel has for tcx programs at an interface's ingress, with programs that leave each frame
/// to the next, for as long as what is returned is open.
///
/// # Errors
/// When there is no such interface.
pub fn crowd(host: &Host, device: &str) -> Result<Vec<OwnedFd>> {
    const NEXT: i32 = -1;
    host.within(|| {
        let index = if_nametoindex(device)?;
        let mut links = Vec::new();
        loop {
            match attach("crowd", &ret(NEXT), Hook::Ingress, index) {
                Ok(link) => links.push(link),
                Err(error) if error.raw_os_error() == Some(nix::libc::ERANGE) => return Ok(links),
                Err(error) => return Err(error.into()),
            }
        }
    })?
}

/// Loads [`pass`] and attaches it nowhere: whether this process may use BPF at all.
pub(crate) fn probe() -> io::Result<()> {
    let kind = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    sys::prog_load(kind, bpf_attach_type::BPF_XDP as u32, "lab_probe", &pass()).map(|_| ())
}

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;

const XDP_PASS: i32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const TC_PASS: i32 = 0;
const TC_DROP: i32 = 2;
const BPF_SKB_VLAN_PUSH: i32 = 18;
const BPF_SKB_VLAN_POP: i32 = 19;
const ETH_P_8021Q: u16 = 0x8100;

// Offsets in struct __sk_buff.
const SKB_VLAN_PRESENT: i16 = 20;
const SKB_VLAN_TCI: i16 = 24;

/// Leaves the VLAN id of the frame in r2.
fn vlan_id() -> [Insn; 2] {
    [load_word(R2, R1, SKB_VLAN_TCI), and(R2, 0xfff)]
}

fn pass_if(vlan: u16) -> [Insn; 3] {
    let [value, exit] = ret(TC_PASS);
    [jump_if_not_equal(R2, i32::from(vlan), 2), value, exit]
}

fn ret(value: i32) -> [Insn; 2] {
    [mov(R0, value), insn(0x95, 0, 0, 0, 0)]
}

fn mov(to: u8, value: i32) -> Insn {
    insn(0xb7, to, 0, 0, value)
}

fn and(to: u8, value: i32) -> Insn {
    insn(0x57, to, 0, 0, value)
}

fn load_word(to: u8, from: u8, offset: i16) -> Insn {
    insn(0x61, to, from, offset, 0)
}

fn jump_if_equal(register: u8, value: i32, skip: i16) -> Insn {
    insn(0x15, register, 0, skip, value)
}

fn jump_if_not_equal(register: u8, value: i32, skip: i16) -> Insn {
    insn(0x55, register, 0, skip, value)
}

fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}

fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, immediate }
}

/// A program's length always fits: the kernel's own limit for a jump is the same.
fn short(length: usize) -> i16 {
    i16::try_from(length).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::Client;
    use crate::lab::{Lab, Mac, VIP, scenario};
    use crate::responder::Http;

    const R4: u8 = 4;
    const R5: u8 = 5;
    const XDP_TX: i32 = 3;

    fn store(code: u8, offset: i16, bytes: [u8; 4]) -> Insn {
        insn(code, R2, 0, offset, i32::from_ne_bytes(bytes))
    }

    /// The whole idea of direct routing: what is for the VIP goes back out to `real`, from `own`. With VLANs, what
    /// has a tag is given that of the real.
    fn balancer(own: Mac, real: Mac, vlan: Option<u16>) -> Vec<Insn> {
        let ([a, b, c, d, e, f], [u, v, w, x, y, z]) = (real.0, own.0);
        let vip = i32::from_ne_bytes(VIP.octets());
        let tag = if vlan.is_some() { 4 } else { 0 };
        let mut program = vec![
            load_word(R2, R1, 0),
            load_word(R3, R1, 4),
            insn(0xbf, R4, R2, 0, 0),
            insn(0x07, R4, 0, 0, 34 + i32::from(tag)),
            // The refusals: a short frame, not IPv4, not for the VIP. The last compares 32 bits, without a sign.
            insn(0x2d, R4, R3, 0, 0),
            insn(0x69, R5, R2, 12 + tag, 0),
            jump_if_not_equal(R5, i32::from(0x0800_u16.to_be()), 0),
            load_word(R5, R2, 30 + tag),
            insn(0x56, R5, 0, 0, vip),
            store(0x62, 0, [a, b, c, d]),
            store(0x6a, 4, [e, f, 0, 0]),
            store(0x62, 6, [u, v, w, x]),
            store(0x6a, 10, [y, z, 0, 0]),
        ];
        if let Some([high, low]) = vlan.map(u16::to_be_bytes) {
            program.push(store(0x6a, 14, [high, low, 0, 0]));
        }
        program.extend(ret(XDP_TX));
        for at in [4, 6, 8] {
            program[at].offset = short(program.len() - at - 1);
        }
        program.extend(pass());
        program
    }

    /// Far more requests than a veth takes frames without a program at its other end.
    fn ask_through(lab: &Lab, vlan: Option<u16>) -> anyhow::Result<()> {
        let (director, real) = (lab.director(), lab.real(1));
        let _real = Http::start(real)?;
        let program = balancer(director.mac(), real.mac(), vlan);
        let _link = director.within(|| {
            let index = if_nametoindex("eth1")?;
            attach("balancer", &program, Hook::Xdp, index)
        })??;
        let client = Client::new(lab.client());
        let held = client.hold((VIP, 80), Duration::from_millis(1))?;
        let answers = client.get_many((VIP, 80), 300)?;
        assert!(answers.iter().all(|answer| answer.real == "Real-1"));
        let report = held.finish();
        report.without_loss()?;
        assert_eq!(report.retransmitted, Some(0), "{report}");
        Ok(())
    }

    #[test]
    fn what_a_director_sends_by_xdp_reaches_the_real_and_its_answer_the_client() {
        scenario(Lab::builder(), |lab| {
            lab.director().own(VIP.into())?;
            ask_through(lab, None)
        });
    }

    #[test]
    fn what_a_director_sends_by_xdp_changes_its_vlan() {
        let builder = Lab::builder()
            .port("client", Port::access(10))
            .port("director-a", Port::trunk([10, 20]))
            .port("real-1", Port::split(20, 10));
        scenario(builder, |lab| {
            // Without 802.1Q in the kernel a trunk's host can't answer for itself, nor the real ask in two VLANs.
            lab.client().set_neighbour(VIP.into(), lab.director().mac())?;
            lab.real(1).set_neighbour(lab.client().v4().into(), lab.client().mac())?;
            ask_through(lab, Some(20))
        });
    }
}
