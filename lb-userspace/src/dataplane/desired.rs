//! What the maps shall hold: plain values, made by the controller, applied by the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::maps::{Director, Filter, Port, Real, ReturnKey, Service, ServiceKey};

/// A ring's map: its slots, the number of turns, the turns.
pub type RingContent = Arc<Vec<u32>>;

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
    pub rings: BTreeMap<u32, RingContent>,
    /// By index.
    pub reals: BTreeMap<u32, Real>,
    /// Frames that are not sent on.
    pub returns: BTreeSet<ReturnKey>,
}

impl Desired {
    /// The entry of `director`: the seed, and filters that hold what the other maps hold.
    pub fn director(&self, flow_mask: u32) -> Director {
        let mut director =
            Director { hash_seed: self.hash_seed, flow_mask, flags: 0, vips: Filter::EMPTY, reals: Filter::EMPTY };
        for key in self.services.keys() {
            director.vips.insert(Filter::of_address(&key.address));
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
