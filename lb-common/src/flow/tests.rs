use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use zerocopy::FromZeros;

use super::*;

const TIMEOUTS: Timeouts = Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 };

/// A line that threads share, as CPUs do.
struct Shared(UnsafeCell<FlowLine>);

// SAFETY: the words are reached by atomic instructions alone.
unsafe impl Sync for Shared {}

fn line() -> Box<FlowLine> {
    Box::new(FlowLine::new_zeroed())
}

fn flow(tag: u32, stage: Stage, seen: u32) -> Flow {
    Flow { tag, seen, stage, real: tag as u16 }
}

fn find_either(first: *mut FlowLine, second: *mut FlowLine, tag: u32) -> Option<Found> {
    [find(first, tag, false), find(second, tag, true)].into_iter().find(Found::is_there)
}

#[test]
fn a_word_holds_a_flow() {
    for stage in [Stage::Opening, Stage::Closing, Stage::Open] {
        let flow = Flow { tag: 0xabc_def1, seen: 0x3_fffe, stage, real: 0xfedc };
        assert_eq!(Flow::of(flow.word()), Some(flow));
    }
    assert_eq!(Flow::of(0), None);
}

#[test]
fn a_clock_that_is_behind_makes_nobody_old() {
    let seen_at = |seen| flow(1, Stage::Open, seen);
    assert_eq!(seen_at(100).idle(130), 30);
    assert_eq!(seen_at(130).idle(100), 0, "seen by a CPU that is ahead");
    assert_eq!(seen_at(SEEN).idle(9), 10, "the clock's bits wrap");
    assert_eq!(seen_at(9).idle(SEEN), 0);
}

#[test]
fn each_stage_is_over_after_its_own_time() {
    for (stage, datagrams, limit) in
        [(Stage::Opening, false, 60), (Stage::Closing, true, 120), (Stage::Open, true, 300), (Stage::Open, false, 900)]
    {
        let flow = flow(1, stage, 1000);
        assert!(!flow.is_over(1000 + limit, &TIMEOUTS, datagrams));
        assert!(flow.is_over(1001 + limit, &TIMEOUTS, datagrams));
    }
}

#[test]
fn what_is_worth_least_gives_way() {
    let (mut first, mut second) = (line(), line());
    let (a, b): (*mut FlowLine, *mut FlowLine) = (&mut *first, &mut *second);
    let put = |flow| insert(a, b, flow, &TIMEOUTS);
    for tag in 1..=16 {
        assert!(put(flow(tag, Stage::Open, 1000)).is_some(), "{tag} finds room");
    }
    assert_eq!(put(flow(17, Stage::Opening, 1001)), None, "sixteen open connections keep their places");
    let age = |tag: u32, stage, seen| find_either(a, b, tag).map(|found| found.replace(flow(tag, stage, seen)));
    age(3, Stage::Closing, 1000);
    age(9, Stage::Opening, 1000);
    age(12, Stage::Opening, 900);
    for gone in [12, 9, 3] {
        assert!(put(flow(20 + gone, Stage::Open, 1000)).is_some());
        assert!(find_either(a, b, gone).is_none(), "{gone} gives way");
    }
    assert_eq!(put(flow(40, Stage::Open, 1000)), None);
    assert!(put(flow(40, Stage::Open, 1901)).is_some(), "connections of 15 silent minutes are over");
}

#[test]
fn a_packet_changes_its_flow_s_stage() {
    let rows = [
        (Stage::Opening, Opens::Yes, Stage::Opening),
        (Stage::Opening, Opens::No, Stage::Open),
        (Stage::Opening, Opens::Unknown, Stage::Open),
        (Stage::Opening, Opens::Ends, Stage::Closing),
        (Stage::Open, Opens::Yes, Stage::Open),
        (Stage::Open, Opens::No, Stage::Open),
        (Stage::Open, Opens::Ends, Stage::Closing),
        (Stage::Closing, Opens::No, Stage::Closing),
        (Stage::Closing, Opens::Ends, Stage::Closing),
    ];
    for (before, opens, after) in rows {
        let (mut first, mut second) = (line(), line());
        let (a, b): (*mut FlowLine, *mut FlowLine) = (&mut *first, &mut *second);
        insert(a, b, flow(7, before, 10), &TIMEOUTS).unwrap();
        find_either(a, b, 7).unwrap().see(opens, 12);
        let held = Flow::of(find_either(a, b, 7).unwrap().held).unwrap();
        assert_eq!(held, flow(7, after, 12), "{before:?} and {opens:?}");
    }
}

#[test]
fn nobody_sees_half_a_flow() {
    // More flows than two lines hold: each insertion takes an entry that others may be reading.
    let lines = [Shared(UnsafeCell::new(FlowLine::new_zeroed())), Shared(UnsafeCell::new(FlowLine::new_zeroed()))];
    let ([first, second], met) = (&lines, AtomicU64::new(0));
    let wrong: Vec<(u32, u16)> = thread::scope(|scope| {
        let run = |thread: u32| {
            let met = &met;
            move || {
                let mut wrong = Vec::new();
                for round in 0..100_000u32 {
                    let number = ((round.wrapping_mul(2_654_435_761) ^ thread) >> 7) % 32 + 1;
                    match find_either(first.0.get(), second.0.get(), number) {
                        Some(found) if u32::from(found.real()) == number => {
                            met.fetch_add(1, Ordering::Relaxed);
                            found.see(Opens::Ends, round & SEEN);
                        }
                        Some(found) => wrong.push((number, found.real())),
                        None => {
                            insert(
                                first.0.get(),
                                second.0.get(),
                                flow(number, Stage::Opening, round & SEEN),
                                &TIMEOUTS,
                            );
                        }
                    }
                }
                wrong
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(wrong, [], "flows that were given another's entry");
    assert!(met.into_inner() > 10_000);
}

/// How many of `count` new flows of a table of `lines` lines find no room, when as many have gone in random order before.
fn refused(lines: u32, count: u32) -> usize {
    let mut table: Vec<FlowLine> = vec![FlowLine::new_zeroed(); lines as usize];
    let place = |number: u32| Place::of(spread(u64::from(number).wrapping_mul(0xd6e8_feb8_6659_fd93)), lines);
    let mut lost = 0;
    // Each of the first flows is forgotten when its successor comes: the table stays as full as it was.
    for number in 0..3 * count {
        let at = place(number);
        let [first, second] = at.lines.map(|line| &raw mut table[line as usize]);
        let gone = number.checked_sub(count).map(place);
        if insert(first, second, Flow { tag: at.tag, ..flow(0, Stage::Open, 1) }, &TIMEOUTS).is_none() {
            lost += 1;
        }
        if let Some(gone) = gone {
            let [first, second] = gone.lines.map(|line| &raw mut table[line as usize]);
            if let Some(found) = find_either(first, second, gone.tag) {
                found.put(0);
            }
        }
    }
    lost
}

#[test]
fn a_table_at_four_fifths_of_its_size_turns_nobody_away() {
    // `flows` in the configuration has eleven words for eight flows.
    let flows = 1 << 17;
    let lines = flows / 8 * 11 / 8;
    let lost = refused(lines, flows * 4 / 5);
    assert!(lost * 1000 <= 3 * flows as usize, "{lost} of {}", 3 * flows);
}
