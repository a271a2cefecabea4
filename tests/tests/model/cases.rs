//! Histories that once moved a connection, or kept a ring from settling, one by one.

use std::collections::BTreeMap;

use lb_common::Opens;
use lb_common::flow::Stage;
use lb_common::header::protocol::TCP;
use lb_common::maps::{FlowLine, Service};

use super::director::Director;
use super::wish::{Name, Wish};

const NOW: u64 = 5000;
/// A sweep of the whole table.
const WHOLE: u32 = u32::MAX / 2;

fn director(flags: u16, lines: u32) -> Director {
    let weights: BTreeMap<u8, u32> = (1..=3).map(|real| (real, 1)).collect();
    Director::new(
        Wish { protocol: TCP, flags, ring_size: 31, hash_seed: 7, weights, opinions: BTreeMap::new() },
        lines,
        true,
        NOW,
    )
}

fn name(number: u32) -> Name {
    Name { client: 0x0a00_0000 + number, port: 1000 }
}

#[test]
fn opening_connections_of_turns_are_waited_for_when_turns_become_a_ring() {
    for restarts in [false, true] {
        let mut director = director(Service::TRACKED, 64);
        let opened: Vec<_> = (0..40).map(|number| director.packet(name(number), Opens::Yes)).collect();
        director.configure(|wish| wish.flags = 0, NOW);
        if restarts {
            director.restart(NOW);
        }
        director.sweep(WHOLE, NOW);
        director.at(NOW + 30);
        let then: Vec<_> = (0..40).map(|number| director.packet(name(number), Opens::No)).collect();
        assert_eq!(then, opened, "restarts: {restarts}");
        // Of those that their slots tell too, nothing is needed.
        for seconds in [200, 1000, 1100] {
            director.at(NOW + seconds);
            director.sweep(WHOLE, NOW + seconds);
            director.sweep(WHOLE, NOW + seconds);
        }
        assert_eq!(director.unsettled(), 0, "restarts: {restarts}");
    }
}

#[test]
fn a_new_connection_without_room_in_the_table_is_never_a_dead_reals() {
    let mut director = director(0, 1);
    director.configure(|wish| wish.weights = BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 5)]), NOW);
    // All eight words of the only line are open connections.
    let all = || (0..10_000).map(name);
    let moving: Vec<_> = all().filter(|name| director.is_moving(*name)).take(200).collect();
    for open in moving.iter().take(FlowLine::WAYS) {
        director.packet(*open, Opens::Yes);
        director.packet(*open, Opens::No);
    }
    // It has died, and the slots don't know it yet.
    director.die_unnoticed(1);
    for name in moving.iter().skip(FlowLine::WAYS) {
        assert!(director.packet(*name, Opens::Yes).is_some_and(|real| real != 1));
    }
}

#[test]
fn whose_a_connection_was_that_ended_at_once_is_known() {
    let director = director(Service::TRACKED, 64);
    director.packet(name(1), Opens::Yes);
    assert!(!director.is_known(name(1)), "nothing followed it yet");
    director.packet(name(1), Opens::Ends);
    assert_eq!(director.entry(name(1)).map(|flow| flow.stage), Some(Stage::Closing));
    assert!(director.is_known(name(1)));
}
