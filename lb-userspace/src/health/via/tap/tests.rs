use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const OWN4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 61_234;

fn ends(is_tcp: bool, is_v4: bool) -> Ends {
    let (own, vip): (IpAddr, IpAddr) = if is_v4 { (OWN4.into(), VIP4.into()) } else { (OWN6.into(), VIP6.into()) };
    Ends { is_tcp, own: SocketAddr::new(own, PORT), vip: SocketAddr::new(vip, 80) }
}

/// A packet of a check, or (`back`) the answer to it.
fn packet(is_tcp: bool, is_v4: bool, back: bool) -> Vec<u8> {
    let (from, to) = if back { (80, PORT) } else { (PORT, 80) };
    let builder = match (is_v4, back) {
        (true, true) => PacketBuilder::ipv4(VIP4.octets(), OWN4.octets(), 64),
        (true, false) => PacketBuilder::ipv4(OWN4.octets(), VIP4.octets(), 64),
        (false, true) => PacketBuilder::ipv6(VIP6.octets(), OWN6.octets(), 64),
        (false, false) => PacketBuilder::ipv6(OWN6.octets(), VIP6.octets(), 64),
    };
    let mut packet = Vec::new();
    if is_tcp {
        builder.tcp(from, to, 1, 1000).ack(7).write(&mut packet, b"hello").unwrap();
    } else {
        builder.udp(from, to).write(&mut packet, b"hello").unwrap();
    }
    packet
}

/// An ICMP error of this type and code about `about`, of which it has so much.
fn error(is_v4: bool, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(about);
    let mut packet = Vec::new();
    if is_v4 {
        let builder = PacketBuilder::ipv4(VIP4.octets(), OWN4.octets(), 64);
        builder.write(&mut packet, etherparse::IpNumber::ICMP, &message).unwrap();
    } else {
        let builder = PacketBuilder::ipv6(VIP6.octets(), OWN6.octets(), 64);
        builder.write(&mut packet, etherparse::IpNumber::IPV6_ICMP, &message).unwrap();
    }
    packet
}

#[test]
fn an_answer_is_its_checks_whatever_is_behind_the_ports() {
    for (is_tcp, is_v4) in [(true, true), (true, false), (false, true), (false, false)] {
        let answer = packet(is_tcp, is_v4, true);
        assert_eq!(read(&answer), Some((ends(is_tcp, is_v4), None)));
        let header = if is_v4 { 20 } else { 40 };
        for length in 0..answer.len() {
            assert_eq!(read(&answer[..length]).is_some(), length >= header + 4, "{length} bytes");
        }
    }
    let mut fragment = packet(false, true, true);
    fragment[7] = 1;
    assert_eq!(read(&fragment), None, "a later fragment has no ports");
    let mut other = packet(true, true, true);
    other[9] = 132;
    assert_eq!(read(&other), None, "another protocol");
}

#[test]
fn an_error_is_of_the_check_whose_packet_it_embeds() {
    use Errno::*;
    let v4 = [
        (0, ENETUNREACH),
        (1, EHOSTUNREACH),
        (2, ENOPROTOOPT),
        (3, ECONNREFUSED),
        (6, ENETUNREACH),
        (9, ENETUNREACH),
        (10, EHOSTUNREACH),
        (13, EHOSTUNREACH),
        (99, EHOSTUNREACH),
    ];
    let v6 = [(0, ENETUNREACH), (1, EACCES), (3, EHOSTUNREACH), (4, ECONNREFUSED), (5, EACCES), (6, EACCES)];
    for is_tcp in [true, false] {
        for (is_v4, kind, codes) in [(true, 3, &v4[..]), (false, 1, &v6[..])] {
            let sent = packet(is_tcp, is_v4, false);
            for (code, errno) in codes {
                let whole = error(is_v4, kind, *code, &sent);
                assert_eq!(read(&whole), Some((ends(is_tcp, is_v4), Some(*errno))), "code {code}");
            }
            // Eight bytes behind the header are all that IPv4's have by RFC 792.
            let header = if is_v4 { 20 } else { 40 };
            assert!(read(&error(is_v4, kind, 3, &sent[..header + 8])).is_some());
            assert!(read(&error(is_v4, kind, 3, &sent[..header + 3])).is_none());
            let other = if is_v4 { 11 } else { 3 };
            assert!(read(&error(is_v4, other, 0, &sent)).is_none(), "time exceeded is none that ends a check");
        }
    }
}

proptest! {
    #[test]
    fn any_packet_is_survived(packet in prop::collection::vec(any::<u8>(), 0..120), first in prop_oneof![Just(0x45), Just(0x4f), Just(0x60), any::<u8>()]) {
        let mut packet = packet;
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        let _ = read(&packet);
    }

    #[test]
    fn so_is_any_error(kind: bool, about in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&error(kind, if kind { 3 } else { 1 }, 0, &about));
    }
}
