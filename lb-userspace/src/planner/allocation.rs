//! The places that services, pools and reals have in the maps. Each keeps its place for as long as it is configured, over
//! reloads and restarts: flows remember reals by their number, and slots their flows' owners.

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

/// The pool whose numbers and rings a new one goes on with: the first of those that its services were in, in their order, that
/// nobody is in any more. So a pool keeps its connections when it is renamed, and when one service's own reals become a pool.
pub fn succeeds<'p>(
    before: impl IntoIterator<Item = &'p PoolName>,
    mut goes_on: impl FnMut(&PoolName) -> bool,
) -> Option<&'p PoolName> {
    before.into_iter().find(|name| !goes_on(name))
}

/// Places given out.
#[derive(Debug, Clone)]
pub struct Allocation {
    ids: Numbers<ServiceKey>,
    tx_ports: Numbers<u32>,
    pools: BTreeMap<PoolName, PoolPlaces>,
    services: BTreeMap<ServiceKey, ServicePlaces>,
    reals: Space,
    counters: Space,
    slots: Space,
    /// What pinned maps say, of services that weren't asked for yet.
    adopted: BTreeMap<ServiceKey, Service>,
    numbers: BTreeMap<u32, Vec<(Address, u16)>>,
    late: Late,
}

/// Ranges that are taken back when the plan that does without them has been followed by another.
#[derive(Debug, Clone, Default)]
struct Late {
    reals: Vec<Range>,
    counters: Vec<Range>,
    slots: Vec<Range>,
}

/// Where a pool's reals and rings are.
#[derive(Debug, Clone)]
struct PoolPlaces {
    reals: Range,
    numbers: Numbers<Address>,
    /// By size.
    rings: BTreeMap<u32, Range>,
}

/// Where a service's counters and turns are, and which pool it was in.
#[derive(Debug, Clone, Default)]
struct ServicePlaces {
    counters: Range,
    turns: Range,
    pool: Option<PoolName>,
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
            pools: BTreeMap::new(),
            services: BTreeMap::new(),
            reals: Space::new(0, room.reals),
            counters: Space::new(0, room.reals),
            slots: Space::new(0, room.slots),
            adopted: BTreeMap::new(),
            numbers: BTreeMap::new(),
            late: Late::default(),
        };
        places.hold(adopted)
    }

    /// Notes the ranges that adopted services use, before any is given out.
    fn hold(mut self, adopted: &Adopted) -> Self {
        let (mut pools, mut rings) = (BTreeSet::new(), BTreeSet::new());
        for (key, service) in &adopted.services {
            let whole = (!pools.insert(service.reals) || self.reals.put(reals_of(service)))
                && (!rings.insert(service.ring) || self.slots.put(ring_of(service)))
                && self.counters.put(counters_of(service));
            // One that can't be whole is made anew; so it is where an old version left something that isn't understood.
            if whole {
                let turns = turns_of(service, adopted);
                if turns.length == 0 || self.slots.put(turns) {
                    self.services.insert(*key, ServicePlaces { counters: counters_of(service), turns, pool: None });
                }
                self.adopted.insert(*key, *service);
            }
        }
        for (pool, reals) in &adopted.pools {
            self.numbers.insert(*pool, reals.iter().map(|(number, real)| (real.address, *number)).collect());
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

    /// Gives a pool room for its reals; those of `draining` keep their numbers. Returns where its numbers count from, and
    /// each real's number. A pool that grows beyond its room moves to a larger one, and its reals keep their numbers.
    /// `goes_on` tells of each other pool whether it is planned too.
    pub fn pool(
        &mut self,
        name: &PoolName,
        services: &[ServiceKey],
        reals: &BTreeSet<Address>,
        goes_on: impl Fn(&PoolName) -> bool,
    ) -> (Range, BTreeMap<Address, u16>) {
        let mut places = match self.pools.remove(name) {
            Some(places) => places,
            None => self.begin_pool(services, goes_on),
        };
        for key in services {
            self.services.entry(*key).or_default().pool = Some(name.clone());
        }
        let numbers: BTreeMap<Address, u16> =
            reals.iter().map(|address| (*address, places.numbers.take(*address).min(MAX_REALS) as u16)).collect();
        let needed = numbers.values().max().map_or(1, |number| u32::from(*number) + 1);
        if needed > places.reals.length {
            let length = needed.next_power_of_two().max(LEAST_REALS);
            self.late.reals.push(std::mem::replace(&mut places.reals, self.reals.take(length)));
        }
        let range = places.reals;
        self.pools.insert(name.clone(), places);
        (range, numbers)
    }

    fn begin_pool(&mut self, services: &[ServiceKey], goes_on: impl Fn(&PoolName) -> bool) -> PoolPlaces {
        let before = services.iter().filter_map(|key| self.services.get(key)?.pool.as_ref());
        let held = before.filter(|name| self.pools.contains_key(name));
        let own = succeeds(held, goes_on).cloned().and_then(|name| self.pools.remove(&name));
        own.unwrap_or_else(|| self.adopt_pool(services))
    }

    fn adopt_pool(&mut self, services: &[ServiceKey]) -> PoolPlaces {
        let held = services.iter().filter_map(|key| self.adopted.get(key)).copied();
        let taken: BTreeSet<u32> = self.pools.values().map(|places| places.reals.start).collect();
        let Some(first) = held.clone().find(|service| !taken.contains(&service.reals)) else {
            return PoolPlaces { reals: Range::default(), numbers: Numbers::new(1, 0), rings: BTreeMap::new() };
        };
        let mut numbers = Numbers::new(1, 0);
        for (address, number) in self.numbers.remove(&first.reals).unwrap_or_default() {
            numbers.put(address, u32::from(number));
        }
        let rings =
            held.filter(|service| service.reals == first.reals).map(|service| (service.ring_size, ring_of(&service)));
        PoolPlaces { reals: reals_of(&first), numbers, rings: rings.collect() }
    }

    /// Where a pool's ring of this size is.
    pub fn ring(&mut self, name: &PoolName, size: u32) -> Range {
        let Some(places) = self.pools.get_mut(name) else { return Range::default() };
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

    /// Takes back everything that isn't named: services, pools with their rings and reals, and the interfaces that reals are
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
        self.pools.retain(|name, places| {
            let Some((sizes, reals)) = kept.pools.get(name) else {
                self.late.reals.push(places.reals);
                self.late.slots.extend(places.rings.values());
                return false;
            };
            places.rings.retain(|size, ring| {
                let stays = sizes.contains(size);
                if !stays {
                    self.late.slots.push(*ring);
                }
                stays
            });
            places.numbers.keep(|address| reals.contains(address));
            true
        });
        self.release_adopted();
    }

    /// Takes back what adopted services had and nobody has asked for.
    fn release_adopted(&mut self) {
        let mut reals: BTreeSet<u32> = self.pools.values().map(|places| places.reals.start).collect();
        let rings = self.pools.values().flat_map(|places| places.rings.values());
        let mut rings: BTreeSet<u32> = rings.map(|ring| ring.start).collect();
        for service in std::mem::take(&mut self.adopted).into_values() {
            if reals.insert(service.reals) {
                self.late.reals.push(reals_of(&service));
            }
            if rings.insert(service.ring) {
                self.late.slots.push(ring_of(&service));
            }
        }
        self.numbers.clear();
    }
}

/// What a plan names.
#[derive(Debug, Default)]
pub struct Kept {
    /// Services.
    pub services: BTreeSet<ServiceKey>,
    /// Pools, with the sizes of their rings and their reals.
    pub pools: BTreeMap<PoolName, (BTreeSet<u32>, BTreeSet<Address>)>,
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
