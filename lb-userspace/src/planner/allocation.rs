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

    fn kept(service: ServiceKey, reals: &BTreeSet<Address>) -> Kept {
        let pools = BTreeMap::from([(PoolName::Of(service), (BTreeSet::from([251]), reals.clone()))]);
        Kept { services: BTreeSet::from([service]), pools, interfaces: BTreeSet::new() }
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
        let name = PoolName::Of(key(80));
        let (room, before) = allocation.pool(&name, &[key(80)], &reals(1..=7), |_| false);
        assert_eq!((room.length, before.len()), (8, 7));
        assert!(before.values().all(|number| (1..8).contains(number)));
        let (grown, after) = allocation.pool(&name, &[key(80)], &reals(1..=8), |_| false);
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
        let (room, _) = allocation.pool(&PoolName::Of(key(79)), &[key(79)], &reals([1]), |_| false);
        assert!(room.start >= 24 && allocation.counters(key(79), 8).start >= 32);
        assert_ne!(allocation.id(key(79)), 3);
        let name = PoolName::Of(key(80));
        let (room, numbers) = allocation.pool(&name, &[key(80)], &reals([1, 2]), |_| false);
        assert_eq!(room, Range { start: 16, length: 8 });
        assert_eq!(numbers.get(&[2; 16]), Some(&5));
        assert_eq!((allocation.id(key(80)), allocation.ring(&name, 251).start), (3, 300));
        assert_eq!(allocation.counters(key(80), 8).start, 24);
        assert_eq!(allocation.turns(key(80), 3), Range { start: 1000, length: LEAST_TURNS });
    }

    #[test]
    fn places_that_are_given_back_wait_for_another_plan() {
        let mut allocation = Allocation::adopt(&Adopted::default(), Room { reals: 16, ..ROOM });
        let take = |allocation: &mut Allocation, port| {
            allocation.pool(&PoolName::Of(key(port)), &[key(port)], &reals([1]), |_| false).0.start
        };
        assert_eq!([take(&mut allocation, 80), take(&mut allocation, 81)], [0, 8]);
        allocation.keep(&kept(key(80), &reals([1])));
        assert!(take(&mut allocation, 82) >= 16, "frames may still read it");
        allocation.keep(&kept(key(80), &reals([1])));
        assert_eq!(take(&mut allocation, 83), 8);
    }

    #[test]
    fn a_pool_that_is_renamed_goes_on() {
        let mut allocation = Allocation::adopt(&Adopted::default(), ROOM);
        let named = |name: &str| PoolName::Named(name.to_owned());
        let services = [key(80), key(81)];
        let (room, numbers) = allocation.pool(&PoolName::Of(key(80)), &[key(80)], &reals([1, 2]), |_| false);
        let ring = allocation.ring(&PoolName::Of(key(80)), 251);
        for name in ["p", "q"] {
            let (held, after) = allocation.pool(&named(name), &services, &reals([2, 3]), |_| false);
            assert_eq!((held, after.get(&[2; 16])), (room, numbers.get(&[2; 16])), "{name}");
            assert_eq!(allocation.ring(&named(name), 251), ring);
        }
        let (left, _) = allocation.pool(&PoolName::Of(key(81)), &[key(81)], &reals([2]), |name| *name == named("q"));
        assert_ne!(left, room, "the others are in it still");
    }
}
