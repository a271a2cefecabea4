//! The numbers that services and reals have in the maps. A service or real keeps its number for as long as it
//! is configured, over reloads and restarts: flows remember reals by it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lb_common::maps::{Address, Service, ServiceKey, TX_PORTS};

use crate::dataplane::Adopted;

/// What a service's number stands for. A ring of another size, or a scheduler of another kind, is another
/// service to the maps, so that no frame sees the one's flags with the other's ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceIdentity {
    /// Its key in `services`.
    pub key: ServiceKey,
    /// Slots of its ring.
    pub ring_size: u32,
    /// Its flags.
    pub flags: u16,
}

/// Numbers given out.
#[derive(Debug, Clone)]
pub struct Allocation {
    services: Numbers<ServiceIdentity>,
    reals: Numbers<(u32, Address)>,
    tx_ports: Numbers<u32>,
}

impl Allocation {
    /// The numbers that pinned maps give.
    pub fn adopt(adopted: &Adopted, service_capacity: u32, real_capacity: u32) -> Self {
        let mut services = Numbers::new(0, service_capacity);
        for (key, Service { id, ring_size, flags, .. }) in &adopted.services {
            // What is known of its reals is no part of what it is.
            let flags = flags & !Service::UNDECIDED;
            services.put(ServiceIdentity { key: *key, ring_size: *ring_size, flags }, *id);
        }
        // A slot of 0 names no real.
        let mut reals = Numbers::new(1, real_capacity);
        for (index, real) in &adopted.reals {
            reals.put((real.service, real.address), *index);
        }
        Self { services, reals, tx_ports: Numbers::new(0, TX_PORTS) }
    }

    /// A service's number. Past the map's end when it is full, which the writer refuses.
    pub fn service(&mut self, identity: ServiceIdentity) -> u32 {
        self.services.take(identity)
    }

    /// A real's number.
    pub fn real(&mut self, service: u32, address: Address) -> u32 {
        self.reals.take((service, address))
    }

    /// An interface's index in `tx_ports`.
    pub fn tx_port(&mut self, ifindex: u32) -> u32 {
        self.tx_ports.take(ifindex)
    }

    /// Takes back the numbers of everything that isn't named: services, reals, and the interfaces that reals are sent to by.
    pub fn keep(&mut self, services: &BTreeSet<u32>, reals: &BTreeSet<u32>, tx_ports: &BTreeSet<u32>) {
        self.services.keep(services);
        self.reals.keep(reals);
        self.tx_ports.keep(tx_ports);
    }
}

/// Numbers of things of one kind. A number that was given back is given out again as late as can be, since a
/// flow may remember it.
#[derive(Debug, Clone)]
struct Numbers<T> {
    held: BTreeMap<T, u32>,
    next: u32,
    end: u32,
    returned: VecDeque<u32>,
}

impl<T: Ord + Clone> Numbers<T> {
    fn new(first: u32, end: u32) -> Self {
        Self { held: BTreeMap::new(), next: first, end, returned: VecDeque::new() }
    }

    /// Notes a number that is in use already.
    fn put(&mut self, thing: T, number: u32) {
        self.returned.extend(self.next..number);
        self.returned.retain(|returned| *returned != number);
        self.next = self.next.max(number + 1);
        self.held.insert(thing, number);
    }

    fn take(&mut self, thing: T) -> u32 {
        if let Some(number) = self.held.get(&thing) {
            return *number;
        }
        let fresh = (self.next < self.end).then_some(self.next);
        let number = match fresh.or_else(|| self.returned.pop_front()) {
            Some(number) => number,
            None => self.next,
        };
        self.next = self.next.max(number + 1);
        self.held.insert(thing, number);
        number
    }

    fn keep(&mut self, numbers: &BTreeSet<u32>) {
        let gone: Vec<T> =
            self.held.iter().filter(|(_, number)| !numbers.contains(number)).map(|(thing, _)| thing.clone()).collect();
        for thing in gone {
            self.returned.extend(self.held.remove(&thing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_and_comes_back_late() {
        let mut numbers = Numbers::new(1, 4);
        assert_eq!(["a", "b"].map(|thing| numbers.take(thing)), [1, 2]);
        assert_eq!(numbers.take("a"), 1);
        numbers.keep(&BTreeSet::from([2]));
        assert_eq!(numbers.take("c"), 3, "a fresh number before a returned one");
        assert_eq!(numbers.take("d"), 1, "then the one returned longest ago");
        assert!(numbers.take("e") >= 4, "then one past the end, for the writer to refuse");
    }

    #[test]
    fn the_numbers_of_interfaces_that_are_gone_come_back() {
        let mut allocation = Allocation::adopt(&Adopted::default(), 1, 2);
        let none = BTreeSet::new();
        for ifindex in 1..=3 * TX_PORTS {
            let slot = allocation.tx_port(ifindex);
            assert!(slot < TX_PORTS, "interface {ifindex} has {slot}");
            allocation.keep(&none, &none, &BTreeSet::from([slot]));
            assert_eq!(allocation.tx_port(ifindex), slot, "a number in use stays");
        }
    }

    #[test]
    fn adopted_numbers_are_kept_and_gaps_are_used() {
        let mut numbers = Numbers::new(1, 6);
        numbers.put("x", 4);
        numbers.put("y", 2);
        assert_eq!(numbers.take("x"), 4);
        assert_eq!(numbers.take("y"), 2);
        let mut rest = [numbers.take("p"), numbers.take("q"), numbers.take("r")];
        rest.sort();
        assert_eq!(rest, [1, 3, 5]);
    }
}
