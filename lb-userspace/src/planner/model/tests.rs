//! Where reals stand, and what the maps hold of them.

use std::path::Path;
use std::time::Duration;

use lb_common::maps::Real as Entry;

use super::*;
use crate::config::{Check, CheckKind, Tcp};
use crate::dataplane::{Adopted, Room};
use crate::planner::allocation::Allocation;
use crate::planner::plan::{key, plan};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn config(keys: &str, reals: &[u8]) -> Arc<Config> {
    let mut text = format!(
        "[director]\ninterfaces = [\"eth1\"]\n[flows]\ntcp = \"1h\"\n[service.web]\naddress = \"192.0.2.1:80\"\n\
         protocol = \"tcp\"\ncheck = {{ type = \"tcp\" }}\n{keys}\n"
    );
    for real in reals {
        text += &format!(
            "[[service.web.reals]]\naddress = \"192.0.2.{real}\"\nmac = \"02:00:00:00:00:{real}\"\nweight = 2\n"
        );
    }
    let loaded = crate::config::parse(Path::new("lb.toml"), &text);
    Arc::new(loaded.unwrap_or_else(|error| panic!("{}", error.render(false))).config)
}

/// An interface that the program runs on in the driver.
pub(crate) fn eth1() -> Interface {
    Interface {
        name: "eth1".to_owned(),
        device: "eth1".to_owned(),
        index: 7,
        mac: [2; 6],
        mode: Hook::Native,
        vlans: BTreeSet::new(),
        slaves: BTreeSet::new(),
    }
}

fn model(keys: &str, reals: &[u8]) -> Model {
    let mut model = Model::new(config(keys, reals), BTreeMap::from([("eth1".to_owned(), eth1())]), at(0));
    for target in targets(&model.config, &model.draining).into_keys() {
        model.set_health(target, Health::Up { since: at(0) });
    }
    model
}

fn fail(model: &mut Model, real: u8, failure: Failure) {
    let service = model.config.services[0].clone();
    let real = service.reals.iter().find(|held| held.address == address(real)).unwrap();
    let health = Health::Down { since: at(1), failure, reason: "no".to_owned() };
    model.set_health(probes(&service, real).next().unwrap(), health);
}

fn address(last: u8) -> IpAddr {
    format!("192.0.2.{last}").parse().unwrap()
}

fn obey(model: &mut Model, order: &str, now: SystemTime) {
    let order = serde_json::from_str(order).unwrap();
    let config = model.config.clone();
    model.overrides.obey(&order, &config, now).unwrap();
}

/// Of real 40: whether it is usable, whether it is in the ring, and with which weight.
fn held(model: &Model) -> (bool, Option<u32>) {
    let mut allocation = Allocation::adopt(&Adopted::default(), Room { services: 16, reals: 64, slots: 1 << 18 });
    let desired = plan(model, &mut allocation);
    let service = desired.services.get(&key(&model.config.services[0])).unwrap();
    let wanted = crate::planner::plan::mapped_address(address(40));
    let (number, entry) = desired.pools[&service.reals].reals.iter().find(|(_, real)| real.address == wanted).unwrap();
    let member = desired.rings[&service.ring].members.iter().find(|member| member.real == *number);
    assert_eq!(desired.timeouts.tcp, Duration::from_secs(3600));
    assert_eq!(entry.weight, member.map_or(0, |member| member.weight), "who lists the maps sees it");
    (entry.flags & Entry::USABLE != 0, member.map(|member| member.weight))
}

#[test]
fn what_a_failure_does_to_connections() {
    use Failure::{Unreachable, Wrong};
    let rows = [
        ("", Unreachable, (false, None)),
        ("", Wrong, (true, None)),
        ("on_failure = \"remove\"", Unreachable, (false, None)),
        ("on_failure = \"remove\"", Wrong, (false, None)),
        ("on_failure = \"quiesce\"", Unreachable, (true, None)),
        ("on_failure = \"quiesce\"", Wrong, (true, None)),
    ];
    for (keys, failure, expected) in rows {
        let mut model = model(keys, &[40, 50]);
        assert_eq!(held(&model), (true, Some(2)));
        fail(&mut model, 40, failure);
        assert_eq!(held(&model), expected, "{keys} {failure:?}");
        assert_eq!(model.is_healthy(&model.config.services[0], &model.config.services[0].reals[0]), Some(false));
        assert!(model.is_ready());
    }
}

#[test]
fn without_a_way_there_is_no_connection_to_keep() {
    let mut model = model("on_failure = \"quiesce\"", &[40, 50]);
    fail(&mut model, 40, Failure::Wrong);
    model.interfaces.clear();
    assert_eq!(held(&model), (false, None));
}

#[test]
fn what_was_set_at_run_time_wins() {
    type Step = (&'static str, (bool, Option<u32>));
    let rows: [&[Step]; 5] = [
        &[
            (r#"{"verb":"weight","service":"web","real":"192.0.2.40","weight":7}"#, (true, Some(7))),
            (r#"{"verb":"weight","service":"web","real":"192.0.2.40","weight":0}"#, (true, None)),
            (r#"{"verb":"reset"}"#, (true, Some(2))),
        ],
        &[
            (r#"{"verb":"drain","real":"192.0.2.40"}"#, (true, None)),
            (r#"{"verb":"undrain","real":"192.0.2.40"}"#, (true, Some(2))),
        ],
        &[
            (r#"{"verb":"disable","real":"192.0.2.40"}"#, (false, None)),
            (r#"{"verb":"drain","real":"192.0.2.40"}"#, (false, None)),
            (r#"{"verb":"enable","real":"192.0.2.40"}"#, (true, None)),
        ],
        &[(r#"{"verb":"disable","real":"192.0.2.50"}"#, (true, Some(2)))],
        &[
            (r#"{"verb":"weight","service":"web","real":"192.0.2.40","weight":9}"#, (true, Some(9))),
            (r#"{"verb":"drain","real":"192.0.2.40"}"#, (true, None)),
            (r#"{"verb":"undrain","real":"192.0.2.40"}"#, (true, Some(9))),
        ],
    ];
    for row in rows {
        let mut model = model("", &[40, 50]);
        for (order, expected) in row {
            obey(&mut model, order, at(5));
            assert_eq!(held(&model), *expected, "{order}");
            assert!(model.is_ready(), "{order}: nothing is waited for");
        }
        // It is kept over a reload.
        let before = model.overrides.clone();
        model.set_config(config("ring_size = 251", &[40, 50]), at(6));
        assert_eq!(model.overrides, before);
    }
}

#[test]
fn a_drain_ends_at_its_deadline_and_not_before() {
    let mut model = model("", &[40, 50]);
    obey(&mut model, r#"{"verb":"drain","real":"192.0.2.40","deadline":60}"#, at(5));
    assert!(model.overrides.expire(at(64)).is_empty());
    assert_eq!(held(&model), (true, None));
    assert_eq!(model.overrides.expire(at(65)).len(), 1);
    assert_eq!(held(&model), (false, None));
    assert!(model.is_ready());
}

#[test]
fn a_real_that_left_the_file_drains_until_its_deadline_or_death() {
    let mut model = model("drain_deadline = \"60s\"", &[40, 50]);
    model.set_config(config("drain_deadline = \"60s\"", &[50]), at(5));
    let left = |model: &Model| {
        let service = &model.config.services[0];
        model.standing(service, &model.draining.get(service, address(40)).unwrap().real)
    };
    assert_eq!(left(&model), Standing::Draining { since: at(5), until: Some(at(65)) });
    assert_eq!(held(&model), (true, None));
    assert_eq!(model.draining.expire(at(65)), [address(40)]);
    assert_eq!(left(&model), Standing::Drained { since: at(65) });
    assert_eq!(held(&model), (false, None));

    let mut model = self::model("", &[40, 50]);
    model.set_config(config("", &[50]), at(5));
    let check = Check { kind: CheckKind::Tcp(Tcp), ..model.config.services[0].checks[0].clone() };
    let failed = Health::Down { since: at(6), failure: Failure::Unreachable, reason: "no".to_owned() };
    model.set_health(Target { address: address(40), check }, failed);
    assert_eq!(held(&model), (false, None), "its check goes on");
}

#[test]
fn many_services_that_ask_the_same_make_one_probe_for_each_address() {
    let mut text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned();
    for service in 1..=50 {
        text += &format!(
            "[service.s{service}]\naddress = \"192.0.2.{service}:{}\"\nprotocol = \"tcp\"\n\
             check = {{ type = \"http\", port = 80 }}\nreals = [\n",
            1000 + service
        );
        text.extend((0..200).map(|real| format!("{{ address = \"10.0.0.{}\" }},\n", real + 1)));
        text += "]\n";
    }
    let config = crate::config::parse(Path::new("lb.toml"), &text).unwrap().config;
    assert_eq!(config.services.iter().map(|service| service.reals.len()).sum::<usize>(), 10_000);
    assert_eq!(targets(&config, &Draining::default()).len(), 200);
}

#[test]
fn several_checks_of_a_real_are_joined_and_a_real_may_have_its_own() {
    let config = |joined: &str| {
        let text = format!(
            "[director]\ninterfaces = [\"eth1\"]\n[service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n\
             {joined}\ncheck = [{{ type = \"tcp\" }}, {{ type = \"ping\" }}]\nreals = [\n\
             {{ address = \"192.0.2.40\", mac = \"02:00:00:00:00:40\" }},\n\
             {{ address = \"192.0.2.50\", mac = \"02:00:00:00:00:50\", check = {{ type = \"http\" }} }}]\n"
        );
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    };
    let rows = [("", false), ("join_checks = \"all\"", false), ("join_checks = \"any\"", true)];
    for (joined, survives) in rows {
        let mut model = model("", &[40, 50]);
        model.set_config(Arc::new(config(joined)), at(0));
        let service = model.config.services[0].clone();
        let [first, second] = [0, 1].map(|n| service.reals[n].clone());
        assert_eq!(
            probes(&service, &second).map(|target| target.check.label()).collect::<Vec<_>>(),
            ["http on port 80"]
        );
        for (target, _) in targets(&model.config, &model.draining) {
            model.set_health(target, Health::Up { since: at(3) });
        }
        let [tcp, ping] = [0, 1].map(|n| probes(&service, &first).nth(n).unwrap());
        let failed = Health::Down { since: at(4), failure: Failure::Unreachable, reason: "refused".to_owned() };
        model.set_health(tcp, failed.clone());
        let expected = if survives {
            Standing::Up { since: Some(at(3)) }
        } else {
            Standing::Down { since: at(4), why: "tcp on port 80: refused".to_owned(), quiesced: false }
        };
        assert_eq!(model.standing(&service, &first), expected, "{joined}");
        assert_eq!(model.standing(&service, &second), Standing::Up { since: Some(at(3)) });
        model.set_health(ping, failed);
        assert!(matches!(model.standing(&service, &first), Standing::Down { .. }), "{joined}");
    }
}
