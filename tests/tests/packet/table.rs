//! A flow table that is full: here it has one bucket, four flows.

use lb_tests::fixture::desired;
use lb_tests::scenario::{Fixture, to};
use lb_userspace::dataplane::Desired;

use crate::world::{ack_from, fin_from, reals, syn_from, tracked};

/// Played with room for four flows. A connection that was forgotten shows by its SYN, which counts again.
pub(crate) fn fixtures() -> Vec<Fixture> {
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
        open("a connection that its client closed goes before the open ones")
            .send(fin_from(4), to(2))
            .send(syn_from(5), to(1).opening())
            .send(syn_from(1), to(1))
            .send(syn_from(2), to(2))
            .send(syn_from(3), to(1)),
        Fixture::new("a connection that nothing followed goes before one that was closed", pair())
            .send(syn_from(1), to(1).opening())
            .send(fin_from(1), to(1))
            .age(60)
            .send(syn_from(2), to(2).opening())
            .send(syn_from(3), to(1).opening())
            .send(syn_from(4), to(2).opening())
            .send(syn_from(5), to(1).opening())
            // Still by memory: the ring names one real for both.
            .send(ack_from(1), to(1)),
    ]
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
