//! What the maps hold of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::dataplane::{Adopted, Desired, Room};
use crate::health::{Failure, Health};
use crate::peers::Told;
use crate::peers::state::{Kind, ServiceId};
use crate::planner::allocation::Allocation;
use crate::planner::model::probes;
use crate::planner::model::tests::eth1;
use crate::planner::plan::{key, plan};
use crate::planner::told::{members, shared_id};

/// A pool of four reals of weight 1 and 2 by turns, with these rules, for services of `mh` and others; one of `wrr` has reals of its own.
struct Scene {
    model: Model,
    allocation: Allocation,
    start: Instant,
}

impl Scene {
    fn new(rules: &str) -> Self {
        let real = |last: u8| {
            format!("{{ address = \"192.0.2.{last}\", mac = \"02:00:00:00:00:{last:02}\", weight = {} }}", 1 + last % 2)
        };
        let reals = (40..44).map(real).collect::<Vec<_>>().join(", ");
        let side = format!("check = {{ type = \"tcp\", port = 80 }}\nfleet = {{ {rules} }}\nreals = [{reals}]\n");
        let service = |port: u16, scheduler: &str, rest: &str| {
            format!(
                "[service.{scheduler}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\nscheduler = \"{scheduler}\"\nring_size = 4093\n{rest}\n"
            )
        };
        let of = "pool = \"p\"";
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n[pool.p]\n{side}")
            + &service(80, "mh", of)
            + &service(81, "rr", of)
            + &service(82, "wlc", of)
            + &service(83, "wrr", &side);
        let loaded = crate::config::parse(Path::new("lb.toml"), &text);
        let config = loaded.unwrap_or_else(|error| panic!("{}", error.render(false))).config;
        let interfaces = BTreeMap::from([("eth1".to_owned(), eth1())]);
        let model = Model::new(Arc::new(config), interfaces, SystemTime::UNIX_EPOCH);
        let room = Room { services: 16, reals: 64, slots: 1 << 20 };
        let mut scene = Self { model, allocation: Allocation::adopt(&Adopted::default(), room), start: Instant::now() };
        (40..44).for_each(|last| scene.set(last, true));
        scene.at(0);
        scene
    }

    fn set(&mut self, last: u8, up: bool) {
        let since = SystemTime::UNIX_EPOCH;
        let down = || Health::Down { since, failure: Failure::Wrong, reason: "status 503".to_owned() };
        let config = self.model.config.clone();
        for service in &config.services {
            let real = service.reals.iter().find(|real| real.address == std::net::IpAddr::from([192, 0, 2, last]));
            for target in probes(service, real.unwrap()) {
                self.model.set_health(target, if up { Health::Up { since } } else { down() });
            }
        }
    }

    fn at(&mut self, second: u64) -> Desired {
        self.model.follow_fleets(self.start + Duration::from_secs(second));
        plan(&self.model, &mut self.allocation)
    }

    fn service(&self, name: &str) -> &Service {
        self.model.config.services.iter().find(|service| service.name == name).unwrap()
    }

    /// The weights of a service's ring, and how often each real is in its turns or what weight it has there, by the real's last byte.
    fn shares(&self, desired: &Desired, name: &str) -> (BTreeMap<u8, u32>, BTreeMap<u8, u32>) {
        let placed = &desired.services[&key(self.service(name))];
        let last = |number: u16| desired.real(placed.reals, number).unwrap().address[15];
        let ring = desired.rings[&placed.ring].members.iter().map(|member| (member.address[15], member.weight));
        let mut turns = BTreeMap::new();
        let weighs = matches!(name, "wlc" | "lc");
        for entry in desired.turns.get(&placed.turns).into_iter().flat_map(|turns| turns.entries()) {
            *turns.entry(last(*entry as u16)).or_default() += if weighs { entry >> 16 } else { 1 };
        }
        (ring.collect(), turns)
    }
}

#[test]
fn a_slow_start_is_in_slots_and_turns() {
    let mut scene = Scene::new("slow_start = \"10s\"");
    let whole = BTreeMap::from([(40, 10), (41, 20), (42, 10), (43, 20)]);
    let desired = scene.at(1);
    for (name, turns) in [
        ("mh", BTreeMap::new()),
        ("rr", BTreeMap::from([(40, 1), (41, 1), (42, 1), (43, 1)])),
        ("wlc", whole.clone()),
        ("wrr", BTreeMap::from([(40, 1), (41, 2), (42, 1), (43, 2)])),
    ] {
        assert_eq!(scene.shares(&desired, name), (whole.clone(), turns), "{name}");
    }
    let places: Vec<_> = desired.services.values().map(|service| (service.ring, service.turns)).collect();
    scene.set(41, false);
    scene.at(2);
    scene.set(41, true);
    scene.at(3);
    let desired = scene.at(6);
    let begins = BTreeMap::from([(40, 10), (41, 8), (42, 10), (43, 20)]);
    for (name, ring, turns) in [
        ("mh", &begins, BTreeMap::new()),
        // One ring of the pool, and turns that look at no weight.
        ("rr", &begins, BTreeMap::from([(40, 5), (41, 2), (42, 5), (43, 5)])),
        ("wlc", &begins, begins.clone()),
        // Nobody goes by the ring of this one.
        ("wrr", &whole, BTreeMap::from([(40, 5), (41, 4), (42, 5), (43, 10)])),
    ] {
        assert_eq!(scene.shares(&desired, name), (ring.clone(), turns), "{name}");
    }
    let same: Vec<_> = desired.services.values().map(|service| (service.ring, service.turns)).collect();
    assert_eq!(same, places, "there was room for more turns before they were needed");
    assert_eq!(scene.model.fleets.due(), Some(scene.start + Duration::from_secs(7)));
    let rings = |desired: &Desired| desired.rings.clone();
    let (before, after) = (scene.at(13), scene.at(60));
    assert_eq!(rings(&before), rings(&after), "the end of a slow start changes no slot");
}

/// Each slot is given from one real to another as often as it must.
#[test]
fn a_slow_start_moves_little_more_than_a_start_at_once() {
    let mut scene = Scene::new("slow_start = \"10s\"");
    let slots = |scene: &Scene, desired: &Desired| {
        let placed = &desired.services[&key(scene.service("mh"))];
        desired.rings[&placed.ring].targets()
    };
    let moved = |one: &[u16], other: &[u16]| one.iter().zip(other).filter(|(one, other)| one != other).count();
    scene.set(41, false);
    let without = scene.at(1);
    let without = slots(&scene, &without);
    scene.set(41, true);
    let (mut held, mut sum) = (without.clone(), 0);
    for second in 2..13 {
        let desired = scene.at(second);
        let next = slots(&scene, &desired);
        sum += moved(&held, &next);
        held = next;
    }
    let at_once = moved(&without, &held);
    assert!(sum < at_once * 3 / 2, "{sum} in steps, {at_once} at once");
}

#[test]
fn a_sorry_server_has_its_slots_while_it_stands_in() {
    let sorry = "sorry = { address = \"192.0.2.99\", mac = \"02:00:00:00:00:99\" }, quorum = 5, slow_start = \"10s\"";
    let mut scene = Scene::new(sorry);
    let of = |scene: &Scene, desired: &Desired, name: &str| {
        let placed = &desired.services[&key(scene.service(name))];
        let pool = &desired.pools[&placed.reals];
        let real = pool.reals.values().find(|real| real.address[15] == 99).unwrap();
        (real.weight, real.flags & lb_common::maps::Real::USABLE != 0, scene.shares(desired, name))
    };
    let whole = BTreeMap::from([(40, 10), (41, 20), (42, 10), (43, 20)]);
    let desired = scene.at(1);
    assert_eq!(of(&scene, &desired, "mh"), (0, true, (whole.clone(), BTreeMap::new())));
    scene.set(41, false);
    let desired = scene.at(2);
    assert_eq!(of(&scene, &desired, "mh"), (1, true, (BTreeMap::from([(99, 10)]), BTreeMap::new())));
    assert_eq!(of(&scene, &desired, "rr").2.1, BTreeMap::from([(99, 1)]));
    let placed = &desired.services[&key(scene.service("mh"))];
    let usable =
        desired.pools[&placed.reals].reals.values().filter(|real| real.flags & lb_common::maps::Real::USABLE != 0);
    assert_eq!(usable.count(), 5, "all keep their connections, the one whose answers are wrong too");
    scene.set(41, true);
    let desired = scene.at(3);
    let begins = BTreeMap::from([(40, 10), (41, 2), (42, 10), (43, 20)]);
    assert_eq!(of(&scene, &desired, "mh"), (0, true, (begins, BTreeMap::new())));
}

#[test]
fn in_a_panic_all_that_can_be_reached_are_in() {
    let mut scene = Scene::new("panic_below = 50");
    (41..44).for_each(|last| scene.set(last, false));
    let desired = scene.at(1);
    let all = BTreeMap::from([(40, 1), (41, 2), (42, 1), (43, 2)]);
    assert_eq!(scene.shares(&desired, "mh").0, all);
    assert_eq!(scene.shares(&desired, "wrr"), (all.clone(), all));
}

/// A director that doesn't have the VIP makes the ring of what it is told.
#[test]
fn peers_are_told_what_rings_are_made_of() {
    let sorry = "sorry = { address = \"192.0.2.99\", mac = \"02:00:00:00:00:99\" }, quorum = 4, slow_start = \"10s\"";
    let steps: [(&[u8], &[u8]); 4] = [(&[], &[41]), (&[41], &[]), (&[], &[41, 43]), (&[41, 43], &[])];
    for rules in [sorry, "panic_below = 75, slow_start = \"10s\"", "slow_start = \"10s\""] {
        let mut scene = Scene::new(rules);
        for (second, (up, down)) in (1..).zip(steps) {
            up.iter().for_each(|last| scene.set(*last, true));
            down.iter().for_each(|last| scene.set(*last, false));
            let desired = scene.at(second * 3);
            for name in ["mh", "rr", "wrr"] {
                let service = scene.service(name);
                let placed = &desired.services[&key(service)];
                let ring = &desired.rings[&placed.ring];
                let pool = &desired.pools[&placed.reals];
                let numbers = pool.reals.iter().map(|(number, real)| (real.address, *number)).collect();
                let (peer, mut theirs) = ("192.0.2.3:8849".parse().unwrap(), crate::planner::theirs::Theirs::default());
                let id = shared_id(&placed.key);
                let of = |_: &ServiceId| placed.key;
                theirs.take(peer, &Told::Members(vec![id], members(&scene.model, service)), of);
                let slots = Told::Slots { services: vec![id], ring_size: ring.size, whole: true, slots: Vec::new() };
                theirs.take(peer, &slots, of);
                theirs.take(peer, &Told::Service { service: id, serving: true, kind: Kind::Stateless }, of);
                let taken = theirs.words(placed.key, ring.size, &numbers);
                let there = crate::dataplane::Ring { taken, ..ring.clone() }.idle();
                let here: Vec<_> = ring.targets().into_iter().map(lb_common::slot::Slot::settled).collect();
                assert!(there == here, "{rules}: {name} after {second} steps");
            }
        }
    }
}
