//! ICMP and ICMPv6: errors go to the real that sent what they embed, everything else to the director's own stack.

use lb_common::Verdict;
use lb_common::header::protocol;
use lb_common::maps::{Address, Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, error4, error6, ip4, ip6, tcp4, tcp6, udp4, udp6};
use lb_tests::scenario::{Fixture, by_ring, ring_choice, to, untouched};
use lb_tests::shape::Extra::{Destination, Fragment, HopByHop, Routing};
use lb_tests::shape::Shape;
use lb_userspace::dataplane::Desired;

use crate::world::{
    CLIENT, CLIENT6, DNS, DNS6, TAG, TCP, UDP, VIP, VIP6, WEB, WEB6, ack_from, lab, reals, segment, service, syn_from,
    tracked,
};

const ROUTER: [u8; 4] = [192, 0, 2, 1];
const ROUTER6: Address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const TOO_BIG: u8 = 3;
const TOO_BIG6: u8 = 2;
/// Ethernet, IP and an error's own header.
const BEFORE: usize = 14 + 20 + 8;
const BEFORE6: usize = 14 + 40 + 8;

pub(crate) fn fixtures() -> Vec<Fixture> {
    [kinds(), embedded(), strangers(), known(), unserved()].into_iter().flatten().collect()
}

/// What the real answers a client on this port.
fn answer(port: u16) -> Vec<u8> {
    tcp4(VIP, 80, CLIENT, port, Segment::Ack)
}

fn answer6() -> Vec<u8> {
    tcp6(VIP6, 80, CLIENT6, 40000, Segment::Ack)
}

fn about(sent: &[u8]) -> Vec<u8> {
    error4(ROUTER, VIP, TOO_BIG, sent)
}

fn about6(sent: &[u8]) -> Vec<u8> {
    error6(ROUTER6, VIP6, TOO_BIG6, sent)
}

fn about_port(port: u16) -> Vec<u8> {
    about(&answer(port))
}

fn kinds() -> Vec<Fixture> {
    let (datagram, datagram6) = (udp4(VIP, 53, CLIENT, 40000), udp6(VIP6, 53, CLIENT6, 40000));
    let error = |kind, sent: &[u8]| error4(ROUTER, VIP, kind, sent);
    let error_of_six = |kind, sent: &[u8]| error6(ROUTER6, VIP6, kind, sent);
    let other = || untouched(Verdict::OtherProtocol);
    let message = |kind| ip4(CLIENT, VIP, protocol::ICMP, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    let message6 = |kind| ip6(CLIENT6, VIP6, protocol::ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        Fixture::new("every ICMP error goes to the real whose segment it embeds", lab())
            .send_all([3, 4, 11, 12].map(|kind| (error(kind, &answer(40000)), to(WEB)))),
        Fixture::new("every ICMP error goes to the real whose datagram it embeds", lab())
            .send_all([3, 4, 11, 12].map(|kind| (error(kind, &datagram), to(DNS)))),
        Fixture::new("every ICMPv6 error goes to the real whose segment it embeds", lab())
            .send_all((1..=4).map(|kind| (error_of_six(kind, &answer6()), to(WEB6)))),
        Fixture::new("every ICMPv6 error goes to the real whose datagram it embeds", lab())
            .send_all((1..=4).map(|kind| (error_of_six(kind, &datagram6), to(DNS6)))),
        Fixture::new("ICMPv6 errors of other types pass", lab())
            .send_all([0, 5, 100, 127].map(|kind| (error_of_six(kind, &answer6()), untouched(Verdict::IcmpError)))),
        Fixture::new("the VIP's director answers pings", lab()).send(message(8), other()).send(message6(128), other()),
        Fixture::new("a redirect is for the director", lab()).send(error(5, &answer(40000)), other()),
        Fixture::new("neighbour discovery passes", lab()).send_all((133..=137).map(|kind| (message6(kind), other()))),
        Fixture::new("ICMP over IPv6 and ICMPv6 over IPv4 tell nobody anything", lab())
            .send(
                about(&answer(40000)).with_ip_byte(9, 58).with_transport_byte(0, 1).repaired(),
                untouched(Verdict::IcmpError),
            )
            .send(about6(&answer6()).with_ip_byte(6, 1).with_transport_byte(0, 3), untouched(Verdict::IcmpError)),
    ]
}

fn embedded() -> Vec<Fixture> {
    let all = [HopByHop(0), Destination(1), Routing(2), Fragment(0, true), Destination(0)];
    let nobody = || untouched(Verdict::IcmpError);
    let cut = |length: usize| {
        let frame = about(&answer(40000)).cut(BEFORE + length);
        let total = (frame.len() - 14) as u8;
        frame.with_ip_byte(3, total).repaired()
    };
    let cut6 = |length: usize| {
        let frame = about6(&answer6()).cut(BEFORE6 + length);
        let payload = (frame.len() - 14 - 40) as u8;
        frame.with_ip_byte(5, payload)
    };
    vec![
        Fixture::new("eight bytes of the segment are enough", lab()).send(cut(28), to(WEB)).send(cut6(48), to(WEB6)),
        Fixture::new("an error that embeds less than that passes", lab())
            .send_all((0..28).map(|length| (cut(length), nobody())))
            .send_all((0..48).map(|length| (cut6(length), nobody()))),
        Fixture::new("what an error by its own length doesn't hold is not looked at", lab())
            .send(about(&answer(40000)).with_ip_byte(3, 20 + 8 + 27).repaired(), nobody())
            .send(about6(&answer6()).with_ip_byte(5, 8 + 47), nobody()),
        Fixture::new("an embedded packet has options", lab())
            .send_all((1..=10).map(|words| (about(&answer(40000).with_options(words)), to(WEB)))),
        Fixture::new("an embedded packet has extension headers", lab())
            .send(about6(&answer6().with_extras(&all)), to(WEB6)),
        Fixture::new("an error has options, extension headers and tags itself", lab())
            .send(about(&answer(40000)).with_options(10), to(WEB))
            .send(about6(&answer6()).with_extras(&[HopByHop(0), Destination(0)]), to(WEB6))
            .send(about(&answer(40000)).tagged(TAG, 5), to(WEB))
            .send(about6(&answer6()).tagged(TAG, 5).tagged(TAG, 6), to(WEB6)),
        Fixture::new("an embedded first fragment tells its flow, a later one doesn't", lab())
            .send(about(&answer(40000).fragment(0, true)), to(WEB))
            .send(about(&answer(40000).fragment(185, true)), nobody())
            .send(about6(&answer6().with_extras(&[Fragment(0, true)])), to(WEB6))
            .send(about6(&answer6().with_extras(&[Fragment(181, false)])), nobody()),
        Fixture::new("an embedded header that contradicts itself tells nothing", lab())
            .send(about(&answer(40000).with_ip_byte(0, 0x44)), nobody())
            .send(about(&answer(40000).with_ip_byte(0, 0x65)), nobody())
            .send(about6(&answer6().with_ip_byte(0, 0x40)), nobody()),
        Fixture::new("an embedded packet with more extension headers than are followed tells nothing", lab())
            .send(about6(&answer6().with_extras(&[Destination(0); 6])), nobody()),
    ]
}

fn strangers() -> Vec<Fixture> {
    let nobody = || untouched(Verdict::IcmpError);
    let own = [172, 28, 128, 2];
    let from_other_port = tcp4(VIP, 22, CLIENT, 40000, Segment::Ack);
    let to_the_vip = tcp4(CLIENT, 40000, VIP, 80, Segment::Ack);
    let reply = ip4(VIP, CLIENT, protocol::ICMP, &[0; 16]);
    vec![
        Fixture::new("an error about what no service sent passes", lab())
            .send(about(&from_other_port), nobody())
            .send(about(&to_the_vip), nobody())
            .send(about(&reply), nobody())
            .send(about(&udp4(VIP, 80, CLIENT, 40000)), nobody()),
        Fixture::new("an error to the director's own address passes", lab())
            .send(error4(ROUTER, own, TOO_BIG, &tcp4(own, 22, CLIENT, 40000, Segment::Ack)), nobody())
            .send(error4(ROUTER, own, TOO_BIG, &answer(40000)), nobody()),
        Fixture::new("an error about what another host sent passes", lab())
            .send(about(&tcp4(own, 80, CLIENT, 40000, Segment::Ack)), nobody()),
        Fixture::new("a part of an error passes", lab())
            .send(about(&answer(40000)).fragment(0, true), untouched(Verdict::Fragment)),
    ]
}

/// Errors about flows that are remembered or take another way than most.
fn known() -> Vec<Fixture> {
    let pair = || desired(&[tracked(&reals([40, 41]))]);
    let sessions =
        || desired(&[ServiceSpec { flags: Service::TRACKED, ..service(mapped(VIP), 53, UDP, &reals([40, 41])) }]);
    let say = || udp4(CLIENT, 2000, VIP, 53);
    let about_session = || about(&udp4(VIP, 53, CLIENT, 2000));
    let flagged = |flags, port, protocol| {
        desired(&[ServiceSpec { flags, ..service(mapped(VIP), port, protocol, &reals([40, 41, 42])) }])
    };
    let by_source = flagged(Service::BY_SOURCE, 80, TCP);
    let choice = |maps: &Desired, port| ring_choice(maps, &ack_from(port)).unwrap_or_default();
    let (two, three) = (stateless(&[40, 41]), stateless(&[40, 41, 42]));
    let mut ports = (2000..).filter(|port| choice(&two, *port) == 1 && choice(&three, *port) == 3);
    let [old, new] = [(); 2].map(|()| ports.next().unwrap_or_default());
    vec![
        Fixture::new("errors follow each connection to the real that took its turn", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .send_all((0..6).map(|n| (about_port(2000 + n % 2), to(1 + u32::from(n % 2))))),
        Fixture::new("an error about an unknown connection goes the slot's way, and takes no turn", pair())
            .send_all((0..4).map(|n| (about_port(2000 + n), to(choice(&pair(), 2000 + n)))))
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening()),
        Fixture::new("an error keeps no session alive", sessions())
            .send(say(), to(1).opening())
            .send(say(), to(1))
            .age(200)
            .send(about_session(), to(1))
            .age(200)
            .send(about_session(), to(1))
            .send(say(), to(2).opening()),
        Fixture::new("while a slot moves, errors follow both kinds of connections, and make none known", two.clone())
            .apply(three.clone())
            .send(syn_from(new), to(3).opening())
            .send(about_port(new), to(3))
            .send(about_port(old), to(1))
            .send(syn_from(old), to(3).opening()),
        Fixture::new("errors go by the client's address alone where its packets do", by_source.clone())
            .send_all((2000..2004).map(|port| (about_port(port), to(choice(&by_source, port))))),
        Fixture::new("errors about any port of a service go to it", flagged(0, 0, TCP))
            .send_all((2000..2004).map(|port| (ack_from(port), by_ring())))
            .send_all((2000..2004).map(|port| (about_port(port), to(choice(&flagged(0, 0, TCP), port))))),
        Fixture::new(
            "of datagrams that take turns one by one nobody knows who answered",
            flagged(Service::QUERY | Service::TRACKED, 53, UDP),
        )
        .send(say(), to(1).opening())
        .send(about_session(), untouched(Verdict::IcmpError)),
    ]
}

fn stateless(numbers: &[u8]) -> Desired {
    desired(&[service(mapped(VIP), 80, TCP, &reals(numbers.iter().copied()))])
}

fn unserved() -> Vec<Fixture> {
    let mut gated = lab();
    gated.services.values_mut().for_each(|service| service.gate = 7);
    let down = || desired(&[service(mapped(VIP), 80, TCP, &[RealSpec { usable: false, ..RealSpec::new(40) }])]);
    let mut undecided = down();
    undecided.services.values_mut().for_each(|service| service.flags |= Service::UNDECIDED);
    vec![
        Fixture::new("a backup whose gate is closed leaves errors alone", gated)
            .gate(7, true)
            .send(about_port(40000), untouched(Verdict::Standby))
            .gate(7, false)
            .send(about_port(40000), to(WEB)),
        Fixture::new("an error that another director sent on goes no further", lab())
            .send(about_port(40000).sent_by(RealSpec::new(40).mac), untouched(Verdict::Returned)),
        Fixture::new("errors of a service without a usable real go where its packets go", down())
            .send(segment(40000, Segment::Ack), untouched(Verdict::Refused))
            .send(about_port(40000), untouched(Verdict::Refused)),
        Fixture::new("errors wait for the first checks as packets do", undecided)
            .send(about_port(40000), untouched(Verdict::NoReal)),
    ]
}
