//! A netlink request and its answer (rtnetlink(7)): within the VRRP thread, and without waiting for anything but the
//! kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

const HEADER: usize = 16;

/// A netlink socket of the network namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Requests {
    socket: OwnedFd,
    sequence: u32,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a request of this kind, with these flags besides the usual ones; its body begins behind nlmsghdr.
    pub(super) fn make(&mut self, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        let kernel = NetlinkAddr::new(0, 0);
        socket::sendto(self.socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
        let mut buffer = [0; 1024];
        loop {
            let length = socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            if let Some(result) = buffer.get(..length).and_then(|b| decode(b, self.sequence)) {
                return result;
            }
        }
    }
}

/// Appends an attribute (struct rtattr), padded to four bytes.
pub(super) fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The kernel's answer to the request of this sequence number; `None` for anything else.
fn decode(message: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let answered = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let code = i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?);
    if i32::from(kind) != libc::NLMSG_ERROR || answered != sequence {
        return None;
    }
    Some(match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    })
}
