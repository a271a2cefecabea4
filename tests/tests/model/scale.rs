//! The flow table near its size, and under floods of ten times that.

use std::collections::{BTreeMap, VecDeque};

use lb_common::Opens;
use lb_common::header::protocol::{TCP, UDP};
use lb_common::maps::Service;

use super::director::Director;
use super::wish::{Name, Wish};

/// `flows` in the configuration; the table has eleven words for eight of them.
const FLOWS: u32 = 1 << 15;
const LINES: u32 = FLOWS / 8 * 11 / 8;
const NOW: u64 = 5000;

fn director(protocol: u8, flows: u32) -> Director {
    let weights: BTreeMap<u8, u32> = (1..=5).map(|real| (real, 1)).collect();
    let wish =
        Wish { protocol, flags: Service::TRACKED, ring_size: 251, hash_seed: 7, weights, opinions: BTreeMap::new() };
    Director::new(wish, flows / 8 * 11 / 8, true, NOW)
}

fn name(number: u32) -> Name {
    Name { client: 0x0a00_0000 + number / 50_000, port: (number % 50_000) as u16 }
}

#[test]
fn at_four_fifths_of_its_size_a_thousandth_is_lost_at_most() {
    let director = director(TCP, FLOWS);
    assert_eq!(director.lines(), LINES);
    let mut open: VecDeque<(u32, Option<u8>)> = VecDeque::new();
    let (count, total) = (FLOWS * 4 / 5, FLOWS * 3);
    let mut lost = 0;
    for number in 0..total {
        let real = director.packet(name(number), Opens::Yes);
        lost += u32::from(director.packet(name(number), Opens::No) != real);
        open.push_back((number, real));
        if open.len() > count as usize {
            // The oldest ends after it has been heard of once more, and its entry is swept away later.
            if let Some((number, real)) = open.pop_front() {
                lost += u32::from(director.packet(name(number), Opens::No) != real);
                director.packet(name(number), Opens::Ends);
            }
        }
    }
    lost +=
        open.iter().map(|(number, real)| u32::from(director.packet(name(*number), Opens::No) != *real)).sum::<u32>();
    assert!(lost * 1000 <= total, "{lost} of {total}");
}

#[test]
fn open_connections_outlast_floods() {
    for (protocol, opens) in [(TCP, Opens::Yes), (TCP, Opens::No), (TCP, Opens::Ends), (UDP, Opens::Unknown)] {
        let mut director = director(protocol, FLOWS);
        let (first, next) = if protocol == TCP { (Opens::Yes, Opens::No) } else { (opens, opens) };
        let open: Vec<_> = (0..10_000)
            .map(|number| {
                let real = director.packet(name(number), first);
                director.packet(name(number), next);
                real
            })
            .collect();
        // Slots that move remember stray packets too.
        director.configure(|wish| wish.weights.extend([(6, 1)]), NOW);
        for number in 0..10 * FLOWS {
            director.packet(Name { client: 0x0b00_0000 + number / 50_000, port: (number % 50_000) as u16 }, opens);
        }
        let kept = (0..).zip(&open).filter(|(number, real)| director.packet(name(*number), next) == **real).count();
        assert!(kept >= 9990, "{kept} of 10000 after a flood of {opens:?}");
    }
}
