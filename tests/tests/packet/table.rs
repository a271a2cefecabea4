//! A flow table that is full: here it has one bucket, four flows.

use lb_common::maps::mapped;
use lb_common::{Ip, Ports, flow_hash};
use lb_tests::fixture::{ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4};
use lb_tests::scenario::{Fixture, ring_choice, to};
use lb_userspace::dataplane::Desired;

use crate::world::{CLIENT, TCP, VIP, ack_from, fin_from, reals, syn_from, tracked};

/// Played with room for four flows. A connection that was forgotten shows by its SYN, which counts again.
pub(crate) fn fixtures() -> Vec<Fixture> {
    [full(), alike()].into_iter().flatten().collect()
}

fn full() -> Vec<Fixture> {
    // Were it forgotten, the ring would send it to the second real.
    let closed = (3000..).find(|port| ring_choice(&pair(), &ack_from(*port)).is_ok_and(|real| real == 2)).unwrap_or(0);
    let established = || {
        Fixture::new("a flood of SYNs doesn't push out open connections", pair())
            .send(syn_from(1), to(1).opening())
            .send(ack_from(1), to(1))
            .send(syn_from(2), to(2).opening())
            .send(ack_from(2), to(2))
            .send(syn_from(3), to(1).opening())
            .send(ack_from(3), to(1))
    };
    vec![
        established()
            .age(60)
            .send_all((0..200).map(|n| (syn_from(2000 + n), to(2 - u32::from(n % 2)).opening())))
            .send(syn_from(1), to(1))
            .send(syn_from(2), to(2))
            .send(syn_from(3), to(1)),
        Fixture::new("a connection that was answered holds its place in a flood", pair())
            .send_all((0..9).map(|n| (syn_from(2000 + n), to(1 + u32::from(n % 2)).opening())))
            .send(syn_from(1), to(2).opening())
            .send(ack_from(1), to(2))
            .send_all((0..50).map(|n| (syn_from(3000 + n), to(1 + u32::from(n % 2)).opening())))
            .send(ack_from(1), to(2))
            .send(syn_from(1), to(2)),
        open("among open connections the longest unseen goes")
            .send(syn_from(5), to(1).opening())
            .send(syn_from(2), to(2))
            .send(syn_from(3), to(1))
            .send(syn_from(4), to(2))
            .send(syn_from(1), to(2).opening()),
        Fixture::new("a connection that a CPU ahead of this one saw is not the longest unseen", pair())
            .send(syn_from(1), to(1).opening())
            .send(ack_from(1), to(1))
            .seen_ahead(30)
            .send_all((2..=4).flat_map(|port| {
                let real = 2 - u32::from(port % 2);
                [(syn_from(port), to(real).opening()), (ack_from(port), to(real))]
            }))
            .age(10)
            .send(syn_from(5), to(1).opening())
            .send(syn_from(1), to(1)),
        open("a connection that its client closed goes before the open ones")
            .send(fin_from(4), to(2))
            .send(syn_from(5), to(1).opening())
            .send(syn_from(1), to(1))
            .send(syn_from(2), to(2))
            .send(syn_from(3), to(1)),
        Fixture::new("a connection that nothing followed goes before one that was closed", pair())
            .send(syn_from(closed), to(1).opening())
            .send(fin_from(closed), to(1))
            .age(60)
            .send(syn_from(2), to(2).opening())
            .send(syn_from(3), to(1).opening())
            .send(syn_from(4), to(2).opening())
            .send(syn_from(5), to(1).opening())
            .send(ack_from(closed), to(1)),
    ]
}

/// Flows of one bucket that have the same tag, so that only their keys tell them apart.
fn alike() -> Vec<Fixture> {
    let syn = |client, vip| tcp4(client, 2000, vip, 80, Segment::Syn);
    let neighbours = || (0..=255).flat_map(|a| (0..=255).map(move |b| [a, b]));
    let clients = neighbours().map(|[a, b]| [10, 9, a, b]);
    let client = clients.into_iter().find(|client| tag(*client, VIP) == tag(CLIENT, VIP)).unwrap_or_default();
    let vips = neighbours().map(|[a, b]| [172, 29, a, b]);
    let vip = vips.into_iter().find(|vip| tag(CLIENT, *vip) == tag(CLIENT, VIP)).unwrap_or_default();
    let other = ServiceSpec { address: mapped(vip), ..tracked(&reals([42, 43])) };
    vec![
        Fixture::new("two clients whose flows look alike are told apart", pair())
            .send(syn(CLIENT, VIP), to(1).opening())
            .send(syn(client, VIP), to(2).opening())
            .send(syn(CLIENT, VIP), to(1)),
        Fixture::new(
            "a client's flows of two services that look alike are told apart",
            desired(&[tracked(&reals([40, 41])), other]),
        )
        .send(syn(CLIENT, VIP), to(1).opening())
        .send(syn(CLIENT, vip), to(3).opening())
        .send(syn(CLIENT, VIP), to(1)),
    ]
}

/// The bits of a flow's hash that its entry holds.
fn tag(client: [u8; 4], vip: [u8; 4]) -> u8 {
    let [a, b] = 2000u16.to_be_bytes();
    (flow_hash(0, Ip::v4(client), Ip::v4(vip), Ports::of([a, b, 0, 80]), TCP) >> 24) as u8
}

fn pair() -> Desired {
    desired(&[tracked(&reals([40, 41]))])
}

/// Four open connections, the first long unseen.
fn open(name: &'static str) -> Fixture {
    (1..=4u16).fold(Fixture::new(name, pair()), |fixture, port| {
        let real = 2 - u32::from(port % 2);
        let fixture = fixture.send(syn_from(port), to(real).opening()).send(ack_from(port), to(real));
        fixture.age(10)
    })
}
