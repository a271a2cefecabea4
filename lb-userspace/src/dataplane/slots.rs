//! The words of rings, changed in place by the rule that moves no flow ([`lb_common::slot`]), and what there is to remember
//! beside them: since when a slot is moving, and which slots aren't settled.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use lb_common::maps::{Service, ServiceKey};
use lb_common::slot::{Slot, State};

use super::{Desired, FlowTimes, Part, Ring};

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
    /// Rings that were made so far: the changes of each count from a number of its own, so that another one in its place is
    /// never taken for it.
    made: u64,
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

/// What was told of a ring.
#[derive(Debug, Clone)]
pub struct ToldRing {
    changes: u64,
    size: u32,
    /// The words that weren't settled, by slot.
    words: BTreeMap<u32, u32>,
    services: BTreeSet<ServiceKey>,
}

impl ToldRing {
    /// This service has heard of nothing.
    pub fn forget(&mut self, service: &ServiceKey) {
        self.services.remove(service);
    }
}

/// Words of a ring that are to be told.
#[derive(Debug, Clone)]
pub struct SlotNews {
    /// Whose they are.
    pub services: Vec<Service>,
    /// Slots of the ring.
    pub size: u32,
    /// These are all that aren't settled; else those that changed, settled ones too.
    pub whole: bool,
    /// By their number.
    pub slots: Vec<(u32, Slot)>,
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
        let held = Held { ring: None, size, unsettled: unsettled.collect(), changes: self.make(), loosened: Some(now) };
        self.rings.insert(start, held);
    }

    /// Brings the words to what is desired. The slots of rings in `loosened` may have remembered flows, settled or not.
    pub fn write(&mut self, words: &mut impl Words, desired: &Desired, loosened: &BTreeSet<u32>, now: Duration) {
        self.copy(words, desired);
        self.rings.retain(|start, _| desired.rings.contains_key(start));
        for (start, ring) in &desired.rings {
            // A pool that has outgrown its room is elsewhere, and its reals have the numbers that they had.
            let Some(held) = self.rings.get_mut(start).filter(|held| held.size == ring.size) else {
                let held = Held::fill(words, *start, ring, (self.make(), now));
                self.rings.insert(*start, held);
                continue;
            };
            if loosened.contains(start) {
                held.loosen(words, *start, now);
            }
            held.follow(words, *start, ring, |number| desired.lives(ring.pool, number), now);
        }
    }

    /// The same of some rings, ahead of the others. Those that aren't there yet have time.
    pub fn write_part(&mut self, words: &mut impl Words, part: &Part, now: Duration) {
        for (start, ring) in &part.rings {
            if let Some(held) = self.rings.get_mut(start).filter(|held| held.size == ring.size) {
                held.follow(words, *start, ring, |number| part.lives(ring.pool, number), now);
            }
        }
    }

    /// What the changes of a ring that is made now count from.
    fn make(&mut self) -> u64 {
        self.made += 1;
        self.made << 32
    }

    /// Rings that aren't there yet and go on from others.
    fn copy(&mut self, words: &mut impl Words, desired: &Desired) {
        for (start, from) in &desired.copies {
            let size = desired.rings.get(start).map(|ring| ring.size);
            let has = |at: &u32| self.rings.get(at).filter(|held| Some(held.size) == size);
            let (None, Some(held)) = (has(start), has(from)) else { continue };
            let held = held.clone();
            let held = Held { changes: self.make(), ..held };
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
        for (start, held) in self.rings.iter_mut().filter(|(_, held)| held.is_own()) {
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
        let seen = |held: &Held| held.is_own() && held.loosened.is_none_or(|since| now.saturating_sub(since) > opening);
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

    /// The words that changed since they were told, for the rings' `services`; `told` has what was, by where the rings
    /// start. Services that hear of their ring for the first time are told all that isn't settled.
    pub fn news(
        &self,
        words: &impl Words,
        services: &BTreeMap<u32, Vec<Service>>,
        told: &mut BTreeMap<u32, ToldRing>,
    ) -> Vec<SlotNews> {
        told.retain(|start, told| self.rings.get(start).is_some_and(|held| held.size == told.size));
        let mut news = Vec::new();
        for (start, held) in &self.rings {
            let services = services.get(start).map(Vec::as_slice).unwrap_or_default();
            let before = told.get(start);
            let heard = |service: &Service| before.is_some_and(|told| told.services.contains(&service.key));
            if before.is_some_and(|told| told.changes == held.changes) && services.iter().all(heard) {
                continue;
            }
            let word = |index: &u32| words.word(start.saturating_add(*index));
            let now: BTreeMap<u32, u32> = held.unsettled.keys().map(|index| (*index, word(index))).collect();
            let whole = || now.iter().map(|(index, word)| (*index, Slot::of(*word))).collect();
            let changed = |before: &ToldRing| {
                let other = now.iter().filter(|(index, word)| before.words.get(*index) != Some(*word));
                let settled = before.words.keys().filter(|index| !now.contains_key(*index));
                let settled = settled.map(|index| (*index, Slot::of(word(index))));
                other.map(|(index, word)| (*index, Slot::of(*word))).chain(settled).collect::<Vec<_>>()
            };
            let (known, new): (Vec<Service>, Vec<Service>) = services.iter().partition(|service| heard(service));
            if let Some(slots) = before.filter(|_| !known.is_empty()).map(changed).filter(|slots| !slots.is_empty()) {
                news.push(SlotNews { services: known, size: held.size, whole: false, slots });
            }
            if !new.is_empty() {
                news.push(SlotNews { services: new, size: held.size, whole: true, slots: whole() });
            }
            let services = services.iter().map(|service| service.key).collect();
            told.insert(*start, ToldRing { changes: held.changes, size: held.size, words: now, services });
        }
        news
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
    /// Its slots change by what happens here. Those of one that isn't in use follow another director's.
    fn is_own(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.in_use)
    }

    /// A ring that is new: nobody can have had a flow of it.
    fn fill(words: &mut impl Words, start: u32, ring: &Ring, (changes, now): (u64, Duration)) -> Self {
        let mut unsettled = BTreeMap::new();
        for (slot, idle) in (0..).zip(ring.idle()) {
            match idle.state() {
                State::Settled => {}
                State::Moving => drop(unsettled.insert(slot, Some(now))),
                State::Exceptions => drop(unsettled.insert(slot, None)),
            }
            words.put(start.saturating_add(slot), idle.word());
        }
        Self { ring: Some(ring.clone()), size: ring.size, unsettled, changes, loosened: None }
    }

    /// Brings its words to what another ring wants.
    fn follow(
        &mut self,
        words: &mut impl Words,
        start: u32,
        ring: &Ring,
        lives: impl Fn(u16) -> bool + Copy,
        now: Duration,
    ) {
        if self.ring.as_ref() != Some(ring) {
            self.change(words, start, ring, lives, now);
        }
        if ring.in_use {
            self.leave_the_dead(words, start, lives);
        }
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
            // Where another director had it flows of the bases may have spoken until now.
            if !self.is_own() {
                self.unsettled.values_mut().flatten().for_each(|since| *since = now);
            }
            // A slot is settled also while flows of its current real are remembered: when that real has died they aren't gone
            // before a sweep. If it came back until then, they would be taken for those of clients that use their ports again.
            for (slot, target) in (0..).zip(ring.targets()) {
                self.set(words, start, slot, |held| held.change(target, lives, true), now);
            }
        } else if !ring.holds {
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
mod tests;
