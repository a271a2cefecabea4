//! The files that keep a real's VIPs and settings over a reboot: their texts and places.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::sysctl::shown;
use super::{Facts, Keeper, MARK};

pub(super) const SYSCTL: &str = "/etc/sysctl.d/90-lb-real-server.conf";
pub(super) const INTERFACES: &str = "/etc/network/interfaces";
pub(super) const INTERFACES_D: &str = "/etc/network/interfaces.d";
const UNIT: &str = "/etc/systemd/system/lb-real-server.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/lb-real-server.service";
/// Directories of networkd's files, the one that goes before the next.
pub(super) const NETWORKD: [&str; 4] =
    ["/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network"];
/// NetworkManager tells its profiles apart by these.
const UUID: &str = "6c622d72-6561-4c2d-b365-727665720001";
/// Around lines in a file that isn't ours.
const BEGIN: &str = "# begin: written by `lb real-server apply`; `lb real-server remove` takes it away";
const END: &str = "# end: lb real-server";

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
}

/// What a file is to have in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This text, readable by all, or by root alone.
    Text {
        /// The text.
        text: String,
        /// Others may not read it: NetworkManager and netplan want that.
        private: bool,
    },
    /// A symbolic link to this.
    Link(PathBuf),
    /// Somebody else's text with these lines of ours at its end.
    Lines(String),
}

/// The file of the kernel's settings.
pub(super) fn sysctl(settings: &BTreeMap<String, u32>) -> File {
    let mut text = format!("{MARK}\n");
    for (key, value) in settings {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{} = {value}", shown(key));
    }
    public(SYSCTL, text)
}

/// The files that put VIPs on `lo` at boot.
pub(super) fn addresses(keeper: Keeper, facts: &Facts, vips: &[IpAddr]) -> Vec<File> {
    match keeper {
        Keeper::Netplan => vec![netplan(vips)],
        Keeper::Networkd => vec![networkd(facts, vips)],
        Keeper::NetworkManager => vec![network_manager(vips)],
        Keeper::Ifupdown => vec![ifupdown(facts, vips)],
        Keeper::Unit => unit(vips),
        Keeper::None => Vec::new(),
    }
}

/// With a host's prefix length: any shorter one would make its whole network this host's.
fn host(vip: &IpAddr) -> String {
    format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 })
}

/// An address of IPv6 is deprecated from the start, so that nothing of this host's own is sent from it.
fn netplan(vips: &[IpAddr]) -> File {
    let mut text = format!("{MARK}\nnetwork:\n  version: 2\n  ethernets:\n    lo:\n      addresses:\n");
    for vip in vips {
        let _ = match vip {
            IpAddr::V4(_) => writeln!(text, "        - \"{}\"", host(vip)),
            IpAddr::V6(_) => writeln!(text, "        - \"{}\":\n            lifetime: 0", host(vip)),
        };
    }
    private("/etc/netplan/90-lb-real-server.yaml", text)
}

/// Of several files for an interface networkd takes the first: where another one has `lo`, ours is a part of that.
fn networkd(facts: &Facts, vips: &[IpAddr]) -> File {
    let mut text = format!("{MARK}\n");
    let path = match others_network(facts) {
        Some(name) => format!("/etc/systemd/network/{name}.d/90-lb-real-server.conf"),
        None => {
            text.push_str("[Match]\nName=lo\n\n");
            "/etc/systemd/network/10-lb-real-server.network".to_owned()
        }
    };
    let parts = vips.iter().map(|vip| {
        let more = if vip.is_ipv6() { "PreferredLifetime=0\nDuplicateAddressDetection=none\n" } else { "" };
        format!("[Address]\nAddress={}\n{more}", host(vip))
    });
    text.push_str(&parts.collect::<Vec<_>>().join("\n"));
    public(&path, text)
}

/// The name of the file by which networkd has `lo` already.
fn others_network(facts: &Facts) -> Option<String> {
    let all = NETWORKD.iter().rev().flat_map(|directory| facts.files_in(directory, ".network"));
    let named: BTreeMap<_, &str> = all.filter_map(|(path, text)| Some((path.file_name()?, text))).collect();
    let has_lo = |text: &str| {
        let mut section = "";
        text.lines().map(str::trim).any(|line| {
            if line.starts_with('[') {
                section = line;
            }
            let names = line.strip_prefix("Name").and_then(|rest| rest.trim_start().strip_prefix('='));
            let matches = |name: &str| glob::Pattern::new(name).is_ok_and(|pattern| pattern.matches("lo"));
            section == "[Match]" && names.is_some_and(|names| names.split_whitespace().any(matches))
        })
    };
    let other = named.into_iter().find(|(_, text)| has_lo(text) && !text.starts_with(MARK));
    other.map(|(name, _)| name.to_string_lossy().into_owned())
}

fn network_manager(vips: &[IpAddr]) -> File {
    let mut text = format!("{MARK}\n[connection]\nid=lb-real-server\nuuid={UUID}\ntype=loopback\ninterface-name=lo\n");
    for (section, own, is_of) in
        [("ipv4", "127.0.0.1/8", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ipv6", "::1/128", IpAddr::is_ipv6)]
    {
        let _ = writeln!(text, "\n[{section}]\nmethod=manual\naddress1={own}");
        for (number, vip) in (2..).zip(vips.iter().filter(|vip| is_of(vip))) {
            let _ = writeln!(text, "address{number}={}", host(vip));
        }
    }
    private("/etc/NetworkManager/system-connections/lb-real-server.nmconnection", text)
}

fn ifupdown(facts: &Facts, vips: &[IpAddr]) -> File {
    let mut lines = "iface lo inet manual\n".to_owned();
    for vip in vips {
        let _ = writeln!(lines, "    up {}", replace(vip));
        let _ = writeln!(lines, "    down ip address del {} dev lo || true", host(vip));
    }
    // As interfaces(5) has it: `source` with a pattern, or `source-directory`.
    let sourced = facts.file(INTERFACES).unwrap_or_default().lines().any(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("source"), Some(pattern)) => {
                ["interfaces.d/*", INTERFACES_D].iter().any(|end| pattern.trim_end_matches('/').ends_with(end))
            }
            (Some("source-directory"), Some(place)) => place.trim_end_matches('/').ends_with("interfaces.d"),
            _ => false,
        }
    });
    match sourced {
        true => public(&format!("{INTERFACES_D}/lb-real-server"), format!("{MARK}\n{lines}")),
        false => File { path: INTERFACES.into(), content: Content::Lines(lines) },
    }
}

fn unit(vips: &[IpAddr]) -> Vec<File> {
    let mut text = format!(
        "{MARK}\n[Unit]\nDescription=VIPs of this real server on lo\n\
         After=systemd-sysctl.service network-pre.target\nWants=network-pre.target\nBefore=network.target\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n"
    );
    for vip in vips {
        let _ = writeln!(text, "ExecStart={}", replace(vip));
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    let enabled = File { path: WANTED.into(), content: Content::Link("../lb-real-server.service".into()) };
    vec![public(UNIT, text), enabled]
}

fn replace(vip: &IpAddr) -> String {
    let more = if vip.is_ipv6() { " preferred_lft 0 nodad" } else { "" };
    format!("ip address replace {} dev lo{more}", host(vip))
}

fn public(path: &str, text: String) -> File {
    File { path: path.into(), content: Content::Text { text, private: false } }
}

fn private(path: &str, text: String) -> File {
    File { path: path.into(), content: Content::Text { text, private: true } }
}

/// A text with these lines of ours at its end, and none of ours before.
pub(super) fn with_lines(text: &str, lines: &str) -> String {
    let mut text = without_lines(text);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + BEGIN + "\n" + lines + END + "\n"
}

/// A text without our lines.
pub(super) fn without_lines(text: &str) -> String {
    let Some((before, rest)) = text.split_once(BEGIN) else { return text.to_owned() };
    // An end that somebody took away is the next one's beginning: no more than our own line goes then.
    let after = rest.split_once(END).map_or(rest, |(_, after)| after);
    before.to_owned() + after.strip_prefix('\n').unwrap_or(after)
}

/// Whether a file is one of ours by its text, or has lines of ours.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK) || text.contains(BEGIN)
}

/// Where files may be that a [`Keeper`] made of our files at boot, or tells of itself: what it says of a VIP is no file
/// that keeps it.
pub(super) fn is_kept(path: &Path) -> bool {
    !path.starts_with("/run")
}
