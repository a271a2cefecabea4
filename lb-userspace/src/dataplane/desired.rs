//! What the maps shall hold: plain values, made by the controller, applied by the writer.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::Ip;
use lb_common::maps::{Director, Filter, Port, Real, ReturnKey, Service, ServiceKey, Vip, VipKey};
use lb_common::ring::{Member, ring, turns};

/// What a service's ring and turns are built from. Equal recipes give equal rings.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// The whole state of the data plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Mixed into every hash.
    pub hash_seed: u64,
    /// Interfaces that the program runs on.
    pub ports: Vec<Port>,
    /// Interfaces that frames are redirected to: the position is the index in `tx_ports`.
    pub tx_ports: Vec<u32>,
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
