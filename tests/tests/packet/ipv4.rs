//! IPv4: forwarding, options, headers that contradict themselves.

use lb_common::Verdict;
use lb_tests::frame::Segment;
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Shape;

use crate::world::{DNS, WEB, ack, lab, question, segment, syn};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [forwarded(), options(), malformed(), whole()].into_iter().flatten().collect()
}

fn forwarded() -> Vec<Fixture> {
    vec![
        Fixture::new("a SYN to the VIP goes to the real with its MAC, from ours", lab()).send(syn(), to(WEB).opening()),
        Fixture::new("an ACK to the VIP goes to the real and opens nothing", lab()).send(ack(), to(WEB)),
        Fixture::new("a SYN-ACK opens nothing", lab()).send(segment(40000, Segment::SynAck), to(WEB)),
        Fixture::new("a FIN goes to the real", lab()).send(segment(40000, Segment::Fin), to(WEB)),
        Fixture::new("an RST goes to the real", lab()).send(segment(40000, Segment::Rst), to(WEB)),
        Fixture::new("a SYN with ECN's flags opens a connection too", lab())
            .send(syn().with_transport_byte(13, 0xc2), to(WEB).opening()),
        Fixture::new("a segment without any flag goes to the real and opens nothing", lab())
            .send(ack().with_transport_byte(13, 0), to(WEB)),
        Fixture::new("a SYN that is a FIN as well opens nothing", lab())
            .send(syn().with_transport_byte(13, 0x03), to(WEB)),
        Fixture::new("a datagram to the VIP goes to the real, and counts as no connection", lab())
            .send(question(), to(DNS)),
        Fixture::new("a short frame's padding is sent along, and not counted", lab())
            .send(syn().padded(60), to(WEB).opening().counting(40)),
        Fixture::new("a packet whose time to live is 1 goes to the real as it is", lab())
            .send(syn().with_ip_byte(8, 1).repaired(), to(WEB).opening()),
        Fixture::new("DSCP and ECN bits are kept", lab()).send(ack().with_ip_byte(1, 0xb9).repaired(), to(WEB)),
        Fixture::new("a frame as long as the link allows goes to the real", lab()).send(ack().stretched(1514), to(WEB)),
        Fixture::new("a jumbo frame goes to the real", lab()).send(ack().stretched(9014), to(WEB)),
    ]
}

fn options() -> Vec<Fixture> {
    vec![
        Fixture::new("1 to 10 words of IPv4 options don't hide the ports of a segment", lab())
            .send_all((1..=10).map(|words| (ack().with_options(words), to(WEB)))),
        Fixture::new("1 to 10 words of IPv4 options don't hide a SYN", lab())
            .send_all((1..=10).map(|words| (syn().with_options(words), to(WEB).opening()))),
        Fixture::new("1 to 10 words of IPv4 options don't hide the ports of a datagram", lab())
            .send_all((1..=10).map(|words| (question().with_options(words), to(DNS)))),
    ]
}

fn malformed() -> Vec<Fixture> {
    let malformed = || untouched(Verdict::Malformed);
    let versions = (0..16u8).filter(|version| *version != 4);
    vec![
        Fixture::new("an IPv4 EtherType with any other version passes", lab())
            .send_all(versions.map(|version| (syn().with_ip_byte(0, version << 4 | 5), malformed()))),
        Fixture::new("an IPv4 header of less than 5 words passes", lab())
            .send_all((0..5).map(|words| (syn().with_ip_byte(0, 0x40 | words), malformed()))),
        Fixture::new("a total length shorter than the header passes", lab())
            .send(syn().with_ip_byte(3, 19), malformed())
            .send(syn().with_ip_byte(3, 0), malformed())
            .send(syn().with_options(10).with_ip_byte(3, 59), malformed()),
        Fixture::new("a packet that by its own length ends before its ports' header does is not read past it", lab())
            .send(syn().with_ip_byte(3, 39).repaired(), malformed())
            .send(syn().with_ip_byte(3, 20).repaired(), malformed())
            .send(ack().with_options(10).with_ip_byte(3, 79).repaired(), malformed())
            .send(question().with_ip_byte(3, 27).repaired(), malformed()),
        Fixture::new("a packet that by its own length ends right behind its ports' header is whole", lab())
            .send(ack().with_ip_byte(3, 40).repaired(), to(WEB).counting(40))
            .send(question().with_ip_byte(3, 28).repaired().with_transport_byte(5, 8), to(DNS).counting(28)),
    ]
}

fn whole() -> Vec<Fixture> {
    vec![
        Fixture::new("a packet that must not be fragmented is no fragment", lab())
            .send(ack().with_ip_byte(6, 0x40).with_ip_byte(7, 0).repaired(), to(WEB)),
        Fixture::new("the reserved bit makes no fragment", lab())
            .send(ack().with_ip_byte(6, 0x80).with_ip_byte(7, 0).repaired(), to(WEB)),
    ]
}
