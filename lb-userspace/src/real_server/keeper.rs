//! Who keeps this machine's addresses over a reboot.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Facts;

/// Since this version NetworkManager has `lo` in its profiles.
const MANAGES_LOOPBACK: (u32, u32) = (1, 42);

/// What configures a machine's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// netplan, which writes systemd-networkd's files at boot.
    Netplan,
    /// systemd-networkd.
    Networkd,
    /// NetworkManager, 1.42 or later.
    NetworkManager,
    /// ifupdown, by /etc/network/interfaces.
    Ifupdown,
    /// A unit of systemd's that runs `ip`: where none of the others has the interface.
    Unit,
    /// Nobody: addresses are gone after a reboot.
    None,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Netplan => "netplan",
            Self::Networkd => "systemd-networkd",
            Self::NetworkManager => "NetworkManager",
            Self::Ifupdown => "ifupdown",
            Self::Unit => "a unit of systemd's",
            Self::None => "nobody",
        })
    }
}

/// Who has an interface: by what runs and says so, else by the files.
pub(super) fn of(facts: &Facts, interface: &str) -> Keeper {
    let index = facts.links.iter().find(|link| link.name == interface).map_or(0, |link| link.index);
    let value = |path: String, key: &str| -> Option<String> {
        let text = facts.file(&path)?;
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    if facts.running.networkd
        && let Some(file) = value(format!("/run/systemd/netif/links/{index}"), "NETWORK_FILE")
    {
        let generated = file.starts_with("/run/systemd/network/") && file.contains("netplan");
        return if generated { Keeper::Netplan } else { Keeper::Networkd };
    }
    if let Some(version) = facts.running.network_manager {
        let device = |key| value(format!("/run/NetworkManager/devices/{index}"), key);
        let has = device("connection-uuid").is_some() || device("managed").as_deref() == Some("true");
        if has && version.is_some_and(|version| version >= MANAGES_LOOPBACK) {
            return Keeper::NetworkManager;
        }
    }
    let systemd = if facts.running.systemd { Keeper::Unit } else { Keeper::None };
    if is_ifupdowns(facts, interface) { Keeper::Ifupdown } else { systemd }
}

fn is_ifupdowns(facts: &Facts, interface: &str) -> bool {
    let main = facts.files.get(Path::new(super::files::INTERFACES)).map(String::as_str);
    let others = facts.files_in(super::files::INTERFACES_D, "").map(|(_, text)| text);
    main.into_iter().chain(others).flat_map(str::lines).any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("iface") && words.next() == Some(interface)
    })
}
