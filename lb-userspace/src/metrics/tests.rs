//! What is told of a director whose parts all have something to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

/// A service with a hostile name in its fault, reals of several states, a virtual router and a peer.
fn snapshot() -> Snapshot {
    let real = |address: &str, state: &str, why: Option<&str>| {
        json!({
            "address": address, "weight": 1, "state": state, "since": 1_000_000, "why": why, "mac": null,
            "active_connections": 3, "inactive_connections": 1, "connections": 5, "packets": 7, "bytes": 900,
        })
    };
    let status = json!({
        "version": "0.1.0", "agent": true,
        "interfaces": [{ "name": "eth1", "mode": "native" }, { "name": "bond0", "mode": null, "awaited": "there is no bond0" }],
        "services": [{
            "name": "web", "protocol": "tcp", "address": "192.0.2.1", "port": 80, "scheduler": "rr",
            "connections": 10, "packets": 14, "bytes": 1800,
            "reals": [real("192.0.2.40", "up", None), real("192.0.2.50", "down", Some("said <b>\"no\"</b>"))],
        }],
        "drops": [{ "interface": "eth2", "refused": 3, "unsent": 4 }],
        "verdicts": [{ "verdict": "forwarded", "packets": 14 }],
        "fault": "maps:\n\"services\" <full>",
        "peers": {
            "listen": "192.0.2.2:8849", "listen_error": null,
            "peers": [{
                "address": "192.0.2.3:8849", "state": "live", "since_seconds": 9, "lag_ms": 1.5,
                "sent": { "messages": 1, "bytes": 2, "flows": 3 }, "received": { "messages": 1, "bytes": 2, "flows": 3 },
                "bulk_taken": true, "error": null, "other_rings": false, "differing": 2, "differences": [],
            }],
        },
    });
    let status = serde_json::from_value(status).unwrap();
    let settings = crate::vrrp::Settings::new(
        "web",
        "eth1",
        51,
        crate::vrrp::wire::packet::Version::V3,
        vec!["192.0.2.1/24".parse().unwrap()],
    );
    Snapshot { status, routers: vec![RouterStatus::waiting(&settings)] }
}

/// Families by name, with their kinds and help texts.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                families.insert((*name).to_owned(), (String::new(), (*help).to_owned()));
            }
            ["#", "TYPE", name, kind] => families.get_mut(*name).unwrap().0 = (*kind).to_owned(),
            _ => {}
        }
    }
    families
}

#[test]
fn every_family_has_its_samples_once() {
    let text = snapshot().metrics(Format::Prometheus);
    let families = families(&text);
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert(series), "{series} comes twice");
        let name = series.split('{').next().unwrap();
        assert!(families.contains_key(name), "{name} has no header");
    }
    for expected in [
        "lb_service_connections_total{service=\"web\",vip=\"192.0.2.1\",port=\"80\",protocol=\"tcp\"} 10",
        "lb_real_up{service=\"web\",vip=\"192.0.2.1\",port=\"80\",protocol=\"tcp\",real=\"192.0.2.50\"} 0",
        "lb_real_active_connections{service=\"web\",vip=\"192.0.2.1\",port=\"80\",protocol=\"tcp\",real=\"192.0.2.40\"} 3",
        "lb_vrrp_state{router=\"web\",state=\"initialize\"} 1",
        "lb_vrrp_state{router=\"web\",state=\"master\"} 0",
        "lb_verdict_packets_total{verdict=\"no-real\"} 0",
        "lb_peer_lag_seconds{peer=\"192.0.2.3:8849\"} 0.0015",
        "lb_faulty 1",
        "lb_interface_attached{interface=\"bond0\",mode=\"\"} 0",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }
}

#[test]
fn ten_thousand_reals_are_less_than_twenty_megabytes() {
    let mut snapshot = snapshot();
    let service = snapshot.status.services.remove(0);
    let real = service.reals[0].clone();
    snapshot.status.services = (0..1000u16)
        .map(|port| {
            let reals =
                (0..10).map(|last| crate::api::RealStatus { address: [192, 0, 2, last].into(), ..real.clone() });
            let name = Some(format!("service-number-{port}"));
            crate::api::ServiceStatus { name, port: Some(port), reals: reals.collect(), ..service.clone() }
        })
        .collect();
    let text = snapshot.metrics(Format::Prometheus);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!((90_000..110_000).contains(&series) && text.len() < 20_000_000, "{series} series, {} bytes", text.len());
}

#[test]
fn the_page_about_metrics_has_each_family() {
    let page = include_str!("../../../docs/metrics.md");
    let families = families(&snapshot().metrics(Format::Prometheus));
    let mut rows = String::new();
    for (name, (kind, help)) in &families {
        rows += &format!("| `{name}` | {kind} | {help} |\n");
    }
    assert!(page.contains(&rows), "docs/metrics.md is to have this table:\n{rows}");
    for file in
        [include_str!("../../../packaging/prometheus/lb.rules.yml"), include_str!("../../../packaging/grafana/lb.json")]
    {
        let unknown: Vec<&str> = file
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("lb_") && !families.contains_key(*word))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} are no metrics");
    }
}

#[test]
fn the_status_page_shows_troubles_and_takes_no_html_from_anybody() {
    let page = page::render(&snapshot(), UNIX_EPOCH + Duration::from_secs(1_000_065));
    for expected in [
        "<p class=bad>lb: maps: &quot;services&quot; &lt;full&gt; <span class=dim>",
        "bond0: nothing is forwarded by it, and it is waited for: there is no bond0",
        "DOWN for 1m 5s: said &lt;b&gt;&quot;no&quot;&lt;/b&gt;",
        "1 of 2 reals up",
        "in step",
        "initialize",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>"));
}
