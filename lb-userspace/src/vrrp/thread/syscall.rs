//! The two system calls that no safe wrapper in use here has.
#![expect(unsafe_code, reason = "sched_setscheduler and setsockopt(IP_MTU_DISCOVER) are called through libc")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Puts the calling thread under SCHED_FIFO with the lowest real-time priority: before everything that is
/// not real-time, after the kernel's own threads. Children don't inherit it.
///
/// # Errors
/// EPERM without CAP_SYS_NICE or a sufficient RLIMIT_RTPRIO.
pub(super) fn be_realtime() -> io::Result<()> {
    // SAFETY: sched_param is plain integers, for which zero is a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 names the calling thread, and the pointer is to a live sched_param.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    check(result)
}

/// Sends IPv4 packets without the don't-fragment bit.
///
/// # Errors
/// What setsockopt says.
pub(super) fn clear_dont_fragment(socket: impl AsFd) -> io::Result<()> {
    let value = libc::IP_PMTUDISC_DONT;
    // SAFETY: the pointer and the length are those of a live c_int, which this option takes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    check(result)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
