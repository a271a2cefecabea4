//! The packets that come for checks on VIPs, and the socket that sends theirs.
//!
//! Two packet sockets hear IPv4 and IPv6 where the kernel hands packets up, after the program and whatever interface,
//! VLAN, bridge or bond they came by; a filter in the kernel leaves only what may be for a check. Nothing that is forwarded
//! comes that far.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::port::{self, Port};
use super::syscall;

/// Packets that wait for one check at most; what comes beyond is lost, and a real sends it again.
const WAITING: usize = 64;
/// Bytes of a packet at most: what the kernel has merged.
const LONGEST: usize = 1 << 17;
/// Wait after the kernel said of a socket that something is wrong.
const AGAIN: Duration = Duration::from_millis(100);

/// What came for a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A packet, from its IP header on.
    Packet(Vec<u8>),
    /// An ICMP error about one of the check's packets, as the kernel would tell it.
    Unreachable(Errno),
}

/// Whose a packet is: TCP's (else UDP's), this host's end and the VIP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) is_tcp: bool,
    pub(super) own: SocketAddr,
    pub(super) vip: SocketAddr,
}

type Checks = Mutex<HashMap<Ends, mpsc::Sender<Arrival>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Tap {
    sender: Socket,
    checks: Arc<Checks>,
    first_port: u16,
    /// One for each family.
    ears: Mutex<JoinSet<()>>,
}

/// A check's place at the tap, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) ends: Ends,
    tap: Arc<Tap>,
    _port: Port,
}

impl Tap {
    /// Opens the sockets, and hears from then on.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, or what else the system says.
    pub(super) fn open() -> io::Result<Self> {
        let sender = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        let first_port = port::first();
        let checks = Arc::new(Checks::default());
        let mut ears = JoinSet::new();
        for (ethertype, filter) in [(libc::ETH_P_IP, filter_v4(first_port)), (libc::ETH_P_IPV6, filter_v6(first_port))]
        {
            let protocol = Protocol::from(i32::from((ethertype as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(protocol))?;
            // What came before it is nobody's.
            socket.attach_filter(&filter)?;
            ears.spawn(hear(UdpSocket::from_std(socket.into())?, Arc::clone(&checks)));
        }
        Ok(Self { sender, checks, first_port, ears: Mutex::new(ears) })
    }

    /// Whether both families are still heard.
    pub(super) fn is_open(&self) -> bool {
        let mut ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        ears.try_join_next().is_none() && ears.len() == 2
    }

    /// Takes a port for a check, and gives it what comes for that from now on.
    ///
    /// # Errors
    /// As [`Port::take`].
    pub(super) fn join(
        self: &Arc<Self>,
        is_tcp: bool,
        own: IpAddr,
        vip: SocketAddr,
    ) -> io::Result<(Place, mpsc::Receiver<Arrival>)> {
        let port = Port::take(own, is_tcp, self.first_port)?;
        let ends = Ends { is_tcp, own: SocketAddr::new(own, port.number), vip };
        let (sender, receiver) = mpsc::channel(WAITING);
        lock(&self.checks).insert(ends, sender);
        Ok((Place { ends, tap: Arc::clone(self), _port: port }, receiver))
    }
}

impl Place {
    /// Sends a frame.
    ///
    /// # Errors
    /// As [`syscall::send`].
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        syscall::send(&self.tap.sender, ifindex, frame)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.tap.checks).remove(&self.ends);
    }
}

fn lock(checks: &Checks) -> MutexGuard<'_, HashMap<Ends, mpsc::Sender<Arrival>>> {
    checks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A packet socket is read by the same call as one of UDP's.
async fn hear(socket: UdpSocket, checks: Arc<Checks>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => hand_out(buffer.get(..length).unwrap_or_default(), &checks),
            Err(error) => {
                debug!("packets for checks on VIPs: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn hand_out(packet: &[u8], checks: &Checks) {
    let Some((ends, error)) = read(packet) else { return };
    let Some(check) = lock(checks).get(&ends).cloned() else { return };
    let arrival = error.map_or_else(|| Arrival::Packet(packet.to_vec()), Arrival::Unreachable);
    // It may have ended, or be too slow.
    let _ = check.try_send(arrival);
}

/// Whose a received packet is, and the error that it tells if it is ICMP's.
fn read(packet: &[u8]) -> Option<(Ends, Option<Errno>)> {
    let (source, destination, protocol, payload) = network(packet)?;
    let error = match protocol {
        IpProtocol::Icmp => {
            let message = Icmpv4Packet::new_checked(payload).ok()?;
            (message.msg_type() == Icmpv4Message::DstUnreachable).then(|| unreachable_v4(message.msg_code()))?
        }
        IpProtocol::Icmpv6 => {
            let message = Icmpv6Packet::new_checked(payload).ok()?;
            (message.msg_type() == Icmpv6Message::DstUnreachable).then(|| unreachable_v6(message.msg_code()))?
        }
        _ => {
            let (is_tcp, from, to) = ports(protocol, payload)?;
            let (vip, own) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
            return Some((Ends { is_tcp, own, vip }, None));
        }
    };
    // Behind the eight bytes of its header is a packet of ours, or as much of it as there is room for.
    let (source, destination, protocol, payload) = network(payload.get(8..)?)?;
    let (is_tcp, from, to) = ports(protocol, payload)?;
    let (own, vip) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
    Some((Ends { is_tcp, own, vip }, Some(error)))
}

/// A packet's source, destination, protocol and what is behind its header; as much of that as there is.
fn network(packet: &[u8]) -> Option<(IpAddr, IpAddr, IpProtocol, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = Ipv4Packet::new_unchecked(packet);
            let length = usize::from(packet.first()? & 0x0f) * 4;
            let payload = packet.get(length.max(20)..)?;
            (header.frag_offset() == 0).then_some(())?;
            Some((header.src_addr().into(), header.dst_addr().into(), header.next_header(), payload))
        }
        6 => {
            let payload = packet.get(40..)?;
            let header = Ipv6Packet::new_unchecked(packet);
            Some((header.src_addr().into(), header.dst_addr().into(), header.next_header(), payload))
        }
        _ => None,
    }
}

/// Whether the protocol is TCP, and the ports.
fn ports(protocol: IpProtocol, payload: &[u8]) -> Option<(bool, u16, u16)> {
    // All that is read, of a packet that may be cut off.
    payload.get(..4)?;
    match protocol {
        IpProtocol::Tcp => {
            let header = TcpPacket::new_unchecked(payload);
            Some((true, header.src_port(), header.dst_port()))
        }
        IpProtocol::Udp => {
            let header = UdpPacket::new_unchecked(payload);
            Some((false, header.src_port(), header.dst_port()))
        }
        _ => None,
    }
}

/// As Linux tells a code of ICMP's "destination unreachable" (net/ipv4/icmp.c, `icmp_err_convert`).
fn unreachable_v4(code: u8) -> Errno {
    match Icmpv4DstUnreachable::from(code) {
        Icmpv4DstUnreachable::PortUnreachable => Errno::ECONNREFUSED,
        Icmpv4DstUnreachable::ProtoUnreachable => Errno::ENOPROTOOPT,
        Icmpv4DstUnreachable::NetUnreachable
        | Icmpv4DstUnreachable::DstNetUnknown
        | Icmpv4DstUnreachable::NetProhibited
        | Icmpv4DstUnreachable::NetUnreachToS => Errno::ENETUNREACH,
        _ => Errno::EHOSTUNREACH,
    }
}

/// The same of ICMPv6's (net/ipv6/icmp.c, `icmpv6_err_convert`).
fn unreachable_v6(code: u8) -> Errno {
    match Icmpv6DstUnreachable::from(code) {
        Icmpv6DstUnreachable::PortUnreachable => Errno::ECONNREFUSED,
        Icmpv6DstUnreachable::NoRoute => Errno::ENETUNREACH,
        Icmpv6DstUnreachable::AdminProhibit
        | Icmpv6DstUnreachable::FailedPolicy
        | Icmpv6DstUnreachable::RejectRoute => Errno::EACCES,
        _ => Errno::EHOSTUNREACH,
    }
}

// Classic BPF (linux/filter.h, Documentation/networking/filter.rst). Offsets count from the IP header.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_AT: u16 = 0x48;
const LOAD_BYTE_AT: u16 = 0x50;
/// X = 4 * (byte & 0x0f): the length of an IPv4 header.
const LOAD_HEADER: u16 = 0xb1;
const IF_EQUAL: u16 = 0x15;
const IF_NOT_LESS: u16 = 0x35;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const TO_THIS_HOST: u32 = 0;

const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;

/// Takes whole packets to this host: of TCP and UDP to `first` and the ports behind it, and ICMP's "destination unreachable".
fn filter_v4(first: u16) -> Vec<SockFilter> {
    let step = SockFilter::new;
    vec![
        step(LOAD_BYTE, 0, 0, PACKET_TYPE),
        step(IF_EQUAL, 0, 12, TO_THIS_HOST),
        step(LOAD_HALF, 0, 0, 6),
        step(IF_BITS, 10, 0, 0x1fff),
        step(LOAD_HEADER, 0, 0, 0),
        step(LOAD_BYTE, 0, 0, 9),
        step(IF_EQUAL, 2, 0, TCP),
        step(IF_EQUAL, 1, 0, UDP),
        step(IF_EQUAL, 2, 5, ICMP),
        step(LOAD_HALF_AT, 0, 0, 2),
        step(IF_NOT_LESS, 2, 3, first.into()),
        step(LOAD_BYTE_AT, 0, 0, 0),
        step(IF_EQUAL, 0, 1, 3),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

/// The same of IPv6.
fn filter_v6(first: u16) -> Vec<SockFilter> {
    let step = SockFilter::new;
    vec![
        step(LOAD_BYTE, 0, 0, PACKET_TYPE),
        step(IF_EQUAL, 0, 9, TO_THIS_HOST),
        step(LOAD_BYTE, 0, 0, 6),
        step(IF_EQUAL, 2, 0, TCP),
        step(IF_EQUAL, 1, 0, UDP),
        step(IF_EQUAL, 2, 5, ICMPV6),
        step(LOAD_HALF, 0, 0, 40 + 2),
        step(IF_NOT_LESS, 2, 3, first.into()),
        step(LOAD_BYTE, 0, 0, 40),
        step(IF_EQUAL, 0, 1, 1),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests;
