//! From the configuration's virtual routers to VRRP's settings, and to their gates.

use std::collections::HashMap;

use crate::config::{Config, Vrrp};
use crate::vrrp::Settings;
use crate::vrrp::packet::Version;

/// The settings of every virtual router.
pub fn settings_of(config: &Config) -> Vec<Settings> {
    config.vrrp.iter().map(settings).collect()
}

fn settings(router: &Vrrp) -> Settings {
    let version = if router.version == 2 { Version::V2 } else { Version::V3 };
    let Vrrp { name, interface, id, priority, advertise, password, addresses, .. } = router;
    Settings {
        priority: *priority,
        interval: *advertise,
        password: password.clone(),
        ..Settings::new(name, interface, *id, version, addresses.clone())
    }
}

/// The gates of the virtual routers whose backup doesn't forward, by the router's name: numbered from 1, in
/// the order of the configuration.
pub fn gate_of(_config: &Config) -> HashMap<String, u32> {
    HashMap::new()
}
