//! The kernel's settings that a real needs, and what the files of /etc/sysctl.d will set at the next boot.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::Facts;

/// Directories of settings, the one whose files go before those of the same name in the next (sysctl.d(5)).
pub(super) const DIRECTORIES: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
/// Read last, by those that read it.
pub(super) const OLD_FILE: &str = "/etc/sysctl.conf";

/// A key as people write it: with dots, but for an interface whose name has one.
#[must_use]
pub fn shown(key: &str) -> String {
    if key.contains('.') { key.to_owned() } else { key.replace('/', ".") }
}

/// What is to be set on a real with these VIPs, which hears its clients by this interface; no more than is needed
/// there: what is stricter stays.
pub(super) fn wanted(facts: &Facts, interface: &str, vips: &[IpAddr]) -> BTreeMap<String, u32> {
    let mut wanted = BTreeMap::new();
    if vips.iter().any(IpAddr::is_ipv4) {
        for scope in ["all", interface] {
            let key = |name: &str| format!("net/ipv4/conf/{scope}/{name}");
            let ignore = facts.sysctl(&key("arp_ignore")).filter(|value| keeps_silent(*value)).unwrap_or(1);
            wanted.insert(key("arp_ignore"), ignore);
            wanted.insert(key("arp_announce"), 2);
        }
        if drops_clients(facts, interface) {
            wanted.insert(format!("net/ipv4/conf/{interface}/rp_filter"), 2);
        }
    }
    let disabled = "net/ipv6/conf/lo/disable_ipv6";
    if vips.iter().any(IpAddr::is_ipv6) && facts.sysctl(disabled) == Some(1) {
        wanted.insert(disabled.to_owned(), 0);
    }
    wanted
}

/// Whether an `arp_ignore` leaves a VIP on `lo` unanswered. (3 answers for what has a global scope, which it has.)
pub(super) fn keeps_silent(value: u32) -> bool {
    matches!(value, 1 | 2)
}

/// Whether the kernel drops what clients send in by an interface, since the way back to them is another one
/// (`rp_filter`, 1: strict; 2, loose, goes before it).
pub(super) fn drops_clients(facts: &Facts, interface: &str) -> bool {
    let elsewhere = facts.default_route.as_deref().is_some_and(|route| route != interface);
    elsewhere && facts.larger(interface, "rp_filter") == Some(1)
}

/// What a boot sets a key to, and the file that says so; `None` where no file does.
pub(super) fn at_boot(facts: &Facts, key: &str) -> Option<(u32, PathBuf)> {
    let mut named: BTreeMap<_, (PathBuf, &str)> = BTreeMap::new();
    for directory in DIRECTORIES.iter().rev() {
        for (path, text) in facts.files_in(directory, ".conf") {
            if let Some(name) = path.file_name() {
                named.insert(name.to_owned(), (path.to_owned(), text));
            }
        }
    }
    let old = facts.file(OLD_FILE).map(|text| (PathBuf::from(OLD_FILE), text));
    let (mut exact, mut general) = (None, None);
    for (path, text) in named.into_values().chain(old) {
        for (found, value) in text.lines().filter_map(setting) {
            let Ok(value) = value.parse() else { continue };
            if found == key {
                exact = Some((value, path.clone()));
            } else if found.contains(['*', '?', '[']) && matches(&found, key) {
                general = Some((value, path.clone()));
            }
        }
    }
    exact.or(general)
}

/// A line's key, as a path, and its value.
fn setting(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    let key = key.trim().trim_start_matches('-');
    let swapped = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let dotted = key.find(['.', '/']).is_some_and(|at| key.get(at..).is_some_and(|rest| rest.starts_with('.')));
    let path = if dotted { key.chars().map(swapped).collect() } else { key.to_owned() };
    Some((path, value.trim()))
}

fn matches(pattern: &str, key: &str) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(key, options))
}
