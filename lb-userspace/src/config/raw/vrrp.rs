//! `[vrrp.NAME]`: its keys, each read by itself.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;

use super::{Value, strings, title};
use crate::config::diagnose::Findings;
use crate::config::model::{Backup, Checksum};
use crate::config::section::Section;
use crate::config::source::Span;
use crate::config::value;

/// `[vrrp.NAME]`.
#[derive(Debug)]
pub(in crate::config) struct Vrrp {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) header: Span,
    pub(in crate::config) interface: Option<Spanned<String>>,
    pub(in crate::config) id: Option<Spanned<u64>>,
    pub(in crate::config) version: Option<Spanned<u64>>,
    pub(in crate::config) priority: Option<Spanned<u64>>,
    pub(in crate::config) advertise: Option<Spanned<Duration>>,
    pub(in crate::config) password: Option<Spanned<String>>,
    pub(in crate::config) addresses: Vec<Spanned<IpNet>>,
    pub(in crate::config) peers: Vec<Spanned<IpAddr>>,
    pub(in crate::config) minimum_ttl: Option<Spanned<u64>>,
    pub(in crate::config) preempt: Option<Spanned<bool>>,
    pub(in crate::config) preempt_delay: Option<Spanned<Duration>>,
    pub(in crate::config) handover: Option<Spanned<Duration>>,
    pub(in crate::config) checksum: Option<Spanned<Checksum>>,
    pub(in crate::config) virtual_mac: Option<Spanned<bool>>,
    pub(in crate::config) backup: Option<Spanned<Backup>>,
    pub(in crate::config) sync_group: Option<Spanned<String>>,
    pub(in crate::config) announce: Announce,
    pub(in crate::config) track: Vec<Track>,
    pub(in crate::config) notify: Vec<Spanned<String>>,
    pub(in crate::config) notify_timeout: Option<Spanned<Duration>>,
}

/// `announce = { … }`.
#[derive(Debug, Default)]
pub(in crate::config) struct Announce {
    pub(in crate::config) repeat: Option<Spanned<u64>>,
    pub(in crate::config) delay: Option<Spanned<Duration>>,
    pub(in crate::config) delayed_repeat: Option<Spanned<u64>>,
    pub(in crate::config) refresh: Option<Spanned<Duration>>,
    pub(in crate::config) pace: Option<Spanned<u64>>,
}

/// One item of `track`.
#[derive(Debug)]
pub(in crate::config) struct Track {
    pub(in crate::config) span: Span,
    pub(in crate::config) interface: Option<Spanned<String>>,
    pub(in crate::config) script: Vec<Spanned<String>>,
    pub(in crate::config) service: Option<Spanned<String>>,
    pub(in crate::config) weight: Option<Spanned<i64>>,
    pub(in crate::config) interval: Option<Spanned<Duration>>,
    pub(in crate::config) timeout: Option<Spanned<Duration>>,
    pub(in crate::config) rise: Option<Spanned<u64>>,
    pub(in crate::config) fall: Option<Spanned<u64>>,
    pub(in crate::config) healthy: Option<Spanned<u64>>,
    /// Keys that are there, good or not.
    pub(in crate::config) keys: Vec<(&'static str, Span)>,
}

const KEYS: [&str; 20] = [
    "interface",
    "id",
    "version",
    "priority",
    "advertise",
    "password",
    "addresses",
    "peers",
    "minimum_ttl",
    "preempt",
    "preempt_delay",
    "handover",
    "checksum",
    "virtual_mac",
    "backup",
    "sync_group",
    "announce",
    "track",
    "notify",
    "notify_timeout",
];

pub(super) fn vrrp(findings: &mut Findings, name: Spanned<String>, value: &Value<'_>) -> Option<Vrrp> {
    let section = Section::open(findings, title("vrrp", name.get_ref()), value, &KEYS)?;
    section.require(findings, "interface", "add interface = \"eth1\"");
    section.require(findings, "id", "add id = 210 (1 to 255)");
    section.require(findings, "addresses", "add addresses = [\"192.0.2.1/24\"]");
    refuse_empty_lists(&section, findings);
    let checksums = [("auto", Checksum::Auto), ("pseudo-header", Checksum::PseudoHeader), ("plain", Checksum::Plain)];
    let backups = [("forward", Backup::Forward), ("pass", Backup::Pass)];
    let group = |text: &str| value::name(text).map(|()| text.to_owned());
    let announce_title = format!("the announce of {}", section.title());
    let announced = section.value("announce").and_then(|value| announce(findings, announce_title, value));
    let track_title = format!("a track of {}", section.title());
    let tracked = section.items(findings, "track", "[{ interface = \"eth2\" }]").unwrap_or_default();
    Some(Vrrp {
        name,
        header: section.span.clone(),
        interface: section.parsed(findings, "interface", "\"eth1\"", value::interface),
        id: section.number(findings, "id", "", 1..=255),
        version: section.number(findings, "version", "", 2..=3),
        priority: section.number(findings, "priority", "", 1..=255),
        advertise: section.parsed(findings, "advertise", "\"1s\"", value::duration),
        password: section.parsed(findings, "password", "\"PassW0rD\"", |text| Ok(text.to_owned())),
        addresses: strings(findings, &section, "addresses", "\"192.0.2.1/24\"", value::interface_address),
        peers: strings(findings, &section, "peers", "\"192.0.2.3\"", value::peer),
        minimum_ttl: section.number(findings, "minimum_ttl", "", 1..=255),
        preempt: section.flag(findings, "preempt"),
        preempt_delay: section.parsed(findings, "preempt_delay", "\"10s\"", value::duration),
        handover: section.parsed(findings, "handover", "\"4s\"", value::duration),
        checksum: section.choice(findings, "checksum", &checksums),
        virtual_mac: section.flag(findings, "virtual_mac"),
        backup: section.choice(findings, "backup", &backups),
        sync_group: section.parsed(findings, "sync_group", "\"both\"", group),
        announce: announced.unwrap_or_default(),
        track: tracked.iter().filter_map(|value| track(findings, &track_title, value)).collect(),
        notify: strings(findings, &section, "notify", "\"/usr/local/bin/notify\"", value::argument),
        notify_timeout: section.parsed(findings, "notify_timeout", "\"10s\"", value::duration),
    })
}

fn refuse_empty_lists(section: &Section<'_>, findings: &mut Findings) {
    let rows = [
        ("addresses", "there is no VIP to own", "name the VIPs, or remove the section"),
        ("peers", "nobody would hear the adverts", "name the other directors, or remove the line for multicast"),
        ("notify", "there is no command", "write [\"/path/script\"], or remove the line"),
    ];
    for (key, what, mend) in rows {
        if let Some(list) = section.empty_list(key) {
            findings.report(list, format!("`{key}` is empty: {what}"), mend);
        }
    }
}

fn announce(findings: &mut Findings, title: String, value: &Value<'_>) -> Option<Announce> {
    let known = ["repeat", "delay", "delayed_repeat", "refresh", "pace"];
    let section = Section::open(findings, title, value, &known)?;
    Some(Announce {
        repeat: section.number(findings, "repeat", "(0 for none)", 0..=100),
        delay: section.parsed(findings, "delay", "\"5s\"", value::duration),
        delayed_repeat: section.number(findings, "delayed_repeat", "(0 for none)", 0..=100),
        refresh: section.parsed(findings, "refresh", "\"60s\"", value::duration),
        pace: section.number(findings, "pace", "frames a second", 1..=1_000_000),
    })
}

fn track(findings: &mut Findings, title: &str, value: &Value<'_>) -> Option<Track> {
    const KEYS: [&str; 9] =
        ["interface", "script", "service", "weight", "interval", "timeout", "rise", "fall", "healthy"];
    let section = Section::open(findings, title.to_owned(), value, &KEYS)?;
    if let Some(list) = section.empty_list("script") {
        findings.report(list, "`script` is empty: there is no command", "write [\"/path/check\", \"argument\"]");
    }
    Some(Track {
        span: section.span.clone(),
        interface: section.parsed(findings, "interface", "\"eth2\"", value::interface),
        script: strings(findings, &section, "script", "\"/path/check\"", value::argument),
        service: section.parsed(findings, "service", "\"web\"", |text| Ok(text.to_owned())),
        weight: section.signed(findings, "weight", -253..=253),
        interval: section.parsed(findings, "interval", "\"2s\"", value::duration),
        timeout: section.parsed(findings, "timeout", "\"1s\"", value::duration),
        rise: section.number(findings, "rise", "", 1..=100),
        fall: section.number(findings, "fall", "", 1..=100),
        healthy: section.number(findings, "healthy", "", 1..=65_535),
        keys: KEYS.into_iter().filter_map(|key| Some((key, section.key_span(key)?))).collect(),
    })
}
