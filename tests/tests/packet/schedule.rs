//! The stateless schedulers: `mh` by the whole flow, `sh` by the client's address.

use lb_common::maps::{Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4, tcp6, udp4};
use lb_tests::host::Host;
use lb_tests::scenario::{Fixture, SIZES, by_ring, ring_choice, to};
use lb_tests::side::Side;
use lb_userspace::dataplane::Desired;

use crate::world::{CLIENT6, TCP, UDP, VIP, VIP6, ack_from, fin_from, reals, service, syn_from};

pub(crate) fn fixtures() -> Vec<Fixture> {
    let weighted = weighted(&[3, 1]);
    let seeded = Desired { hash_seed: 0x5eed, ..weighted.clone() };
    let by_source = by_source();
    let home = ring_choice(&by_source, &syn_from(1)).unwrap_or_default();
    vec![
        Fixture::new("each flow goes to the real of its slot", weighted.clone())
            .send_all((0..200).map(|n| (syn_from(2000 + n), by_ring().opening()))),
        Fixture::new("IPv6 flows go to the reals of their slots", desired(&[service(VIP6, 80, TCP, &reals(1..=9))]))
            .send_all((0..100).map(|n| (tcp6(CLIENT6, 2000 + n, VIP6, 80, Segment::Ack), by_ring()))),
        Fixture::new(
            "datagrams go to the reals of their slots",
            desired(&[service(mapped(VIP), 53, UDP, &reals(1..=9))]),
        )
        .send_all((0..100).map(|n| (udp4([10, 0, 3, n], 5353, VIP, 53), by_ring()))),
        Fixture::new("all packets of a connection go to one real without being remembered", weighted)
            .send(syn_from(2000), by_ring().opening())
            .send(ack_from(2000), by_ring())
            .send(fin_from(2000), by_ring())
            .send(ack_from(2000), by_ring()),
        Fixture::new("the hash's seed is the director's", seeded)
            .send_all((0..50).map(|n| (ack_from(2000 + n), by_ring()))),
        Fixture::new("a real of weight 0 takes no flow", self::weighted(&[1, 0]))
            .send_all((0..50).map(|n| (ack_from(2000 + n), to(1)))),
        Fixture::new("under sh all ports of a client go to one real", by_source.clone())
            .send_all((1..100).map(|port| (syn_from(port), to(home).opening()))),
        Fixture::new("under sh clients go to the reals of their slots", by_source)
            .send_all((0..100).map(|n| (tcp4([10, 0, 3, n], 2000, VIP, 80, Segment::Ack), by_ring()))),
    ]
}

fn weighted(weights: &[u32]) -> Desired {
    let reals: Vec<RealSpec> =
        (40..).zip(weights).map(|(number, weight)| RealSpec { weight: *weight, ..RealSpec::new(number) }).collect();
    desired(&[service(mapped(VIP), 80, TCP, &reals)])
}

fn by_source() -> Desired {
    desired(&[ServiceSpec { flags: Service::BY_SOURCE, ..service(mapped(VIP), 80, TCP, &reals(40..=47)) }])
}

#[test]
fn flows_share_by_weight() {
    let mut host = Host::new(SIZES).unwrap();
    host.apply(&weighted(&[5, 3, 2])).unwrap();
    for client in 0..=255 {
        for port in 1000..1100 {
            host.send(&tcp4([10, 1, 0, client], port, VIP, 80, Segment::Syn)).unwrap();
        }
    }
    let counts = host.counts().unwrap();
    let total = counts.services[&0].connections;
    assert_eq!(total, 25_600);
    for (real, share) in [(1, 0.5), (2, 0.3), (3, 0.2)] {
        let got = counts.reals[&real].connections as f64 / total as f64;
        // The ring of 251 slots is off by up to half a slot, the draw by less than four deviations.
        assert!((got - share).abs() < 0.015, "real {real}: {got:.3}, not {share}");
    }
}
