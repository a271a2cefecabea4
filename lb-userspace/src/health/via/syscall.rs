//! The system call that no safe wrapper in use here has.
#![expect(unsafe_code, reason = "sendto with an address of the link layer is called through libc")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Sends one whole frame out of an interface by a packet socket. It doesn't wait.
///
/// # Errors
/// ENXIO where there is no such interface, ENETDOWN where it is down, ENOBUFS where its queue is full, EMSGSIZE.
pub(super) fn send(socket: impl AsFd, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain integers, for which zero is a value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = ifindex as i32;
    // SAFETY: both pointers and lengths are those of live values, which the call only reads.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
