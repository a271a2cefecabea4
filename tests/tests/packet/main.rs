//! What becomes of frames. Each fixture is played on the packet logic over the host's own tables and through the
//! loaded program by BPF_PROG_TEST_RUN; action, bytes and counters must be the same, and the ones it says.

mod addressing;
mod change;
mod counted;
mod features;
mod fragment;
mod icmp;
mod ipv4;
mod ipv6;
mod persistent;
mod pool;
mod properties;
mod schedule;
mod service;
mod slots;
mod table;
mod trace;
mod tracked;
mod truncation;
mod verified;
mod vlan;
mod which;
mod world;

use std::collections::BTreeSet;

use anyhow::Result;
use lb_tests::scenario::{Fixture, SIZES, play};
use lb_userspace::dataplane::Sizes;

#[test]
fn addressing() -> Result<()> {
    play(&addressing::fixtures(), SIZES)
}

#[test]
fn ipv4() -> Result<()> {
    play(&ipv4::fixtures(), SIZES)
}

#[test]
fn ipv6() -> Result<()> {
    play(&ipv6::fixtures(), SIZES)
}

#[test]
fn icmp() -> Result<()> {
    play(&icmp::fixtures(), SIZES)
}

#[test]
fn fragment() -> Result<()> {
    play(&fragment::fixtures(), SIZES)
}

#[test]
fn vlan() -> Result<()> {
    play(&vlan::fixtures(), SIZES)
}

#[test]
fn service() -> Result<()> {
    play(&service::fixtures(), SIZES)
}

#[test]
fn pool() -> Result<()> {
    play(&pool::fixtures(), SIZES)
}

#[test]
fn schedule() -> Result<()> {
    play(&schedule::fixtures(), SIZES)
}

#[test]
fn tracked() -> Result<()> {
    play(&tracked::fixtures(), SIZES)
}

#[test]
fn counted() -> Result<()> {
    play(&counted::fixtures(), SIZES)
}

#[test]
fn persistent() -> Result<()> {
    play(&persistent::fixtures(), SIZES)
}

#[test]
fn change() -> Result<()> {
    play(&change::fixtures(), SIZES)
}

#[test]
fn truncation() -> Result<()> {
    play(&truncation::fixtures(), SIZES)
}

#[test]
fn without_what_younger_kernels_have() -> Result<()> {
    let fixtures = [ipv4::fixtures(), ipv6::fixtures(), service::fixtures(), change::fixtures(), tracked::fixtures()];
    features::without_any(&fixtures.into_iter().flatten().collect::<Vec<_>>())
}

/// The smallest flow table: room for 64 flows.
#[test]
fn table() -> Result<()> {
    let sizes = Sizes { flows: 4, ..SIZES };
    play(&table::fixtures(), sizes)
}

#[test]
fn slots() -> Result<()> {
    play(&slots::fixtures(), SIZES)
}

#[test]
fn a_trace_tells_what_the_program_does_and_changes_nothing() -> Result<()> {
    // Those of the smallest table need it.
    let small: BTreeSet<&str> = table::fixtures().iter().map(|fixture| fixture.name).collect();
    let fixtures = all().into_iter().flatten().filter(|fixture| !small.contains(fixture.name));
    trace::check(&fixtures.collect::<Vec<_>>())
}

#[test]
fn every_fixture_has_a_name_of_its_own() {
    let fixtures = all();
    let names: Vec<&str> = fixtures.iter().flatten().map(|fixture| fixture.name).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
    println!("{} fixtures", names.len());
}

fn all() -> [Vec<Fixture>; 16] {
    [
        addressing::fixtures(),
        ipv4::fixtures(),
        ipv6::fixtures(),
        icmp::fixtures(),
        fragment::fixtures(),
        vlan::fixtures(),
        service::fixtures(),
        pool::fixtures(),
        schedule::fixtures(),
        tracked::fixtures(),
        counted::fixtures(),
        persistent::fixtures(),
        change::fixtures(),
        truncation::fixtures(),
        table::fixtures(),
        slots::fixtures(),
    ]
}
