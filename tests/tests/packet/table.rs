//! A flow table that is full: here it has eight lines, 64 flows.

use lb_tests::fixture::desired;
use lb_tests::scenario::{Fixture, to};
use lb_userspace::dataplane::Desired;

use crate::world::{ack_from, fin_from, reals, syn_from, tracked};

/// Played with room for 64 flows. A connection that was forgotten shows by its SYN, which counts again.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let flood = |ports: std::ops::Range<u16>, first: u16| {
        ports.map(move |port| (syn_from(port), to(1 + u32::from((port + first) % 2)).opening()))
    };
    vec![
        Fixture::new("a flood of SYNs doesn't push out open connections", pair())
            .send(syn_from(1), to(1).opening())
            .send(ack_from(1), to(1))
            .send(syn_from(2), to(2).opening())
            .send(ack_from(2), to(2))
            .send(syn_from(3), to(1).opening())
            .send(ack_from(3), to(1))
            .age(30)
            .send_all(flood(2000..2400, 1))
            .send(syn_from(1), to(1))
            .send(syn_from(2), to(2))
            .send(syn_from(3), to(1)),
        Fixture::new("a connection that was answered holds its place in a flood", pair())
            .send_all(flood(2000..2200, 0))
            .send(syn_from(1), to(1).opening())
            .send(ack_from(1), to(1))
            .send_all(flood(3000..3200, 1))
            .send(ack_from(1), to(1))
            .send(syn_from(1), to(1)),
        Fixture::new("a connection that its client closed holds its place among those that nothing followed", pair())
            .send(syn_from(1), to(1).opening())
            .send(ack_from(1), to(1))
            .send(fin_from(1), to(1))
            .send_all(flood(2000..2200, 1))
            .send(ack_from(1), to(1)),
    ]
}

fn pair() -> Desired {
    desired(&[tracked(&reals([40, 41]))])
}
