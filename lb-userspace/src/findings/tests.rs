//! What is found of directors that are well, and of such that aren't.

use serde_json::json;

use super::*;
use crate::vrrp::Settings;
use crate::vrrp::protocol::status::{Mismatch, Refused};
use crate::vrrp::wire::packet::Version;
use crate::vrrp::wire::refusal::Refusal;

fn real(address: &str, state: &str, why: Option<&str>) -> serde_json::Value {
    json!({
        "address": address, "weight": 1, "state": state, "since": 1_000_000, "why": why, "mac": null,
        "connections": 5, "packets": 7, "bytes": 900,
    })
}

/// A director with one service of these reals.
pub(crate) fn status(reals: &[serde_json::Value]) -> Status {
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"), "agent": true,
        "interfaces": [{ "name": "eth1", "mode": "native" }],
        "services": [{
            "name": "web", "protocol": "tcp", "address": "192.0.2.1", "port": 80, "scheduler": "rr",
            "connections": 10, "packets": 14, "bytes": 1800, "reals": reals,
        }],
        "verdicts": [{ "verdict": "forwarded", "packets": 14, "per_second": 3.0 }],
        "fault": null,
    });
    serde_json::from_value(status).unwrap()
}

pub(crate) fn well() -> Status {
    status(&[real("192.0.2.40", "up", None), real("192.0.2.50", "up", None)])
}

pub(crate) fn router() -> RouterStatus {
    let settings = Settings::new("web", "eth1", 51, Version::V3, vec!["192.0.2.1/24".parse().unwrap()]);
    RouterStatus { state: vrrp::State::Master, ..RouterStatus::waiting(&settings) }
}

/// Those that are bad with a `!`, as people read them.
fn told(status: &Status, routers: &[RouterStatus]) -> Vec<String> {
    let line = |finding: &Finding| format!("{}{finding}", if finding.bad { "!" } else { "" });
    findings(status, routers, 1_000_065).iter().map(line).collect()
}

#[test]
fn a_director_that_is_well_has_nothing_to_tell() {
    assert!(told(&well(), &[router()]).is_empty());
}

#[test]
fn reals_that_fail_are_bad_and_those_that_were_told_to_rest_are_not() {
    let down = || real("192.0.2.50", "down", Some("connection refused"));
    let rows = [
        (
            vec![real("192.0.2.40", "up", None), down()],
            "!service.web: 1 of 2 reals take new connections: 192.0.2.50 DOWN for 1m 5s: connection refused",
        ),
        (vec![down()], "!service.web: no real takes new connections: 192.0.2.50 DOWN for 1m 5s: connection refused"),
        (
            vec![real("192.0.2.40", "up", None), real("192.0.2.60", "draining", None)],
            "service.web: 1 of 2 reals take new connections: 192.0.2.60 draining for 1m 5s",
        ),
        (
            vec![real("192.0.2.60", "disabled", None)],
            "!service.web: no real takes new connections: 192.0.2.60 disabled for 1m 5s",
        ),
        (vec![], "!service.web: no real takes new connections"),
    ];
    for (reals, expected) in rows {
        assert_eq!(told(&status(&reals), &[]), [expected]);
    }
    let many: Vec<_> = (0..20).map(|n| real(&format!("192.0.2.{n}"), "down", Some("no"))).collect();
    assert!(told(&status(&many), &[])[0].ends_with("192.0.2.4 DOWN for 1m 5s: no; 15 more"));
}

#[test]
fn a_verdict_is_bad_while_it_is_met() {
    let with = |per_second: Option<f64>| {
        let mut status = well();
        let verdict = json!({ "verdict": "no-device", "packets": 7, "per_second": per_second });
        status.verdicts.push(serde_json::from_value(verdict).unwrap());
        status
    };
    let now = findings(&with(Some(2.5)), &[], 0);
    assert_eq!(
        now[0].to_string(),
        "verdict no-device: 2.5 packets/s, 7 packets so far: the real's interface can't be sent to"
    );
    assert!(now[0].mend.as_ref().unwrap().starts_with("bring the interface up"));
    for quiet in [Some(0.0), None] {
        assert_eq!(
            told(&with(quiet), &[])[0],
            "verdict no-device: none now, 7 packets so far: the real's interface can't be sent to"
        );
    }
}

#[test]
fn the_agent_its_maps_and_its_interfaces() {
    let mut status = well();
    status.agent = false;
    status.fault = Some("maps:\n  \"services\" is full\nthree\nfour".to_owned());
    status.interfaces.push(
        serde_json::from_value(json!({ "name": "bond0", "mode": null, "awaited": "there is no bond0\nx" })).unwrap(),
    );
    status.maps = vec![
        MapStatus { name: "flows".to_owned(), used: 95, size: 100 },
        MapStatus { name: "reals".to_owned(), used: 89, size: 100 },
    ];
    status.log_dropped = 3;
    let told = told(&status, &[]);
    assert_eq!(
        told,
        [
            "!lb: NO AGENT RUNS: nothing is checked; this is what the pinned maps forward",
            "!lb: maps: \"services\" is full three",
            "!bond0: nothing is forwarded by it, and it is waited for: there is no bond0",
            "!map flows: 95 of 100 are used (95 %)",
            "lb: 3 lines of the log were dropped, since nothing took them",
        ]
    );
}

#[test]
fn virtual_routers_and_peers() {
    let mut ill = router();
    ill.state = vrrp::State::Initialize;
    ill.obstacle = Some("there is no interface eth1".to_owned());
    ill.yielded = true;
    let source = "192.0.2.3".parse().unwrap();
    ill.counters.refused.count(Refusal::Password);
    ill.counters.last_refused = Some(Refused { source, reason: Refusal::Password });
    ill.counters.mismatch = Some(Mismatch { source, addresses: vec!["192.0.2.9".parse().unwrap()] });
    let text = told(&well(), &[ill]);
    assert_eq!(text[0], "!vrrp.web: takes no part: there is no interface eth1");
    assert_eq!(text[1], "!vrrp.web: 192.0.2.3 has other VIPs for this id: 192.0.2.9");
    assert_eq!(text[2], "vrrp.web: released: it leaves the VIPs to others");
    assert!(text[3].starts_with("vrrp.web: 1 adverts were refused, the last one from 192.0.2.3: "), "{}", text[3]);

    let mut status = well();
    let traffic = json!({ "messages": 1, "bytes": 2, "flows": 3 });
    status.peers = serde_json::from_value(json!({
        "listen": "192.0.2.2:8849", "listen_error": "in use",
        "strangers": { "calls": 9, "last": "192.0.2.66", "seconds_ago": 5 },
        "peers": [{
            "address": "192.0.2.3:8849", "state": "connecting", "since_seconds": 75, "lag_ms": null,
            "sent": traffic, "received": traffic, "bulk_taken": false, "error": "refused", "other_rings": true,
            "beyond": 3, "differing": 2,
            "differences": [{ "service": "TCP 192.0.2.1:80", "what": "only-there", "for_seconds": 61 }],
        }],
    }))
    .unwrap();
    let text = told(&status, &[]);
    assert_eq!(text[0], "!peers: nobody can reach this director: in use");
    assert_eq!(text[1], "!peer 192.0.2.3:8849: not in step for 1m 15s: refused");
    assert!(text[2].contains("computes slots otherwise"), "{}", text[2]);
    assert_eq!(text[3], "!peer 192.0.2.3:8849: tells more of 3 services' slots than there is room for");
    let differ = "2 of the services differ: TCP 192.0.2.1:80 is configured there alone, for 1m 1s; and 1 more";
    assert_eq!(text[4], format!("!peer 192.0.2.3:8849: {differ}"));
    let refused = "9 calls from elsewhere than `addresses` refused, the last from 192.0.2.66 5s ago";
    assert_eq!(text[5], format!("peers: {refused}"));
}

#[test]
fn vips_are_whose_they_are() {
    let backup = RouterStatus { state: vrrp::State::Backup, master: Some("192.0.2.3".parse().unwrap()), ..router() };
    let of = |router: &RouterStatus| vips(&well(), std::slice::from_ref(router)).remove(0);
    assert_eq!((of(&router()).word(), of(&router()).master), ("MASTER".to_owned(), None));
    assert_eq!((of(&backup).word(), of(&backup).master), ("BACKUP".to_owned(), backup.master));
    assert_eq!(of(&backup).services, ["web"]);
    let alone = vips(&well(), &[]).remove(0);
    assert_eq!((alone.word(), alone.router), (String::new(), None));
}

#[test]
fn who_else_answers_for_a_vip_is_named_with_what_ends_it() {
    let claim = |real: Option<&str>, director: Option<&str>| {
        let mut status = well();
        status.claims = vec![ClaimStatus {
            vip: "192.0.2.1".parse().unwrap(),
            mac: "02:00:00:00:00:40".to_owned(),
            real: real.map(|real| real.parse().unwrap()),
            director: director.map(|director| director.parse().unwrap()),
            addresses: director.iter().map(|address| address.parse().unwrap()).collect(),
            since: 1_000_000,
        }];
        let found = findings(&status, &[], 0).remove(0);
        assert!(found.bad && found.why.is_some());
        (found.to_string(), found.mend.unwrap())
    };
    let (told, mend) = claim(Some("192.0.2.40"), None);
    assert_eq!(told, "VIP 192.0.2.1: real 192.0.2.40 (02:00:00:00:00:40) answers for it too");
    assert!(mend.starts_with("`lb real-server check 192.0.2.1`"));
    let (told, mend) = claim(None, Some("192.0.2.3"));
    assert_eq!(told, "VIP 192.0.2.1: director 192.0.2.3 (02:00:00:00:00:40) answers for it too");
    assert!(mend.contains("`lb vrrp`"));
    let (told, mend) = claim(None, None);
    assert_eq!(told, "VIP 192.0.2.1: 02:00:00:00:00:40 answers for it too");
    assert!(mend.contains("take 192.0.2.1 off it"));
}
