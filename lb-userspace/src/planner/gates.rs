//! From the configuration's virtual routers to VRRP's settings, and to their gates.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::maps::GATES;
use tracing::warn;

use crate::config::{self, Backup, Config, Vrrp};
use crate::vrrp::Settings;
use crate::vrrp::protocol::announcing;
use crate::vrrp::wire::checksum::{Form, Policy};
use crate::vrrp::wire::packet::Version;

/// The gate of each virtual router whose backup leaves packets to the kernel, by the router's name.
pub type GateNumbers = HashMap<String, u32>;

/// The settings of every virtual router.
pub fn settings_of(config: &Config) -> Vec<Settings> {
    let shares = config.peers.is_some();
    config.vrrp.iter().map(|router| Settings { asks: shares, ..settings(router) }).collect()
}

fn settings(router: &Vrrp) -> Settings {
    Settings {
        name: router.name.clone(),
        interface: router.interface.clone(),
        router: router.id,
        version: if router.version == 2 { Version::V2 } else { Version::V3 },
        priority: router.priority,
        interval: router.advertise,
        password: router.password.as_ref().map(|password| password.expose().into()),
        addresses: router.addresses.iter().map(|vip| vip.net).collect(),
        elsewhere: router.addresses.iter().filter_map(|vip| Some((vip.addr(), vip.interface.clone()?))).collect(),
        preempt: router.preempt,
        preempt_delay: router.preempt_delay,
        asks: false,
        checksum: match router.checksum {
            config::Checksum::Auto => Policy::Auto,
            config::Checksum::PseudoHeader => Policy::Only(Form::PseudoHeader),
            config::Checksum::Plain => Policy::Only(Form::Plain),
        },
        peers: router.peers.clone(),
        minimum_ttl: router.minimum_ttl,
        handover: router.handover,
        announce: announcements(router.announce),
        virtual_mac: router.virtual_mac,
        tracks_link: router.track_link,
        sync_group: router.sync_group.clone(),
    }
}

fn announcements(announce: config::Announce) -> announcing::Settings {
    let config::Announce { repeat, delay, delayed_repeat, refresh, pace } = announce;
    announcing::Settings { repeat, delay, delayed_repeat, refresh, pace }
}

/// The gates of the virtual routers whose backup doesn't forward. One that has a gate among `held` keeps it, so
/// that a reload never makes a service look at another router's gate; new ones get the lowest free number from 1.
pub fn gates_of(config: &Config, held: &GateNumbers) -> GateNumbers {
    let passing = || config.vrrp.iter().filter(|router| router.backup == Backup::Pass);
    let mut gates: GateNumbers = passing()
        .filter_map(|router| held.get_key_value(&router.name))
        .map(|(name, gate)| (name.clone(), *gate))
        .collect();
    for router in passing() {
        if gates.contains_key(&router.name) {
            continue;
        }
        let free = (1..GATES).find(|gate| !gates.values().any(|taken| taken == gate));
        match free {
            Some(gate) => drop(gates.insert(router.name.clone(), gate)),
            None => warn!("vrrp.{}: backup = \"pass\" has no effect: {} others have it", router.name, GATES - 1),
        }
    }
    gates
}

/// The gate of each VIP that has one.
pub fn gates_by_vip(config: &Config, gates: &GateNumbers) -> HashMap<IpAddr, u32> {
    let gated = config.vrrp.iter().filter_map(|router| Some((router, *gates.get(&router.name)?)));
    gated.flat_map(|(router, gate)| router.addresses.iter().map(move |vip| (vip.addr(), gate))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn config(routers: &str) -> Config {
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n{routers}");
        config::parse(Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{}", error.render(false))).config
    }

    fn router(name: &str, id: u8, more: &str) -> String {
        format!("[vrrp.{name}]\ninterface = \"eth1\"\nid = {id}\naddresses = [\"192.0.2.{id}/24\"]\n{more}\n")
    }

    #[test]
    fn every_key_arrives() {
        let more = "advertise = \"100ms\"\npriority = 150\npeers = [\"192.0.2.99\"]\nminimum_ttl = 250\n\
                    preempt_delay = \"3s\"\nhandover = \"2s\"\nchecksum = \"plain\"\nvirtual_mac = true\n\
                    sync_group = \"both\"\n\
                    announce = { repeat = 2, delay = \"1s\", delayed_repeat = 3, refresh = \"60s\", pace = 500 }";
        let other = router("other", 2, "sync_group = \"both\"\npreempt_delay = \"3s\"\nannounce = { pace = 500 }");
        let config = config(&(other + &router("web", 1, more)));
        let settings = settings_of(&config).into_iter().find(|settings| settings.name == "web").unwrap();
        let expected = Settings {
            priority: 150,
            interval: Duration::from_millis(100),
            preempt_delay: Duration::from_secs(3),
            handover: Some(Duration::from_secs(2)),
            checksum: Policy::Only(Form::Plain),
            peers: vec!["192.0.2.99".parse().unwrap()],
            minimum_ttl: Some(250),
            virtual_mac: true,
            sync_group: Some("both".into()),
            announce: announcing::Settings {
                repeat: 2,
                delay: Duration::from_secs(1),
                delayed_repeat: 3,
                refresh: Some(Duration::from_secs(60)),
                pace: 500,
            },
            ..Settings::new("web", "eth1", 1, Version::V3, vec!["192.0.2.1/24".parse().unwrap()])
        };
        assert_eq!(settings, expected);

        let old = router("old", 9, "version = 2\npassword = \"s3cret77\"\npreempt = false");
        let old = settings_of(&self::config(&old)).remove(0);
        assert_eq!((old.version, old.password, old.preempt), (Version::V2, Some("s3cret77".into()), false));
    }

    #[test]
    fn a_gate_stays_its_routers_over_reloads() {
        let pass = "backup = \"pass\"";
        let before = config(&(router("b", 1, pass) + &router("c", 2, "") + &router("d", 3, pass)));
        let gates = gates_of(&before, &GateNumbers::new());
        assert_eq!(gates, GateNumbers::from([("b".into(), 1), ("d".into(), 2)]));
        assert_eq!(gates_by_vip(&before, &gates).get(&"192.0.2.3".parse().unwrap()), Some(&2));
        assert_eq!(gates_by_vip(&before, &gates).len(), 2);

        let after = config(&(router("a", 4, pass) + &router("d", 3, pass) + &router("e", 5, pass)));
        let expected = GateNumbers::from([("a".into(), 1), ("d".into(), 2), ("e".into(), 3)]);
        assert_eq!(gates_of(&after, &gates), expected);
    }
}
