//! What the maps shall hold: plain values, made by the controller, applied by the writer.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{Director, Filter, NOBODY, Port, Real, ReturnKey, Service, ServiceKey, Vip, VipKey};
use lb_common::ring::{Member, ring};
use lb_common::slot::Slot;
use lb_common::{Ip, Scheduler, entries};

use super::FlowTimes;

/// Who takes the flows of a ring's slots. Equal rings have equal slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring {
    /// Its pool: where the numbers of its reals count from in `reals`.
    pub pool: u32,
    /// Mixed into the reals' preferences.
    pub seed: u64,
    /// Slots.
    pub size: u32,
    /// The reals that take new flows.
    pub members: Vec<Member>,
    /// Flows come to this director by it. Else another director has them, and who had them here doesn't matter: its slots
    /// are as those of a director that starts.
    pub in_use: bool,
    /// What the director that has them has told of this ring: its words are kept here, so that a take-over goes on from them.
    pub taken: Option<Taken>,
    /// Nobody says that he has them, of directors that share what they know: its words stay as they are, whoever is next.
    pub holds: bool,
}

/// The words of a ring, as another director has told them in few words.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// The reals that take new flows there; nobody's numbers stand for those that aren't known here.
    pub members: Vec<Member>,
    /// The slots that aren't settled there, in order.
    pub slots: Vec<(u32, Slot)>,
    /// Every connection is remembered there, and not here: so the settled ones have exceptions too.
    pub loose: bool,
}

impl Ring {
    /// Who takes new flows, slot by slot.
    pub fn targets(&self) -> Vec<u16> {
        ring(self.seed, self.size, &self.members)
    }

    /// The slots of a ring that isn't in use: those of whoever has it in use, or settled ones.
    pub fn idle(&self) -> Vec<Slot> {
        let own = self.targets();
        let Some(taken) = &self.taken else { return own.into_iter().map(Slot::settled).collect() };
        let theirs = ring(self.seed, self.size, &taken.members);
        let told = |current| if taken.loose { Slot { current, base: NOBODY } } else { Slot::settled(current) };
        let mut slots: Vec<Slot> = theirs.into_iter().map(told).collect();
        for (index, slot) in &taken.slots {
            if let Some(place) = slots.get_mut(*index as usize) {
                *place = *slot;
            }
        }
        for (slot, own) in slots.iter_mut().zip(own).filter(|(slot, _)| slot.current == NOBODY) {
            *slot = Slot { current: own, base: if slot.base == own { NOBODY } else { slot.base } };
        }
        slots
    }
}

/// Who takes a tracked service's new connections: see [`Scheduler`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    entries: Vec<u32>,
}

impl Turns {
    /// The list of these members, as this scheduler wants it.
    pub fn new(scheduler: Scheduler, members: &[Member]) -> Self {
        Self { entries: entries(scheduler, members) }
    }

    /// Its entries: reals' numbers, and their weights.
    pub fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// Words that it takes: the number of its entries, then they.
    pub fn words(&self) -> u32 {
        self.entries.len() as u32 + 1
    }
}

/// The reals of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    /// How many numbers it has, 0 included, which is nobody's.
    pub room: u32,
    /// By number.
    pub reals: BTreeMap<u16, Real>,
}

impl Pool {
    /// Whether frames of flows may be sent to a real.
    fn lives(&self, number: u16) -> bool {
        self.reals.get(&number).is_some_and(|real| real.flags & Real::USABLE != 0)
    }
}

/// Pools of reals whose health has changed, with the rings that follow: what of a change can't wait for the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// By where their numbers count from in `reals`.
    pub pools: BTreeMap<u32, Pool>,
    /// By their first slot.
    pub rings: BTreeMap<u32, Ring>,
}

impl Part {
    /// Whether frames of flows may be sent to a real of a pool.
    pub fn lives(&self, pool: u32, number: u16) -> bool {
        self.pools.get(&pool).is_some_and(|pool| pool.lives(number))
    }
}

/// The whole state of the data plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Mixed into every hash.
    pub hash_seed: u64,
    /// How long flows are remembered.
    pub timeouts: FlowTimes,
    /// Interfaces that the program runs on.
    pub ports: Vec<Port>,
    /// Interfaces that frames are redirected to, by their index in `tx_ports`.
    pub tx_ports: BTreeMap<u32, u32>,
    /// By VIP, port and protocol.
    pub services: BTreeMap<ServiceKey, Service>,
    /// By where their numbers count from in `reals`.
    pub pools: BTreeMap<u32, Pool>,
    /// By their first slot.
    pub rings: BTreeMap<u32, Ring>,
    /// Rings that begin with the words of others, where they aren't there yet: both by their first slot.
    pub copies: BTreeMap<u32, u32>,
    /// By their first word in `slots`.
    pub turns: BTreeMap<u32, Turns>,
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

    /// Adds to an entry of `director` what these services need of it: their filters and flags.
    pub fn mark(&self, director: &mut Director) {
        for key in self.services.keys() {
            director.vips.insert(Filter::of_address(Ip::from(key.address)));
            if key.port == [0, 0] {
                director.flags |= Director::ANY_PORT;
            }
        }
        for key in &self.returns {
            director.reals.insert(Filter::of_mac(key.mac));
        }
    }

    /// The rings whose slots may have remembered flows, settled or not: their services were tracked `before`, and aren't now.
    pub fn loosened(&self, before: &BTreeMap<ServiceKey, Service>) -> BTreeSet<u32> {
        let tracked = |service: &Service| service.flags & Service::TRACKED != 0;
        let was_tracked = |service: &&Service| before.get(&service.key).is_some_and(tracked);
        let now = self.services.values().filter(|service| !tracked(service));
        now.filter(was_tracked).map(|service| service.ring).collect()
    }

    /// A real of a pool.
    pub fn real(&self, pool: u32, number: u16) -> Option<&Real> {
        self.pools.get(&pool)?.reals.get(&number)
    }

    /// Whether frames of flows may be sent to a real of a pool.
    pub fn lives(&self, pool: u32, number: u16) -> bool {
        self.pools.get(&pool).is_some_and(|pool| pool.lives(number))
    }

    /// Every real with the index of its entry in `reals`.
    pub fn reals(&self) -> impl Iterator<Item = (u32, &Real)> {
        self.pools
            .iter()
            .flat_map(|(pool, held)| held.reals.iter().map(move |(number, real)| (pool + u32::from(*number), real)))
    }
}
