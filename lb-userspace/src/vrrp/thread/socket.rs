//! VRRP's sockets: adverts in, adverts out, announcements out, and word of what changed on the interfaces.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    self, AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
    SockaddrStorage, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::syscall;
use crate::vrrp::wire::announce::Mac;
use crate::vrrp::wire::packet::{GROUP_V4, GROUP_V6, PROTOCOL, Received, TOS, TTL};

/// The longest packet of interest: a version 3 advert with 255 IPv6 addresses is shorter.
const LONGEST: usize = 8192;
/// What arrives while the agent is not scheduled waits here.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What is known of an interface.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its own MAC.
    pub mac: Mac,
    /// It is set up.
    pub up: bool,
    /// It is up and has a carrier.
    pub running: bool,
    /// Its addresses in the kernel's order, primary ones first.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are no VIPs, which is for the caller of [`interfaces`] to say.
    pub own: Vec<IpAddr>,
    link: LinkAddr,
}

/// The interfaces of this network namespace by name.
///
/// # Errors
/// What the system says.
pub fn interfaces() -> io::Result<HashMap<String, Interface>> {
    let mut interfaces: HashMap<String, Interface> = HashMap::new();
    let mut addresses: Vec<(String, IpAddr)> = Vec::new();
    for entry in getifaddrs()? {
        let Some(address) = entry.address else {
            continue;
        };
        if let Some(link) = address.as_link_addr() {
            let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            let interface = Interface {
                index: link.ifindex() as u32,
                mac: link.addr().unwrap_or_default(),
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
                running: entry.flags.contains(running),
                addresses: Vec::new(),
                own: Vec::new(),
                link: *link,
            };
            interfaces.insert(entry.interface_name, interface);
        } else if let Some(address) = ip_address(&address) {
            addresses.push((entry.interface_name, address));
        }
    }
    for (name, address) in addresses {
        // An alias label ("eth0:1") is reported as a name of its own.
        let device = name.split(':').next().unwrap_or(&name);
        if let Some(interface) = interfaces.get_mut(device) {
            interface.addresses.push(address);
        }
    }
    Ok(interfaces)
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

/// Hears the adverts of one family on one interface.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    ipv6: bool,
    buffer: Vec<u8>,
}

impl Receiver {
    /// Joins the family's group on the interface.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, or what else the system says.
    pub fn open(name: &str, interface: &Interface, ipv6: bool) -> io::Result<Self> {
        let socket = raw_socket(name, ipv6)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        if ipv6 {
            socket.join_multicast_v6(&GROUP_V6, interface.index)?;
            socket::setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket::setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        } else {
            let index = InterfaceIndexOrAddress::Index(interface.index);
            socket.join_multicast_v4_n(&GROUP_V4, &index)?;
        }
        Ok(Self { socket, ipv6, buffer: vec![0; LONGEST] })
    }

    /// The next packet; `None` when there is none now.
    ///
    /// # Errors
    /// What the system says, ENETDOWN when the interface went away.
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let message = match socket::recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            self.ipv6.then_some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = message.bytes;
        if !self.ipv6 {
            return Ok(self.buffer.get(..length).and_then(ipv4));
        }
        let source = message.address.as_ref().and_then(ip_address);
        let mut destination = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let mut ttl = 0;
        for item in message.cmsgs()? {
            match item {
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                }
                ControlMessageOwned::Ipv6HopLimit(limit) => ttl = limit as u8,
                _ => {}
            }
        }
        let payload = self.buffer.get(..length);
        Ok(source.zip(payload).map(|(source, payload)| Received { source, destination, ttl, payload }))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a raw IPv4 socket delivers begins with the IP header.
fn ipv4(packet: &[u8]) -> Option<Received<'_>> {
    let (header, _) = packet.split_first_chunk::<20>()?;
    let &[first, .., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    let payload = packet.get(usize::from(first & 0x0f) * 4..)?;
    Some(Received {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        ttl: *header.get(8)?,
        payload,
    })
}

/// Sends adverts from one address on one interface.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    scope: u32,
}

impl Sender {
    /// A socket with VRRP's TTL and TOS that does not hear itself.
    ///
    /// # Errors
    /// EADDRNOTAVAIL while `own` is not on the interface or still tentative, or what else the system says.
    pub fn open(name: &str, interface: &Interface, own: IpAddr) -> io::Result<Self> {
        let socket = raw_socket(name, own.is_ipv6())?;
        // It only sends: what it is handed nevertheless is soon dropped.
        socket.set_recv_buffer_size(0)?;
        if own.is_ipv6() {
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_hops_v6(TTL.into())?;
            socket.set_unicast_hops_v6(TTL.into())?;
            socket.set_tclass_v6(TOS.into())?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_all_v6(false)?;
        } else {
            socket.set_multicast_ttl_v4(TTL.into())?;
            socket.set_ttl_v4(TTL.into())?;
            socket.set_tos_v4(TOS.into())?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_all_v4(false)?;
            syscall::clear_dont_fragment(&socket)?;
        }
        let sender = Self { socket, scope: interface.index };
        sender.socket.bind(&sender.endpoint(own).into())?;
        Ok(sender)
    }

    /// Sends one advert.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        self.socket.send_to(payload, &self.endpoint(to).into()).map(drop)
    }

    fn endpoint(&self, address: IpAddr) -> SocketAddr {
        match address {
            IpAddr::V4(_) => SocketAddr::new(address, 0),
            IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_multicast() => {
                SocketAddrV6::new(v6, 0, 0, self.scope).into()
            }
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, 0).into(),
        }
    }
}

fn raw_socket(name: &str, ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    Ok(socket)
}

/// Sends whole frames out of one interface.
#[derive(Debug)]
pub struct FrameSender(OwnedFd);

impl FrameSender {
    /// A packet socket that takes nothing in.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, or what else the system says.
    pub fn open(interface: &Interface) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket::socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        socket::bind(socket.as_raw_fd(), &interface.link)?;
        Ok(Self(socket))
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(socket::send(self.0.as_raw_fd(), frame, MsgFlags::empty()).map(drop)?)
    }
}

/// Says that a link or an address changed, without saying which.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Listens to the kernel's notices of this network namespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Self(socket))
    }

    /// Whether something changed since the last call.
    pub fn drain(&self) -> bool {
        let mut buffer = [0; 8192];
        let mut changed = false;
        loop {
            match socket::recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return changed,
                // An overrun lost notices: all the more reason to look.
                Ok(_) | Err(nix::errno::Errno::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_packet_is_cut_behind_its_options() {
        let mut packet = vec![0x46, 0xc0, 0, 26, 0, 1, 0, 0, 255, 112, 0, 0];
        packet.extend([10, 77, 0, 9, 224, 0, 0, 18, 1, 1, 1, 0, 0x21, 51]);
        let received = ipv4(&packet).unwrap();
        assert_eq!(received.source, IpAddr::from([10, 77, 0, 9]));
        assert_eq!(received.destination, IpAddr::from(GROUP_V4));
        assert_eq!((received.ttl, received.payload), (255, &[0x21, 51][..]));
        assert!((0..20).all(|length| ipv4(&packet[..length]).is_none()));
        assert!(ipv4(&packet[..22]).is_none(), "options beyond the packet");
    }
}
