//! Orders and their words, what is written down of them, and what a reload leaves.

use std::path::Path;

use super::*;

fn config() -> Config {
    let service = |name: &str, port: u16, reals: &[u8]| {
        let reals =
            reals.iter().map(|real| format!("[[service.{name}.reals]]\naddress = \"192.0.2.{real}\"\nweight = 2\n"));
        format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{}", reals.collect::<String>())
    };
    let text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned()
        + &service("api", 81, &[40])
        + &service("web", 80, &[40, 50]);
    crate::config::parse(Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{}", error.render(false))).config
}

fn address(last: u8) -> IpAddr {
    format!("192.0.2.{last}").parse().unwrap()
}

fn order(json: &str) -> Order {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn each_order_and_its_words() {
    let rows: [(&str, &[&str]); 13] = [
        (
            r#"{"verb":"drain","real":"192.0.2.40","deadline":60}"#,
            &[
                "service.api: real 192.0.2.40: drains: no new connections, those that it has go on until 1970-01-01T00:01:09Z",
                "service.web: real 192.0.2.40: drains: no new connections, those that it has go on until 1970-01-01T00:01:09Z",
            ],
        ),
        (
            r#"{"verb":"undrain","real":"192.0.2.40","service":"api"}"#,
            &["service.api: real 192.0.2.40: takes new connections again"],
        ),
        (
            r#"{"verb":"undrain","real":"192.0.2.40","service":"api"}"#,
            &["service.api: real 192.0.2.40: was not draining"],
        ),
        (
            r#"{"verb":"drain","real":"192.0.2.50"}"#,
            &[
                "service.web: real 192.0.2.50: drains: no new connections, those that it has go on for as long as they live",
            ],
        ),
        (
            r#"{"verb":"weight","service":"web","real":"192.0.2.50","weight":7}"#,
            &["service.web: real 192.0.2.50: weight 7; the file says 2"],
        ),
        (
            r#"{"verb":"weight","service":"web","real":"192.0.2.50","weight":2}"#,
            &["service.web: real 192.0.2.50: weight 2, as the file says"],
        ),
        (
            r#"{"verb":"disable","real":"192.0.2.40"}"#,
            &[
                "service.api: real 192.0.2.40: disabled: it takes nothing",
                "service.web: real 192.0.2.40: disabled: it takes nothing",
            ],
        ),
        (
            r#"{"verb":"disable","real":"192.0.2.40","service":"web"}"#,
            &["service.web: real 192.0.2.40: is disabled already"],
        ),
        (r#"{"verb":"enable","real":"192.0.2.40","service":"web"}"#, &["service.web: real 192.0.2.40: enabled"]),
        (r#"{"verb":"enable","real":"192.0.2.50"}"#, &["service.web: real 192.0.2.50: was not disabled"]),
        (
            r#"{"verb":"reset","service":"web","real":"192.0.2.50"}"#,
            &["service.web: real 192.0.2.50: as the file says"],
        ),
        (
            r#"{"verb":"reset"}"#,
            &["service.api: real 192.0.2.40: as the file says", "service.web: real 192.0.2.40: as the file says"],
        ),
        (r#"{"verb":"reset"}"#, &[]),
    ];
    let (config, mut overrides) = (config(), Overrides::default());
    for (json, expected) in rows {
        assert_eq!(overrides.obey(&order(json), &config, at(9)).unwrap(), expected, "{json}");
        let kept = serde_json::to_vec(&overrides.noted()).unwrap();
        let kept = Overrides::of_noted(serde_json::from_slice(&kept).unwrap()).unwrap();
        assert_eq!(kept, overrides, "{json}: what is written down is read again");
    }
    assert!(overrides.is_empty());
}

#[test]
fn what_is_unknown_is_named_with_what_exists() {
    let rows = [
        (r#"{"verb":"drain","real":"192.0.2.60"}"#, "no service has a real 192.0.2.60.\nReals: 192.0.2.40, 192.0.2.50"),
        (
            r#"{"verb":"drain","real":"192.0.2.50","service":"api"}"#,
            "service api has no real 192.0.2.50.\nReals: 192.0.2.40",
        ),
        (r#"{"verb":"reset","service":"wbe"}"#, "there is no service wbe.\nServices: api, web"),
    ];
    let (config, mut overrides) = (config(), Overrides::default());
    for (json, expected) in rows {
        assert_eq!(overrides.obey(&order(json), &config, at(9)).unwrap_err(), expected);
        assert!(overrides.is_empty());
    }
}

#[test]
fn a_deadline_comes_once_and_a_new_drain_begins_anew() {
    let (config, mut overrides) = (config(), Overrides::default());
    let drain = order(r#"{"verb":"drain","real":"192.0.2.50","deadline":60}"#);
    overrides.obey(&drain, &config, at(9)).unwrap();
    assert!(overrides.expire(at(68)).is_empty());
    assert_eq!(overrides.expire(at(69)), ["service.web: real 192.0.2.50"]);
    assert!(overrides.expire(at(99)).is_empty());
    overrides.obey(&drain, &config, at(100)).unwrap();
    let web = &config.services[1];
    let held = overrides.of(web, address(50)).and_then(|set| set.drain.clone()).unwrap();
    assert_eq!(held, Drain { since: at(100), until: Some(at(160)), over: false });
}

#[test]
fn what_left_the_file_is_forgotten_and_odd_notes_are_refused() {
    let (mut config, mut overrides) = (config(), Overrides::default());
    overrides.obey(&order(r#"{"verb":"disable","real":"192.0.2.40"}"#), &config, at(9)).unwrap();
    config.services.remove(0);
    assert_eq!(overrides.follow(&config), ["service.api: real 192.0.2.40"]);
    assert!(overrides.of(&config.services[0], address(40)).is_some());
    for (text, why) in [
        (r#"{"version":2,"reals":[]}"#, "version 2"),
        (r#"{"version":1,"reals":[{"section":"service.web","real":"192.0.2.40","weight":65536}]}"#, "out of range"),
        (
            r#"{"version":1,"reals":[{"section":"service.web","real":"192.0.2.40","drained_since":18446744073709551615}]}"#,
            "no time",
        ),
    ] {
        let error = Overrides::of_noted(serde_json::from_str(text).unwrap()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn what_is_set_for_a_service_of_a_pool_is_the_pools() {
    let service = |name: &str, port: u16| {
        format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\npool = \"p\"\n")
    };
    let text = "[director]\ninterfaces = [\"eth1\"]\n[pool.p]\nreals = [{ address = \"192.0.2.40\" }]\n".to_owned()
        + &service("a", 80)
        + &service("b", 81);
    let config = crate::config::parse(Path::new("lb.toml"), &text).unwrap().config;
    let mut overrides = Overrides::default();
    let drain = order(r#"{"verb":"disable","real":"192.0.2.40","service":"b"}"#);
    let said = overrides.obey(&drain, &config, at(9)).unwrap();
    assert_eq!(said, ["pool.p: real 192.0.2.40: disabled: it takes nothing"]);
    assert!(config.services.iter().all(|service| overrides.of(service, address(40)).is_some()));
    assert!(overrides.follow(&config).is_empty());
}
