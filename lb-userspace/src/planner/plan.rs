//! From the model to the maps: what each shall hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use lb_common::maps::{self, Address, Port, ReturnKey, ServiceKey, mapped};
use lb_common::ring::{MAX_TURNS, Member};

use crate::config::{Flows, Persistence, Protocol, Real, Scheduler, Service, Vip};
use crate::dataplane::{Desired, FlowTimes, Ring, Turns, ticks};
use crate::host::neighbour::Resolved;

use super::allocation::{Allocation, Kept, Part, PoolName};
use super::fleet::{Share, WHOLE, starts_slowly};
use super::gates::gates_by_vip;
use super::model::{Interface, Model, protocol_number, reals};

/// The maps that follow from the model.
pub fn plan(model: &Model, allocation: &mut Allocation) -> Desired {
    let seed = model.config.director.hash_seed;
    let named = model.config.director.vlans.as_ref();
    let mut desired = Desired {
        hash_seed: seed,
        timeouts: timeouts(model.config.flows),
        ports: model.interfaces.values().flat_map(|interface| ports(interface, named)).collect(),
        ..Desired::default()
    };
    let gates = gates_by_vip(&model.config, &model.gates);
    let duties = duties(model);
    let mut kept = Kept::default();
    let mut pools: BTreeMap<PoolName, Vec<(ServiceKey, &Service)>> = BTreeMap::new();
    for service in &model.config.services {
        pools.entry(PoolName::of(service)).or_default().push((key(service), service));
    }
    for Part { group, services, .. } in allocation.groups(pools) {
        let Some((_, first)) = services.first().copied() else { continue };
        let reals = reals(first, &model.draining);
        let addresses: BTreeSet<Address> = reals.map(|real| mapped_address(real.address)).collect();
        let (reals, numbers) = allocation.reals(group, &addresses);
        let shares = add_reals(model, allocation, first, (reals.start, &numbers), &mut desired);
        desired.pools.entry(reals.start).or_default().room = reals.length;
        let members: Vec<Member> = shares.iter().map(|(member, _)| *member).collect();
        let undecided = members.is_empty() && model.is_undecided(first);
        let mut sizes = BTreeSet::new();
        for (key, service) in services {
            let size = service.ring_size;
            let ring = allocation.ring(group, size);
            if sizes.insert(size) {
                let members = members.clone();
                let pool = reals.start;
                let new = Ring { pool, seed, size, members, in_use: false, taken: None, holds: false };
                desired.rings.insert(ring.start, new);
            }
            // It is in use where one of those who share it is.
            if let Some(ring) = desired.rings.get_mut(&ring.start) {
                ring.in_use |= duties.get(&service.address).copied().unwrap_or(!model.fresh);
                if ring.in_use {
                    ring.taken = None;
                } else if ring.taken.is_none() {
                    ring.taken = model.theirs.words(key, size, &numbers);
                }
                if let Some(taken) = &mut ring.taken {
                    taken.loose |= !service.scheduler.is_tracked() && model.theirs.tracks(key);
                }
                ring.holds = !ring.in_use && ring.taken.is_none() && model.config.peers.is_some();
            }
            let mut value = maps::Service {
                key,
                id: allocation.id(key),
                ring: ring.start,
                ring_size: size,
                reals: reals.start,
                counters: allocation.counters(key, reals.length).start,
                room: reals.length,
                flags: flags(service) | if undecided { maps::Service::UNDECIDED } else { 0 },
                scheduler: service.scheduler as u16,
                gate: gates.get(&service.address).copied().unwrap_or(0),
                ..maps::Service::FREE
            };
            if let Some(persistence) = &service.persistence {
                (value.group, value.persistence) = (group_of(&key, persistence), kept_for(service, persistence));
            }
            if service.scheduler.is_tracked() {
                let turns = turns(service, &shares);
                let range = allocation.turns(key, turns.words().max(most_turns(service)));
                value.turns = range.start;
                desired.turns.insert(range.start, turns);
            }
            desired.services.insert(key, value);
            kept.services.insert(key);
        }
        kept.groups.insert(group, (sizes, addresses));
    }
    kept.interfaces = desired.tx_ports.values().copied().collect();
    allocation.keep(&kept);
    desired.copies = allocation.copies();
    desired
}

/// What a service asks of the packet path.
fn flags(service: &Service) -> u16 {
    let persistent = if service.persistence.is_some() { maps::Service::PERSISTENT } else { 0 };
    service.scheduler.flags() | service.udp.flags() | persistent
}

/// What tells a service's templates from those of other services of its VIP: its group's word, or its own port and protocol. These never
/// have the first bit.
fn group_of(key: &ServiceKey, persistence: &Persistence) -> u32 {
    let Some(group) = &persistence.group else { return key.tail() };
    // FNV-1a: every director and every version finds the same.
    let hash = group.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1 << 31 | hash
}

fn kept_for(service: &Service, persistence: &Persistence) -> u32 {
    let mapped = if service.address.is_ipv4() { 96 } else { 0 };
    maps::Service::persistent(ticks(persistence.time), mapped + u32::from(persistence.prefix))
}

/// How long flows are remembered.
fn timeouts(Flows { tcp, udp, opening, closing }: Flows) -> FlowTimes {
    FlowTimes { tcp, udp, opening, closing }
}

/// Whose the VIPs of virtual routers are ([`Model::has_duty`]).
fn duties(model: &Model) -> HashMap<IpAddr, bool> {
    let vips = model.config.vrrp.iter().flat_map(|router| &router.addresses).map(Vip::addr);
    vips.map(|vip| (vip, model.has_duty(vip))).collect()
}

/// An interface's entries: its own, and those of the slaves of a bond, on which the program runs. The VLANs that are ours
/// there are those that this host has devices for, as for its own stack, and the named ones; [`add_vlans`] adds to them.
fn ports(interface: &Interface, named: Option<&BTreeSet<u16>>) -> impl Iterator<Item = Port> {
    let vlans: maps::Vlans = interface.vlans.iter().chain(named.into_iter().flatten()).copied().collect();
    let indices = std::iter::once(interface.index).chain(interface.slaves.iter().copied());
    indices.map(move |ifindex| Port { ifindex, mac: interface.mac, reserved: [0; 2], vlans })
}

/// Who takes the new connections of a tracked service.
fn turns(service: &Service, shares: &[(Member, Share)]) -> Turns {
    // Those who don't look at weights look at how far a real has come.
    let (scheduler, plain) = match service.scheduler {
        Scheduler::Rr if starts_slowly(service) => (Scheduler::Wrr, true),
        Scheduler::Lc if starts_slowly(service) => (Scheduler::Wlc, true),
        other => (other, false),
    };
    let weight = |share: &Share| if plain { share.tenths } else { share.turns };
    let members = shares.iter().map(|(member, share)| Member { weight: weight(share), ..*member });
    Turns::new(scheduler, &members.collect::<Vec<_>>())
}

/// Words that its turns may need while reals start slowly: there is room for them before they do, or the configuration is refused.
fn most_turns(service: &Service) -> u32 {
    if !starts_slowly(service) {
        return 0;
    }
    let weight = |real: &Real| if service.scheduler.is_plain() { 1 } else { u64::from(real.weight) };
    let turns = service.reals.iter().map(weight).sum::<u64>() * u64::from(WHOLE);
    u32::try_from(turns).unwrap_or(u32::MAX).min(MAX_TURNS as u32).saturating_add(1)
}

/// Adds the reals of a pool, of which this is a service; returns those that its rings are made of.
fn add_reals(
    model: &Model,
    allocation: &mut Allocation,
    service: &Service,
    (pool, numbers): (u32, &BTreeMap<Address, u16>),
    desired: &mut Desired,
) -> Vec<(Member, Share)> {
    let mut members = Vec::new();
    let mut entries = BTreeMap::new();
    for real in reals(service, &model.draining) {
        let address = mapped_address(real.address);
        let Some(&number) = numbers.get(&address) else { continue };
        let share = model.share(service, real);
        let mut entry = maps::Real {
            address,
            mac: [0; 6],
            source_mac: [0; 6],
            ifindex: 0,
            tx_port: 0,
            pool,
            vlan: maps::Real::KEEP_VLAN,
            flags: 0,
            weight: 0,
        };
        (entry.flags, entry.weight) = standing(model, service, real, share);
        if let Some(hop) = model.hop(real) {
            entry.mac = hop.mac;
            entry.source_mac = hop.source_mac;
            entry.ifindex = hop.ifindex;
            entry.tx_port = allocation.tx_port(hop.ifindex);
            desired.tx_ports.insert(entry.tx_port, hop.ifindex);
            entry.vlan = real.vlan.or(hop.vlan).unwrap_or(maps::Real::KEEP_VLAN);
            let named = model.config.director.vlans.is_some();
            if let Some(interface) = model.interfaces.values().find(|interface| interface.has(hop.ifindex)) {
                let ports = desired.ports.iter_mut().filter(|port| interface.has(port.ifindex));
                ports.for_each(|port| add_vlans(port, named, real, &hop));
            }
            desired.returns.insert(ReturnKey { pool, mac: hop.mac, reserved: [0; 2] });
        }
        entries.insert(number, entry);
        if share.takes_new() {
            members.push((Member { address, weight: share.ring, real: number }, share));
        }
    }
    desired.pools.entry(pool).or_default().reals = entries;
    members
}

/// Flags and weight of a real that gets this share.
pub(super) fn standing(model: &Model, service: &Service, real: &Real, share: Share) -> (u16, u32) {
    let usable = if share.usable { maps::Real::USABLE } else { 0 };
    (maps::Real::IN_USE | usable, if share.takes_new() { model.weight(service, real) } else { 0 })
}

/// Adds the VLANs that a real makes ours on its interface: its own, and where its `vlan` says that frames change theirs
/// on the way, every one, unless those that clients are in are named.
fn add_vlans(port: &mut Port, named: bool, real: &Real, hop: &Resolved) {
    if real.vlan.is_some() && !named {
        port.vlans = maps::Vlans::ALL;
    }
    port.vlans.extend(hop.vlan);
}

/// A service's key in `services`.
pub fn key(service: &Service) -> ServiceKey {
    key_of(service.address, service.protocol, service.port)
}

/// The key of a service with this VIP, protocol and port (`None` for any).
pub fn key_of(vip: IpAddr, protocol: Protocol, port: Option<u16>) -> ServiceKey {
    ServiceKey {
        address: mapped_address(vip),
        port: port.unwrap_or(0).to_be_bytes(),
        protocol: protocol_number(protocol),
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

#[cfg(test)]
mod tests;
