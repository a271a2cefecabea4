//! System calls where aya has no call for what is needed.
#![expect(unsafe_code, reason = "a system call that takes a union of pointers")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// An attribute of zeros, which each command reads as its defaults.
pub(super) fn attribute() -> bpf_attr {
    // SAFETY: a union of plain integers, valid when it is all zeros.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2).
///
/// # Safety
/// Every pointer that the command reads from the attribute is valid for the length that goes with it.
///
/// # Errors
/// The kernel's.
pub(super) unsafe fn bpf(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is as long as is said; what it points to is the caller's word.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attribute, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Calls bpf(2) with a command that returns a new file descriptor.
///
/// # Safety
/// As [`bpf`], and the command is such a one.
///
/// # Errors
/// The kernel's.
pub(super) unsafe fn bpf_fd(command: bpf_cmd, attribute: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: as promised by the caller.
    let fd = unsafe { bpf(command, attribute) }?;
    // SAFETY: the kernel has just opened it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits until every program that runs now has ended: an RCU grace period, some 10 ms (kernel, membarrier(2), whose
/// MEMBARRIER_CMD_GLOBAL is one).
pub(super) fn grace() {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: a command without pointers.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if waited != 0 {
        // A kernel with CPUs that are never interrupted (nohz_full) has no such command. A run of the program takes
        // microseconds, and no CPU stays in one batch of packets for so long.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
