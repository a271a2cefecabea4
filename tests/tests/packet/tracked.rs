//! `rr` and `wrr`: connections take turns, and the flow table remembers who took which.

use lb_common::Verdict;
use lb_common::maps::{Real, Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4, tcp6, udp4};
use lb_tests::scenario::{Fixture, by_ring, ring_choice, to, untouched};
use lb_userspace::dataplane::Desired;

use crate::world::{
    CLIENT, CLIENT6, TCP, UDP, VIP, VIP6, ack_from, fin_from, reals, rst_from, segment, service, syn_from, tracked,
    with_real,
};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [turns(), remembered(), ended(), unknown(), datagrams(), lost()].into_iter().flatten().collect()
}

/// The reals 1 and 2 of weight 1, by turns.
fn pair() -> Desired {
    desired(&[tracked(&reals([40, 41]))])
}

fn weighted(weights: [u32; 2]) -> Desired {
    let reals: Vec<RealSpec> =
        (40..).zip(weights).map(|(number, weight)| RealSpec { weight, ..RealSpec::new(number) }).collect();
    desired(&[tracked(&reals)])
}

fn turns() -> Vec<Fixture> {
    let smooth = [1, 1, 2, 1].into_iter().cycle();
    let both = desired(&[
        tracked(&reals([40, 41])),
        ServiceSpec { flags: Service::TRACKED, ..service(VIP6, 80, TCP, &reals([42, 43])) },
    ]);
    let syn6_from = |port| tcp6(CLIENT6, port, VIP6, 80, Segment::Syn);
    vec![
        Fixture::new("under rr new connections alternate exactly", pair())
            .send_all((0..20).map(|n| (syn_from(2000 + n), to(1 + u32::from(n % 2)).opening()))),
        Fixture::new(
            "under rr five reals take turns in the order of their addresses",
            desired(&[tracked(&reals([44, 43, 42, 41, 40]))]),
        )
        .send_all((0..10).map(|n| (syn_from(2000 + n), to(5 - u32::from(n % 5)).opening()))),
        Fixture::new("under wrr 3:1 the turns are smooth", weighted([3, 1]))
            .send_all((2000..2012).zip(smooth).map(|(port, real)| (syn_from(port), to(real).opening()))),
        Fixture::new("a real of weight 0 takes no turn", weighted([0, 2]))
            .send_all((0..4).map(|n| (syn_from(2000 + n), to(2).opening()))),
        Fixture::new("each service has turns of its own, IPv6 ones too", both)
            .send(syn_from(2000), to(1).opening())
            .send(syn6_from(2000), to(3).opening())
            .send(syn_from(2001), to(2).opening())
            .send(syn6_from(2001), to(4).opening()),
        Fixture::new("clients that use the same port are two connections", pair())
            .send(tcp4([10, 0, 0, 1], 2000, VIP, 80, Segment::Syn), to(1).opening())
            .send(tcp4([10, 0, 0, 2], 2000, VIP, 80, Segment::Syn), to(2).opening())
            .send(tcp4([10, 0, 0, 1], 2000, VIP, 80, Segment::Ack), to(1)),
    ]
}

fn remembered() -> Vec<Fixture> {
    vec![
        Fixture::new("a retransmitted SYN goes to the same real and is not counted twice", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2000), to(1))
            .send(syn_from(2001), to(2).opening()),
        Fixture::new("later packets of a connection stay with its real", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .send_all((0..6).map(|n| (ack_from(2000 + n % 2), to(1 + u32::from(n % 2))))),
        Fixture::new("a SYN inside an open connection starts no other", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .send(syn_from(2000), to(1)),
        Fixture::new("an idle connection stays with its real", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .send(ack_from(2001), to(2))
            .age(100_000)
            .send(ack_from(2001), to(2)),
        Fixture::new("a connection stays when its real's weight goes to 0", pair())
            .send(syn_from(2000), to(1).opening())
            .apply(weighted([0, 1]))
            .send(ack_from(2000), to(1))
            .send(syn_from(2001), to(2).opening()),
        Fixture::new("a connection stays when a real joins", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .apply(desired(&[tracked(&reals([40, 41, 42]))]))
            .send(ack_from(2000), to(1))
            .send(ack_from(2001), to(2))
            .send(syn_from(2002), to(3).opening()),
    ]
}

fn ended() -> Vec<Fixture> {
    vec![
        Fixture::new("a SYN after a FIN on the same port is a new connection", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .send(fin_from(2000), to(1))
            .send(ack_from(2000), to(1))
            .send(syn_from(2000), to(2).opening())
            .send(ack_from(2000), to(2)),
        Fixture::new("a SYN after an RST on the same port is a new connection", pair())
            .send(syn_from(2000), to(1).opening())
            .send(rst_from(2000), to(1))
            .send(syn_from(2000), to(2).opening()),
        Fixture::new("a SYN of a port that was idle for 15 minutes is a new connection", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .age(905)
            .send(syn_from(2000), to(2).opening()),
        Fixture::new("a SYN of a port that was idle for 14 minutes is not", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .age(840)
            .send(syn_from(2000), to(1)),
        Fixture::new("a connection that a CPU ahead of this one saw is not idle", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .seen_ahead(30)
            .send(syn_from(2000), to(1))
            .send(syn_from(2001), to(2).opening()),
    ]
}

fn unknown() -> Vec<Fixture> {
    // A port whose slot is the first real's, and would be the second's were the first's weight 0.
    let first = (2000..).find(|port| ring_choice(&pair(), &ack_from(*port)).is_ok_and(|real| real == 1)).unwrap_or(0);
    vec![
        Fixture::new("a connection that the table doesn't know goes by the ring and counts as none", pair())
            .send_all((0..40).map(|n| (ack_from(2000 + n), by_ring()))),
        Fixture::new("a connection that the table doesn't know stays when its real's weight goes to 0", pair())
            .send(ack_from(first), to(1))
            .apply(weighted([0, 1]))
            .send(ack_from(first), to(1))
            .send(fin_from(first), to(1)),
        Fixture::new("a SYN-ACK that the table doesn't know goes by the ring", pair())
            .send(segment(first, Segment::SynAck), to(1)),
        Fixture::new("the end of a connection that the table doesn't know isn't remembered", pair())
            .send(fin_from(first), to(1))
            .send(rst_from(first), to(1))
            .send(syn_from(first), to(1).opening())
            .send(syn_from(first + 1), to(2).opening()),
        Fixture::new("unknown connections take no turn", pair())
            .send(syn_from(3000), to(1).opening())
            .send(ack_from(first), to(1))
            .send(syn_from(3001), to(2).opening()),
    ]
}

fn datagrams() -> Vec<Fixture> {
    let udp = desired(&[ServiceSpec { flags: Service::TRACKED, ..service(mapped(VIP), 53, UDP, &reals([40, 41])) }]);
    let question = |port| udp4(CLIENT, port, VIP, 53);
    vec![
        Fixture::new("a client's datagrams go to the real that took the first", udp.clone())
            .send(question(2000), to(1).opening())
            .send(question(2001), to(2).opening())
            .send(question(2000), to(1))
            .send(question(2001), to(2)),
        Fixture::new("a datagram after 5 idle minutes takes a new turn", udp)
            .send(question(2000), to(1).opening())
            .age(240)
            .send(question(2000), to(1))
            .age(305)
            .send(question(2000), to(2).opening()),
    ]
}

fn lost() -> Vec<Fixture> {
    let down = || desired(&[tracked(&[RealSpec { usable: false, ..RealSpec::new(40) }, RealSpec::new(41)])]);
    let of_slot = |real| (2000..).find(|port| ring_choice(&pair(), &ack_from(*port)).is_ok_and(|held| held == real));
    let (first, second) = (of_slot(1).unwrap_or(0), of_slot(2).unwrap_or(0));
    let late = with_real(pair(), 1, |real| real.flags = Real::IN_USE);
    vec![
        Fixture::new("a connection of a real that went down moves to one that is up, and is no new one", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .apply(down())
            .send(ack_from(2000), to(2))
            .apply(pair())
            .send(ack_from(2000), to(2)),
        Fixture::new("a SYN that is repeated after its real went down counts for the next one", pair())
            .send(syn_from(2000), to(1).opening())
            .apply(down())
            .send(syn_from(2000), to(2).opening())
            .send(ack_from(2000), to(2)),
        Fixture::new("a turn whose real went down a moment ago goes to the slot's real", late.clone())
            .send(syn_from(second), to(2).opening())
            .send(ack_from(second), to(2)),
        Fixture::new("where that one is down as well it is dropped, and tried again takes the next turn", late)
            .send(syn_from(first), untouched(Verdict::NoReal))
            .send(syn_from(first), to(2).opening()),
        Fixture::new(
            "all packets of a tracked service without reals go to its director's stack",
            desired(&[tracked(&[])]),
        )
        .send(syn_from(2000), untouched(Verdict::Refused))
        .send(ack_from(2000), untouched(Verdict::Refused))
        .send(fin_from(2000), untouched(Verdict::Refused)),
        Fixture::new(
            "a remembered connection goes to its director's stack when its service's last real is down",
            pair(),
        )
        .send(syn_from(2000), to(1).opening())
        .send(ack_from(2000), to(1))
        .apply(desired(&[tracked(&[40, 41].map(|number| RealSpec { usable: false, ..RealSpec::new(number) }))]))
        .send(ack_from(2000), untouched(Verdict::Refused))
        .apply(pair())
        .send(ack_from(2000), to(1)),
    ]
}
