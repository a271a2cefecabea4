//! What the agent knows: the configuration, the health of reals, and the way to each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Check, Config, OnFailure, Protocol, Real, Service, Via, Vrrp};
use crate::dataplane::Hook;
use crate::health::join::join;
use crate::health::{Failure, Health, Target};
use crate::host::neighbour::{NeighbourEvent, Resolved};

use super::carry::{carry_over, carry_weights};
use super::drain::{Drain, Draining};
use super::fleet::Fleets;
use super::gates::{GateNumbers, gates_of};
use super::overrides::Overrides;
use super::theirs::Theirs;
use crate::tracking::{Healthy, Services};

/// An interface of the director.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the configuration.
    pub name: String,
    /// The kernel's name of it.
    pub device: String,
    /// Its index.
    pub index: u32,
    /// The MAC that frames for this host are addressed to there: its own, or that of the bond or bridge it is a part of.
    pub mac: [u8; 6],
    /// Ids of the VLANs that this host has devices for on it.
    pub vlans: BTreeSet<u16>,
    /// Where the program runs on it.
    pub mode: Hook,
    /// A bond's slaves, by index: the program runs on them.
    pub slaves: BTreeSet<u32>,
}

impl Interface {
    /// Whether frames of the interface of this index come in by it.
    pub fn has(&self, index: u32) -> bool {
        self.index == index || self.slaves.contains(&index)
    }
}

/// An interface of the director that the program doesn't run on yet, or any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Since when it is waited for.
    pub since: SystemTime,
    /// Why, for people.
    pub why: String,
}

/// The way to a real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// Its MAC is known.
    Reached(Resolved),
    /// It isn't, since then, for this reason.
    Unreached {
        /// Since when.
        since: SystemTime,
        /// For people.
        why: String,
    },
}

/// Why a real takes no traffic whose bridge's port is not known.
pub const BY_KERNEL: &str = "the port of its bridge is not known, and native XDP can't send by a bridge as a whole: the log \
                         says why; director.mode = \"generic\" can";

/// Why a real is down that no check of this agent has looked at: the last one gave it no new connections.
pub const GUESSED: &str = "it got no new connections when the agent was last heard";

/// What keeps a real from traffic, or doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It takes its share.
    Up {
        /// Since when its checks are good; `None` without checks.
        since: Option<SystemTime>,
    },
    /// Its weight is 0: its connections go on, it gets no new ones.
    Quiesced,
    /// It left the configuration, or was told to drain: its connections go on, it gets no new ones.
    Draining {
        /// Since when.
        since: SystemTime,
        /// When its connections are given up, if they are.
        until: Option<SystemTime>,
    },
    /// Its drain has ended at the deadline: it takes no traffic.
    Drained {
        /// When it ended.
        since: SystemTime,
    },
    /// It was disabled: it takes no traffic.
    Disabled {
        /// Since when.
        since: SystemTime,
    },
    /// Its first check hasn't ended.
    Checking,
    /// It takes no traffic.
    Down {
        /// Since when.
        since: SystemTime,
        /// For people.
        why: String,
        /// Its connections stay all the same.
        quiesced: bool,
    },
}

impl Standing {
    /// Whether frames of its connections may be sent to it.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Quiesced | Self::Draining { .. } | Self::Down { quiesced: true, .. })
    }

    /// Whether new connections may be sent to it.
    pub fn takes_new(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Whether somebody has said that it shall take no traffic, however healthy it is.
    pub fn is_given_up(&self) -> bool {
        matches!(self, Self::Drained { .. } | Self::Disabled { .. })
    }
}

/// Everything that the maps follow from. Events change it; `plan` reads it.
#[derive(Debug, Clone)]
pub struct Model {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The director's interfaces, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Those that are waited for, by name.
    pub awaited: BTreeMap<String, Awaited>,
    /// What the checks said last.
    pub health: HashMap<Target, Health>,
    /// The weights that they ask for, of those that do.
    pub weights: HashMap<Target, u8>,
    /// The way to each real.
    pub hops: HashMap<IpAddr, Hop>,
    /// The gates of virtual routers.
    pub gates: GateNumbers,
    /// What was set at run time.
    pub overrides: Overrides,
    /// Reals that left the configuration.
    pub draining: Draining,
    /// What reals do together.
    pub fleets: Fleets,
    /// Whether the VIPs of a virtual router are this director's, by the router's name, as far as it is decided.
    pub duties: HashMap<String, bool>,
    /// What other directors tell of the rings that they have in use.
    pub theirs: Theirs,
    /// Nothing was forwarded before this agent started, and not yet everything is known that decides where to.
    pub fresh: bool,
    /// When the agent started: reals that nothing is known of count from here.
    pub started: SystemTime,
}

impl Model {
    /// A model that knows only its configuration and interfaces.
    pub fn new(config: Arc<Config>, interfaces: BTreeMap<String, Interface>, now: SystemTime) -> Self {
        let gates = gates_of(&config, &GateNumbers::new());
        Self {
            config,
            interfaces,
            awaited: BTreeMap::new(),
            health: HashMap::new(),
            weights: HashMap::new(),
            hops: HashMap::new(),
            gates,
            overrides: Overrides::default(),
            draining: Draining::default(),
            fleets: Fleets::default(),
            duties: HashMap::new(),
            theirs: Theirs::default(),
            fresh: true,
            started: now,
        }
    }

    /// Whose the VIPs of a virtual router are. Whether that is news.
    pub fn set_duty(&mut self, router: String, here: bool) -> bool {
        self.duties.insert(router, here) != Some(here)
    }

    /// Whether a VIP's traffic is this director's, so that it alone knows who has which flow. Until that is decided it is as
    /// it was: this director's, if it forwarded before.
    pub fn has_duty(&self, vip: IpAddr) -> bool {
        let has = |router: &&Vrrp| router.addresses.iter().any(|held| held.addr() == vip);
        let decided = self.config.vrrp.iter().find(has).and_then(|router| self.duties.get(&router.name));
        decided.copied().unwrap_or(!self.fresh)
    }

    /// A check's news.
    pub fn set_health(&mut self, target: Target, health: Health) {
        self.health.insert(target, health);
    }

    /// The weight that a check asks for, if it does.
    pub fn set_weight(&mut self, target: &Target, weight: Option<u8>) {
        if let Some(weight) = weight {
            self.weights.insert(target.clone(), weight);
        }
    }

    /// News of the way to a real.
    pub fn set_hop(&mut self, event: NeighbourEvent, now: SystemTime) {
        let hop = match event.state {
            Some(resolved) => Hop::Reached(resolved),
            None => {
                let since = match self.hops.get(&event.address) {
                    Some(Hop::Unreached { since, .. }) => *since,
                    _ => now,
                };
                Hop::Unreached { since, why: event.why }
            }
        };
        self.hops.insert(event.address, hop);
    }

    /// Takes another configuration; what was known of reals that it doesn't name is forgotten. A real whose check is
    /// another one stays what it was, until the new check has an answer.
    pub fn set_config(&mut self, config: Arc<Config>, now: SystemTime) {
        self.draining.follow(&self.config, &config, now);
        let (health, hops) = carry_over(self, &config, now);
        self.weights = carry_weights(self, &config);
        (self.health, self.hops) = (health, hops);
        self.gates = gates_of(&config, &self.gates);
        self.config = config;
    }

    /// The way to a real: a MAC of the configuration wins over the neighbour table.
    pub fn hop(&self, real: &Real) -> Option<Resolved> {
        let learned = match self.hops.get(&real.address) {
            Some(Hop::Reached(resolved)) => Some(*resolved).filter(|hop| self.can_send_by(hop)),
            _ => None,
        };
        let Some(mac) = real.mac else { return learned };
        let interface = match &real.interface {
            Some(name) => self.interfaces.values().find(|one| one.name == *name || one.device == *name),
            None => self.config.director.interfaces.first().and_then(|name| self.interfaces.get(name)),
        }?;
        Some(Resolved { mac, ifindex: interface.index, source_mac: interface.mac, vlan: None, by_kernel: false })
    }

    /// The way to each real that is asked on VIPs, as the data plane's frames go.
    pub fn hops_of_checks(&self) -> HashMap<IpAddr, Resolved> {
        let way = |service: &Service, real: &Real| {
            let asks = service.checks_of(real).iter().any(|check| check.via != Via::Real);
            let hop = self.hop(real).filter(|_| asks)?;
            Some((real.address, Resolved { vlan: real.vlan.or(hop.vlan), ..hop }))
        };
        let ways = |service| reals(service, &self.draining).filter_map(move |real| way(service, real));
        self.config.owners().flat_map(ways).collect()
    }

    /// Whether frames can leave so: native XDP sends by no bridge.
    pub fn can_send_by(&self, hop: &Resolved) -> bool {
        !hop.by_kernel || self.interfaces.values().all(|interface| interface.mode != Hook::Native)
    }

    /// Whether a real of a service is healthy, as tracking asks: its weight doesn't matter. `None` while its first
    /// check hasn't ended, or nobody has looked for its MAC.
    pub fn is_healthy(&self, service: &Service, real: &Real) -> Option<bool> {
        let standing = self.standing(service, real);
        if standing.is_given_up() {
            return Some(false);
        }
        if real.mac.is_none() && !self.hops.contains_key(&real.address) {
            return None;
        }
        match standing {
            Standing::Up { .. } | Standing::Quiesced | Standing::Draining { .. } => Some(true),
            Standing::Checking => None,
            Standing::Down { .. } | Standing::Drained { .. } | Standing::Disabled { .. } => Some(false),
        }
    }

    /// Whether of some of a service's reals nothing is known yet: without a usable one it may have some in a moment.
    pub fn is_undecided(&self, service: &Service) -> bool {
        service.reals.iter().any(|real| self.is_healthy(service, real).is_none())
    }

    /// How many reals of each service are healthy.
    pub fn health_of_services(&self) -> Services {
        let count = |service: &Service| {
            let health: Vec<Option<bool>> = service.reals.iter().map(|real| self.is_healthy(service, real)).collect();
            let of = |kind| health.iter().filter(|&&health| health == kind).count() as u32;
            Healthy { healthy: of(Some(true)), unknown: of(None) }
        };
        let mut pools: HashMap<&str, Healthy> = HashMap::new();
        let counted = self.config.services.iter().map(|service| {
            let healthy = match &service.pool {
                Some(pool) => *pools.entry(pool).or_insert_with(|| count(service)),
                None => count(service),
            };
            (service.name.clone(), healthy)
        });
        counted.collect()
    }

    /// Whether it is known of every real if it takes the traffic that it should: a director that takes a VIP over then
    /// sends no flow to another real than the one before did. A real whose check says that it is down is not waited for.
    pub fn is_ready(&self) -> bool {
        let is_down = |service, real| matches!(self.health_of(service, real), Some(Health::Down { .. }));
        let is_settled = |service, real| {
            let standing = self.standing(service, real);
            is_down(service, real) || standing.is_usable() || standing.is_given_up()
        };
        self.config.owners().all(|service| service.reals.iter().all(|real| is_settled(service, real)))
    }

    /// Notes that everything is known that decides where flows go, or should be by now: from here on each flow stays where
    /// it is.
    pub fn end_start(&mut self, now: SystemTime) {
        /// By now a real that can be resolved and checked has been.
        const LONGEST: Duration = Duration::from_secs(10);
        let late = now.duration_since(self.started).is_ok_and(|age| age > LONGEST);
        self.fresh &= !late && !self.is_ready();
    }

    /// The weight that is in force: what was set at run time, else what its checks ask for, else the configuration's.
    pub fn weight(&self, service: &Service, real: &Real) -> u32 {
        let set = self.overrides.of(service, real.address).and_then(|held| held.weight);
        set.or_else(|| self.asked_weight(service, real).map(|(weight, _)| weight)).unwrap_or(real.weight)
    }

    /// The weight that the checks of a real ask for, the least of several, and which asks for it.
    pub fn asked_weight<'a>(&self, service: &'a Service, real: &'a Real) -> Option<(u32, &'a Check)> {
        // The usual case.
        if self.weights.is_empty() {
            return None;
        }
        let asks = |check: &'a Check| {
            let target = Target { address: real.address, check: check.clone() };
            Some((u32::from(*self.weights.get(&target)?), check))
        };
        let checks = service.checks_of(real).iter().filter(|check| check.weighs());
        checks.filter_map(asks).min_by_key(|(weight, _)| *weight)
    }

    /// What the checks of a real say together; `None` where it has none.
    pub fn health_of(&self, service: &Service, real: &Real) -> Option<Health> {
        let checks = service.checks_of(real);
        let known = probes(service, real).map(|target| {
            let label = if checks.len() > 1 { target.check.label() } else { String::new() };
            (label, self.health.get(&target))
        });
        join(checks.join, known)
    }

    /// Where a real of a service stands.
    pub fn standing(&self, service: &Service, real: &Real) -> Standing {
        let set = self.overrides.of(service, real.address);
        if let Some(since) = set.and_then(|held| held.disabled) {
            return Standing::Disabled { since };
        }
        let left = self.draining.get(service, real.address).map(|held| &held.drain);
        let drain = set.and_then(|held| held.drain.as_ref()).or(left);
        if let Some(Drain { until: Some(until), over: true, .. }) = drain {
            return Standing::Drained { since: *until };
        }
        let health = match self.health_of(service, real) {
            None => Standing::Up { since: None },
            Some(Health::Unknown) => Standing::Checking,
            Some(Health::Up { since }) => Standing::Up { since: Some(since) },
            // A real without a MAC can't be reached, whatever its check has heard.
            Some(Health::Down { since, failure, reason: why }) => {
                let quiesced = self.hop(real).is_some() && keeps_connections(service, failure);
                return Standing::Down { since, why, quiesced };
            }
        };
        if self.hop(real).is_none() {
            let (since, why) = match self.hops.get(&real.address) {
                Some(Hop::Unreached { since, why }) => (*since, why.clone()),
                Some(Hop::Reached(_)) => (self.started, BY_KERNEL.to_owned()),
                _ => (self.started, "its MAC address is not known yet".to_owned()),
            };
            return Standing::Down { since, why, quiesced: false };
        }
        match drain {
            _ if !health.is_usable() => health,
            Some(Drain { since, until, .. }) => Standing::Draining { since: *since, until: *until },
            None if self.weight(service, real) == 0 => Standing::Quiesced,
            None => health,
        }
    }
}

/// Whether the connections of a real whose check fails so stay.
fn keeps_connections(service: &Service, failure: Failure) -> bool {
    let default = match failure {
        Failure::Unreachable => OnFailure::Remove,
        Failure::Wrong => OnFailure::Quiesce,
    };
    service.on_failure.unwrap_or(default) == OnFailure::Quiesce
}

/// The probes of a real, one for each of its checks.
pub fn probes<'a>(service: &'a Service, real: &'a Real) -> impl Iterator<Item = Target> + 'a {
    service.checks_of(real).iter().map(|check| Target { address: real.address, check: check.clone() })
}

/// A service's reals, its sorry server, and those that it had.
pub fn reals<'a>(service: &'a Service, draining: &'a Draining) -> impl Iterator<Item = &'a Real> {
    service.all_reals().chain(draining.of(service).map(|drained| &drained.real))
}

/// Every probe of a configuration, each once.
pub fn targets(config: &Config, draining: &Draining) -> HashMap<Target, Option<Health>> {
    let pairs = config.owners().flat_map(|service| reals(service, draining).map(move |real| (service, real)));
    pairs.flat_map(|(service, real)| probes(service, real)).map(|target| (target, None)).collect()
}

/// Every real whose MAC is to be learned, with the interface that the configuration names for it.
pub fn addresses(config: &Config, draining: &Draining) -> HashMap<IpAddr, Option<String>> {
    let reals = config.owners().flat_map(|service| reals(service, draining));
    reals.filter(|real| real.mac.is_none()).map(|real| (real.address, real.interface.clone())).collect()
}

/// The protocol that has this number in the maps.
pub fn protocol_of(number: u8) -> Protocol {
    if number == lb_common::header::protocol::TCP { Protocol::Tcp } else { Protocol::Udp }
}

/// The IP protocol's number.
pub fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => lb_common::header::protocol::TCP,
        Protocol::Udp => lb_common::header::protocol::UDP,
    }
}

#[cfg(test)]
pub(crate) mod tests;
