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
mod tests {
    use lb_common::maps::Real;
    use zerocopy::FromZeros as _;

    use super::*;

    const ROOM: Room = Room { services: 16, reals: 64, slots: 4096 };

    fn key(port: u16) -> ServiceKey {
        ServiceKey { address: [9; 16], port: port.to_be_bytes(), protocol: 6, reserved: 0 }
    }

    fn reals(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<Address> {
        numbers.into_iter().map(|number| [number; 16]).collect()
    }

    fn named(name: &str) -> PoolName {
        PoolName::Named(name.to_owned())
    }

    /// The groups of pools of these services, in the pools' order.
    fn groups<const N: usize>(allocation: &mut Allocation, pools: [(PoolName, &[u16]); N]) -> Vec<Group> {
        let pools = pools.into_iter().map(|(pool, ports)| (pool, ports.iter().map(|port| (key(*port), ())).collect()));
        allocation.groups(pools.collect()).into_iter().map(|part| part.group).collect()
    }

    /// That of a service with reals of its own.
    fn group(allocation: &mut Allocation, port: u16) -> Group {
        groups(allocation, [(PoolName::Of(key(port)), &[port])])[0]
    }

    fn kept(service: ServiceKey, group: Group, reals: &BTreeSet<Address>) -> Kept {
        let groups = BTreeMap::from([(group, (BTreeSet::from([251]), reals.clone()))]);
        Kept { services: BTreeSet::from([service]), groups, interfaces: BTreeSet::new() }
    }

    #[test]
    fn the_numbers_of_interfaces_that_are_gone_come_back() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        for ifindex in 1..=3 * TX_PORTS {
            let slot = allocation.tx_port(ifindex);
            assert!(slot < TX_PORTS, "interface {ifindex} has {slot}");
            allocation.keep(&Kept { interfaces: BTreeSet::from([ifindex]), ..Kept::default() });
            assert_eq!(allocation.tx_port(ifindex), slot, "a number in use stays");
        }
    }

    #[test]
    fn a_pool_that_outgrows_its_room_keeps_its_numbers() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        let group = group(&mut allocation, 80);
        let (room, before) = allocation.reals(group, &reals(1..=7));
        assert_eq!((room.length, before.len()), (8, 7));
        assert!(before.values().all(|number| (1..8).contains(number)));
        let (grown, after) = allocation.reals(group, &reals(1..=8));
        assert_eq!(grown.length, 16);
        assert!(grown.start >= room.start + room.length, "frames may still read the old one");
        assert!(before.iter().all(|(address, number)| after.get(address) == Some(number)));
    }

    #[test]
    fn what_was_adopted_keeps_its_places() {
        let service = Service {
            key: key(80),
            id: 3,
            ring: 300,
            ring_size: 251,
            reals: 16,
            counters: 24,
            room: 8,
            turns: 1000,
            flags: Service::TRACKED,
            ..Service::FREE
        };
        let held = Real { address: [2; 16], ..Real::new_zeroed() };
        let adopted = Adopted {
            services: BTreeMap::from([(key(80), service)]),
            pools: BTreeMap::from([(16, BTreeMap::from([(5, held)]))]),
            turns: BTreeMap::from([(1000, 2)]),
            ..Adopted::default()
        };
        let mut allocation = Allocation::adopt(&adopted, ROOM);
        // Another service comes first, and takes nothing of it.
        let other = group(&mut allocation, 79);
        let (room, _) = allocation.reals(other, &reals([1]));
        assert!(room.start >= 24 && allocation.counters(key(79), 8).start >= 32);
        assert_ne!(allocation.id(key(79)), 3);
        let held = group(&mut allocation, 80);
        let (room, numbers) = allocation.reals(held, &reals([1, 2]));
        assert_eq!(room, Range { start: 16, length: 8 });
        assert_eq!(numbers.get(&[2; 16]), Some(&5));
        assert_eq!((allocation.id(key(80)), allocation.ring(held, 251).start), (3, 300));
        assert_eq!(allocation.counters(key(80), 8).start, 24);
        assert_eq!(allocation.turns(key(80), 3), Range { start: 1000, length: LEAST_TURNS });
    }

    #[test]
    fn places_that_are_given_back_wait_for_another_plan() {
        let mut allocation = Allocation::adopt(&Adopted::default(), Room { reals: 16, ..ROOM });
        let take = |allocation: &mut Allocation, port| {
            let group = group(allocation, port);
            (group, allocation.reals(group, &reals([1])).0.start)
        };
        let (first, start) = take(&mut allocation, 80);
        assert_eq!([start, take(&mut allocation, 81).1], [0, 8]);
        allocation.keep(&kept(key(80), first, &reals([1])));
        assert!(take(&mut allocation, 82).1 >= 16, "frames may still read it");
        allocation.keep(&kept(key(80), first, &reals([1])));
        assert_eq!(take(&mut allocation, 83).1, 8);
    }

    #[test]
    fn a_pool_that_is_renamed_goes_on() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        let own = group(&mut allocation, 80);
        let (room, numbers) = allocation.reals(own, &reals([1, 2]));
        let ring = allocation.ring(own, 251);
        for name in ["p", "q"] {
            let renamed = groups(&mut allocation, [(named(name), &[80, 81])]);
            assert_eq!(renamed, [own], "{name}, and who is new joins it");
            let (held, after) = allocation.reals(own, &reals([2, 3]));
            assert_eq!((held, after.get(&[2; 16])), (room, numbers.get(&[2; 16])), "{name}");
            assert_eq!(allocation.ring(own, 251), ring);
        }
    }

    #[test]
    fn who_leaves_a_pool_has_copies_of_what_it_had() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        let both = groups(&mut allocation, [(named("p"), &[80, 81])])[0];
        let (room, numbers) = allocation.reals(both, &reals([7, 3]));
        let ring = allocation.ring(both, 251);
        // Named before the pool in their order, and after it.
        for (pool, others) in [(named("a"), [1, 0]), (named("z"), [0, 1])] {
            let mut allocation = allocation.clone();
            let parts = groups(&mut allocation, [(named("p"), &[80]), (pool.clone(), &[81])]);
            assert_eq!(parts[others[0]], both, "the pool keeps its places");
            let left = parts[others[1]];
            let (held, same) = allocation.reals(left, &reals([7, 3]));
            assert!(held.start != room.start && held.length == room.length && same == numbers);
            let copy = allocation.ring(left, 251);
            assert_ne!(copy, ring);
            assert_eq!(allocation.copies(), BTreeMap::from([(copy.start, ring.start)]));
            assert_eq!(
                groups(&mut allocation, [(named("p"), &[80]), (pool, &[81])]),
                parts,
                "and has them from now on"
            );
        }
    }

    #[test]
    fn who_joins_a_pool_has_its_own_until_both_are_the_same() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        let (one, other) = (group(&mut allocation, 80), group(&mut allocation, 81));
        for group in [one, other] {
            allocation.reals(group, &reals([1, 2]));
        }
        let rings = [one, other].map(|group| allocation.ring(group, 251).start);
        assert_eq!(allocation.pairs(), []);
        assert_eq!(groups(&mut allocation, [(named("p"), &[80, 81])]), [one, other]);
        let pair = Pair { into: one, from: other, rings: vec![(rings[0], rings[1], 251)] };
        assert_eq!(allocation.pairs(), [pair.clone()]);
        let mut more = allocation.clone();
        more.reals(other, &reals([1, 2, 3]));
        assert_eq!(more.pairs(), [], "their numbers aren't the same");
        allocation.join(&pair);
        assert_eq!(groups(&mut allocation, [(named("p"), &[80, 81])]), [one]);
        let held = (BTreeSet::from([251]), reals([1, 2]));
        allocation.keep(&Kept {
            services: [80, 81].map(key).into(),
            groups: BTreeMap::from([(one, held)]),
            interfaces: BTreeSet::new(),
        });
        assert_eq!(allocation.pairs(), []);
    }
}
