use alloc::vec::Vec;
use std::cell::Cell;

use super::*;
use crate::maps::{Director, FlowLine, FragmentEntry, Real};
use crate::ring::Member;

/// A list, the counts of its reals by their numbers, and a turn.
struct World {
    service: Service,
    words: Vec<u32>,
    loads: Vec<[Cell<u64>; 2]>,
    turn: Cell<u64>,
}

impl World {
    fn new(scheduler: Scheduler, weights: &[u32]) -> Self {
        let members: Vec<Member> =
            (1..).zip(weights).map(|(real, weight)| Member { address: address(real), weight: *weight, real }).collect();
        let list = entries(scheduler, &members);
        let words = [list.len() as u32].into_iter().chain(list).collect();
        let room = weights.len() as u32 + 1;
        let service = Service { room, flags: scheduler.flags(), scheduler: scheduler as u16, ..Service::FREE };
        let loads = (0..room).map(|_| [Cell::new(0), Cell::new(0)]).collect();
        Self { service, words, loads, turn: Cell::new(0) }
    }

    fn set(&self, counts: &[(u64, u64)]) {
        for (load, (active, inactive)) in self.loads.iter().skip(1).zip(counts) {
            load[0].set(*active);
            load[1].set(*inactive);
        }
    }

    fn next(&self) -> u16 {
        choose(self, 0)
    }

    fn open(&self) -> u16 {
        let real = self.next();
        let active = &self.loads[usize::from(real)][0];
        active.set(active.get() + 1);
        real
    }

    fn active(&self) -> Vec<u64> {
        self.loads.iter().skip(1).map(|load| load[0].get()).collect()
    }
}

fn address(real: u16) -> [u8; 16] {
    let [a, b] = real.to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b]
}

impl Tables for World {
    fn director(&self) -> Option<&Director> {
        None
    }
    fn service(&self, _: u32) -> Option<&Service> {
        Some(&self.service)
    }
    fn slot(&self, index: u32) -> Option<u32> {
        self.words.get(index as usize).copied()
    }
    fn real(&self, _: u32) -> Option<&Real> {
        None
    }
    fn flow_line(&self, _: u32) -> Option<*mut FlowLine> {
        None
    }
    fn note_key(&self, _: u32, _: usize, _: [u64; 3]) {}
    fn fragment(&self, _: [u64; 5]) -> Option<FragmentEntry> {
        None
    }
    fn note_fragment(&self, _: [u64; 5], _: [u64; 2]) {}
    fn take_turn(&self, _: u32) -> Option<u64> {
        self.turn.set(self.turn.get() + 1);
        Some(self.turn.get() - 1)
    }
    #[expect(unsafe_code, reason = "the packet path reaches counts by pointer")]
    fn load(&self, counter: u32) -> Option<Load> {
        let [active, inactive] = self.loads.get(counter as usize)?;
        // SAFETY: cells of this thread's, which outlive the call.
        unsafe { Some(Load { active: Word::new(active.as_ptr()), inactive: Word::new(inactive.as_ptr()) }) }
    }
    fn ticks(&self, _: u32) -> u32 {
        0
    }
}

/// IPVS's choice among all reals from `start` on, by fractions.
fn reference(scheduler: Scheduler, weights: &[u32], counts: &[(u64, u64)], start: usize) -> u16 {
    let able: Vec<usize> = (0..weights.len()).filter(|real| weights[*real] > 0).collect();
    let order = able.iter().cycle().skip(start % able.len().max(1)).take(able.len());
    let cost = |real: usize| {
        let (active, inactive) = counts[real];
        let (overhead, weight) = match scheduler {
            Scheduler::Lc => (active * 256 + inactive, 1),
            Scheduler::Wlc => (active * 256 + inactive, weights[real]),
            Scheduler::Nq if active == 0 => (0, 1),
            _ => (active + 1, weights[real]),
        };
        overhead as f64 / f64::from(weight)
    };
    let mut least: Option<(f64, usize)> = None;
    for real in order {
        if least.is_none_or(|(held, _)| cost(*real) < held) {
            least = Some((cost(*real), *real));
        }
    }
    least.map_or(NOBODY, |(_, real)| real as u16 + 1)
}

const COUNTED: [Scheduler; 4] = [Scheduler::Lc, Scheduler::Wlc, Scheduler::Sed, Scheduler::Nq];

#[test]
fn choices_are_those_of_the_formulae() {
    let mut drawn = 1;
    let mut draw = |below: u64| {
        drawn = spread(drawn + 1);
        (drawn >> 20) % below
    };
    for round in 0..4000 {
        let scheduler = COUNTED[round % 4];
        let reals = 1 + draw(u64::from(EXACT)) as usize;
        let weights: Vec<u32> = (0..reals).map(|_| draw(5) as u32).collect();
        let counts: Vec<(u64, u64)> = (0..reals).map(|_| (draw(6), draw(600))).collect();
        let world = World::new(scheduler, &weights);
        world.set(&counts);
        let turn = draw(1000);
        world.turn.set(turn);
        let expected = reference(scheduler, &weights, &counts, turn as usize);
        assert_eq!(world.next(), expected, "{scheduler:?} {weights:?} {counts:?}");
    }
}

#[test]
fn counts_even_out_by_weights() {
    for scheduler in [Scheduler::Wlc, Scheduler::Sed, Scheduler::Nq] {
        let world = World::new(scheduler, &[5, 3, 2, 0]);
        world.set(&[(0, 0), (40, 0), (0, 0), (0, 0)]);
        (0..960).for_each(|_| assert_ne!(world.open(), NOBODY));
        let active = world.active();
        for (real, share) in active.iter().zip([500, 300, 200, 0_u64]) {
            assert!(real.abs_diff(share) <= 3, "{scheduler:?}: {active:?}");
        }
    }
}

#[test]
fn many_reals_even_out_by_weights_though_few_are_looked_at() {
    for scheduler in COUNTED {
        let weights: Vec<u32> = (0..1000).map(|real| if real < 10 { 50 } else { 1 + real % 3 }).collect();
        let world = World::new(scheduler, &weights);
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let each = 20;
        let flat = scheduler.is_plain();
        let opened = if flat { 1000 * each } else { total * each };
        (0..opened).for_each(|_| assert_ne!(world.open(), NOBODY));
        for (active, weight) in world.active().into_iter().zip(&weights) {
            let share = if flat { each } else { each * u64::from(*weight) };
            assert!(active.abs_diff(share) <= 2 + share / 10, "{scheduler:?}: {active} of {share}");
        }
    }
}

#[test]
fn equals_take_turns() {
    let world = World::new(Scheduler::Lc, &[1, 7, 2]);
    let taken: Vec<u16> = (0..6).map(|_| world.next()).collect();
    assert_eq!(taken, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn nobody_takes_what_no_real_may() {
    for scheduler in COUNTED {
        assert_eq!(World::new(scheduler, &[]).next(), NOBODY);
        assert_eq!(World::new(scheduler, &[0, 0]).next(), NOBODY);
    }
}

#[test]
fn a_count_below_zero_is_none() {
    let world = World::new(Scheduler::Wlc, &[1, 1]);
    world.set(&[(u64::MAX, u64::MAX - 5), (0, 1)]);
    assert_eq!((world.next(), world.next()), (1, 1));
}

#[test]
fn words_and_numbers_name_one_scheduler_each() {
    for (word, scheduler) in Scheduler::WORDS {
        assert_eq!(scheduler.label(), *word);
        assert_eq!(Scheduler::of(*scheduler as u16), Some(*scheduler));
    }
    assert_eq!(Scheduler::of(99), None);
}
