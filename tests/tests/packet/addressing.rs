//! Which frames are the director's, and which are for a service.

use lb_common::Verdict;
use lb_common::header::protocol;
use lb_tests::fixture::RealSpec;
use lb_tests::frame::{Segment, ip4, ip6, tcp4, tcp6, udp4};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Shape;

use crate::world::{CLIENT, CLIENT6, DNS, VIP, VIP6, WEB, lab, question, reals, service, syn, syn6};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [ours(), virtual_routers(), other_services(), other_protocols(), returned()].into_iter().flatten().collect()
}

fn ours() -> Vec<Fixture> {
    let elsewhere = untouched(Verdict::NotOurs);
    let mut unknown_interface = lab();
    unknown_interface.ports.clear();
    vec![
        Fixture::new("a SYN to another host's MAC is not ours", lab())
            .send(syn().addressed_to([0x02, 0xd0, 0, 0, 0, 2]), elsewhere),
        Fixture::new("a broadcast SYN is not ours", lab())
            .send(syn().addressed_to([0xff; 6]), untouched(Verdict::NotOurs)),
        Fixture::new("a multicast question is not ours", lab())
            .send(question().addressed_to([0x01, 0, 0x5e, 0, 0, 0xfb]), untouched(Verdict::NotOurs)),
        Fixture::new("an IPv6 multicast MAC is not ours", lab())
            .send(syn6().addressed_to([0x33, 0x33, 0, 0, 0, 1]), untouched(Verdict::NotOurs)),
        Fixture::new("nothing is ours on an interface that isn't the director's", unknown_interface)
            .send(syn(), untouched(Verdict::NotOurs)),
        Fixture::new("an ARP request passes", lab()).send(arp(), untouched(Verdict::NotIp)),
        Fixture::new("an LLDP frame passes", lab())
            .send(ethernet(0x88cc, &[2, 7, 4, 0, 0, 0]), untouched(Verdict::NotIp)),
        Fixture::new("a length instead of an EtherType is no IP packet", lab())
            .send(ethernet(38, &[0x42, 0x42, 3]), untouched(Verdict::NotIp)),
    ]
}

fn virtual_routers() -> Vec<Fixture> {
    let ipv4 = [0, 0, 0x5e, 0, 1, 210];
    let ipv6 = [0, 0, 0x5e, 0, 2, 210];
    let mut gated = lab();
    gated.services.values_mut().for_each(|service| service.gate = 7);
    vec![
        Fixture::new("a SYN to the virtual MAC goes to the real while this director is the master", lab())
            .virtual_mac(ipv4, Some(true))
            .send(syn().addressed_to(ipv4), to(WEB).opening())
            .virtual_mac(ipv4, Some(false))
            .send(syn().addressed_to(ipv4), untouched(Verdict::NotMaster))
            .send(syn(), to(WEB).opening())
            .virtual_mac(ipv4, None)
            .send(syn().addressed_to(ipv4), untouched(Verdict::NotOurs)),
        Fixture::new("IPv6 has a virtual MAC of its own", lab())
            .virtual_mac(ipv6, Some(true))
            .send(syn6().addressed_to(ipv4), untouched(Verdict::NotOurs))
            .virtual_mac(ipv6, Some(false))
            .send(syn6().addressed_to(ipv6), untouched(Verdict::NotMaster))
            .virtual_mac(ipv6, None),
        Fixture::new("the virtual MAC of another id is not ours", lab())
            .virtual_mac(ipv4, Some(true))
            .send(syn().addressed_to([0, 0, 0x5e, 0, 1, 211]), untouched(Verdict::NotOurs))
            .virtual_mac(ipv4, None),
        Fixture::new("a backup whose gate is closed leaves the VIP's frames alone", gated)
            .send(syn(), to(WEB).opening())
            .gate(7, true)
            .send(syn(), untouched(Verdict::Standby))
            .send(tcp4(CLIENT, 40000, VIP, 22, Segment::Syn), untouched(Verdict::NotService))
            .gate(7, false)
            .send(syn(), to(WEB).opening()),
    ]
}

fn other_services() -> Vec<Fixture> {
    let stranger = || untouched(Verdict::NotService);
    let other_vip = tcp4(CLIENT, 40000, [172, 28, 128, 211], 80, Segment::Syn);
    let mut other_vip6 = VIP6;
    other_vip6[15] = 0xd3;
    let upside_down = tcp4(VIP, 80, CLIENT, 40000, Segment::Ack);
    vec![
        Fixture::new("a SYN to an address without a service passes", lab()).send(other_vip, stranger()),
        Fixture::new("an IPv6 SYN to an address without a service passes", lab())
            .send(tcp6(CLIENT6, 40000, other_vip6, 80, Segment::Syn), stranger()),
        Fixture::new("a SYN to another port of the VIP passes", lab())
            .send(tcp4(CLIENT, 40000, VIP, 22, Segment::Syn), stranger()),
        Fixture::new("a datagram to a TCP service's port passes", lab()).send(udp4(CLIENT, 40000, VIP, 80), stranger()),
        Fixture::new("a SYN to a UDP service's port passes", lab())
            .send(tcp4(CLIENT, 40000, VIP, 53, Segment::Syn), stranger()),
        Fixture::new("a packet from the VIP is not for it", lab()).send(upside_down, stranger()),
        Fixture::new("a director without services touches nothing", lab_without_services())
            .send(syn(), stranger())
            .send(question(), stranger()),
        Fixture::new("the VIP's port 80 and its port 53 are two services", lab())
            .send(syn(), to(WEB).opening())
            .send(question(), to(DNS)),
    ]
}

fn other_protocols() -> Vec<Fixture> {
    let other = || untouched(Verdict::OtherProtocol);
    let error = || untouched(Verdict::IcmpError);
    let icmp = |kind| ip4(CLIENT, VIP, protocol::ICMP, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    let icmp6 = |kind| ip6(CLIENT6, VIP6, protocol::ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        Fixture::new("a ping of the VIP passes", lab()).send(icmp(8), other()),
        Fixture::new("a ping's answer passes", lab()).send(icmp(0), other()),
        Fixture::new("an IPv6 ping of the VIP passes", lab()).send(icmp6(128), other()),
        Fixture::new("a neighbour solicitation passes", lab()).send(icmp6(135), other()),
        Fixture::new("ICMP errors to the VIP pass, counted as such", lab())
            .send_all([3, 4, 11, 12].map(|kind| (icmp(kind), error()))),
        Fixture::new("ICMPv6 errors to the VIP pass, counted as such", lab())
            .send_all([1, 2, 3, 4, 127].map(|kind| (icmp6(kind), error()))),
        Fixture::new("ICMP redirects and questions are no errors", lab())
            .send_all([5, 9, 13].map(|kind| (icmp(kind), other()))),
        Fixture::new("SCTP, GRE and ESP to the VIP pass", lab())
            .send_all([132, 47, 50].map(|number| (ip4(CLIENT, VIP, number, &[0; 20]), other()))),
        Fixture::new("an IPv6 packet without a next header passes", lab()).send(ip6(CLIENT6, VIP6, 59, &[]), other()),
    ]
}

fn returned() -> Vec<Fixture> {
    let two = [
        service(lb_common::maps::mapped(VIP), 80, 6, &reals([40])),
        service(lb_common::maps::mapped(VIP), 53, 17, &reals([41])),
    ];
    let maps = lb_tests::fixture::desired(&two);
    let (web, dns) = (RealSpec::new(40).mac, RealSpec::new(41).mac);
    vec![
        Fixture::new("a frame that a service's own real sends is taken in, never sent on", lab())
            .send(syn().sent_by(web), untouched(Verdict::Returned)),
        Fixture::new("a real is an ordinary client of services that it doesn't serve", maps)
            .send(syn().sent_by(dns), to(WEB).opening())
            .send(question().sent_by(dns), untouched(Verdict::Returned)),
    ]
}

fn lab_without_services() -> lb_userspace::dataplane::Desired {
    lb_tests::fixture::desired(&[])
}

fn arp() -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend([0; 20]);
    ethernet(0x0806, &request)
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = syn();
    frame.truncate(12);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame.padded(60)
}
