//! What a service's numbers must be like for its ring and its turns.

use super::{MAX_TURNS, RING, RINGS, ServiceKeys};
use crate::config::read::{Named, Read};
use crate::config::report::Findings;
use crate::config::section::real::{self, RealKeys};
use lb_common::Scheduler;

pub(super) fn check_turns(read: &Named<ServiceKeys>, reals: &[Read<RealKeys>], findings: &mut Findings) {
    let Some((Scheduler::Wrr, span)) = read.scheduler.written() else {
        return;
    };
    let sum: u64 = real::weights(reals).sum();
    let divisor = real::weights(reals).fold(0, gcd).max(1);
    if sum / divisor > MAX_TURNS {
        findings.report(
            span,
            format!("one round of wrr would take {} turns, at most {MAX_TURNS} fit", sum / divisor),
            "use smaller weights, or ones with a common divisor: 1000 and 3000 count as 1 and 3; \
             or scheduler = \"mh\"",
        );
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn check_ring(read: &Named<ServiceKeys>, reals: usize, findings: &mut Findings) {
    let Some((&slots, span)) = read.ring_size.written() else {
        return;
    };
    if !is_prime(slots) {
        let below = (2..slots).rev().find(|&number| is_prime(number)).unwrap_or(RINGS.0);
        let above = (slots..).find(|&number| is_prime(number)).unwrap_or(RINGS.1);
        findings.report(
            span,
            format!("`ring_size` = {slots} is not a prime, so slots would be left out"),
            format!("write {below} or {above}; the default is {RING}"),
        );
    } else if u32::try_from(reals).is_ok_and(|reals| reals > slots) {
        findings.report(
            span,
            format!("{reals} reals don't fit in a ring of {slots} slots"),
            "use 100 slots or more for each real; a larger prime is 1048573",
        );
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..).take_while(|n| n * n <= number).all(|n| !number.is_multiple_of(n))
}
