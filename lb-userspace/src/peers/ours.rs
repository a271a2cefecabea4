//! What this director has told: the changes folded, so that a peer that is met later gets all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use blake2::digest::consts::U8;
use blake2::{Blake2s, Digest as _};

use super::common;
use super::state::{Change, Kind, Member, Offer, ServiceId, Slot};

/// All services of this director, but for their flows, which the flow table has.
#[derive(Debug, Default)]
pub struct Ours {
    services: BTreeMap<ServiceId, Own>,
}

/// One service.
#[derive(Debug, PartialEq, Eq)]
pub struct Own {
    /// Its kind.
    pub kind: Kind,
    /// It is served here.
    pub serving: bool,
    /// [`digest`] of its reals and weights by configuration.
    pub digest: u64,
    /// Its reals.
    pub members: Arc<Vec<Member>>,
    /// Its ring.
    pub words: Arc<Words>,
}

/// The words of a ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Slots of it; 0 before they were told.
    pub ring_size: u32,
    /// Slots that aren't settled: current and base.
    pub slots: BTreeMap<u32, (Option<IpAddr>, Option<IpAddr>)>,
}

impl Ours {
    /// Takes a change. Members and slots of services that were never offered are nobody's.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Service(service, offer) => self.offer(*service, offer),
            Change::Members(services, members) => {
                let put = |held: &mut Vec<Member>| held.clone_from(members);
                let all = &mut self.services;
                common::change(all, services, |all, id| Some(&mut all.get_mut(id)?.members), |_| false, put, |_| 0);
            }
            Change::Slots { services, ring_size, whole, slots } => {
                let stays = |held: &Words| !*whole && held.ring_size == *ring_size;
                let put = |held: &mut Words| held.change(*ring_size, slots);
                let all = &mut self.services;
                common::change(all, services, |all, id| Some(&mut all.get_mut(id)?.words), stays, put, |_| 0);
            }
            Change::Flows(_) | Change::Ask(_) | Change::Answer(_) => {}
            Change::Gone(service) => {
                self.services.remove(service);
            }
        }
    }

    fn offer(&mut self, service: ServiceId, offer: &Offer) {
        let own = self.services.entry(service).or_insert_with(|| Own {
            kind: offer.kind,
            serving: false,
            digest: 0,
            members: Arc::default(),
            words: Arc::default(),
        });
        own.kind = offer.kind;
        own.serving = offer.serving;
        own.digest = digest(&offer.configured);
    }

    /// One service.
    pub fn get(&self, service: &ServiceId) -> Option<&Own> {
        self.services.get(service)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceId, &Own)> {
        self.services.iter()
    }
}

impl Words {
    fn change(&mut self, ring_size: u32, slots: &[Slot]) {
        self.ring_size = ring_size;
        for slot in slots {
            if slot.is_settled() {
                self.slots.remove(&slot.slot);
            } else if slot.slot < ring_size {
                self.slots.insert(slot.slot, (slot.current, slot.base));
            }
        }
    }
}

/// A digest of reals with their weights, in whatever order. Two directors of the same configuration have the same.
#[must_use]
pub fn digest(configured: &[(IpAddr, u32)]) -> u64 {
    let mut configured = configured.to_vec();
    configured.sort_unstable();
    let mut hash = Blake2s::<U8>::new();
    for (real, weight) in configured {
        match real {
            IpAddr::V4(real) => hash.update(real.to_ipv6_mapped().octets()),
            IpAddr::V6(real) => hash.update(real.octets()),
        }
        hash.update(weight.to_be_bytes());
    }
    u64::from_be_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    const WEB: ServiceId =
        ServiceId { vip: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), protocol: Protocol::Tcp, port: Some(80) };

    fn real(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_digest_knows_no_order() {
        let (a, b) = ((real(40), 1), (real(50), 3));
        assert_eq!(digest(&[a, b]), digest(&[b, a]));
        let others = [vec![a], vec![a, a], vec![(real(40), 3), (real(50), 1)], vec![]];
        for other in others {
            assert_ne!(digest(&other), digest(&[a, b]), "{other:?}");
        }
    }

    #[test]
    fn settled_slots_are_forgotten_and_another_ring_begins_anew() {
        let mut ours = Ours::default();
        let slots = |ring_size, whole, slots: &[(u32, u8, u8)]| Change::Slots {
            services: vec![WEB],
            ring_size,
            whole,
            slots: slots
                .iter()
                .map(|&(slot, current, base)| Slot { slot, current: Some(real(current)), base: Some(real(base)) })
                .collect(),
        };
        let numbers = |ours: &Ours| ours.get(&WEB).unwrap().words.slots.keys().copied().collect::<Vec<_>>();
        ours.apply(&slots(7, false, &[(1, 40, 50)]));
        assert_eq!(ours.get(&WEB), None);
        let offer = Offer { kind: Kind::Stateless, serving: true, configured: vec![] };
        ours.apply(&Change::Service(WEB, offer.clone()));
        ours.apply(&slots(7, false, &[(1, 40, 50), (2, 40, 50), (3, 40, 40), (7, 40, 50)]));
        assert_eq!(numbers(&ours), [1, 2]);
        ours.apply(&slots(7, false, &[(1, 40, 40), (3, 50, 40)]));
        assert_eq!(numbers(&ours), [2, 3]);
        ours.apply(&Change::Service(WEB, Offer { serving: false, ..offer }));
        assert_eq!(numbers(&ours), [2, 3]);
        ours.apply(&slots(7, true, &[(5, 40, 50)]));
        assert_eq!(numbers(&ours), [5]);
        ours.apply(&slots(11, false, &[(8, 40, 50)]));
        assert_eq!(numbers(&ours), [8]);
        ours.apply(&Change::Gone(WEB));
        assert_eq!(ours.get(&WEB), None);
    }
}
