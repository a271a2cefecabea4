//! What the director that serves a VIP has told of its rings: the words that a take-over goes on from.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::maps::{Address, NOBODY, ServiceKey};
use lb_common::ring::Member;
use lb_common::slot::Slot;

use super::plan::mapped_address;
use crate::dataplane::Taken;
use crate::peers::state::{self, Kind, ServiceId, State};
use crate::peers::{Told, common};

/// What is held of one peer at most, in units of about 16 bytes: a slot's word takes one, a real two.
const ROOM: usize = 4 << 20;
/// What a service takes beside its reals and words.
const SERVICE: usize = 16;

/// The rings of services that others serve. What services of a peer's have in common is held once.
#[derive(Debug, Clone, Default)]
pub struct Theirs {
    services: Services,
    /// What is held of each peer.
    held: HashMap<SocketAddr, usize>,
}

type Services = HashMap<ServiceKey, HashMap<SocketAddr, Of>>;

/// A service, as one peer has told of it.
#[derive(Debug, Clone, Default)]
struct Of {
    serving: bool,
    kind: Option<Kind>,
    members: Arc<Members>,
    words: Arc<Words>,
    /// Not told again since the peer was met again.
    old: bool,
}

/// The reals of a pool.
#[derive(Debug, Clone, Default)]
struct Members {
    list: Vec<state::Member>,
    /// There was no room for them, until they are told anew.
    beyond: bool,
}

/// The words of a ring.
#[derive(Debug, Clone, Default)]
struct Words {
    ring_size: u32,
    /// Current and base of each slot that isn't settled, as places in `reals`.
    slots: BTreeMap<u32, (u16, u16)>,
    reals: Reals,
    /// There was no room for it, until all of it is told anew: a part of it would be a wrong guide.
    beyond: bool,
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
    /// There was no room for what it is a guide by.
    fn is_beyond(&self) -> bool {
        self.members.beyond || self.words.beyond
    }
}

impl Members {
    fn size(&self) -> usize {
        2 * self.list.len()
    }
}

impl Words {
    fn size(&self) -> usize {
        4 * self.reals.addresses.len() + self.slots.len()
    }

    /// Takes words of slots, as far as there are places for their reals.
    fn take(&mut self, ring_size: u32, slots: &[state::Slot]) {
        self.ring_size = ring_size;
        for slot in slots.iter().filter(|_| !self.beyond) {
            if slot.is_settled() && slot.current.is_some() {
                self.slots.remove(&slot.slot);
                continue;
            }
            let places = (self.reals.place(slot.current), self.reals.place(slot.base));
            let (Some(current), Some(base)) = places else { return self.give_up() };
            self.slots.insert(slot.slot, (current, base));
        }
    }

    fn give_up(&mut self) {
        *self = Self { ring_size: self.ring_size, beyond: true, ..Self::default() };
    }
}

impl Theirs {
    /// Takes what a peer told. Whether rings may be others now.
    pub fn take(&mut self, peer: SocketAddr, told: &Told, key: impl Fn(&ServiceId) -> ServiceKey) -> bool {
        match told {
            Told::Service { service, serving, kind } => {
                if let Some(of) = self.of(peer, key(service)) {
                    (of.serving, of.kind) = (*serving, Some(*kind));
                }
            }
            Told::Members(services, members) => {
                let services = self.known(peer, services, key);
                self.take_members(peer, &services, |held| {
                    (held.list, held.beyond) = (members.clone(), false);
                });
                if self.is_over(peer) {
                    self.take_members(peer, &services, |held| held.beyond = true);
                }
            }
            Told::Slots { services, ring_size, whole, slots } => {
                let services = self.known(peer, services, key);
                let stays = |held: &Words| !*whole && held.ring_size == *ring_size;
                self.take_words(peer, &services, stays, |held| held.take(*ring_size, slots));
                if self.is_over(peer) {
                    self.take_words(peer, &services, |_| true, Words::give_up);
                }
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

    /// More is held of a peer than there is room for.
    fn is_over(&self, peer: SocketAddr) -> bool {
        self.held.get(&peer).is_some_and(|held| *held > ROOM)
    }

    /// What is held of a peer's service; `None` where there is no room for it.
    fn of(&mut self, peer: SocketAddr, service: ServiceKey) -> Option<&mut Of> {
        let held = self.held.entry(peer).or_default();
        let is_held = self.services.get(&service).is_some_and(|peers| peers.contains_key(&peer));
        // A service that has no room at all is one that this director can't have either.
        if !is_held && *held + SERVICE > ROOM {
            return None;
        }
        *held += if is_held { 0 } else { SERVICE };
        let of = self.services.entry(service).or_default().entry(peer).or_default();
        of.old = false;
        Some(of)
    }

    /// Those of these services that something is held of.
    fn known(
        &mut self,
        peer: SocketAddr,
        services: &[ServiceId],
        key: impl Fn(&ServiceId) -> ServiceKey,
    ) -> Vec<ServiceKey> {
        let mut keys: Vec<ServiceKey> = services.iter().map(key).collect();
        keys.retain(|service| self.of(peer, *service).is_some());
        keys
    }

    fn take_members(&mut self, peer: SocketAddr, services: &[ServiceKey], take: impl Fn(&mut Members)) {
        let sizes = common::change(
            &mut self.services,
            services,
            |all, key| Some(&mut all.get_mut(key)?.get_mut(&peer)?.members),
            |_| false,
            take,
            Members::size,
        );
        self.count(peer, sizes);
    }

    fn take_words(
        &mut self,
        peer: SocketAddr,
        services: &[ServiceKey],
        stays: impl Fn(&Words) -> bool,
        take: impl Fn(&mut Words),
    ) {
        let sizes = common::change(
            &mut self.services,
            services,
            |all, key| Some(&mut all.get_mut(key)?.get_mut(&peer)?.words),
            stays,
            take,
            Words::size,
        );
        self.count(peer, sizes);
    }

    fn count(&mut self, peer: SocketAddr, (went, came): (usize, usize)) {
        let held = self.held.entry(peer).or_default();
        *held = (*held + came).saturating_sub(went);
    }

    /// Forgets what is held of a peer's services but for some.
    fn retain(&mut self, peer: SocketAddr, stays: impl Fn(&ServiceKey, &Of) -> bool) {
        let mut freed = 0;
        self.services.retain(|service, peers| {
            if peers.get(&peer).is_some_and(|of| !stays(service, of))
                && let Some(Of { members, words, .. }) = peers.remove(&peer)
            {
                // Others may have them too.
                freed += SERVICE + Arc::into_inner(members).map_or(0, |members| members.size());
                freed += Arc::into_inner(words).map_or(0, |words| words.size());
            }
            !peers.is_empty()
        });
        self.count(peer, (freed, 0));
    }

    /// Services of which a peer has told more than there is room for.
    pub fn beyond(&self, peer: SocketAddr) -> usize {
        let all = self.services.values().filter_map(|peers| peers.get(&peer));
        all.filter(|of| of.is_beyond()).count()
    }

    /// The words of a service's ring of this size where it is served, in this director's own numbers; nobody's in place of reals
    /// that it doesn't have, whose slots go to whom it takes for right itself.
    pub fn words(&self, service: ServiceKey, size: u32, numbers: &BTreeMap<Address, u16>) -> Option<Taken> {
        let of = self.serving(service).find(|of| of.words.ring_size == size && !of.is_beyond())?;
        let number = |address: IpAddr| numbers.get(&mapped_address(address)).copied().unwrap_or(NOBODY);
        let member = |member: &state::Member| {
            let takes = member.state == State::Up && !member.drained && member.weight > 0;
            // All of them have their share: without one, others' slots would be others' too.
            let (address, real) = (mapped_address(member.real), number(member.real));
            takes.then_some(Member { address, weight: member.weight, real })
        };
        let slot = |(slot, (current, base)): (&u32, &(u16, u16))| {
            let number = |place: u16| of.words.reals.get(place).map_or(NOBODY, number);
            (*slot, Slot { current: number(*current), base: number(*base) })
        };
        Some(Taken {
            members: of.members.list.iter().filter_map(member).collect(),
            slots: of.words.slots.iter().map(slot).collect(),
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
mod tests;
