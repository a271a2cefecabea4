//! Places that are given out, kept, shared and taken back.

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
        assert_eq!(groups(&mut allocation, [(named("p"), &[80]), (pool, &[81])]), parts, "and has them from now on");
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
    assert_eq!(allocation.pairs(), std::slice::from_ref(&pair));
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
