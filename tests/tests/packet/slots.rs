//! Slots whose real changes under living connections: none of those moves.

use lb_common::Verdict;
use lb_common::maps::{Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::udp4;
use lb_tests::scenario::{Fixture, by_ring, ring_choice, to, untouched};
use lb_userspace::dataplane::Desired;

use crate::world::{CLIENT, TCP, UDP, VIP, ack_from, fin_from, reals, service, syn_from};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [joins(), leaves(), dies(), datagrams(), kinds()].into_iter().flatten().collect()
}

fn web(weights: &[(u8, u32)]) -> Desired {
    let reals: Vec<RealSpec> =
        weights.iter().map(|(number, weight)| RealSpec { weight: *weight, ..RealSpec::new(*number) }).collect();
    desired(&[service(mapped(VIP), 80, TCP, &reals)])
}

/// Ports whose slots go from one real to another.
fn moving<const N: usize>(before: &Desired, after: &Desired, from: u32, to: u32) -> [u16; N] {
    let is = |maps: &Desired, port: &u16, real| ring_choice(maps, &ack_from(*port)).is_ok_and(|held| held == real);
    first((2000..60_000).filter(|port| is(before, port, from) && is(after, port, to)))
}

fn first<const N: usize>(ports: impl Iterator<Item = u16>) -> [u16; N] {
    let mut ports = ports.fuse();
    [(); N].map(|()| ports.next().unwrap_or_default())
}

fn joins() -> Vec<Fixture> {
    let (two, three) = (web(&[(40, 1), (41, 1)]), web(&[(40, 1), (41, 1), (42, 1)]));
    let [old, new, late, again] = moving(&two, &three, 1, 3);
    vec![
        Fixture::new("connections from before a real joined stay, new ones are its own", two.clone())
            .send(syn_from(old), to(1).opening())
            .apply(three.clone())
            .send(ack_from(old), to(1))
            .send(syn_from(new), to(3).opening())
            .send(ack_from(new), to(3))
            .send(ack_from(late), to(1))
            .send(fin_from(old), to(1)),
        Fixture::new("connections stay where the joiner leaves again by weight", two.clone())
            .send(syn_from(old), to(1).opening())
            .apply(three.clone())
            .send(ack_from(old), to(1))
            .send(syn_from(new), to(3).opening())
            .apply(web(&[(40, 1), (41, 1), (42, 0)]))
            .send(ack_from(old), to(1))
            .send(ack_from(new), to(3))
            .send(ack_from(late), to(1))
            .send(syn_from(again), to(1).opening()),
        Fixture::new("flows of slots that didn't change go on as they were", two.clone())
            .send_all((2000..2030).map(|port| (ack_from(port), by_ring())))
            .apply(three)
            .send_all(
                (2000..2030)
                    .filter_map(|port| ring_choice(&two, &ack_from(port)).ok().map(|real| (ack_from(port), to(real)))),
            ),
    ]
}

fn leaves() -> Vec<Fixture> {
    let (two, quiet) = (web(&[(40, 1), (41, 1)]), web(&[(40, 1), (41, 0)]));
    let [old, new, silent] = moving(&two, &quiet, 2, 1);
    vec![
        Fixture::new("a real of weight 0 keeps its connections and gets no new ones", two.clone())
            .send(syn_from(old), to(2).opening())
            .apply(quiet.clone())
            .send(ack_from(old), to(2))
            .send(syn_from(new), to(1).opening())
            .send(ack_from(silent), to(2)),
        Fixture::new("what came to others meanwhile stays when it is back", two.clone())
            .apply(quiet)
            .send(syn_from(new), to(1).opening())
            .send(ack_from(new), to(1))
            .apply(two)
            .send(ack_from(new), to(1))
            .send(ack_from(old), to(2))
            .send(syn_from(silent), to(2).opening()),
    ]
}

fn dies() -> Vec<Fixture> {
    let with = |usable| {
        let reals = [RealSpec::new(40), RealSpec { usable, ..RealSpec::new(41) }];
        desired(&[service(mapped(VIP), 80, TCP, &reals)])
    };
    let [old, new, other, again] = moving(&with(true), &with(false), 2, 1);
    vec![
        Fixture::new("connections of a dead real go to another at once, and stay there when it is back", with(true))
            .send(syn_from(old), to(2).opening())
            .apply(with(false))
            .send(ack_from(old), to(1))
            .send(syn_from(new), to(1).opening())
            .send(ack_from(new), to(1))
            .apply(with(true))
            .send(ack_from(new), to(1))
            .send(ack_from(other), to(1))
            .send(syn_from(again), to(2).opening()),
        Fixture::new("all reals dead, nobody takes anything", with(true))
            .apply(desired(&[service(
                mapped(VIP),
                80,
                TCP,
                &[40, 41].map(|number| RealSpec { usable: false, ..RealSpec::new(number) }),
            )]))
            .send(ack_from(old), untouched(Verdict::Refused))
            .send(syn_from(old), untouched(Verdict::Refused)),
    ]
}

fn udp(flags: u16, numbers: &[u8]) -> Desired {
    let reals = reals(numbers.iter().copied());
    desired(&[ServiceSpec { flags, ..service(mapped(VIP), 443, UDP, &reals) }])
}

fn datagrams() -> Vec<Fixture> {
    let say = |port: u16, payload: &[u8]| {
        let mut frame = udp4(CLIENT, port, VIP, 443);
        // Behind the header, which is eight bytes long, stands what the datagram says.
        frame.iter_mut().skip(42).zip(payload).for_each(|(place, byte)| *place = *byte);
        frame
    };
    let choice = |maps: &Desired, port: u16| ring_choice(maps, &udp4(CLIENT, port, VIP, 443)).unwrap_or_default();
    let (two, three) = (udp(0, &[40, 41]), udp(0, &[40, 41, 42]));
    let [one, another, third] =
        first((2000..60_000).filter(|port| choice(&two, *port) == 1 && choice(&three, *port) == 3));
    let [initial, other] = [[0xc3, 0, 0, 0, 1, 8], [0xc3, 0, 0, 0, 9, 8]];
    vec![
        Fixture::new("a session that nobody has seen may be in its midst, and stays", two.clone())
            .apply(three.clone())
            .send(say(one, b"hello!"), to(1))
            .send(say(one, b"hello!"), to(1)),
        Fixture::new("questions go to the slot's real of now", udp(Service::QUERY, &[40, 41]))
            .apply(udp(Service::QUERY, &[40, 41, 42]))
            .send(say(one, b"hello!"), to(3))
            .send(say(one, b"hello!"), to(3)),
        Fixture::new("a QUIC Initial packet opens a connection", udp(Service::QUIC, &[40, 41]))
            .apply(udp(Service::QUIC, &[40, 41, 42]))
            .send(say(one, &initial), to(3).opening())
            .send(say(one, b"short!"), to(3))
            .send(say(another, b"short!"), to(1))
            .send(say(third, &other), to(1)),
    ]
}

/// A service whose connections were all remembered, and now aren't.
fn kinds() -> Vec<Fixture> {
    let of = |flags| desired(&[ServiceSpec { flags, ..service(mapped(VIP), 80, TCP, &reals([40, 41])) }]);
    let strangers = |real: u32| {
        let mut ports =
            (2000..).filter(move |port| ring_choice(&of(0), &ack_from(*port)).is_ok_and(|held| held != real));
        ports.next().unwrap_or(0)
    };
    let (first, second) = (strangers(1), strangers(2));
    vec![
        Fixture::new("connections that took turns stay when hashes choose from now on", of(Service::TRACKED))
            .send(syn_from(first), to(1).opening())
            .send(syn_from(second), to(2).opening())
            .send(ack_from(first), to(1))
            .apply(of(0))
            .send(ack_from(first), to(1))
            .send(ack_from(second), to(2)),
    ]
}
