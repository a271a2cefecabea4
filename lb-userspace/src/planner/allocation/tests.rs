//! Places that stay, come back and are adopted.

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
