//! Puts VIPs on an interface and takes them off, by netlink (rtnetlink(7)): one message, one answer, within
//! the VRRP thread and without waiting for anything but the kernel.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

const HEADER: usize = 16;

/// A netlink socket of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Addresses {
    socket: OwnedFd,
    sequence: u32,
}

impl Addresses {
    /// Opens the socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Puts the address on the interface; it may be there already. An IPv6 address is usable at once,
    /// without duplicate address detection: VRRP itself has settled whose it is.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, ENODEV, or what else the kernel says.
    pub fn add(&mut self, interface: u32, address: IpNet) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.request(libc::RTM_NEWADDR, flags, interface, address)
    }

    /// Takes the address off the interface; it may be gone already.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, or what else the kernel says.
    pub fn remove(&mut self, interface: u32, address: IpNet) -> io::Result<()> {
        match self.request(libc::RTM_DELADDR, 0, interface, address) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            result => result,
        }
    }

    fn request(&mut self, kind: u16, flags: i32, interface: u32, address: IpNet) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let message = encode(kind, flags, self.sequence, interface, address);
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

fn encode(kind: u16, flags: u16, sequence: u32, interface: u32, address: IpNet) -> Vec<u8> {
    let (family, octets, nodad) = match address.addr() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec(), 0),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec(), libc::IFA_F_NODAD),
    };
    let attributes = [libc::IFA_LOCAL, libc::IFA_ADDRESS];
    let length = HEADER + 8 + attributes.len() * (4 + octets.len());
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend([family as u8, address.prefix_len(), nodad as u8, libc::RT_SCOPE_UNIVERSE]);
    message.extend(interface.to_ne_bytes());
    for attribute in attributes {
        message.extend((4 + octets.len() as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(&octets);
    }
    message
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
