//! Maps that follow from models.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::config::{Config, parse};
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

const ROOM: crate::dataplane::Room = crate::dataplane::Room { services: 16, reals: 64, slots: 1 << 20 };

fn planned(model: &Model) -> Desired {
    plan(model, &mut Allocation::adopt(&Adopted::default(), ROOM))
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
fn a_real_s_vlan_makes_every_one_ours_unless_the_clients_are_named() {
    let cases = [
        ("", "", [5, 9].into_iter().collect()),
        ("", ", vlan = 7", maps::Vlans::ALL),
        ("vlans = [20, 21]\n", "", [5, 9, 20, 21].into_iter().collect()),
        ("vlans = [20, 21]\n", ", vlan = 7", [5, 9, 20, 21].into_iter().collect()),
    ];
    for (named, own, expected) in cases {
        let mut model = model(Hook::Native, HOP);
        let text = format!(
            "[director]\ninterfaces = [\"bond0\"]\n{named}[service.a]\naddress = \"192.0.2.1:80\"\n\
             protocol = \"tcp\"\nreals = [{{ address = \"192.0.2.40\"{own} }}]\n"
        );
        let config = parse(Path::new("lb.toml"), &text).unwrap().config;
        model.set_config(Arc::new(config), SystemTime::UNIX_EPOCH);
        let ports = planned(&model).ports;
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| port.vlans == expected), "{named}{own}");
    }
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

/// Two services of a pool with these reals, and one with the same of its own.
fn pooled(reals: &[u8]) -> Config {
    let reals: Vec<String> = reals
        .iter()
        .map(|real| format!("{{ address = \"192.0.2.{real}\", mac = \"02:00:00:00:00:{real:02}\" }}"))
        .collect();
    let reals = reals.join(", ");
    let service = |name: &str, port: u16, rest: &str| {
        format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{rest}\n")
    };
    let text = format!("[director]\ninterfaces = [\"bond0\"]\n[pool.p]\nreals = [{reals}]\n")
        + &service("a", 80, "pool = \"p\"")
        + &service("b", 443, "pool = \"p\"\nscheduler = \"rr\"")
        + &service("c", 81, &format!("reals = [{reals}]"))
        + &service("d", 82, "pool = \"p\"\nring_size = 251");
    parse(Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{}", error.render(false))).config
}

#[test]
fn services_of_a_pool_share_its_reals_and_a_ring_of_each_size() {
    let mut model = model(Hook::Native, HOP);
    model.set_config(Arc::new(pooled(&[40, 50])), SystemTime::UNIX_EPOCH);
    let room = crate::dataplane::Room { slots: 1 << 24, ..ROOM };
    let mut allocation = Allocation::adopt(&Adopted::default(), room);
    let before = plan(&model, &mut allocation);
    let of = |desired: &Desired, name: usize| desired.services[&key(&model.config.services[name])];
    let [a, b, c, d] = [0, 1, 2, 3].map(|service| of(&before, service));
    assert_eq!((a.reals, a.ring), (b.reals, b.ring));
    assert_eq!(a.reals, d.reals);
    assert!(a.reals != c.reals && a.ring != c.ring && a.ring != d.ring);
    assert_eq!((before.pools.len(), before.rings.len()), (2, 3));
    let counters: BTreeSet<u32> = [a, b, c, d].iter().map(|service| service.counters).collect();
    assert_eq!(counters.len(), 4, "each has its own");
    assert!(b.flags & maps::Service::TRACKED != 0 && a.flags & maps::Service::TRACKED == 0);

    // A real joins: the pool and its rings change, and no service.
    let mut more = pooled(&[40, 50, 60]);
    more.services.retain(|service| service.name != "c");
    model.set_config(Arc::new(more), SystemTime::UNIX_EPOCH);
    let after = plan(&model, &mut allocation);
    assert!(after.services.iter().all(|(key, service)| before.services.get(key) == Some(service)));
    assert_eq!(after.rings[&a.ring].members.len(), 3);
    assert_eq!(after.pools[&a.reals].reals.len(), 3);

    // It leaves again, and drains in the pool, once.
    model.set_config(Arc::new(pooled(&[40, 50])), SystemTime::UNIX_EPOCH);
    assert_eq!(model.draining.all().count(), 1);
    let drained = plan(&model, &mut allocation);
    assert_eq!((drained.rings[&a.ring].members.len(), drained.pools[&a.reals].reals.len()), (2, 3));
    let named = std::collections::HashSet::new();
    assert!(model.draining.end(&model.config, &drained, &named, SystemTime::now()));
    assert!(model.draining.is_empty());
}

#[test]
fn a_service_takes_its_numbers_and_rings_along_from_pool_to_pool() {
    let mut model = model(Hook::Native, HOP);
    let apart = |names: &[&str]| {
        let mut config = pooled(&[40, 50]);
        for service in config.services.iter_mut().filter(|service| names.contains(&service.name.as_str())) {
            service.pool = None;
        }
        Arc::new(config)
    };
    let room = crate::dataplane::Room { slots: 1 << 24, ..ROOM };
    let mut allocation = Allocation::adopt(&Adopted::default(), room);
    let plan_of = |names: &[&str], allocation: &mut Allocation, model: &mut Model| {
        model.set_config(apart(names), SystemTime::UNIX_EPOCH);
        let desired = plan(model, allocation);
        let [a, b] = [0, 1].map(|service| desired.services[&key(&model.config.services[service])]);
        (desired, a, b)
    };
    let (before, a, b) = plan_of(&["c"], &mut allocation, &mut model);
    assert_eq!((a.reals, a.ring), (b.reals, b.ring));
    // It leaves, with a copy of the ring and with the same numbers.
    let (left, still, own) = plan_of(&["b", "c"], &mut allocation, &mut model);
    assert_eq!(still, a);
    assert!(own.reals != a.reals && own.ring != a.ring && own.counters == b.counters);
    assert_eq!(left.copies.get(&own.ring), Some(&a.ring));
    let numbers = |desired: &Desired, pool: u32| {
        desired.pools[&pool].reals.iter().map(|(number, real)| (*number, real.address)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&left, own.reals), numbers(&before, a.reals));
    // It is back, and has its own until the rings are found equal.
    let (_, _, back) = plan_of(&["c"], &mut allocation, &mut model);
    assert_eq!(back, own);
    let pairs = allocation.pairs();
    assert_eq!(pairs.iter().map(|pair| pair.rings.clone()).collect::<Vec<_>>(), [[(a.ring, own.ring, a.ring_size)]]);
    pairs.iter().for_each(|pair| allocation.join(pair));
    let (joined, _, with) = plan_of(&["c"], &mut allocation, &mut model);
    assert_eq!((with.reals, with.ring, with.counters), (a.reals, a.ring, b.counters));
    assert!(joined.copies.is_empty() && joined.rings.len() == before.rings.len());
}

#[test]
fn a_pools_ring_is_in_use_where_one_of_its_services_is() {
    let mut config = pooled(&[40]);
    config.services[1].address = "192.0.2.2".parse().unwrap();
    let text = "[director]\ninterfaces = [\"bond0\"]\n[vrrp.x]\ninterface = \"bond0\"\nid = 1\n\
                addresses = [\"192.0.2.1/24\"]\n[vrrp.y]\ninterface = \"bond0\"\nid = 2\naddresses = [\"192.0.2.2/24\"]\n";
    config.vrrp = parse(Path::new("lb.toml"), text).unwrap().config.vrrp;
    let ring = key(&config.services[0]);
    let mut model = Model::new(Arc::new(config), BTreeMap::new(), SystemTime::UNIX_EPOCH);
    for (x, y, used) in [(false, false, false), (true, false, true), (false, true, true)] {
        model.set_duty("x".to_owned(), x);
        model.set_duty("y".to_owned(), y);
        let desired = planned(&model);
        assert_eq!(desired.rings[&desired.services[&ring].ring].in_use, used);
    }
}
