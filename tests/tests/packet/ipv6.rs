//! IPv6: forwarding, extension headers.

use lb_common::Verdict;
use lb_common::header::protocol;
use lb_common::maps::mapped;
use lb_tests::frame::{Segment, ip6, tcp6, udp6};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Extra::{Destination, Fragment, HopByHop, Routing};
use lb_tests::shape::Shape;

use crate::world::{CLIENT, CLIENT6, DNS6, VIP, VIP6, WEB6, ack6, lab, question6, syn6};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [forwarded(), extensions(), whole()].into_iter().flatten().collect()
}

fn forwarded() -> Vec<Fixture> {
    let versions = (0..16u8).filter(|version| *version != 6);
    vec![
        Fixture::new("an IPv6 SYN goes to the real with its MAC, from ours", lab()).send(syn6(), to(WEB6).opening()),
        Fixture::new("an IPv6 ACK goes to the real and opens nothing", lab()).send(ack6(), to(WEB6)),
        Fixture::new("an IPv6 datagram goes to the real", lab()).send(question6(), to(DNS6)),
        Fixture::new("traffic class and flow label are kept", lab())
            .send(ack6().with_ip_byte(0, 0x6b).with_ip_byte(1, 0x9a).with_ip_byte(3, 0xcd), to(WEB6)),
        Fixture::new("an IPv6 EtherType with any other version passes", lab())
            .send_all(versions.map(|version| (syn6().with_ip_byte(0, version << 4), untouched(Verdict::Malformed)))),
        Fixture::new("the IPv4 VIP in its mapped form over IPv6 is no VIP", lab())
            .send(tcp6(CLIENT6, 40000, mapped(VIP), 80, Segment::Syn), untouched(Verdict::Malformed))
            .send(udp6(CLIENT6, 40000, mapped(VIP), 53), untouched(Verdict::Malformed)),
        Fixture::new("an IPv4 client in its mapped form over IPv6 is no client", lab())
            .send(tcp6(mapped(CLIENT), 40000, VIP6, 80, Segment::Syn), untouched(Verdict::Malformed)),
        Fixture::new(
            "an IPv6 packet that by its own length ends before its ports' header does is not read past it",
            lab(),
        )
        .send(syn6().with_ip_byte(5, 19), untouched(Verdict::Malformed))
        .send(syn6().with_ip_byte(5, 0), untouched(Verdict::Malformed))
        .send(question6().with_ip_byte(5, 7), untouched(Verdict::Malformed))
        .send(question6().with_extras(&[HopByHop(0)]).with_ip_byte(5, 15), untouched(Verdict::Malformed)),
        Fixture::new("an IPv6 packet that by its own length ends right behind its ports' header is whole", lab())
            .send(syn6().with_ip_byte(5, 20), to(WEB6).opening().counting(60))
            .send(
                question6().with_transport_byte(5, 8).with_extras(&[HopByHop(0)]).with_ip_byte(5, 16),
                to(DNS6).counting(56),
            ),
        Fixture::new("an IPv6 frame's padding is sent along, and not counted", lab())
            .send(question6().padded(90), to(DNS6).counting(56)),
    ]
}

fn extensions() -> Vec<Fixture> {
    let all = [HopByHop(0), Destination(1), Routing(2), Fragment(0, false), Destination(0)];
    let six = [HopByHop(0), Destination(0), Routing(0), Fragment(0, false), Destination(0), Destination(0)];
    let five = [HopByHop(0), Destination(0), Routing(0), Destination(0), Destination(0)];
    let icmp6 = |kind| ip6(CLIENT6, VIP6, protocol::ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        Fixture::new("a hop-by-hop header is walked over", lab())
            .send(syn6().with_extras(&[HopByHop(0)]), to(WEB6).opening()),
        Fixture::new("hop-by-hop headers of 16 to 64 bytes are walked over", lab())
            .send_all((1..8).map(|units| (ack6().with_extras(&[HopByHop(units)]), to(WEB6)))),
        Fixture::new("a routing header is walked over", lab()).send(ack6().with_extras(&[Routing(2)]), to(WEB6)),
        Fixture::new("destination options are walked over", lab())
            .send(question6().with_extras(&[Destination(3)]), to(DNS6)),
        Fixture::new("the longest destination options are walked over", lab())
            .send(ack6().with_extras(&[Routing(255)]), to(WEB6)),
        Fixture::new("all extension headers in one packet are walked over", lab())
            .send(syn6().with_extras(&all), to(WEB6).opening()),
        Fixture::new("five extension headers are followed", lab()).send(ack6().with_extras(&five), to(WEB6)),
        Fixture::new("six extension headers are too many", lab())
            .send(ack6().with_extras(&six), untouched(Verdict::TooManyHeaders)),
        Fixture::new("a ping behind extension headers is still a ping", lab())
            .send(icmp6(128).with_extras(&all), untouched(Verdict::OtherProtocol)),
        Fixture::new("an ICMPv6 error behind extension headers is still an error", lab())
            .send(icmp6(1).with_extras(&[HopByHop(0), Destination(0)]), untouched(Verdict::IcmpError)),
        Fixture::new("an extension header that ends behind the frame is truncated", lab())
            .send(syn6().with_extras(&[HopByHop(0)]).with_transport_byte(1, 200), untouched(Verdict::Truncated)),
        Fixture::new("an authentication header isn't followed", lab())
            .send(syn6().with_ip_byte(6, 51), untouched(Verdict::OtherProtocol)),
    ]
}

fn whole() -> Vec<Fixture> {
    let whole = || question6().with_extras(&[Fragment(0, false)]);
    vec![
        Fixture::new("a whole packet with a fragment header goes to the real", lab()).send(whole(), to(DNS6)),
        Fixture::new("the reserved bits of a fragment header make no fragment", lab())
            .send(whole().with_transport_byte(3, 0x06), to(DNS6)),
    ]
}
