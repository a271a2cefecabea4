//! The words of rings, changed in place by the rule that moves no flow ([`lb_common::slot`]), and what there is to remember
//! beside them: since when a slot is moving, and which slots aren't settled.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use lb_common::slot::{Slot, State};

use super::{Desired, FlowTimes, Ring};

/// The words that rings and turns are made of, wherever they are.
pub trait Words {
    /// A word.
    fn word(&self, index: u32) -> u32;
    /// Changes a word at once.
    fn put(&mut self, index: u32, word: u32);
}

impl Words for Vec<u32> {
    fn word(&self, index: u32) -> u32 {
        self.as_slice().get(index as usize).copied().unwrap_or_default()
    }

    fn put(&mut self, index: u32, word: u32) {
        if let Some(place) = self.get_mut(index as usize) {
            *place = word;
        }
    }
}

/// The rings that are in the maps.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    rings: BTreeMap<u32, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    /// `None` for one that pinned maps held: whose slots these are is known by their words alone.
    ring: Option<Ring>,
    size: u32,
    /// Slots that aren't settled; those that move, since when.
    unsettled: BTreeMap<u32, Option<Duration>>,
    /// Changes so far: a sweep says nothing of a ring that changed meanwhile.
    changes: u64,
    /// Since when its flows are not all remembered any more. Those that were opening then have no keys: a sweep doesn't see
    /// whose they are.
    loosened: Option<Duration>,
}

/// Slots that a sweep is to look for, and the state of their rings when it began.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// By the ring's start: its changes so far, and who is current in its slots with exceptions.
    rings: BTreeMap<u32, (u64, BTreeMap<u32, u16>)>,
}

impl Open {
    /// Who takes new flows of a ring's slot, where that has exceptions: flows of others keep it from being settled.
    pub fn current(&self, ring: u32, slot: u32) -> Option<u16> {
        self.rings.get(&ring)?.1.get(&slot).copied()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }
}

impl Slots {
    /// Takes over a ring that pinned maps hold. `now` is a clock that never runs backwards: a slot that moves is taken to do so
    /// since now.
    pub fn adopt(&mut self, words: &impl Words, start: u32, size: u32, now: Duration) {
        let slot = |index: u32| Slot::of(words.word(start.saturating_add(index)));
        let unsettled = (0..size).filter_map(|index| match slot(index).state() {
            State::Settled => None,
            State::Moving => Some((index, Some(now))),
            State::Exceptions => Some((index, None)),
        });
        // What happened before isn't known.
        let held = Held { ring: None, size, unsettled: unsettled.collect(), changes: 0, loosened: Some(now) };
        self.rings.insert(start, held);
    }

    /// Brings the words to what is desired. The slots of rings in `loosened` may have remembered flows, settled or not.
    pub fn write(&mut self, words: &mut impl Words, desired: &Desired, loosened: &BTreeSet<u32>, now: Duration) {
        self.copy(words, desired);
        self.rings.retain(|start, _| desired.rings.contains_key(start));
        for (start, ring) in &desired.rings {
            // A pool that has outgrown its room is elsewhere, and its reals have the numbers that they had.
            let Some(held) = self.rings.get_mut(start).filter(|held| held.size == ring.size) else {
                self.rings.insert(*start, Held::fill(words, *start, ring, now));
                continue;
            };
            let lives = |number: u16| desired.lives(ring.pool, number);
            if loosened.contains(start) {
                held.loosen(words, *start, now);
            }
            if held.ring.as_ref() != Some(ring) {
                held.change(words, *start, ring, lives, now);
            }
            if ring.in_use {
                held.leave_the_dead(words, *start, lives);
            }
        }
    }

    /// Rings that aren't there yet and go on from others.
    fn copy(&mut self, words: &mut impl Words, desired: &Desired) {
        for (start, from) in &desired.copies {
            let size = desired.rings.get(start).map(|ring| ring.size);
            let has = |at: &u32| self.rings.get(at).filter(|held| Some(held.size) == size);
            let (None, Some(held)) = (has(start), has(from)) else { continue };
            let held = Held { changes: 0, ..held.clone() };
            for slot in 0..held.size {
                words.put(start.saturating_add(slot), words.word(from.saturating_add(slot)));
            }
            self.rings.insert(*start, held);
        }
    }

    /// Whether two rings send every flow of equal clients to the same number, now and before.
    pub fn are_equal(&self, words: &impl Words, one: u32, other: u32) -> bool {
        let settled = |start| self.rings.get(&start).filter(|held| held.unsettled.is_empty());
        let (Some(held), Some(like)) = (settled(one), settled(other)) else { return false };
        let word = |start: u32, slot| words.word(start.saturating_add(slot));
        held.size == like.size && (0..held.size).all(|slot| word(one, slot) == word(other, slot))
    }

    /// Gives up the bases of slots that have been moving for `patience`. Whether any did.
    pub fn give_up_bases(&mut self, words: &mut impl Words, now: Duration, patience: Duration) -> bool {
        let mut any = false;
        for (start, held) in &mut self.rings {
            let late = |since: Duration| now.saturating_sub(since) >= patience;
            let gone: Vec<u32> =
                held.unsettled.iter().filter(|(_, since)| since.is_some_and(late)).map(|(slot, _)| *slot).collect();
            for slot in gone {
                any = true;
                held.set(words, *start, slot, Slot::give_up_base, now);
            }
        }
        any
    }

    /// The slots with exceptions, for a sweep that begins now, in a table that remembers flows for these times.
    pub fn open(&self, words: &impl Words, now: Duration, times: FlowTimes) -> Open {
        // Ticks are rounded up, and may be longer than seconds.
        let opening = 2 * times.opening + Duration::from_secs(2);
        let seen = |held: &Held| held.loosened.is_none_or(|since| now.saturating_sub(since) > opening);
        let rings = self.rings.iter().filter(|(_, held)| seen(held)).filter_map(|(start, held)| {
            let current = |slot: u32| Slot::of(words.word(start.saturating_add(slot))).current;
            let slots = held.unsettled.iter().filter(|(_, since)| since.is_none());
            let slots: BTreeMap<u32, u16> = slots.map(|(slot, _)| (*slot, current(*slot))).collect();
            (!slots.is_empty()).then_some((*start, (held.changes, slots)))
        });
        Open { rings: rings.collect() }
    }

    /// Settles those of a sweep's slots in which it met no flow of another real than the current one.
    pub fn settle(&mut self, words: &mut impl Words, open: &Open, met: &HashSet<(u32, u32)>) {
        for (start, (changes, slots)) in &open.rings {
            let Some(held) = self.rings.get_mut(start).filter(|held| held.changes == *changes) else { continue };
            for slot in slots.keys().filter(|slot| !met.contains(&(*start, **slot))) {
                held.set(words, *start, *slot, Slot::settle, Duration::ZERO);
            }
        }
    }

    /// The slots that aren't settled of rings that changed since they were told, whose changes so far `told` has.
    pub fn news(&self, words: &impl Words, told: &mut BTreeMap<u32, u64>) -> Vec<(u32, Vec<(u32, Slot)>)> {
        told.retain(|start, _| self.rings.contains_key(start));
        let news = self.rings.iter().filter_map(|(start, held)| {
            if told.insert(*start, held.changes) == Some(held.changes) {
                return None;
            }
            let slot = |index: &u32| (*index, Slot::of(words.word(start.saturating_add(*index))));
            Some((*start, held.unsettled.keys().map(slot).collect()))
        });
        news.collect()
    }

    /// Slots that aren't settled, all rings together.
    pub fn unsettled(&self) -> usize {
        self.rings.values().map(|held| held.unsettled.len()).sum()
    }

    /// The numbers of a ring's reals that have flows which nothing remembers, by its words.
    pub fn named(&self, words: &impl Words, start: u32) -> BTreeSet<u16> {
        let Some(held) = self.rings.get(&start) else { return BTreeSet::new() };
        let slot = |index: &u32| Slot::of(words.word(start.saturating_add(*index)));
        let bases = held.unsettled.keys().map(slot).flat_map(|slot| [slot.base, slot.current]);
        let members = held.ring.iter().flat_map(|ring| ring.members.iter().map(|member| member.real));
        bases.chain(members).filter(|number| *number != 0).collect()
    }
}

impl Held {
    /// A ring that is new: nobody can have had a flow of it.
    fn fill(words: &mut impl Words, start: u32, ring: &Ring, now: Duration) -> Self {
        let mut unsettled = BTreeMap::new();
        for (slot, idle) in (0..).zip(ring.idle()) {
            match idle.state() {
                State::Settled => {}
                State::Moving => drop(unsettled.insert(slot, Some(now))),
                State::Exceptions => drop(unsettled.insert(slot, None)),
            }
            words.put(start.saturating_add(slot), idle.word());
        }
        Self { ring: Some(ring.clone()), size: ring.size, unsettled, changes: 0, loosened: None }
    }

    fn change(
        &mut self,
        words: &mut impl Words,
        start: u32,
        ring: &Ring,
        lives: impl Fn(u16) -> bool + Copy,
        now: Duration,
    ) {
        if ring.in_use {
            // A slot is settled also while flows of its current real are remembered: when that real has died they aren't gone
            // before a sweep. If it came back until then, they would be taken for those of clients that use their ports again.
            for (slot, target) in (0..).zip(ring.targets()) {
                self.set(words, start, slot, |held| held.change(target, lives, true), now);
            }
        } else {
            for (slot, idle) in (0..).zip(ring.idle()) {
                self.set(words, start, slot, |_| idle, now);
            }
        }
        self.ring = Some(ring.clone());
    }

    /// A base that died has no flows any more.
    fn leave_the_dead(&mut self, words: &mut impl Words, start: u32, lives: impl Fn(u16) -> bool) {
        let moving: Vec<u32> =
            self.unsettled.iter().filter(|(_, since)| since.is_some()).map(|(slot, _)| *slot).collect();
        for slot in moving {
            let leave = |held: Slot| if lives(held.base) { held } else { held.give_up_base() };
            self.set(words, start, slot, leave, Duration::ZERO);
        }
    }

    /// Slots that were settled while every flow was remembered: those flows may be anybody's.
    fn loosen(&mut self, words: &mut impl Words, start: u32, now: Duration) {
        self.loosened = Some(now);
        for slot in 0..self.size {
            let loosen = |held: Slot| if held.is_settled() { Slot { base: 0, ..held } } else { held };
            self.set(words, start, slot, loosen, Duration::ZERO);
        }
    }

    fn set(&mut self, words: &mut impl Words, start: u32, slot: u32, next: impl Fn(Slot) -> Slot, now: Duration) {
        let index = start.saturating_add(slot);
        let before = Slot::of(words.word(index));
        let after = next(before);
        if after == before {
            return;
        }
        words.put(index, after.word());
        self.changes += 1;
        match after.state() {
            State::Settled => {
                self.unsettled.remove(&slot);
            }
            State::Exceptions => {
                self.unsettled.insert(slot, None);
            }
            // A base that stays has been waiting since it became one.
            State::Moving if before.state() == State::Moving => {}
            State::Moving => {
                self.unsettled.insert(slot, Some(now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::maps::Real;
    use lb_common::ring::Member;
    use zerocopy::FromZeros as _;

    use super::super::Pool;
    use super::*;

    const SIZE: u32 = 251;

    /// One ring over these reals; those of weight 0 only live.
    fn desired(weights: &[(u16, u32)]) -> Desired {
        let address = |number: u16| lb_common::maps::mapped([10, 0, 0, number as u8]);
        let real = |(number, _): &(u16, u32)| (*number, Real { flags: Real::USABLE, ..Real::new_zeroed() });
        let member =
            |(number, weight): &(u16, u32)| Member { address: address(*number), weight: *weight, real: *number };
        let members = weights.iter().map(member).filter(|member| member.weight > 0).collect();
        Desired {
            pools: BTreeMap::from([(0, Pool { room: 8, reals: weights.iter().map(real).collect() })]),
            rings: BTreeMap::from([(4, Ring { pool: 0, seed: 0, size: SIZE, members, in_use: true, taken: None })]),
            ..Desired::default()
        }
    }

    fn now(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn states(words: &Vec<u32>) -> [usize; 3] {
        let count = |state| (4..4 + SIZE).filter(|index| Slot::of(words.word(*index)).state() == state).count();
        [State::Settled, State::Moving, State::Exceptions].map(count)
    }

    #[test]
    fn a_real_that_joins_moves_its_share_and_leaves_the_rest() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        assert_eq!(states(&words), [251, 0, 0]);
        slots.write(&mut words, &desired(&[(1, 1), (2, 1), (3, 1)]), &BTreeSet::new(), now(1));
        let [settled, moving, _] = states(&words);
        assert!((84..=100).contains(&moving) && settled + moving == 251, "{moving}");
        assert!(!slots.give_up_bases(&mut words, now(900), now(900)), "not yet");
        assert!(slots.give_up_bases(&mut words, now(901), now(900)));
        assert_eq!(states(&words), [settled, 0, moving]);
        let open = slots.open(&words, now(900), FlowTimes::default());
        let (&one, &current) = open.rings[&4].1.iter().next().unwrap();
        assert_eq!((open.current(4, one), open.current(5, one), current), (Some(3), None, 3));
        slots.settle(&mut words, &open, &HashSet::from([(4, one)]));
        assert_eq!((states(&words), slots.unsettled()), ([250, 0, 1], 1));
    }

    #[test]
    fn a_sweep_says_nothing_of_a_ring_that_changed_meanwhile() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        let both = desired(&[(1, 1), (2, 1)]);
        slots.write(&mut words, &both, &BTreeSet::new(), now(0));
        slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
        slots.write(&mut words, &both, &BTreeSet::new(), now(2));
        let open = slots.open(&words, now(900), FlowTimes::default());
        slots.write(&mut words, &desired(&[(1, 0), (2, 1)]), &BTreeSet::new(), now(3));
        slots.write(&mut words, &both, &BTreeSet::new(), now(4));
        let before = states(&words);
        slots.settle(&mut words, &open, &HashSet::new());
        assert_eq!(states(&words), before);
    }

    #[test]
    fn slots_of_the_dead_are_no_base() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        // Quiesced, then dead.
        slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
        let [_, moving, _] = states(&words);
        assert_eq!(slots.named(&words, 4), BTreeSet::from([1, 2]));
        slots.write(&mut words, &desired(&[(1, 1)]), &BTreeSet::new(), now(2));
        assert_eq!(states(&words), [251 - moving, 0, moving]);
        assert_eq!(slots.named(&words, 4), BTreeSet::from([1]));
    }

    #[test]
    fn what_a_dead_real_left_in_the_table_is_asked_for_until_a_sweep_has_ended_it() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        slots.write(&mut words, &desired(&[(1, 1)]), &BTreeSet::new(), now(1));
        let [settled, moving, exceptions] = states(&words);
        assert!(moving == 0 && exceptions > 100 && settled + exceptions == 251, "{exceptions}");
        let open = slots.open(&words, now(1), FlowTimes::default());
        slots.settle(&mut words, &open, &HashSet::new());
        assert_eq!(states(&words), [251, 0, 0]);
    }

    #[test]
    fn what_was_pinned_goes_on() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
        let before = (words.clone(), slots.unsettled());
        let mut next = Slots::default();
        next.adopt(&words, 4, SIZE, now(100));
        next.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(100));
        assert_eq!((words.clone(), next.unsettled()), before);
        assert!(!next.give_up_bases(&mut words, now(950), now(900)));
        assert!(next.give_up_bases(&mut words, now(1000), now(900)));
    }

    #[test]
    fn a_pool_that_outgrows_its_room_moves_nobody() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        let before = words.clone();
        // A third real, and the pool is at 8 now.
        let mut grown = desired(&[(1, 1), (2, 1), (3, 1)]);
        grown.pools = grown.pools.into_values().map(|pool| (8, pool)).collect();
        grown.rings.values_mut().for_each(|ring| ring.pool = 8);
        slots.write(&mut words, &grown, &BTreeSet::new(), now(1));
        let owner = |words: &Vec<u32>, index| Slot::of(words.word(index)).owner();
        assert!((4..4 + SIZE).all(|index| owner(&before, index) == owner(&words, index)));
        assert!(states(&words)[1] > 0, "the third has its share");
    }

    #[test]
    fn a_copy_goes_on_as_the_ring_that_it_is_of() {
        let (mut words, mut slots) = (vec![0; 600], Slots::default());
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
        let before = words.clone();
        let mut two = desired(&[(1, 1), (2, 0)]);
        let ring = Ring { pool: 8, ..two.rings[&4].clone() };
        two.pools.insert(8, two.pools[&0].clone());
        two.rings.insert(300, ring);
        two.copies.insert(300, 4);
        assert!(!slots.are_equal(&words, 4, 300));
        slots.write(&mut words, &two, &BTreeSet::new(), now(2));
        assert_eq!(words[300..300 + SIZE as usize], before[4..4 + SIZE as usize]);
        assert!(!slots.are_equal(&words, 4, 300), "some flows are remembered");
        // From now on each is its own.
        let mut apart = two.clone();
        apart.rings.get_mut(&300).unwrap().members.clear();
        slots.write(&mut words, &apart, &BTreeSet::new(), now(3));
        assert_eq!(words[..300], before[..300]);
        assert_ne!(words[300..300 + SIZE as usize], before[4..4 + SIZE as usize]);
        slots.write(&mut words, &two, &BTreeSet::new(), now(4));
        assert!(slots.give_up_bases(&mut words, now(2000), now(900)));
        let open = slots.open(&words, now(2000), FlowTimes::default());
        slots.settle(&mut words, &open, &HashSet::new());
        assert!(slots.are_equal(&words, 4, 300));
    }

    #[test]
    fn a_ring_that_another_director_uses_is_always_settled() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        let unused = |mut desired: Desired| {
            desired.rings.values_mut().for_each(|ring| ring.in_use = false);
            desired
        };
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
        slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
        slots.write(&mut words, &unused(desired(&[(1, 1), (2, 0)])), &BTreeSet::new(), now(2));
        assert_eq!(states(&words), [251, 0, 0]);
        slots.write(&mut words, &unused(desired(&[(1, 1), (2, 1)])), &BTreeSet::new(), now(3));
        let before = words.clone();
        slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(4));
        assert_eq!((states(&words), words), ([251, 0, 0], before), "and is taken over as it is");
    }

    #[test]
    fn a_ring_whose_flows_were_all_remembered_asks_the_table() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        let both = desired(&[(1, 1), (2, 1)]);
        slots.write(&mut words, &both, &BTreeSet::new(), now(0));
        slots.write(&mut words, &both, &BTreeSet::from([4]), now(1));
        assert_eq!(states(&words), [0, 0, 251]);
    }

    #[test]
    fn flows_that_were_opening_without_keys_are_waited_for() {
        let (mut words, mut slots) = (vec![0; 300], Slots::default());
        let both = desired(&[(1, 1), (2, 1)]);
        slots.write(&mut words, &both, &BTreeSet::new(), now(0));
        slots.write(&mut words, &both, &BTreeSet::from([4]), now(1));
        assert!(slots.open(&words, now(61), FlowTimes::default()).is_empty());
        assert!(!slots.open(&words, now(130), FlowTimes::default()).is_empty());
    }
}
