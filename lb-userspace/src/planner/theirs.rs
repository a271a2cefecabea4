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

/// The rings of services that others serve.
#[derive(Debug, Clone, Default)]
pub struct Theirs {
    services: HashMap<ServiceKey, HashMap<SocketAddr, Of>>,
}

/// A service, as one peer has told of it.
#[derive(Debug, Clone, Default)]
struct Of {
    serving: bool,
    kind: Option<Kind>,
    ring_size: u32,
    members: Vec<state::Member>,
    slots: BTreeMap<u32, state::Slot>,
    /// Not told again since the peer was met again.
    old: bool,
}

impl Theirs {
    /// Takes what a peer told. Whether rings may be others now.
    pub fn take(&mut self, peer: SocketAddr, told: &Told, key: impl Fn(&ServiceId) -> ServiceKey) -> bool {
        match told {
            Told::Service { service, serving, kind } => {
                let of = self.of(key(service), peer);
                (of.serving, of.kind) = (*serving, Some(*kind));
            }
            Told::Members(service, members) => self.of(key(service), peer).members.clone_from(members),
            Told::Slots { service, ring_size, whole, slots } => {
                let of = self.of(key(service), peer);
                if *whole || of.ring_size != *ring_size {
                    of.slots.clear();
                }
                of.ring_size = *ring_size;
                for slot in slots {
                    if slot.is_settled() && slot.current.is_some() {
                        of.slots.remove(&slot.slot);
                    } else {
                        of.slots.insert(slot.slot, *slot);
                    }
                }
            }
            Told::Gone(service) => {
                self.services.entry(key(service)).or_default().remove(&peer);
            }
            Told::Begin => self.of_peer(peer, |of| of.old = true),
            Told::Whole => {
                for peers in self.services.values_mut() {
                    peers.retain(|held, of| *held != peer || !of.old);
                }
            }
            Told::Flows(_) | Told::Asked(_) | Told::Answered(_) | Told::Lost => return false,
        }
        true
    }

    fn of(&mut self, service: ServiceKey, peer: SocketAddr) -> &mut Of {
        let held = self.services.entry(service).or_default().entry(peer).or_default();
        held.old = false;
        held
    }

    fn of_peer(&mut self, peer: SocketAddr, change: impl Fn(&mut Of)) {
        let all = self.services.values_mut().flat_map(|peers| peers.iter_mut());
        all.filter(|(held, _)| **held == peer).for_each(|(_, of)| change(of));
    }

    /// The words of a service's ring of this size where it is served, in this director's own numbers; nobody's in place of reals
    /// that it doesn't have, whose slots go to whom it takes for right itself.
    pub fn words(&self, service: ServiceKey, size: u32, numbers: &BTreeMap<Address, u16>) -> Option<Taken> {
        let of = self.serving(service).find(|of| of.ring_size == size)?;
        let number = |address: IpAddr| numbers.get(&mapped_address(address)).copied().unwrap_or(NOBODY);
        let member = |member: &state::Member| {
            let takes = member.state == State::Up && !member.drained && member.weight > 0;
            // All of them have their share: without one, others' slots would be others' too.
            let (address, real) = (mapped_address(member.real), number(member.real));
            takes.then_some(Member { address, weight: member.weight, real })
        };
        let slot = |slot: &state::Slot| {
            let of = |real: Option<IpAddr>| real.map_or(NOBODY, number);
            (slot.slot, Slot { current: of(slot.current), base: of(slot.base) })
        };
        Some(Taken {
            members: of.members.iter().filter_map(member).collect(),
            slots: of.slots.values().map(slot).collect(),
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
}
