//! What is told of each change.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::health::{Failure, Health};
use crate::planner::model::tests::eth1;
use crate::planner::model::{Awaited, probes};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn config(reals: usize, check: bool) -> Arc<Config> {
    let check = if check { "check = { type = \"tcp\" }\n" } else { "" };
    let real = |n: usize| {
        format!("[[service.web.reals]]\naddress = \"192.0.2.{n}\"\nmac = \"02:00:00:00:00:{n:02x}\"\nweight = 2\n")
    };
    let text = format!(
        "[director]\ninterfaces = [\"eth1\"]\n[service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n{check}{}",
        (40..40 + reals).map(real).collect::<String>()
    );
    let loaded = crate::config::parse(Path::new("lb.toml"), &text);
    Arc::new(loaded.unwrap_or_else(|error| panic!("{}", error.render(false))).config)
}

/// A witness of a model whose reals haven't been checked.
struct Scene {
    witness: Witness,
    model: Model,
}

impl Scene {
    fn new(reals: usize) -> Self {
        let model = Model::new(config(reals, true), BTreeMap::from([("eth1".to_owned(), eth1())]), at(0));
        let mut scene = Self { witness: Witness::default(), model };
        assert_eq!(scene.told(None, 0), ["eth1: the program runs on it: native"]);
        scene
    }

    fn told(&mut self, because: Option<&str>, now: u64) -> Vec<String> {
        self.witness.look(&self.model, None, because, at(now)).iter().map(ToString::to_string).collect()
    }

    fn set(&mut self, real: usize, health: Health) {
        let service = self.model.config.services[0].clone();
        let target = probes(&service, &service.reals[real]).next().unwrap();
        self.model.set_health(target, health);
    }

    fn obey(&mut self, order: &str, now: u64) -> Vec<String> {
        let order = serde_json::from_str::<crate::api::Order>(order).unwrap();
        self.model.overrides.obey(&order, &self.model.config, at(now)).unwrap();
        self.told(Some(&format!("`lb {}`", order.verb())), now)
    }
}

fn down(now: u64) -> Health {
    Health::Down { since: at(now), failure: Failure::Unreachable, reason: "connection refused".to_owned() }
}

#[test]
fn a_real_s_life_is_told_with_its_causes_and_nothing_twice() {
    let mut scene = Scene::new(1);
    scene.set(0, Health::Up { since: at(1) });
    let real = "service.web real 192.0.2.40";
    let again = "service.web: has reals for new connections again";
    let none = "service.web: no real takes new connections";
    assert_eq!(scene.told(None, 1), [format!("{real}: up: its first check passed"), again.to_owned()]);
    assert!(scene.told(None, 2).is_empty());
    scene.set(0, down(3));
    assert_eq!(scene.told(None, 3), [format!("{real}: down: connection refused"), none.to_owned()]);
    scene.set(0, Health::Up { since: at(68) });
    assert_eq!(
        scene.told(None, 68),
        [format!("{real}: up: its check passes again; was down for 1m 5s"), again.to_owned()]
    );
    let weight = scene.obey(r#"{"verb":"weight","service":"web","real":"192.0.2.40","weight":5}"#, 70);
    assert_eq!(weight, [format!("{real}: weight 5: was 2; `lb weight`")]);
    let drain = scene.obey(r#"{"verb":"drain","real":"192.0.2.40","service":null,"deadline":10}"#, 71);
    assert_eq!(
        drain,
        [format!("{real}: draining: `lb drain`; until 1970-01-01T00:01:21Z"), format!("{none}: `lb drain`")]
    );
    scene.model.overrides.expire(at(90));
    assert_eq!(scene.told(None, 90), [format!("{real}: drained: its deadline has come: it takes nothing any more")]);
    let undrain = scene.obey(r#"{"verb":"undrain","real":"192.0.2.40","service":null}"#, 91);
    assert_eq!(undrain, [format!("{real}: up: `lb undrain`"), format!("{again}: `lb undrain`")]);
    let disable = scene.obey(r#"{"verb":"disable","real":"192.0.2.40","service":null}"#, 92);
    assert_eq!(disable[0], format!("{real}: disabled: `lb disable`"));
    let reset = scene.obey(r#"{"verb":"reset","real":null,"service":null}"#, 93);
    assert_eq!(reset[0], format!("{real}: up: `lb reset`"));
}

#[test]
fn what_reals_do_together_is_told_once() {
    let mut scene = Scene::new(2);
    let mut config = (*config(2, true)).clone();
    let sorry = crate::config::Real { address: "192.0.2.99".parse().unwrap(), ..config.services[0].reals[0].clone() };
    let sorry = crate::config::Real { checks: Some(Default::default()), ..sorry };
    let mut fleet = crate::config::Fleet { quorum: 3, sorry: Some(sorry), ..Default::default() };
    config.services[0].fleet = Some(Arc::new(fleet.clone()));
    scene.model.set_config(Arc::new(config.clone()), at(0));
    let look = |scene: &mut Scene, seconds| {
        scene.model.follow_fleets(std::time::Instant::now());
        let mut told = scene.told(None, seconds);
        told.retain(|line| line.starts_with("service.web: "));
        told
    };
    scene.set(0, Health::Up { since: at(1) });
    assert_eq!(look(&mut scene, 1), ["service.web: has reals for new connections again"]);
    scene.set(1, Health::Up { since: at(1) });
    assert!(look(&mut scene, 1).is_empty(), "that it is as it should be is no news");
    scene.set(1, down(2));
    let lost = ["service.web: quorum lost: 2 of 3", "service.web: sorry server takes new connections: 192.0.2.99"];
    assert_eq!(look(&mut scene, 2), lost);
    assert!(look(&mut scene, 3).is_empty());
    scene.set(1, Health::Up { since: at(4) });
    let met =
        ["service.web: quorum met again: 4 of 3", "service.web: sorry server takes no new connections: 192.0.2.99"];
    assert_eq!(look(&mut scene, 4), met);
    (fleet.quorum, fleet.sorry, fleet.panic_below) = (0, None, 51);
    config.services[0].fleet = Some(Arc::new(fleet));
    scene.model.set_config(Arc::new(config), at(5));
    assert!(look(&mut scene, 5).is_empty());
    scene.set(1, down(6));
    let panic = "service.web: panic: all reals take new connections: 1 of 2 healthy";
    assert_eq!(look(&mut scene, 6), [panic]);
    scene.set(1, Health::Up { since: at(7) });
    assert_eq!(look(&mut scene, 7), ["service.web: panic is over"]);
}

#[test]
fn a_reload_tells_of_what_left_and_a_new_real_only_when_it_is_up() {
    let mut scene = Scene::new(2);
    scene.set(0, Health::Up { since: at(1) });
    scene.set(1, Health::Up { since: at(1) });
    scene.told(None, 1);
    scene.model.set_config(config(1, true), at(5));
    assert_eq!(scene.told(Some("reload"), 5), ["service.web real 192.0.2.41: draining: it left the file"]);
    scene.model.draining = Default::default();
    assert_eq!(scene.told(None, 9), ["service.web real 192.0.2.41: gone: its last connection has ended"]);
    scene.model.set_config(config(3, true), at(10));
    assert!(scene.told(Some("reload"), 10).is_empty());
    scene.set(2, Health::Up { since: at(11) });
    assert_eq!(scene.told(None, 11), ["service.web real 192.0.2.42: up: its first check passed"]);
}

#[test]
fn many_that_change_alike_are_one_event() {
    let mut scene = Scene::new(60);
    (0..60).for_each(|real| scene.set(real, Health::Up { since: at(1) }));
    let told = scene.witness.look(&scene.model, None, None, at(1));
    assert_eq!((told[0].reals.len(), told[0].more_reals), (NAMED, 60 - NAMED as u64));
    let expected = "service.web real 192.0.2.40, 192.0.2.41, 192.0.2.42 and 57 more: up: its first check passed";
    assert_eq!(told[0].to_string(), expected);
    (0..APART).for_each(|real| scene.set(real, down(2)));
    assert_eq!(scene.told(None, 2).len(), APART);
}

#[test]
fn interfaces_peers_and_the_maps_are_told_once_each() {
    let mut scene = Scene::new(1);
    let gone = scene.model.interfaces.remove("eth1").unwrap();
    let awaited = Awaited { since: at(3), why: "there is no interface eth1".to_owned() };
    scene.model.awaited.insert("eth1".to_owned(), awaited);
    assert_eq!(scene.told(None, 3)[0], "eth1: waited for: there is no interface eth1");
    scene.model.awaited.clear();
    scene.model.interfaces.insert("eth1".to_owned(), gone);
    assert_eq!(scene.told(None, 4)[0], "eth1: the program runs on it: native");
    let mut faulty = |fault: Option<&str>| scene.witness.look(&scene.model, fault, None, at(5));
    assert_eq!(faulty(Some("full"))[0].to_string(), "lb: the maps are not what they should be: full");
    assert!(faulty(Some("full")).is_empty());
    assert_eq!(faulty(None)[0].to_string(), "lb: the maps are what they should be again");

    let peer = peers::status::PeerStatus {
        address: "192.0.2.3:8849".parse().unwrap(),
        state: session::State::Live,
        since_seconds: 0,
        lag_ms: None,
        news_ms: None,
        known_ms: None,
        sent: Default::default(),
        received: Default::default(),
        bulk_taken: true,
        error: None,
        other_rings: false,
        beyond: 0,
        differing: 2,
        differences: Vec::new(),
    };
    let mut look = |peer: &peers::status::PeerStatus| {
        let listen = "192.0.2.2:8849".parse().unwrap();
        let status = peers::Status { listen, listen_error: None, strangers: None, peers: vec![peer.clone()] };
        let told = scene.witness.look_at_peers(Some(&status));
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let differ = "192.0.2.3:8849: 2 services are configured otherwise there";
    assert_eq!(look(&peer), ["192.0.2.3:8849: live", differ]);
    assert!(look(&peer).is_empty());
    let lost = peers::status::PeerStatus {
        state: session::State::Connecting,
        differing: 0,
        error: Some("closed".to_owned()),
        ..peer.clone()
    };
    assert_eq!(look(&lost), ["192.0.2.3:8849: lost: closed"]);
    let same = peers::status::PeerStatus { differing: 0, ..peer };
    assert_eq!(look(&same), ["192.0.2.3:8849: live", "192.0.2.3:8849: has the same services configured"]);
}
