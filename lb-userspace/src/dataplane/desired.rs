//! What the maps shall hold: plain values, made by the controller, applied by the writer.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::Ip;
use lb_common::maps::{Director, Filter, NOBODY, Port, Real, ReturnKey, Service, ServiceKey, Vip, VipKey};
use lb_common::ring::{Member, ring, turns};

/// What a service's ring and turns are built from. Equal recipes give equal rings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring {
    /// Mixed into the reals' preferences.
    pub seed: u64,
    /// Slots.
    pub size: u32,
    /// The service takes turns.
    pub tracked: bool,
    /// The reals that take traffic.
    pub members: Vec<Member>,
}

impl Ring {
    /// The entries of its map: the slots, the number of turns, the turns.
    pub fn content(&self) -> Vec<u32> {
        let mut content = ring(self.seed, self.size, &self.members);
        let turns = if self.tracked { turns(&self.members) } else { Vec::new() };
        content.push(turns.len() as u32);
        content.extend(turns);
        content
    }

    /// The same ring, of reals that are numbered from 1 in the order of their addresses: services of the same reals and
    /// weights have the same shape.
    pub fn shape(&self) -> Self {
        let mut members = self.members.clone();
        members.sort_unstable();
        for (number, member) in (1..).zip(&mut members) {
            member.real = number;
        }
        Self { members, ..*self }
    }

    /// The entries of its map, from those of its [shape](Self::shape).
    pub fn numbered(&self, shape: &[u32]) -> Vec<u32> {
        let mut members = self.members.clone();
        members.sort_unstable();
        let numbers: Vec<u32> = [NOBODY].into_iter().chain(members.iter().map(|member| member.real)).collect();
        let name = |entry: &u32| numbers.get(*entry as usize).copied().unwrap_or(NOBODY);
        let (slots, rest) = shape.split_at_checked(self.size as usize).unwrap_or_default();
        // Between slots and turns stands how many turns there are.
        let (count, turns) = rest.split_at_checked(1).unwrap_or_default();
        let mut content = Vec::with_capacity(shape.len());
        content.extend(slots.iter().map(name));
        content.extend_from_slice(count);
        content.extend(turns.iter().map(name));
        content
    }
}

/// The whole state of the data plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Mixed into every hash.
    pub hash_seed: u64,
    /// Interfaces that the program runs on.
    pub ports: Vec<Port>,
    /// Interfaces that frames are redirected to, by their index in `tx_ports`.
    pub tx_ports: BTreeMap<u32, u32>,
    /// By VIP, port and protocol.
    pub services: BTreeMap<ServiceKey, Service>,
    /// By service id.
    pub rings: BTreeMap<u32, Ring>,
    /// By index.
    pub reals: BTreeMap<u32, Real>,
    /// Frames that are not sent on.
    pub returns: BTreeSet<ReturnKey>,
}

impl Desired {
    /// The entries of `vips`: each VIP and protocol that has services.
    pub fn vips(&self) -> BTreeMap<VipKey, Vip> {
        let vip = |(key, service): (&ServiceKey, &Service)| {
            let key = VipKey { address: key.address, protocol: key.protocol, reserved: [0; 3] };
            (key, Vip { gate: service.gate })
        };
        self.services.iter().map(vip).collect()
    }

    /// The entry of `director`: the seed, and filters that hold what the other maps hold.
    pub fn director(&self, flow_mask: u32) -> Director {
        // x86-64 reads in the program's order (Intel SDM vol. 3A §9.2.2); of others that isn't taken for granted.
        let flags = if cfg!(target_arch = "x86_64") { 0 } else { Director::WEAKLY_ORDERED };
        let mut director =
            Director { hash_seed: self.hash_seed, flow_mask, flags, vips: Filter::EMPTY, reals: Filter::EMPTY };
        for key in self.services.keys() {
            director.vips.insert(Filter::of_address(Ip::from(key.address)));
            if key.port == [0, 0] {
                director.flags |= Director::ANY_PORT;
            }
        }
        for key in &self.returns {
            director.reals.insert(Filter::of_mac(key.mac));
        }
        director
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_from_its_shape_is_the_ring(
            seed: u64, size in prop::sample::select(vec![251u32, 509, 1021]), tracked: bool,
            reals in prop::collection::btree_map(any::<[u8; 16]>(), (1u32..100, 1u32..60_000), 0..12),
        ) {
            let members = reals.into_iter().map(|(address, (weight, real))| Member { address, weight, real });
            let members: Vec<Member> = members.rev().collect();
            let ring = Ring { seed, size, tracked, members };
            let mut other = ring.clone();
            other.members.iter_mut().for_each(|member| member.real += 7);
            other.members.reverse();
            prop_assert_eq!(ring.shape(), other.shape());
            for ring in [&ring, &other] {
                prop_assert_eq!(ring.numbered(&ring.shape().content()), ring.content());
            }
        }
    }
}
