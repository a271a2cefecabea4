//! The places that services, pools and reals have in the maps. Each keeps its place for as long as it is configured, over
//! reloads and restarts: flows remember reals by their number, and slots their flows' owners.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{Address, MAX_REALS, Service, ServiceKey, TX_PORTS};

use super::numbers::Numbers;
use super::plan::key;
use super::space::{Range, Space};
use crate::config;
use crate::dataplane::{Adopted, Room};

/// Fewest numbers of reals that a pool gets, and fewest words of a service's turns.
const LEAST_REALS: u32 = 8;
const LEAST_TURNS: u32 = 64;

/// Which pool it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolName {
    /// The reals of one service alone.
    Of(ServiceKey),
    /// A `[pool.NAME]`.
    Named(String),
}

impl PoolName {
    /// That of a service's reals.
    pub fn of(service: &config::Service) -> Self {
        match &service.pool {
            Some(name) => Self::Named(name.clone()),
            None => Self::Of(key(service)),
        }
    }
}

/// Services that share numbers of reals and rings: all of a pool, as a rule. A service that joins a pool comes with the numbers
/// and rings that its connections are remembered by, and so is a group of its own there until it is known that both mean
/// the same ([`Allocation::pairs`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u32);

/// A part of a pool: its services, with what goes with each.
#[derive(Debug)]
pub struct Part<T> {
    /// What they share.
    pub group: Group,
    /// Whose part it is.
    pub pool: PoolName,
    /// They.
    pub services: Vec<(ServiceKey, T)>,
}

/// Two groups of a pool whose reals have the same numbers: they may be one when these rings have the same words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    into: Group,
    from: Group,
    /// The starts of two rings, and their slots.
    pub rings: Vec<(u32, u32, u32)>,
}

/// Places given out.
#[derive(Debug, Clone)]
pub struct Allocation {
    ids: Numbers<ServiceKey>,
    tx_ports: Numbers<u32>,
    groups: BTreeMap<Group, Places>,
    next: u32,
    services: BTreeMap<ServiceKey, ServicePlaces>,
    reals: Space,
    counters: Space,
    slots: Space,
    late: Late,
}

/// Ranges that are taken back when the plan that does without them has been followed by another.
#[derive(Debug, Clone, Default)]
struct Late {
    reals: Vec<Range>,
    counters: Vec<Range>,
    slots: Vec<Range>,
}

/// Where a group's reals and rings are.
#[derive(Debug, Clone)]
struct Places {
    /// `None` for what was adopted, before it is asked for.
    pool: Option<PoolName>,
    reals: Range,
    numbers: Numbers<Address>,
    /// By size.
    rings: BTreeMap<u32, Range>,
    /// The rings of which these are copies, by their starts.
    copies: BTreeMap<u32, u32>,
}

impl Places {
    fn new(reals: Range) -> Self {
        Self { pool: None, reals, numbers: Numbers::new(1, 0), rings: BTreeMap::new(), copies: BTreeMap::new() }
    }
}

/// Where a service's counters and turns are, and which group it is of.
#[derive(Debug, Clone, Default)]
struct ServicePlaces {
    counters: Range,
    turns: Range,
    group: Option<Group>,
}

impl Allocation {
    /// The places that pinned maps give.
    pub fn adopt(adopted: &Adopted, room: Room) -> Self {
        let mut ids = Numbers::new(0, room.services);
        for (key, service) in &adopted.services {
            ids.put(*key, service.id);
        }
        let places = Self {
            ids,
            tx_ports: Numbers::new(0, TX_PORTS),
            groups: BTreeMap::new(),
            next: 0,
            services: BTreeMap::new(),
            reals: Space::new(0, room.reals),
            counters: Space::new(0, room.reals),
            slots: Space::new(0, room.slots),
            late: Late::default(),
        };
        places.hold(adopted)
    }

    /// Notes the ranges that adopted services use, before any is given out.
    fn hold(mut self, adopted: &Adopted) -> Self {
        let mut groups: BTreeMap<u32, Option<Group>> = BTreeMap::new();
        for (key, service) in &adopted.services {
            let group = *groups.entry(service.reals).or_insert_with(|| {
                let mut places = self.reals.put(reals_of(service)).then(|| Places::new(reals_of(service)))?;
                for (number, real) in adopted.pools.get(&service.reals).into_iter().flatten() {
                    places.numbers.put(real.address, u32::from(*number));
                }
                Some(begin(&mut self.groups, &mut self.next, places))
            });
            let Some((group, places)) = group.and_then(|group| Some((group, self.groups.get_mut(&group)?))) else {
                continue;
            };
            let ring = ring_of(service);
            let shared = places.rings.get(&service.ring_size);
            let has_ring = shared.map_or_else(|| self.slots.put(ring), |shared| *shared == ring);
            // One that can't be whole is made anew; so it is where an old version left something that isn't understood.
            if has_ring && self.counters.put(counters_of(service)) {
                places.rings.insert(service.ring_size, ring);
                let turns = turns_of(service, adopted);
                if turns.length == 0 || self.slots.put(turns) {
                    let held = ServicePlaces { counters: counters_of(service), turns, group: Some(group) };
                    self.services.insert(*key, held);
                }
            }
        }
        self
    }

    /// A service's id.
    pub fn id(&mut self, key: ServiceKey) -> u32 {
        self.ids.take(key)
    }

    /// An interface's index in `tx_ports`.
    pub fn tx_port(&mut self, ifindex: u32) -> u32 {
        self.tx_ports.take(ifindex)
    }

    /// The groups of pools and their services. A service stays in the group that it is in, whatever pool that is of now: so
    /// its connections stay. Where services of a group are of several pools from now on, one pool has the group, and the
    /// others copies.
    pub fn groups<T>(&mut self, pools: BTreeMap<PoolName, Vec<(ServiceKey, T)>>) -> Vec<Part<T>> {
        let mut parts: Vec<(Option<Group>, Part<T>)> = Vec::new();
        let mut claims: BTreeMap<Group, PoolName> = BTreeMap::new();
        for (pool, services) in pools {
            let mut own: BTreeMap<Option<Group>, Vec<(ServiceKey, T)>> = BTreeMap::new();
            for service in services {
                let group = self.services.get(&service.0).and_then(|places| places.group);
                own.entry(group.filter(|group| self.groups.contains_key(group))).or_default().push(service);
            }
            // Services that are new have no connections to keep.
            let first = own.keys().flatten().next().copied();
            if let Some(first) = first
                && let Some(new) = own.remove(&None)
            {
                own.entry(Some(first)).or_default().extend(new);
            }
            for (group, services) in own {
                if let Some(group) = group {
                    let claim = claims.entry(group).or_insert_with(|| pool.clone());
                    // The one that has had it keeps it.
                    if self.groups.get(&group).is_some_and(|places| places.pool.as_ref() == Some(&pool)) {
                        claim.clone_from(&pool);
                    }
                }
                parts.push((group, Part { group: group.unwrap_or(Group(0)), pool: pool.clone(), services }));
            }
        }
        let give = |(held, part): (Option<Group>, Part<T>)| {
            let group = match held {
                Some(group) if claims.get(&group) == Some(&part.pool) => group,
                Some(group) => self.copy(group),
                None => begin(&mut self.groups, &mut self.next, Places::new(Range::default())),
            };
            if let Some(places) = self.groups.get_mut(&group) {
                places.pool = Some(part.pool.clone());
            }
            for (key, _) in &part.services {
                self.services.entry(*key).or_default().group = Some(group);
            }
            Part { group, ..part }
        };
        parts.into_iter().map(give).collect()
    }

    /// Another group with the same numbers, and with rings that begin as the same.
    fn copy(&mut self, group: Group) -> Group {
        let mut places = Places::new(Range::default());
        if let Some(held) = self.groups.get(&group) {
            places.reals = self.reals.take(held.reals.length);
            places.numbers = held.numbers.clone();
            for (size, ring) in &held.rings {
                let copy = self.slots.take(ring.length);
                places.rings.insert(*size, copy);
                places.copies.insert(copy.start, ring.start);
            }
        }
        begin(&mut self.groups, &mut self.next, places)
    }

    /// The rings that are to begin as copies of others, by their starts.
    pub fn copies(&self) -> BTreeMap<u32, u32> {
        self.groups.values().flat_map(|places| &places.copies).map(|(copy, ring)| (*copy, *ring)).collect()
    }

    /// Groups of the same pool that may be one.
    pub fn pairs(&self) -> Vec<Pair> {
        let mut first: BTreeMap<&PoolName, (Group, &Places)> = BTreeMap::new();
        let pair = |(from, places)| {
            let (from, places): (&Group, &Places) = (from, places);
            let (into, held) = *first.entry(places.pool.as_ref()?).or_insert((*from, places));
            let of = |(size, ring): (&u32, &Range)| Some((held.rings.get(size)?.start, ring.start, *size));
            let other = into != *from && held.numbers.are(&places.numbers);
            other.then(|| Pair { into, from: *from, rings: places.rings.iter().filter_map(of).collect() })
        };
        self.groups.iter().filter_map(pair).collect()
    }

    /// Makes one group of two whose rings have the same words.
    pub fn join(&mut self, pair: &Pair) {
        let Some(places) = self.groups.get_mut(&pair.from) else { return };
        let rings = std::mem::take(&mut places.rings);
        let Some(into) = self.groups.get_mut(&pair.into) else { return };
        let mut left = BTreeMap::new();
        for (size, ring) in rings {
            match into.rings.entry(size) {
                Entry::Vacant(place) => {
                    place.insert(ring);
                }
                Entry::Occupied(_) => {
                    left.insert(size, ring);
                }
            }
        }
        // What is left goes with the next plan.
        if let Some(places) = self.groups.get_mut(&pair.from) {
            places.rings = left;
        }
        let services = self.services.values_mut().filter(|places| places.group == Some(pair.from));
        services.for_each(|places| places.group = Some(pair.into));
    }

    /// Gives a group room for its reals; those of `draining` keep their numbers. Returns where its numbers count from, and
    /// each real's number. A group that grows beyond its room moves to a larger one, and its reals keep their numbers.
    pub fn reals(&mut self, group: Group, reals: &BTreeSet<Address>) -> (Range, BTreeMap<Address, u16>) {
        let Some(places) = self.groups.get_mut(&group) else { return Default::default() };
        let numbers: BTreeMap<Address, u16> =
            reals.iter().map(|address| (*address, places.numbers.take(*address).min(MAX_REALS) as u16)).collect();
        let needed = numbers.values().max().map_or(1, |number| u32::from(*number) + 1);
        if needed > places.reals.length {
            let length = needed.next_power_of_two().max(LEAST_REALS);
            self.late.reals.push(std::mem::replace(&mut places.reals, self.reals.take(length)));
        }
        (places.reals, numbers)
    }

    /// Where a group's ring of this size is.
    pub fn ring(&mut self, group: Group, size: u32) -> Range {
        let Some(places) = self.groups.get_mut(&group) else { return Range::default() };
        // The kernel has two words to an entry, so that a ring starts at an even one.
        *places.rings.entry(size).or_insert_with(|| self.slots.take(size.next_multiple_of(2)))
    }

    /// Where a service's counters are: as many as its pool has numbers.
    pub fn counters(&mut self, key: ServiceKey, length: u32) -> Range {
        let places = self.services.entry(key).or_default();
        if places.counters.length < length {
            self.late.counters.push(std::mem::replace(&mut places.counters, self.counters.take(length)));
        }
        places.counters
    }

    /// Where a service's turns are, with room for so many words.
    pub fn turns(&mut self, key: ServiceKey, length: u32) -> Range {
        let places = self.services.entry(key).or_default();
        if places.turns.length < length {
            let length = length.next_power_of_two().max(LEAST_TURNS);
            self.late.slots.push(std::mem::replace(&mut places.turns, self.slots.take(length)));
        }
        places.turns
    }

    /// Takes back everything that isn't named: services, groups with their rings and reals, and the interfaces that reals are
    /// sent to by.
    pub fn keep(&mut self, kept: &Kept) {
        let Late { reals, counters, slots } = std::mem::take(&mut self.late);
        reals.into_iter().for_each(|range| self.reals.give(range));
        counters.into_iter().for_each(|range| self.counters.give(range));
        slots.into_iter().for_each(|range| self.slots.give(range));
        self.ids.keep(|key| kept.services.contains(key));
        self.tx_ports.keep(|ifindex| kept.interfaces.contains(ifindex));
        self.services.retain(|key, places| {
            let stays = kept.services.contains(key);
            if !stays {
                self.late.counters.push(places.counters);
                self.late.slots.push(places.turns);
            }
            stays
        });
        self.groups.retain(|group, places| {
            let Some((sizes, reals)) = kept.groups.get(group) else {
                self.late.reals.push(places.reals);
                self.late.slots.extend(places.rings.values());
                return false;
            };
            places.rings.retain(|size, ring| {
                let stays = sizes.contains(size);
                if !stays {
                    self.late.slots.push(*ring);
                    places.copies.remove(&ring.start);
                }
                stays
            });
            places.numbers.keep(|address| reals.contains(address));
            true
        });
    }
}

/// A group with these places.
fn begin(groups: &mut BTreeMap<Group, Places>, next: &mut u32, places: Places) -> Group {
    let group = Group(*next);
    *next += 1;
    groups.insert(group, places);
    group
}

/// What a plan names.
#[derive(Debug, Default)]
pub struct Kept {
    /// Services.
    pub services: BTreeSet<ServiceKey>,
    /// Groups, with the sizes of their rings and their reals.
    pub groups: BTreeMap<Group, (BTreeSet<u32>, BTreeSet<Address>)>,
    /// Interfaces that reals are sent to by.
    pub interfaces: BTreeSet<u32>,
}

fn reals_of(service: &Service) -> Range {
    Range { start: service.reals, length: service.room }
}

fn counters_of(service: &Service) -> Range {
    Range { start: service.counters, length: service.room }
}

fn ring_of(service: &Service) -> Range {
    Range { start: service.ring, length: service.ring_size.next_multiple_of(2) }
}

/// Its room isn't noted anywhere: what it needs now is known, and what it has beyond that is given back.
fn turns_of(service: &Service, adopted: &Adopted) -> Range {
    match adopted.turns.get(&service.turns) {
        Some(count) if service.flags & Service::TRACKED != 0 => {
            Range { start: service.turns, length: (count + 1).next_power_of_two().max(LEAST_TURNS) }
        }
        _ => Range::default(),
    }
}

#[cfg(test)]
mod tests;
