//! What is kept of others' rings, and how much.

use super::*;
use crate::config::Protocol;

fn peer() -> SocketAddr {
    "192.0.2.3:8849".parse().unwrap()
}

fn service() -> ServiceId {
    ServiceId { vip: "192.0.2.1".parse().unwrap(), protocol: Protocol::Tcp, port: Some(80) }
}

fn key(_: &ServiceId) -> ServiceKey {
    ServiceKey { address: [9; 16], port: [0, 80], protocol: 6, reserved: 0 }
}

fn real(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

#[test]
fn words_are_those_of_whoever_serves() {
    let mut theirs = Theirs::default();
    let numbers: BTreeMap<Address, u16> =
        [(40, 1), (50, 2)].map(|(last, number)| (mapped_address(real(last)), number)).into();
    let mut take = |told: &Told| theirs.take(peer(), told, key);
    let member = |last| state::Member { real: real(last), weight: 3, state: State::Up, drained: false };
    let slot = |slot, current, base| state::Slot { slot, current: Some(real(current)), base };
    take(&Told::Members(vec![service()], vec![member(40), member(60), member(50)]));
    let slots = vec![slot(3, 50, Some(real(40))), slot(4, 60, None), slot(5, 50, None)];
    take(&Told::Slots { services: vec![service()], ring_size: 251, whole: true, slots });
    take(&Told::Service { service: service(), kind: state::Kind::Stateless, serving: true });
    let words = theirs.words(key(&service()), 251, &numbers).unwrap();
    assert_eq!(
        words.members.iter().map(|member| (member.real, member.weight)).collect::<Vec<_>>(),
        [(1, 3), (0, 3), (2, 3)],
        "without the share of one that isn't known here others' slots would be others'"
    );
    let [known, unknown] = [Slot { current: 2, base: 1 }, Slot { current: 0, base: 0 }];
    assert_eq!(words.slots, [(3, known), (4, unknown), (5, Slot { current: 2, base: 0 })]);
    assert!(theirs.words(key(&service()), 509, &numbers).is_none(), "another size");
    theirs.take(peer(), &Told::Begin, key);
    assert!(theirs.words(key(&service()), 251, &numbers).is_some(), "until all is told");
    theirs.take(peer(), &Told::Whole, key);
    assert!(theirs.words(key(&service()), 251, &numbers).is_none());
}

fn other(number: u32) -> ServiceId {
    ServiceId { vip: IpAddr::from(number.to_be_bytes()), ..service() }
}

fn own_key(id: &ServiceId) -> ServiceKey {
    ServiceKey { address: mapped_address(id.vip), ..key(id) }
}

fn offer(service: ServiceId) -> Told {
    Told::Service { service, kind: Kind::Stateless, serving: true }
}

fn slots_of(service: ServiceId, whole: bool, slots: std::ops::Range<u32>) -> Told {
    let word = |slot| state::Slot { slot, current: Some(real(40)), base: None };
    Told::Slots { services: vec![service], ring_size: 1 << 20, whole, slots: slots.map(word).collect() }
}

#[test]
fn what_has_gone_leaves_nothing() {
    let mut theirs = Theirs::default();
    for n in 0..1000 {
        theirs.take(peer(), &offer(other(n)), own_key);
        theirs.take(peer(), &slots_of(other(n), true, 0..9), own_key);
        theirs.take(peer(), &Told::Gone(other(n)), own_key);
    }
    assert_eq!((theirs.services.len(), theirs.held.get(&peer())), (0, Some(&0)));
    theirs.take(peer(), &offer(other(1)), own_key);
    theirs.take(peer(), &Told::Begin, own_key);
    theirs.take(peer(), &Told::Whole, own_key);
    assert_eq!((theirs.services.len(), theirs.held.get(&peer())), (0, Some(&0)));
}

#[test]
fn a_peer_has_its_room_and_no_more() {
    let mut theirs = Theirs::default();
    let numbers = BTreeMap::from([(mapped_address(real(40)), 1)]);
    let has_words = |theirs: &Theirs, n| theirs.words(own_key(&other(n)), 1 << 20, &numbers).is_some();
    // Four services with words for each of a million slots are too many by a little.
    for n in 0..4 {
        theirs.take(peer(), &offer(other(n)), own_key);
        for part in 0..16_u32 {
            theirs.take(peer(), &slots_of(other(n), part == 0, part << 16..(part + 1) << 16), own_key);
        }
    }
    assert_eq!([0, 1, 2, 3].map(|n| has_words(&theirs, n)), [true, true, true, false]);
    assert_eq!(theirs.beyond(peer()), 1);
    assert!(theirs.held[&peer()] <= ROOM);
    // A part of its words is not a guide; all of them anew are.
    theirs.take(peer(), &slots_of(other(3), false, 0..9), own_key);
    assert!(!has_words(&theirs, 3));
    theirs.take(peer(), &slots_of(other(3), true, 0..9), own_key);
    assert!(has_words(&theirs, 3) && theirs.beyond(peer()) == 0);
    // Services without end, and reals without end.
    for n in 10..ROOM as u32 / 4 {
        theirs.take(peer(), &offer(other(n)), own_key);
    }
    assert!(theirs.held[&peer()] <= ROOM && theirs.services.len() <= ROOM / SERVICE);
    let another = SocketAddr::from(([192, 0, 2, 4], 1));
    for n in 0..70_000 {
        let current = Some(IpAddr::from((n as u32).to_be_bytes()));
        let slots = vec![state::Slot { slot: 1, current, base: None }];
        theirs.take(another, &Told::Slots { services: vec![other(0)], ring_size: 7, whole: n == 0, slots }, own_key);
    }
    assert_eq!((theirs.beyond(another), theirs.beyond(peer())), (1, 0));
}

#[test]
fn a_pools_ring_is_held_once_however_many_services_have_it() {
    let numbers = BTreeMap::from([(mapped_address(real(40)), 1), (mapped_address(real(50)), 2)]);
    let services: Vec<ServiceId> = (0..1000).map(other).collect();
    let word = |slot| state::Slot { slot, current: Some(real(50)), base: Some(real(40)) };
    let told = |services: Vec<ServiceId>, whole| Told::Slots {
        services,
        ring_size: 65537,
        whole,
        slots: (0..65537).map(word).collect(),
    };
    let member = |last| state::Member { real: real(last), weight: 1, state: State::Up, drained: false };
    let mut theirs = Theirs::default();
    for service in &services {
        theirs.take(peer(), &offer(*service), own_key);
    }
    let without = theirs.held[&peer()];
    let members = Told::Members(services.clone(), vec![member(40), member(50)]);
    theirs.take(peer(), &members, own_key);
    theirs.take(peer(), &told(services.clone(), true), own_key);
    // What one of them takes: its two reals and theirs, and a word for each slot.
    let once = 2 * 2 + 4 * 2 + 65537;
    assert_eq!((theirs.held[&peer()] - without, theirs.beyond(peer())), (once, 0));
    let words = |theirs: &Theirs, service: &ServiceId| theirs.words(own_key(service), 65537, &numbers);
    for service in services.iter().step_by(199) {
        assert!(words(&theirs, service).is_some_and(|words| words.slots.len() == 65537));
    }
    // One goes its own way, and back; one leaves.
    let settled = vec![state::Slot { slot: 7, current: Some(real(40)), base: Some(real(40)) }];
    let alone = Told::Slots { services: vec![other(3)], ring_size: 65537, whole: false, slots: settled };
    theirs.take(peer(), &alone, own_key);
    assert_eq!(theirs.held[&peer()] - without, once + 8 + 65536);
    assert_eq!([3, 4].map(|n| words(&theirs, &other(n)).unwrap().slots.len()), [65536, 65537]);
    theirs.take(peer(), &told(vec![other(3)], true), own_key);
    theirs.take(peer(), &Told::Gone(other(3)), own_key);
    assert_eq!(theirs.held[&peer()] - without, once - SERVICE);
    for service in &services {
        theirs.take(peer(), &Told::Gone(*service), own_key);
    }
    assert_eq!(theirs.held[&peer()], 0);
}
