//! From the model to the maps: what each shall hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::maps::{self, Address, Port, ReturnKey, ServiceKey, mapped};
use lb_common::ring::Member;

use crate::config::{Flows, Real, Scheduler, Service};
use crate::dataplane::{Desired, FlowTimes, Ring, Turns};
use crate::host::neighbour::Resolved;

use super::allocation::{Allocation, Kept, PoolName};
use super::gates::gates_by_vip;
use super::model::{Interface, Model, protocol_number, reals};

/// The maps that follow from the model.
pub fn plan(model: &Model, allocation: &mut Allocation) -> Desired {
    let seed = model.config.director.hash_seed;
    let mut desired = Desired {
        hash_seed: seed,
        timeouts: timeouts(model.config.flows),
        ports: model.interfaces.values().map(port).collect(),
        ..Desired::default()
    };
    let gates = gates_by_vip(&model.config, &model.gates);
    let mut kept = Kept::default();
    for service in &model.config.services {
        let key = key(service);
        let name = PoolName::Of(key);
        let all = reals(service, &model.draining);
        let addresses: BTreeSet<Address> = all.map(|real| mapped_address(real.address)).collect();
        let (reals, numbers) = allocation.pool(&name, &[key], &addresses);
        let members = add_reals(model, allocation, service, (reals.start, &numbers), &mut desired);
        desired.pools.entry(reals.start).or_default().room = reals.length;
        let ring = allocation.ring(&name, service.ring_size);
        let undecided = members.is_empty() && model.is_undecided(service);
        let flags = flags(service) | if undecided { maps::Service::UNDECIDED } else { 0 };
        let mut value = maps::Service {
            key,
            id: allocation.id(key),
            ring: ring.start,
            ring_size: service.ring_size,
            reals: reals.start,
            counters: allocation.counters(key, reals.length).start,
            room: reals.length,
            flags,
            scheduler: service.scheduler as u16,
            gate: gates.get(&service.address).copied().unwrap_or(0),
            ..maps::Service::FREE
        };
        if service.scheduler.is_tracked() {
            let turns = Turns::new(turning(service, &members));
            let range = allocation.turns(key, turns.words());
            value.turns = range.start;
            desired.turns.insert(range.start, turns);
        }
        desired.rings.insert(ring.start, Ring { pool: reals.start, seed, size: service.ring_size, members });
        desired.services.insert(key, value);
        kept.services.insert(key);
        kept.pools.insert(name, (BTreeSet::from([service.ring_size]), addresses));
    }
    kept.interfaces = desired.tx_ports.values().copied().collect();
    allocation.keep(&kept);
    desired
}

/// How long flows are remembered.
fn timeouts(Flows { tcp, udp, opening, closing }: Flows) -> FlowTimes {
    FlowTimes { tcp, udp, opening, closing }
}

/// An interface's entry. The VLANs that are ours there are those that this host has devices for, as for its own stack;
/// [`add_vlans`] adds to them.
fn port(interface: &Interface) -> Port {
    let vlans = interface.vlans.iter().copied().collect();
    Port { ifindex: interface.index, mac: interface.mac, reserved: [0; 2], vlans }
}

/// Adds a service's reals to their pool; returns those that its ring is made of.
fn add_reals(
    model: &Model,
    allocation: &mut Allocation,
    service: &Service,
    (pool, numbers): (u32, &BTreeMap<Address, u16>),
    desired: &mut Desired,
) -> Vec<Member> {
    let mut members = Vec::new();
    let mut entries = BTreeMap::new();
    for real in reals(service, &model.draining) {
        let address = mapped_address(real.address);
        let Some(&number) = numbers.get(&address) else { continue };
        let standing = model.standing(service, real);
        let (usable, weight) =
            (standing.is_usable(), if standing.takes_new() { model.weight(service, real) } else { 0 });
        let mut entry = maps::Real {
            address,
            mac: [0; 6],
            source_mac: [0; 6],
            ifindex: 0,
            tx_port: 0,
            pool,
            vlan: maps::Real::KEEP_VLAN,
            flags: maps::Real::IN_USE | if usable { maps::Real::USABLE } else { 0 },
            weight,
        };
        if let Some(hop) = model.hop(real) {
            entry.mac = hop.mac;
            entry.source_mac = hop.source_mac;
            entry.ifindex = hop.ifindex;
            entry.tx_port = allocation.tx_port(hop.ifindex);
            desired.tx_ports.insert(entry.tx_port, hop.ifindex);
            entry.vlan = real.vlan.or(hop.vlan).unwrap_or(maps::Real::KEEP_VLAN);
            if let Some(port) = desired.ports.iter_mut().find(|port| port.ifindex == hop.ifindex) {
                add_vlans(port, real, &hop);
            }
            desired.returns.insert(ReturnKey { pool, mac: hop.mac, reserved: [0; 2] });
        }
        entries.insert(number, entry);
        if weight > 0 {
            members.push(Member { address, weight, real: number });
        }
    }
    desired.pools.entry(pool).or_default().reals = entries;
    members
}

/// Who takes turns: `rr` is plain, a weight only tells whether a real takes part.
fn turning(service: &Service, members: &[Member]) -> Vec<Member> {
    let plain = |member: &Member| Member { weight: member.weight.min(1), ..*member };
    match service.scheduler {
        Scheduler::Rr => members.iter().map(plain).collect(),
        _ => members.to_vec(),
    }
}

/// Adds the VLANs that a real makes ours on its interface: its own, and where its `vlan` says that frames change theirs
/// on the way, every one, since nothing names those that clients are in.
fn add_vlans(port: &mut Port, real: &Real, hop: &Resolved) {
    if real.vlan.is_some() {
        port.vlans = maps::Vlans::ALL;
    }
    port.vlans.extend(hop.vlan);
}

/// A service's flags in the maps.
fn flags(service: &Service) -> u16 {
    match service.scheduler {
        Scheduler::Mh => 0,
        Scheduler::Sh => maps::Service::BY_SOURCE,
        Scheduler::Rr | Scheduler::Wrr => maps::Service::TRACKED,
    }
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
