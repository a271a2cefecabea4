//! The ping check: one ICMP echo request (RFC 792, RFC 4443 §4.1); its own reply is good.
//!
//! A raw socket, since the kernel's ping sockets are closed to every group where `net.ipv4.ping_group_range` says so,
//! which is its default. It is connected, so it hears the real alone; what else the real sends by ICMP is passed over.

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::{Deadline, Fault, Way};
use crate::vrrp::wire::checksum;

/// Type, code, checksum, identifier and number, then eight bytes that make this request's reply known.
const LENGTH: usize = 16;

/// An IPv4 header with all options, and our reply.
const ROOM: usize = 60 + LENGTH;

pub(super) async fn check(way: Way<'_>, deadline: &Deadline) -> Result<(), Fault> {
    let is_v4 = way.real.is_ipv4();
    let socket = open(way)?;
    let request = request(is_v4, fastrand::u64(..));
    socket.send(&request).await?;
    let answer = async {
        let mut packet = [0; ROOM];
        loop {
            let length = socket.recv(&mut packet).await?;
            if is_reply(is_v4, packet.get(..length).unwrap_or_default(), &request) {
                return Ok(());
            }
        }
    };
    timeout_at(deadline.at, answer).await.map_err(|_| Fault::Waiting(deadline.timeout))?
}

/// What fails here fails before the real has heard of it.
fn open(Way { real, source, .. }: Way<'_>) -> Result<UdpSocket, Fault> {
    let protocol = if real.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = match Socket::new(Domain::for_address(real), Type::RAW.nonblocking(), Some(protocol)) {
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::EPERM) => return Err(Fault::NotRaw),
        made => made.map_err(Fault::Local)?,
    };
    source.map_or(Ok(()), |source| socket.bind(&source.into())).map_err(Fault::Local)?;
    socket.connect(&real.into()).map_err(Fault::Local)?;
    // A connected socket of datagrams is sent to and read from by the same calls, whatever the protocol.
    UdpSocket::from_std(socket.into()).map_err(Fault::Local)
}

/// An echo request. The kernel fills in ICMPv6's checksum, which covers addresses that it alone knows.
fn request(is_v4: bool, token: u64) -> [u8; LENGTH] {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = token.to_be_bytes();
    let kind = if is_v4 { 8 } else { 128 };
    let with = |[high, low]: [u8; 2]| [kind, 0, high, low, t0, t7, 0, 1, t0, t1, t2, t3, t4, t5, t6, t7];
    let plain = with([0, 0]);
    if is_v4 { with(checksum::plain(&plain).to_be_bytes()) } else { plain }
}

/// Whether a received packet (IPv4's with its header, IPv6's without) is the reply to `request`.
fn is_reply(is_v4: bool, packet: &[u8], request: &[u8; LENGTH]) -> bool {
    let header = match packet.first() {
        Some(first) if is_v4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let kind = if is_v4 { 0 } else { 129 };
    // Behind the checksum, which differs by the type, a reply repeats its request.
    packet.get(header..).is_some_and(|reply| reply.starts_with(&[kind, 0]) && reply.get(4..) == request.get(4..))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `reply` behind an IPv4 header of so many bytes.
    fn behind(header: u8, reply: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; usize::from(header)];
        packet[0] = 0x40 | (header / 4);
        packet.extend_from_slice(reply);
        packet
    }

    #[test]
    fn only_a_requests_own_reply_is_one() {
        for is_v4 in [true, false] {
            let request = request(is_v4, 0x0102_0304_0506_0708);
            assert_eq!(checksum::plain(&request) == 0, is_v4, "the kernel makes ICMPv6's");
            let mut good = request;
            good[0] = if is_v4 { 0 } else { 129 };
            let changed = |at: usize| {
                let mut reply = good;
                reply[at] ^= 1;
                reply.to_vec()
            };
            let rows = [
                ("its reply", good.to_vec(), true),
                ("the request itself, by the loopback", request.to_vec(), false),
                ("another type", changed(0), false),
                ("another code", changed(1), false),
                ("another checksum: the kernel has looked at it", changed(2), true),
                ("another identifier", changed(4), false),
                ("another number", changed(7), false),
                ("another token", changed(15), false),
                ("a short one", good[..15].to_vec(), false),
                ("a long one", [&good[..], &[0]].concat(), false),
                ("nothing", vec![], false),
            ];
            for (name, reply, expected) in rows {
                let packets = if is_v4 { vec![behind(20, &reply), behind(60, &reply)] } else { vec![reply] };
                for packet in packets {
                    assert_eq!(is_reply(is_v4, &packet, &request), expected, "{name} (IPv4: {is_v4})");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(is_v4: bool, packet in prop::collection::vec(any::<u8>(), 0..ROOM)) {
            prop_assert!(!is_reply(is_v4, &packet, &request(is_v4, u64::MAX)) || packet.ends_with(&[0xff; 8]));
        }
    }
}
