//! `lc`, `wlc`, `sed` and `nq`: a new connection goes to the real that has the least to do.

use anyhow::Result;
use lb_common::Scheduler;
use lb_common::maps::mapped;
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp6, udp4};
use lb_tests::scenario::{Fixture, SIZES, sides, to};
use lb_userspace::dataplane::Desired;

use crate::world::{CLIENT, CLIENT6, TCP, UDP, VIP, VIP6, ack_from, fin_from, reals, rst_from, service, syn_from};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [evened_out(), weighted(), followed(), others()].into_iter().flatten().collect()
}

fn of(scheduler: Scheduler, weights: &[u32]) -> Desired {
    let reals: Vec<RealSpec> =
        (40..).zip(weights).map(|(number, weight)| RealSpec { weight: *weight, ..RealSpec::new(number) }).collect();
    desired(&[ServiceSpec { scheduler, ..service(mapped(VIP), 80, TCP, &reals) }])
}

const ALL: [(Scheduler, [&str; 2]); 4] = [
    (
        Scheduler::Lc,
        ["under lc the real that lost its connections takes new ones", "under lc no real of weight 0 does"],
    ),
    (
        Scheduler::Wlc,
        ["under wlc the real that lost its connections takes new ones", "under wlc no real of weight 0 does"],
    ),
    (
        Scheduler::Sed,
        ["under sed the real that lost its connections takes new ones", "under sed no real of weight 0 does"],
    ),
    (
        Scheduler::Nq,
        ["under nq the real that lost its connections takes new ones", "under nq no real of weight 0 does"],
    ),
];

fn evened_out() -> Vec<Fixture> {
    ALL.into_iter()
        .flat_map(|(scheduler, [lost, quiesced])| {
            let lost = Fixture::new(lost, of(scheduler, &[1, 1]))
                .send_all((0..6).map(|n| (syn_from(2000 + n), to(1 + u32::from(n % 2)).opening())))
                .send_all([0, 2, 4].map(|n| (ack_from(2000 + n), to(1))))
                .send_all([0, 2, 4].map(|n| (fin_from(2000 + n), to(1))))
                .send_all((0..3).map(|n| (syn_from(3000 + n), to(1).opening())));
            let quiesced = Fixture::new(quiesced, of(scheduler, &[0, 2, 0]))
                .send_all((0..6).map(|n| (syn_from(2000 + n), to(2).opening())));
            [lost, quiesced]
        })
        .collect()
}

fn weighted() -> Vec<Fixture> {
    vec![
        Fixture::new("under lc a weight says no more than that a real takes part", of(Scheduler::Lc, &[9, 1]))
            .send_all((0..8).map(|n| (syn_from(2000 + n), to(1 + u32::from(n % 2)).opening()))),
        // At 0:0 the first, at 1:0 the second, and then three for one.
        Fixture::new("under wlc connections are divided by the weight", of(Scheduler::Wlc, &[3, 1])).send_all(
            (2000..2008).zip([1, 2, 1, 1, 1, 2, 1, 1]).map(|(port, real)| (syn_from(port), to(real).opening())),
        ),
        // 1/3 : 1/1, 2/3 : 1/1, 3/3 : 1/1 in the first's turn, 4/3 : 1/1.
        Fixture::new("under sed the heavy real goes first", of(Scheduler::Sed, &[3, 1]))
            .send_all((2000..2004).zip([1, 1, 1, 2]).map(|(port, real)| (syn_from(port), to(real).opening()))),
        Fixture::new("under nq an idle real goes first, however light", of(Scheduler::Nq, &[3, 1]))
            .send_all((2000..2004).zip([1, 2, 1, 1]).map(|(port, real)| (syn_from(port), to(real).opening()))),
    ]
}

fn followed() -> Vec<Fixture> {
    let pair = || of(Scheduler::Wlc, &[1, 1]);
    vec![
        Fixture::new("a repeated SYN, and one on an open connection, count nothing", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2000), to(1))
            .send(ack_from(2000), to(1))
            .send(syn_from(2000), to(1))
            .send(syn_from(2001), to(2).opening())
            .send(syn_from(2002), to(1).opening()),
        Fixture::new("a reset gives its place back, and its repetition nothing more", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .send(rst_from(2001), to(2))
            .send(rst_from(2001), to(2))
            .send(fin_from(2001), to(2))
            .send(syn_from(2002), to(2).opening())
            .send(syn_from(2003), to(1).opening()),
        Fixture::new("a port that is used again counts once", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .send(fin_from(2000), to(1))
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2002), to(2).opening())
            .send(syn_from(2003), to(1).opening()),
        Fixture::new("connections that a dead real has left count for those that took them", pair())
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening())
            .apply(desired(&[ServiceSpec {
                scheduler: Scheduler::Wlc,
                ..service(mapped(VIP), 80, TCP, &[RealSpec { usable: false, ..RealSpec::new(40) }, RealSpec::new(41)])
            }]))
            .send(ack_from(2000), to(2))
            .apply(pair())
            .send(syn_from(2002), to(1).opening())
            .send(syn_from(2003), to(1).opening()),
    ]
}

fn others() -> Vec<Fixture> {
    let six = ServiceSpec { scheduler: Scheduler::Lc, ..service(VIP6, 80, TCP, &reals([42, 43])) };
    let udp = ServiceSpec { scheduler: Scheduler::Lc, ..service(mapped(VIP), 53, UDP, &reals([42, 43])) };
    let syn6_from = |port| tcp6(CLIENT6, port, VIP6, 80, Segment::Syn);
    vec![
        Fixture::new("IPv6 connections are counted", desired(&[six]))
            .send(syn6_from(2000), to(1).opening())
            .send(syn6_from(2001), to(2).opening())
            .send(tcp6(CLIENT6, 2001, VIP6, 80, Segment::Rst), to(2))
            .send(syn6_from(2002), to(2).opening())
            .send(syn6_from(2003), to(1).opening()),
        Fixture::new("sessions over UDP are counted", desired(&[udp]))
            .send(udp4(CLIENT, 2000, VIP, 53), to(1).opening())
            .send(udp4(CLIENT, 2000, VIP, 53), to(1))
            .send(udp4(CLIENT, 2001, VIP, 53), to(2).opening())
            .send(udp4(CLIENT, 2002, VIP, 53), to(1).opening()),
        Fixture::new("a scheduler that counts begins with what it sees", of(Scheduler::Wrr, &[1, 1]))
            .send(syn_from(2000), to(1).opening())
            .apply(of(Scheduler::Lc, &[1, 1]))
            .send(ack_from(2000), to(1))
            .send(syn_from(2001), to(2).opening())
            .send(syn_from(2002), to(1).opening()),
    ]
}

/// More reals than are held against each other: whoever is drawn, nobody gets far more than others.
#[test]
fn many_reals_even_out_on_every_side() -> Result<()> {
    let weights = vec![1; 40];
    for mut side in sides(SIZES)? {
        side.forget()?;
        side.apply(&Desired::default())?;
        side.apply(&of(Scheduler::Wlc, &weights))?;
        for port in 2000..2400 {
            side.send(&syn_from(port))?;
        }
        let counts = side.counts()?;
        let taken: Vec<u64> = (1..=40).map(|real| counts.reals.get(&real).map_or(0, |held| held.connections)).collect();
        assert!(taken.iter().all(|held| (8..=12).contains(held)), "{}: {taken:?}", side.name());
    }
    Ok(())
}
