//! Which service takes a frame, and what becomes of it when no real can.

use lb_common::Verdict;
use lb_common::maps::{Real, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4, tcp6, udp4};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Shape;
use lb_userspace::dataplane::Desired;

use crate::world::{
    CLIENT, CLIENT6, DNS, DNS6, TAG, TCP, UDP, VIP, VIP6, WEB, WEB6, ack, ack6, lab, lab_with, question, question6,
    reals, segment, service, syn, syn6, with_real,
};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [any_port(), without_reals(), unusable(), other_interface()].into_iter().flatten().collect()
}

fn any_port() -> Vec<Fixture> {
    let syn_to = |port| tcp4(CLIENT, 40000, VIP, port, Segment::Syn);
    let any = |number| service(mapped(VIP), 0, TCP, &reals([number]));
    let web = |number| service(mapped(VIP), 80, TCP, &reals([number]));
    vec![
        Fixture::new("an any-port service takes every port", desired(&[any(40)]))
            .send_all([1, 22, 80, 65535].map(|port| (syn_to(port), to(1).opening()))),
        Fixture::new("a service's own port wins over any port", desired(&[any(40), web(41)]))
            .send(syn_to(80), to(2).opening())
            .send(syn_to(81), to(1).opening()),
        Fixture::new("the order of services doesn't matter", desired(&[web(40), any(41)]))
            .send(syn_to(80), to(1).opening())
            .send(syn_to(81), to(2).opening()),
        Fixture::new("an any-port service of TCP takes no datagram", desired(&[any(40)]))
            .send(udp4(CLIENT, 40000, VIP, 80), untouched(Verdict::NotService)),
        Fixture::new("an any-port service takes no other address's frames", desired(&[any(40)]))
            .send(tcp4(CLIENT, 40000, [172, 28, 128, 2], 80, Segment::Syn), untouched(Verdict::NotService)),
        Fixture::new("an IPv6 any-port service takes every port", desired(&[service(VIP6, 0, TCP, &reals([40]))]))
            .send_all([1, 443].map(|port| (tcp6(CLIENT6, 9, VIP6, port, Segment::Syn), to(1).opening()))),
        Fixture::new(
            "an any-port UDP service takes every port",
            desired(&[service(mapped(VIP), 0, UDP, &reals([40]))]),
        )
        .send(udp4(CLIENT, 40000, VIP, 53), to(1))
        .send(udp4(CLIENT, 40000, VIP, 5060), to(1)),
        Fixture::new("port 80 over TCP and over UDP are two services", tcp_and_udp())
            .send(syn_to(80), to(1).opening())
            .send(udp4(CLIENT, 40000, VIP, 80), to(2)),
    ]
}

fn without_reals() -> Vec<Fixture> {
    let empty = desired(&[
        service(mapped(VIP), 80, TCP, &[]),
        service(mapped(VIP), 53, UDP, &[]),
        ServiceSpec { flags: lb_common::maps::Service::BY_SOURCE, ..service(VIP6, 80, TCP, &[]) },
    ]);
    let mut undecided = empty.clone();
    undecided.services.values_mut().for_each(|service| service.flags |= lb_common::maps::Service::UNDECIDED);
    vec![
        Fixture::new("all packets of a service without reals go to its director's stack", empty.clone())
            .send(syn(), untouched(Verdict::Refused))
            .send(ack(), untouched(Verdict::Refused))
            .send(segment(40000, Segment::Fin), untouched(Verdict::Refused))
            .send(segment(40000, Segment::Rst), untouched(Verdict::Refused))
            .send(syn6(), untouched(Verdict::Refused))
            .send(ack6(), untouched(Verdict::Refused))
            .send(question(), untouched(Verdict::Refused)),
        Fixture::new(
            "a service whose reals nobody has looked at drops its packets, so that clients try again",
            undecided,
        )
        .send(syn(), untouched(Verdict::NoReal))
        .send(ack(), untouched(Verdict::NoReal))
        .send(question(), untouched(Verdict::NoReal))
        .apply(empty)
        .send(ack(), untouched(Verdict::Refused))
        .apply(lab())
        .send(ack(), to(WEB)),
    ]
}

fn unusable() -> Vec<Fixture> {
    // A ring that names a real which went down since the frame's CPU found the ring.
    let without = |index| with_real(lab(), index, |real| real.flags = Real::IN_USE);
    let down = lab_with(|real| RealSpec { usable: false, ..real });
    vec![
        Fixture::new(
            "packets for a real that went down a moment ago are dropped, so that the client tries again",
            without(WEB),
        )
        .send(syn(), untouched(Verdict::NoReal))
        .send(ack(), untouched(Verdict::NoReal)),
        Fixture::new("a datagram for a real that went down a moment ago is dropped", without(DNS))
            .send(question(), untouched(Verdict::NoReal)),
        Fixture::new("IPv6 packets for a real that went down a moment ago are dropped", without(DNS6))
            .send(question6(), untouched(Verdict::NoReal))
            .send(syn6(), to(WEB6).opening()),
        Fixture::new("a service whose reals are all down gives whole connections to its director's stack", down)
            .send(syn(), untouched(Verdict::Refused))
            .send(ack(), untouched(Verdict::Refused))
            .send(syn6(), untouched(Verdict::Refused))
            .send(ack6(), untouched(Verdict::Refused))
            .send(question6(), untouched(Verdict::Refused))
            .apply(lab())
            .send(ack(), to(WEB)),
        Fixture::new("a real that is down doesn't touch another service's", without(WEB)).send(question(), to(DNS)),
        Fixture::new("a packet that no real takes keeps its tags", without(WEB))
            .send(syn().tagged(TAG, 5), untouched(Verdict::NoReal)),
    ]
}

fn other_interface() -> Vec<Fixture> {
    let mac = [0x02, 0xd0, 0, 0, 0, 9];
    let there = |maps, index| {
        with_real(maps, index, |real| {
            real.ifindex = 2;
            real.source_mac = mac;
        })
    };
    let redirected = |real| to(real).verdict(Verdict::Redirected);
    vec![
        Fixture::new(
            "a frame for a real on another interface is redirected, from that interface's MAC",
            there(lab(), WEB),
        )
        .send(syn(), redirected(WEB).opening())
        .send(ack(), redirected(WEB)),
        Fixture::new("an IPv6 frame for a real on another interface is redirected", there(lab(), WEB6))
            .send(syn6(), redirected(WEB6).opening()),
        Fixture::new("a redirected frame gets its tag too", with_real(there(lab(), WEB), WEB, |real| real.vlan = 7))
            .send(ack(), redirected(WEB).out(|frame| frame.tagged(TAG, 7))),
        Fixture::new("reals of one director may stand on two interfaces", there(lab(), DNS))
            .send(syn(), to(WEB).opening())
            .send(question(), redirected(DNS)),
        Fixture::new("a real's interface that can't be sent to is reported", nowhere())
            .send(ack(), to(WEB).verdict(Verdict::NoDevice)),
    ]
}

fn nowhere() -> Desired {
    with_real(lab(), WEB, |real| {
        real.ifindex = 2;
        real.tx_port = 9;
    })
}

fn tcp_and_udp() -> Desired {
    desired(&[service(mapped(VIP), 80, TCP, &reals([40])), service(mapped(VIP), 80, UDP, &reals([41]))])
}
