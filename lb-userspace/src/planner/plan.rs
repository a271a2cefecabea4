//! From the model to the maps: what each shall hold.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::maps::{self, Address, Port, ReturnKey, ServiceKey, mapped};
use lb_common::ring::Member;

use crate::config::{Real, Scheduler, Service};
use crate::dataplane::{Desired, Ring};
use crate::host::neighbour::Resolved;

use super::allocation::{Allocation, ServiceIdentity};
use super::gates::gates_by_vip;
use super::model::{Interface, Model, protocol_number};

/// The maps that follow from the model.
pub fn plan(model: &Model, allocation: &mut Allocation) -> Desired {
    let seed = model.config.director.hash_seed;
    let mut desired =
        Desired { hash_seed: seed, ports: model.interfaces.values().flat_map(ports).collect(), ..Desired::default() };
    let gates = gates_by_vip(&model.config, &model.gates);
    for service in &model.config.services {
        let identity = identity(service);
        let id = allocation.service(identity);
        let members = add_reals(model, allocation, service, id, &mut desired);
        let ServiceIdentity { ring_size, flags, .. } = identity;
        let gate = gates.get(&service.address).copied().unwrap_or(0);
        let undecided = members.is_empty() && model.is_undecided(service);
        let flags = flags | if undecided { maps::Service::UNDECIDED } else { 0 };
        let value = maps::Service { id, ring_size, flags, scheduler: service.scheduler as u16, gate };
        desired.services.insert(identity.key, value);
        let tracked = service.scheduler.is_tracked();
        desired.rings.insert(id, Ring { seed, size: service.ring_size, tracked, members });
    }
    let services: BTreeSet<u32> = desired.rings.keys().copied().collect();
    let reals: BTreeSet<u32> = desired.reals.keys().copied().collect();
    let tx_ports: BTreeSet<u32> = desired.tx_ports.keys().copied().collect();
    allocation.keep(&services, &reals, &tx_ports);
    desired
}

/// An interface's entries: its own, and those of the slaves of a bond, on which the program runs. The VLANs that are ours
/// there are those that this host has devices for, as for its own stack; [`add_vlans`] adds to them.
fn ports(interface: &Interface) -> impl Iterator<Item = Port> {
    let vlans: maps::Vlans = interface.vlans.iter().copied().collect();
    let indices = std::iter::once(interface.index).chain(interface.slaves.iter().copied());
    indices.map(move |ifindex| Port { ifindex, mac: interface.mac, reserved: [0; 2], vlans })
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
            desired.tx_ports.insert(entry.tx_port, hop.ifindex);
            entry.vlan = real.vlan.or(hop.vlan).unwrap_or(maps::Real::KEEP_VLAN);
            if let Some(interface) = model.interfaces.values().find(|interface| interface.has(hop.ifindex)) {
                let ports = desired.ports.iter_mut().filter(|port| interface.has(port.ifindex));
                ports.for_each(|port| add_vlans(port, real, &hop));
            }
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

/// Adds the VLANs that a real makes ours on its interface: its own, and where its `vlan` says that frames change theirs
/// on the way, every one, since nothing names those that clients are in.
fn add_vlans(port: &mut Port, real: &Real, hop: &Resolved) {
    if real.vlan.is_some() {
        port.vlans = maps::Vlans::ALL;
    }
    port.vlans.extend(hop.vlan);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::config::parse;
    use crate::dataplane::{Adopted, Hook};
    use crate::host::neighbour::NeighbourEvent;
    use crate::planner::model::Standing;

    /// A model of one service and one real, which is reached so, behind a bond that has the program there.
    fn model(mode: Hook, hop: Resolved) -> Model {
        let text = "[director]\ninterfaces = [\"bond0\"]\n[service.a]\naddress = \"192.0.2.1:80\"\n\
                    protocol = \"tcp\"\nreals = [{ address = \"192.0.2.40\" }]\n";
        let config = parse(Path::new("lb.toml"), text).unwrap().config;
        let bond = Interface {
            name: "bond0".to_owned(),
            device: "bond0".to_owned(),
            index: 7,
            mac: [2; 6],
            mode,
            vlans: BTreeSet::from([5]),
            slaves: BTreeSet::from([3, 4]),
        };
        let interfaces = BTreeMap::from([("bond0".to_owned(), bond)]);
        let mut model = Model::new(Arc::new(config), interfaces, SystemTime::UNIX_EPOCH);
        let address = model.config.services[0].reals[0].address;
        let event = NeighbourEvent { address, state: Some(hop), why: String::new() };
        model.set_hop(event, SystemTime::UNIX_EPOCH);
        model
    }

    fn planned(model: &Model) -> Desired {
        plan(model, &mut Allocation::adopt(&Adopted::default(), 16, 16))
    }

    const HOP: Resolved = Resolved { mac: [4; 6], ifindex: 4, source_mac: [2; 6], vlan: Some(9), by_kernel: false };

    #[test]
    fn frames_that_come_in_by_a_bonds_slaves_are_ours() {
        let desired = planned(&model(Hook::Native, HOP));
        let vlans: maps::Vlans = [5, 9].into_iter().collect();
        let port = |ifindex| Port { ifindex, mac: [2; 6], reserved: [0; 2], vlans };
        assert_eq!(desired.ports, [port(7), port(3), port(4)]);
    }

    #[test]
    fn native_xdp_sends_by_no_bridge_as_a_whole() {
        let hop = Resolved { ifindex: 20, by_kernel: true, ..HOP };
        for (mode, sends) in [(Hook::Native, false), (Hook::Tc, true)] {
            let model = model(mode, hop);
            let members = planned(&model).rings.into_values().map(|ring| ring.members.len()).sum::<usize>();
            assert_eq!(members, usize::from(sends));
            let service = &model.config.services[0];
            match model.standing(service, &service.reals[0]) {
                Standing::Down { why, .. } => assert!(!sends && why.contains("can't send by a bridge"), "{why}"),
                standing => assert!(sends && standing.is_usable()),
            }
        }
    }
}
