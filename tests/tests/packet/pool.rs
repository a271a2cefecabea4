//! Services of one pool: one ring and one set of reals, each service with its own flows, turns and counters.

use lb_common::Verdict;
use lb_common::maps::{Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, pooled};
use lb_tests::frame::{Segment, tcp4, udp4};
use lb_tests::scenario::{Fixture, by_ring, ring_choice, to, untouched};
use lb_userspace::dataplane::Desired;

use crate::world::{CLIENT, TCP, UDP, VIP, ack_from, reals, service, syn_from};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [share(), joins(), dies(), turns()].into_iter().flatten().collect()
}

/// TCP 80 and 443 of the VIP and UDP 443 of another one, of a pool of these reals.
fn web(reals: &[RealSpec]) -> Desired {
    one_pool(&[
        service(mapped(VIP), 80, TCP, reals),
        service(mapped(VIP), 443, TCP, reals),
        service(mapped(OTHER), 443, UDP, reals),
    ])
}

const OTHER: [u8; 4] = [172, 28, 128, 211];

/// Behind a service with a real of its own, so that the pool isn't the first of all.
fn one_pool(services: &[ServiceSpec]) -> Desired {
    pooled(&[&[service(mapped([172, 28, 128, 209]), 80, TCP, &reals([60]))], services])
}

fn secure(port: u16, segment: Segment) -> Vec<u8> {
    tcp4(CLIENT, port, VIP, 443, segment)
}

fn datagram(port: u16) -> Vec<u8> {
    udp4(CLIENT, port, OTHER, 443)
}

/// The pool's reals, of which the first is the second of all.
const A: u32 = 2;
const B: u32 = 3;
const C: u32 = 4;

/// Client ports whose flows, as `frame` makes them, go from one real to another between two states.
fn moving<const N: usize>(
    frame: impl Fn(u16) -> Vec<u8>,
    (before, from): (&Desired, u32),
    (after, to): (&Desired, u32),
) -> [u16; N] {
    let is = |maps: &Desired, port: u16, real| ring_choice(maps, &frame(port)).is_ok_and(|held| held == real);
    let mut ports = (2000..60_000).filter(|port| is(before, *port, from) && is(after, *port, to)).fuse();
    [(); N].map(|()| ports.next().unwrap_or_default())
}

fn share() -> Vec<Fixture> {
    let mixed = one_pool(&[
        service(mapped(VIP), 80, TCP, &reals([40, 41])),
        ServiceSpec { ring_size: 509, ..service(mapped(VIP), 443, TCP, &[]) },
    ]);
    vec![
        Fixture::new(
            "services of a pool find its reals by one ring, and each counts what it sent",
            web(&reals([40, 41])),
        )
        .send_all((2000..2010).map(|port| (syn_from(port), by_ring().opening())))
        .send_all((2000..2010).map(|port| (secure(port, Segment::Syn), by_ring().opening())))
        .send_all((2000..2010).map(|port| (datagram(port), by_ring())))
        .send_all((2000..2010).map(|port| (ack_from(port), by_ring()))),
        Fixture::new("a service of a pool with a ring of another size finds the same reals", mixed)
            .send_all((2000..2010).map(|port| (syn_from(port), by_ring().opening())))
            .send_all((2000..2010).map(|port| (secure(port, Segment::Syn), by_ring().opening()))),
    ]
}

fn joins() -> Vec<Fixture> {
    let (two, three) = (web(&reals([40, 41])), web(&reals([40, 41, 42])));
    let [old, new, late] = moving(ack_from, (&two, A), (&three, C));
    let [other, fresh] = moving(|port| secure(port, Segment::Ack), (&two, B), (&three, C));
    let [session] = moving(datagram, (&two, A), (&three, C));
    vec![
        Fixture::new(
            "a real that joins a pool moves nobody of any of its services, and has new ones of each",
            two.clone(),
        )
        .send(syn_from(old), to(A).opening())
        .send(secure(other, Segment::Syn), to(B).opening())
        .send(datagram(session), to(A))
        .apply(three)
        .send(ack_from(old), to(A))
        .send(secure(other, Segment::Ack), to(B))
        .send(datagram(session), to(A))
        .send(syn_from(new), to(C).opening())
        .send(secure(fresh, Segment::Syn), to(C).opening())
        .apply(two)
        .send(ack_from(late), to(A))
        .send(secure(other, Segment::Ack), to(B)),
    ]
}

fn dies() -> Vec<Fixture> {
    let with = |usable| web(&[RealSpec::new(40), RealSpec { usable, ..RealSpec::new(41) }]);
    let (all, one, back) = (with(true), with(false), with(true));
    let [old, new] = moving(ack_from, (&all, B), (&one, A));
    let [other] = moving(|port| secure(port, Segment::Ack), (&all, B), (&one, A));
    let nobody = web(&[40, 41].map(|number| RealSpec { usable: false, ..RealSpec::new(number) }));
    vec![
        Fixture::new("a real of a pool that dies is dead to all services at once, as is its return", all)
            .send(syn_from(old), to(B).opening())
            .send(secure(other, Segment::Syn), to(B).opening())
            .apply(one)
            .send(ack_from(old), to(A))
            .send(secure(other, Segment::Ack), to(A))
            .apply(back)
            .send(ack_from(old), to(A))
            .send(secure(other, Segment::Ack), to(A))
            .send(syn_from(new), to(B).opening()),
        Fixture::new("a pool without reals is none to all of its services", nobody)
            .send(syn_from(old), untouched(Verdict::Refused))
            .send(secure(other, Segment::Ack), untouched(Verdict::Refused))
            .send(datagram(old), untouched(Verdict::Refused)),
    ]
}

fn turns() -> Vec<Fixture> {
    let reals = reals([40, 41]);
    let by_turns = |port| ServiceSpec { flags: Service::TRACKED, ..service(mapped(VIP), port, TCP, &reals) };
    let mixed = one_pool(&[by_turns(80), by_turns(443), service(mapped(OTHER), 443, UDP, &reals)]);
    vec![
        Fixture::new("services of a pool that take turns have turns and connections of their own", mixed.clone())
            .send(syn_from(2000), to(A).opening())
            .send(secure(2000, Segment::Syn), to(A).opening())
            .send(secure(2001, Segment::Syn), to(B).opening())
            .send(syn_from(2001), to(B).opening())
            .send(secure(2001, Segment::Ack), to(B))
            .send(ack_from(2000), to(A))
            .send_all((2000..2010).map(|port| (datagram(port), by_ring()))),
        Fixture::new("a service of a pool goes to another one's scheduler alone", mixed)
            .send(syn_from(2000), to(A).opening())
            .send(syn_from(2001), to(B).opening())
            .send(secure(2000, Segment::Syn), to(A).opening())
            .send(secure(2001, Segment::Syn), to(B).opening())
            .apply(one_pool(&[
                service(mapped(VIP), 80, TCP, &reals),
                by_turns(443),
                service(mapped(OTHER), 443, UDP, &reals),
            ]))
            .send(ack_from(2000), to(A))
            .send(ack_from(2001), to(B))
            .send(secure(2000, Segment::Ack), to(A))
            .send(secure(2001, Segment::Ack), to(B))
            .send(secure(2002, Segment::Syn), to(A).opening()),
    ]
}
