//! Every map and program can be read with Debian's bpftool, by the names of the source.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::lab::{Host, Lab, VIP, nginx, scenario};
use lb_userspace::dataplane::{Pins, Sizes, map_rows};
use serde_json::Value;

/// Pinned maps with the names that their keys and values are shown with. An entry without names is all that one needs
/// where a value is a number, or the map is empty here.
const FIELDS: [(&str, &[&str]); 19] = [
    ("loads", &["active", "inactive"]),
    (
        "services",
        &["address", "port", "protocol", "id", "ring", "ring_size", "reals", "counters", "flags", "scheduler"],
    ),
    ("vips", &["address", "protocol", "gate"]),
    ("slots", &[]),
    ("reals", &["address", "mac", "source_mac", "ifindex", "tx_port", "pool", "vlan", "flags", "weight"]),
    ("ports", &["ifindex", "mac", "vlans"]),
    ("director", &["hash_seed", "tables", "table", "flow_lines", "timeouts", "vips", "reals"]),
    ("returns", &["pool", "mac"]),
    ("flows", &["words"]),
    ("flow_keys", &["keys", "client", "ports", "service"]),
    ("fragments", &[]),
    ("pending", &["asked", "query", "key", "note"]),
    ("turns", &["next"]),
    ("real_stats", &["connections", "packets", "bytes"]),
    ("verdicts", &["packets"]),
    ("tx_ports", &[]),
    ("drops", &[]),
    ("gates", &["closed"]),
    ("virtual_macs", &[]),
];

#[test]
fn every_pinned_map_is_dumped_with_the_names_of_its_fields() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        // Small maps: a dump prints every entry.
        let limits = "\n[limits]\nservices = 4\nreals = 16\nflows = 1024\n";
        let reference = include_str!("../../../packaging/lb.toml");
        let agent = Agent::start(lab.director(), &format!("{reference}{limits}"))?;
        agent.wait_until_served()?;
        Client::new(lab.client()).get_many((VIP, 80), 10)?;
        let director = lab.director();
        let pinned = director.run("ls", &[&Pins::default().directory().display().to_string()])?;
        let fields = BTreeMap::from(FIELDS);
        // Links are no maps, and `changes` is the agent's own, made where it has changed something.
        let is_made = |name: &&str| !name.starts_with("link-") && *name != "changes";
        let maps: BTreeSet<&str> = pinned.lines().filter(is_made).collect();
        let made = map_rows(Sizes { services: 4, reals: 16, slots: 1024, flows: 1024 });
        assert_eq!(maps, made.iter().map(|row| row.name).collect());
        for name in maps {
            let entries = dump(director, name)?;
            let entries = entries.as_array().context("no list")?;
            let expected = fields.get(name).with_context(|| format!("a map {name} that this test doesn't know"))?;
            let shown: Vec<String> = entries.iter().map(|entry| entry["formatted"].to_string()).collect();
            assert!(!shown.is_empty() || expected.is_empty(), "{name} is empty");
            for field in *expected {
                assert!(
                    shown.iter().any(|entry| entry.contains(&format!("\"{field}\":"))),
                    "{name}.{field}: {shown:?}"
                );
            }
        }

        // By name, and the truth.
        let reals = dump(director, "reals")?;
        let weights: Vec<_> =
            reals.as_array().context("no list")?.iter().map(|it| &it["formatted"]["value"]["weight"]).collect();
        assert_eq!(weights.iter().filter(|weight| **weight == &Value::from(1)).count(), 2, "{weights:?}");
        Ok(())
    });
}

#[test]
fn the_program_has_its_name_its_types_and_its_lines() {
    scenario(Lab::builder(), |lab| {
        let agent = Agent::start(lab.director(), include_str!("../../../packaging/lb.toml"))?;
        let director = lab.director();
        let attached: Value = serde_json::from_str(&director.run("bpftool", &["-j", "net", "show"])?)?;
        let xdp = attached[0]["xdp"].as_array().context("no XDP program")?;
        assert_eq!(xdp.len(), 1, "{attached}");
        assert_eq!(xdp[0]["devname"], "eth1");
        let link: Value =
            serde_json::from_str(&director.run("bpftool", &["-j", "link", "show", "pinned", &pin(lab)])?)?;
        let id = link["prog_id"].to_string();
        let program: Value = serde_json::from_str(&director.run("bpftool", &["-j", "prog", "show", "id", &id])?)?;
        assert_eq!((&program["type"], &program["name"]), (&Value::from("xdp"), &Value::from("lb")));
        assert!(program["btf_id"].is_u64(), "{program}");
        // With types, the translated program shows its functions as the source has them. (It has the source's lines too, but
        // Debian's bpftool doesn't read those of a program of several functions.)
        let source = director.run("bpftool", &["prog", "dump", "xlated", "id", &id])?;
        for function in ["u32 lb(struct xdp_md * ctx)", "lb_recall("] {
            assert!(source.contains(function), "no {function}: {}", source.chars().take(400).collect::<String>());
        }
        drop(agent);
        Ok(())
    });
}

/// The pinned link of the director's only interface.
fn pin(lab: &Lab) -> String {
    let index = lab.director().within(|| std::fs::read_to_string("/sys/class/net/eth1/ifindex"));
    let index = index.ok().and_then(Result::ok).unwrap_or_default();
    Pins::default().link(index.trim().parse().unwrap_or_default()).display().to_string()
}

fn dump(director: &Host, name: &str) -> Result<Value> {
    let path = Pins::default().map(name).display().to_string();
    // There are millions of slots.
    if name == "slots" {
        let text = director.run("bpftool", &["-j", "map", "lookup", "pinned", &path, "key", "0", "0", "0", "0"])?;
        return serde_json::from_str(&format!("[{text}]")).with_context(|| format!("{name}: {text}"));
    }
    let text = director.run("bpftool", &["-j", "map", "dump", "pinned", &path])?;
    serde_json::from_str(&text).with_context(|| format!("{name}: {text}"))
}
