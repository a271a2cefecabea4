//! What the director that serves a VIP has told of its rings: the words that a take-over goes on from.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use lb_common::maps::{Address, NOBODY, ServiceKey};
use lb_common::ring::Member;
use lb_common::slot::Slot;

use super::plan::mapped_address;
use crate::dataplane::Taken;
use crate::peers::Told;
use crate::peers::state::{self, Kind, ServiceId, State};

/// What is held of one peer at most, in units of about 16 bytes: a slot's word takes one, a real two.
const ROOM: usize = 4 << 20;
/// What a service takes beside its reals and words.
const SERVICE: usize = 16;

/// The rings of services that others serve.
#[derive(Debug, Clone, Default)]
pub struct Theirs {
    services: HashMap<ServiceKey, HashMap<SocketAddr, Of>>,
    /// What is held of each peer.
    held: HashMap<SocketAddr, usize>,
}

/// A service, as one peer has told of it.
#[derive(Debug, Clone, Default)]
struct Of {
    serving: bool,
    kind: Option<Kind>,
    ring_size: u32,
    members: Vec<state::Member>,
    /// Current and base of each slot that isn't settled, as places in `reals`.
    slots: BTreeMap<u32, (u16, u16)>,
    reals: Reals,
    /// There was no room for it: it has no words until its ring is told anew.
    beyond: bool,
    /// Not told again since the peer was met again.
    old: bool,
}

/// The reals that slots name. Place 0 is nobody's.
#[derive(Debug, Clone, Default)]
struct Reals {
    addresses: Vec<IpAddr>,
    places: HashMap<IpAddr, u16>,
}

impl Reals {
    /// The place of one; `None` where all are taken.
    fn place(&mut self, real: Option<IpAddr>) -> Option<u16> {
        let Some(real) = real else { return Some(0) };
        if let Some(place) = self.places.get(&real) {
            return Some(*place);
        }
        let place = u16::try_from(self.addresses.len() + 1).ok()?;
        self.addresses.push(real);
        self.places.insert(real, place);
        Some(place)
    }

    fn get(&self, place: u16) -> Option<IpAddr> {
        self.addresses.get(usize::from(place).checked_sub(1)?).copied()
    }
}

impl Of {
    fn size(&self) -> usize {
        SERVICE + 2 * self.members.len() + 4 * self.reals.addresses.len() + self.slots.len()
    }

    /// Takes words of slots. Whether there are places for their reals.
    fn take(&mut self, (ring_size, whole): (u32, bool), slots: &[state::Slot]) -> bool {
        if whole || self.ring_size != ring_size {
            self.slots.clear();
            self.reals = Reals::default();
            self.beyond = false;
        }
        self.ring_size = ring_size;
        for slot in slots {
            if slot.is_settled() && slot.current.is_some() {
                self.slots.remove(&slot.slot);
                continue;
            }
            let places = (self.reals.place(slot.current), self.reals.place(slot.base));
            let (Some(current), Some(base)) = places else { return false };
            self.slots.insert(slot.slot, (current, base));
        }
        true
    }

    /// Gives up what there is no room for. Its ring is no guide any more: a part of it would be a wrong one.
    fn give_up(&mut self) {
        self.members = Vec::new();
        self.slots = BTreeMap::new();
        self.reals = Reals::default();
        self.beyond = true;
    }
}

impl Theirs {
    /// Takes what a peer told. Whether rings may be others now.
    pub fn take(&mut self, peer: SocketAddr, told: &Told, key: impl Fn(&ServiceId) -> ServiceKey) -> bool {
        match told {
            Told::Service { service, serving, kind } => self.change(peer, key(service), |of| {
                (of.serving, of.kind) = (*serving, Some(*kind));
                true
            }),
            Told::Members(service, members) => self.change(peer, key(service), |of| {
                of.members.clone_from(members);
                true
            }),
            Told::Slots { service, ring_size, whole, slots } => {
                self.change(peer, key(service), |of| of.take((*ring_size, *whole), slots));
            }
            Told::Gone(service) => self.retain(peer, |held, _| *held != key(service)),
            Told::Begin => {
                let all = self.services.values_mut().filter_map(|peers| peers.get_mut(&peer));
                all.for_each(|of| of.old = true);
            }
            Told::Whole => self.retain(peer, |_, of| !of.old),
            Told::Flows(_) | Told::Asked(_) | Told::Answered(_) | Told::Lost => return false,
        }
        true
    }

    /// Changes what is held of a peer's service, as far as there is room.
    fn change(&mut self, peer: SocketAddr, service: ServiceKey, change: impl FnOnce(&mut Of) -> bool) {
        let held = self.held.entry(peer).or_default();
        let peers = self.services.entry(service).or_default();
        let before = peers.get(&peer).map_or(0, Of::size);
        // A service that has no room at all is one that this director can't have either.
        if before == 0 && *held + SERVICE > ROOM {
            if peers.is_empty() {
                self.services.remove(&service);
            }
            return;
        }
        let of = peers.entry(peer).or_default();
        of.old = false;
        let fits = change(of);
        if of.beyond || !fits || *held - before + of.size() > ROOM {
            of.give_up();
        }
        *held = *held - before + of.size();
    }

    /// Forgets what is held of a peer's services but for some.
    fn retain(&mut self, peer: SocketAddr, stays: impl Fn(&ServiceKey, &Of) -> bool) {
        let mut freed = 0;
        self.services.retain(|service, peers| {
            if peers.get(&peer).is_some_and(|of| !stays(service, of)) {
                freed += peers.remove(&peer).map_or(0, |of| of.size());
            }
            !peers.is_empty()
        });
        if let Some(held) = self.held.get_mut(&peer) {
            *held = held.saturating_sub(freed);
        }
    }

    /// Services of which a peer has told more than there is room for.
    pub fn beyond(&self, peer: SocketAddr) -> usize {
        let all = self.services.values().filter_map(|peers| peers.get(&peer));
        all.filter(|of| of.beyond).count()
    }

    /// The words of a service's ring of this size where it is served, in this director's own numbers; nobody's in place of reals
    /// that it doesn't have, whose slots go to whom it takes for right itself.
    pub fn words(&self, service: ServiceKey, size: u32, numbers: &BTreeMap<Address, u16>) -> Option<Taken> {
        let of = self.serving(service).find(|of| of.ring_size == size && !of.beyond)?;
        let number = |address: IpAddr| numbers.get(&mapped_address(address)).copied().unwrap_or(NOBODY);
        let member = |member: &state::Member| {
            let takes = member.state == State::Up && !member.drained && member.weight > 0;
            // All of them have their share: without one, others' slots would be others' too.
            let (address, real) = (mapped_address(member.real), number(member.real));
            takes.then_some(Member { address, weight: member.weight, real })
        };
        let slot = |(slot, (current, base)): (&u32, &(u16, u16))| {
            let number = |place: u16| of.reals.get(place).map_or(NOBODY, number);
            (*slot, Slot { current: number(*current), base: number(*base) })
        };
        Some(Taken {
            members: of.members.iter().filter_map(member).collect(),
            slots: of.slots.iter().map(slot).collect(),
            loose: false,
        })
    }

    /// Whether a service remembers every connection where it is served: any slot may have some that aren't its current real's.
    pub fn tracks(&self, service: ServiceKey) -> bool {
        self.serving(service).any(|of| of.kind == Some(Kind::Tracked))
    }

    /// Those who serve it. Two are one too many; VRRP ends that.
    fn serving(&self, service: ServiceKey) -> impl Iterator<Item = &Of> {
        let mut peers: Vec<_> =
            self.services.get(&service).into_iter().flatten().filter(|(_, of)| of.serving).collect();
        peers.sort_by_key(|(peer, _)| **peer);
        peers.into_iter().map(|(_, of)| of)
    }
}

#[cfg(test)]
mod tests {
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
        take(&Told::Members(service(), vec![member(40), member(60), member(50)]));
        let slots = vec![slot(3, 50, Some(real(40))), slot(4, 60, None), slot(5, 50, None)];
        take(&Told::Slots { service: service(), ring_size: 251, whole: true, slots });
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
        Told::Slots { service, ring_size: 1 << 20, whole, slots: slots.map(word).collect() }
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
            theirs.take(another, &Told::Slots { service: other(0), ring_size: 7, whole: n == 0, slots }, own_key);
        }
        assert_eq!((theirs.beyond(another), theirs.beyond(peer())), (1, 0));
    }
}
