//! Another XDP program that is where lb's shall be: its name, who holds it, and how it is taken off.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{LinkInfo, LinkType};
use aya::programs::{loaded_links, loaded_programs};
use aya_obj::generated::bpf_cmd;

use crate::host::xdp;

use super::pin::BPFFS;
use super::syscall::{attribute, bpf_fd};

/// Most directories below bpffs that are looked through.
const DEPTH: usize = 4;
/// What stands before the program's id in the file of its descriptor, and of its link's.
const PROGRAM: &str = "prog_id:";

/// What is on the interface, and the mend. Whatever can't be found out is left out.
pub(crate) fn describe(interface: &str, ifindex: u32) -> (String, String) {
    let Some(xdp::Attached { program: id, generic }) = xdp::attached(ifindex).ok().flatten() else {
        return (
            "another XDP program is there".to_owned(),
            "See `bpftool net` and take it off, or set director.mode = \"generic\".".to_owned(),
        );
    };
    let mut what = format!("another XDP program is there: id {id}");
    if let Some(name) = name(id) {
        what += &format!(", named {name:?}");
    }
    let pins = pins(id);
    if !pins.is_empty() {
        what += &format!(", pinned at {}", list(pins.iter().map(|path| path.display().to_string())));
    }
    let holders = holders(id);
    if !holders.is_empty() {
        what += &format!(", held by {}", list(holders.into_iter()));
    }
    let mend = match link(id, ifindex) {
        Some(link) => format!("`bpftool link detach id {link}`"),
        None => format!("`ip link set dev {interface} {} off`", if generic { "xdpgeneric" } else { "xdp" }),
    };
    (what, format!("Take it off with {mend}, or set director.mode = \"generic\", which runs behind it."))
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" and ")
}

fn name(id: u32) -> Option<String> {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    found.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The link that holds the program on its interface; without one it was attached by netlink.
fn link(program: u32, ifindex: u32) -> Option<u32> {
    let is_its = |link: &LinkInfo| {
        link.program_id() == program
            && matches!(link.link_type(), Ok(LinkType::Xdp))
            && open_link(link.id()).is_ok_and(|fd| number(&fdinfo(&fd), "ifindex:") == Some(ifindex))
    };
    loaded_links().filter_map(Result::ok).find(is_its).map(|link| link.id())
}

/// Where the program or its link is pinned.
fn pins(program: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(Path::new(BPFFS), DEPTH, &mut |path| {
        let is_its = open(path).is_ok_and(|fd| number(&fdinfo(&fd), PROGRAM) == Some(program));
        if is_its {
            found.push(path.to_owned());
        }
    });
    found
}

fn search(directory: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => search(&entry.path(), depth - 1, visit),
            Ok(kind) if kind.is_file() => visit(&entry.path()),
            _ => {}
        }
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = attribute();
    attribute.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    #[expect(unsafe_code, reason = "the kernel is given a path")]
    // SAFETY: the path outlives the call, and the command returns a file descriptor.
    unsafe {
        bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attribute)
    }
}

fn open_link(id: u32) -> io::Result<OwnedFd> {
    let mut attribute = attribute();
    attribute.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    #[expect(unsafe_code, reason = "the kernel is given a number")]
    // SAFETY: the attribute has no pointer, and the command returns a file descriptor.
    unsafe {
        bpf_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attribute)
    }
}

/// The processes that hold the program or its link open, by name and id.
fn holders(program: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |id: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().filter_map(Result::ok);
        let mut of_bpf = descriptors.filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("anon_inode:bpf"))
        });
        of_bpf.any(|entry| {
            number(&format!("/proc/{id}/fdinfo/{}", entry.file_name().to_string_lossy()), PROGRAM) == Some(program)
        })
    };
    ids.filter(holds)
        .map(|id| {
            let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            format!("process {id} ({})", name.trim())
        })
        .collect()
}

fn fdinfo(fd: &OwnedFd) -> String {
    format!("/proc/self/fdinfo/{}", fd.as_raw_fd())
}

/// What a descriptor's file says behind a word (proc_pid_fdinfo(5)).
fn number(fdinfo: &str, word: &str) -> Option<u32> {
    let text = fs::read_to_string(fdinfo).ok()?;
    text.lines().find_map(|line| line.strip_prefix(word))?.trim().parse().ok()
}
