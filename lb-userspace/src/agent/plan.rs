//! From the model to the maps: what each shall hold. Pure, but for a memory of the rings built before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use lb_common::maps::{self, Address, Port, ReturnKey, ServiceKey, mapped};
use lb_common::ring::{Member, ring, turns};

use crate::config::{Scheduler, Service};
use crate::dataplane::{Desired, RingContent};

use super::allocation::{Allocation, ServiceIdentity};
use super::model::{Model, protocol_number};
use super::settings::gates_by_vip;

/// What a ring is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe {
    seed: u64,
    size: u32,
    tracked: bool,
    members: Vec<Member>,
}

/// Rings built before, by service id.
#[derive(Debug, Default)]
pub struct Rings {
    built: HashMap<u32, (Recipe, RingContent)>,
}

/// The maps that follow from the model.
pub fn plan(model: &Model, allocation: &mut Allocation, rings: &mut Rings) -> Desired {
    let seed = model.config.director.hash_seed;
    let ports = model.interfaces.values();
    let mut desired = Desired {
        hash_seed: seed,
        ports: ports.map(|port| Port { ifindex: port.index, mac: port.mac, reserved: [0; 2] }).collect(),
        ..Desired::default()
    };
    let gates = gates_by_vip(&model.config, &model.gates);
    let mut recipes = BTreeMap::new();
    for service in &model.config.services {
        let identity = identity(service);
        let id = allocation.service(identity);
        let members = add_reals(model, allocation, service, id, &mut desired);
        let ServiceIdentity { ring_size, flags, .. } = identity;
        let gate = gates.get(&service.address).copied().unwrap_or(0);
        let value = maps::Service { id, ring_size, flags, scheduler: service.scheduler as u16, gate };
        desired.services.insert(identity.key, value);
        let tracked = service.scheduler.is_tracked();
        recipes.insert(id, Recipe { seed, size: service.ring_size, tracked, members });
    }
    desired.tx_ports = allocation.tx_ports().to_vec();
    desired.rings = rings.build(recipes);
    let services: BTreeSet<u32> = desired.rings.keys().copied().collect();
    let reals: BTreeSet<u32> = desired.reals.keys().copied().collect();
    allocation.keep(&services, &reals);
    desired
}

/// Adds a service's reals; returns those that its ring is made of.
fn add_reals(
    model: &Model,
    allocation: &mut Allocation,
    service: &Service,
    id: u32,
    desired: &mut Desired,
) -> Vec<Member> {
    let mut members = Vec::new();
    for real in &service.reals {
        let address = mapped_address(real.address);
        let index = allocation.real(id, address);
        let usable = model.standing(service, real).is_usable();
        let mut entry = maps::Real {
            address,
            mac: [0; 6],
            source_mac: [0; 6],
            ifindex: 0,
            tx_port: 0,
            service: id,
            vlan: maps::Real::KEEP_VLAN,
            flags: maps::Real::IN_USE | if usable { maps::Real::USABLE } else { 0 },
            weight: real.weight,
        };
        if let Some(hop) = model.hop(real) {
            entry.mac = hop.mac;
            entry.source_mac = hop.source_mac;
            entry.ifindex = hop.ifindex;
            entry.tx_port = allocation.tx_port(hop.ifindex);
            entry.vlan = real.vlan.or(hop.vlan).unwrap_or(maps::Real::KEEP_VLAN);
            desired.returns.insert(ReturnKey { service: id, mac: hop.mac, reserved: [0; 2] });
        }
        desired.reals.insert(index, entry);
        // `rr` is plain: a weight only tells whether a real takes part.
        let weight = if service.scheduler == Scheduler::Rr { real.weight.min(1) } else { real.weight };
        if usable && weight > 0 {
            members.push(Member { address, weight, real: index });
        }
    }
    members
}

/// What a service's number in the maps stands for.
pub fn identity(service: &Service) -> ServiceIdentity {
    let flags = match service.scheduler {
        Scheduler::Mh => 0,
        Scheduler::Sh => maps::Service::BY_SOURCE,
        Scheduler::Rr | Scheduler::Wrr => maps::Service::TRACKED,
    };
    ServiceIdentity { key: key(service), ring_size: service.ring_size, flags }
}

/// A service's key in `services`.
pub fn key(service: &Service) -> ServiceKey {
    ServiceKey {
        address: mapped_address(service.address),
        port: service.port.unwrap_or(0).to_be_bytes(),
        protocol: protocol_number(service.protocol),
        reserved: 0,
    }
}

/// An address as the maps hold it.
pub fn mapped_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Rings {
    /// The rings of these recipes; only those that changed are built, on all CPUs.
    fn build(&mut self, recipes: BTreeMap<u32, Recipe>) -> BTreeMap<u32, RingContent> {
        self.built.retain(|id, _| recipes.contains_key(id));
        let stale: Vec<(u32, Recipe)> = recipes
            .into_iter()
            .filter(|(id, recipe)| self.built.get(id).is_none_or(|(built, _)| built != recipe))
            .collect();
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = stale.len().div_ceil(threads).max(1);
        let fresh: Vec<(u32, RingContent)> = thread::scope(|scope| {
            let parts: Vec<_> = stale
                .chunks(share)
                .map(|part| scope.spawn(|| part.iter().map(|(id, recipe)| (*id, content(recipe))).collect::<Vec<_>>()))
                .collect();
            parts.into_iter().filter_map(|part| part.join().ok()).flatten().collect()
        });
        for ((id, recipe), (_, content)) in stale.into_iter().zip(fresh) {
            self.built.insert(id, (recipe, content));
        }
        self.built.iter().map(|(id, (_, content))| (*id, content.clone())).collect()
    }
}

fn content(recipe: &Recipe) -> RingContent {
    let mut content = ring(recipe.seed, recipe.size, &recipe.members);
    let turns = if recipe.tracked { turns(&recipe.members) } else { Vec::new() };
    content.push(turns.len() as u32);
    content.extend(turns);
    Arc::new(content)
}
