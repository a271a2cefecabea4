//! The shape of the file: its sections and keys, each value checked by itself, with its place. What isn't
//! there or was refused is `None`; only then can a required one be.
//!
//! The tree is walked by hand, not by a derived `Deserialize`: that stops at the first fault and forgets
//! where keys stand.

mod vrrp;

use std::net::IpAddr;
use std::time::Duration;

use lb_common::maps::MAX_REALS;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::Findings;
use super::model::{Mode, Protocol, Scheduler};
use super::section::{self, Section};
use super::source::Span;
use super::syntax;
use super::value::{self, Endpoint};

pub(super) use vrrp::{Announce, Track, Vrrp};

/// Most services that a director holds.
pub(super) const MAX_SERVICES: u32 = 65_536;

type Value<'t> = Spanned<DeValue<'t>>;

/// The whole file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) director: Director,
    pub(super) limits: Limits,
    pub(super) vrrp: Vec<Vrrp>,
    pub(super) services: Vec<Service>,
}

/// `[director]`.
#[derive(Debug, Default)]
pub(super) struct Director {
    pub(super) interfaces: Vec<Spanned<String>>,
    pub(super) mode: Option<Spanned<Mode>>,
    pub(super) hash_seed: Option<Spanned<u64>>,
    pub(super) when_agent_dies: Option<Spanned<AgentDeath>>,
    pub(super) release_after: Option<Spanned<Duration>>,
}

/// `director.when_agent_dies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgentDeath {
    Forward,
    Release,
}

/// `[limits]`.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) services: Option<Spanned<u64>>,
    pub(super) reals: Option<Spanned<u64>>,
    pub(super) flows: Option<Spanned<u64>>,
}

/// `[service.NAME]`.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Spanned<String>,
    pub(super) header: Span,
    pub(super) address: Option<Spanned<Endpoint>>,
    pub(super) protocol: Option<Spanned<Protocol>>,
    pub(super) scheduler: Option<Spanned<Scheduler>>,
    pub(super) ring_size: Option<Spanned<u64>>,
    pub(super) check: Option<Check>,
    pub(super) reals: Vec<Real>,
}

/// `[[service.NAME.reals]]`.
#[derive(Debug)]
pub(super) struct Real {
    pub(super) address: Option<Spanned<IpAddr>>,
    pub(super) weight: Option<Spanned<u64>>,
    pub(super) mac: Option<Spanned<[u8; 6]>>,
    pub(super) interface: Option<Spanned<String>>,
    pub(super) vlan: Option<Spanned<u64>>,
}

/// `check = { … }`.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) span: Span,
    pub(super) kind: Option<Spanned<Kind>>,
    pub(super) port: Option<Spanned<u64>>,
    pub(super) interval: Option<Spanned<Duration>>,
    pub(super) timeout: Option<Spanned<Duration>>,
    pub(super) rise: Option<Spanned<u64>>,
    pub(super) fall: Option<Spanned<u64>>,
    pub(super) jitter: Option<Spanned<u64>>,
    pub(super) method: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) host: Option<Spanned<String>>,
    pub(super) status: Vec<(u16, u16)>,
    /// Keys of HTTP that are there.
    pub(super) http_keys: Vec<(&'static str, Span)>,
}

/// `check.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Http,
}

/// Reads the text; `None` when it isn't TOML.
pub(super) fn read(text: &str, findings: &mut Findings) -> Option<File> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax::report(&errors, text, findings);
        return None;
    }
    let top = Section::check(
        findings,
        "the file".to_owned(),
        0..0,
        document.get_ref(),
        &["director", "limits", "vrrp", "service"],
    );
    top.require(findings, "director", "add [director] and below it interfaces = [\"eth1\"]");
    let director = top.value("director").and_then(|value| director(findings, value));
    let limits = top.value("limits").and_then(|value| limits(findings, value));
    Some(File {
        director: director.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        vrrp: named(findings, &top, "vrrp", vrrp::vrrp),
        services: named(findings, &top, "service", service),
    })
}

/// Reads each table below `key` that has a good name.
fn named<'t, T>(
    findings: &mut Findings,
    top: &Section<'t>,
    key: &'static str,
    read: fn(&mut Findings, Spanned<String>, &'t Value<'t>) -> Option<T>,
) -> Vec<T> {
    let mut all = Vec::new();
    for (name, table) in top.named(findings, key) {
        if let Err(fault) = value::name(name.get_ref()) {
            findings.report(name.span(), fault.message, fault.mend);
        }
        all.extend(read(findings, name, table));
    }
    all
}

fn director(findings: &mut Findings, value: &Value<'_>) -> Option<Director> {
    let known = ["interfaces", "mode", "hash_seed", "when_agent_dies", "release_after"];
    let section = Section::open(findings, "[director]".to_owned(), value, &known)?;
    section.require(findings, "interfaces", "add interfaces = [\"eth1\"]");
    let modes = [("auto", Mode::Auto), ("native", Mode::Native), ("generic", Mode::Generic)];
    let deaths = [("forward", AgentDeath::Forward), ("release", AgentDeath::Release)];
    let interfaces = strings(findings, &section, "interfaces", "\"eth1\"", value::interface);
    if let Some(list) = section.empty_list("interfaces") {
        findings.report(
            list,
            "`interfaces` is empty: no packet would be seen",
            "name the interface that clients' packets come in by, such as [\"eth1\"]",
        );
    }
    Some(Director {
        interfaces,
        mode: section.choice(findings, "mode", &modes),
        hash_seed: section.number(findings, "hash_seed", "", 0..=u64::MAX),
        when_agent_dies: section.choice(findings, "when_agent_dies", &deaths),
        release_after: section.parsed(findings, "release_after", "\"30s\"", value::duration),
    })
}

fn limits(findings: &mut Findings, value: &Value<'_>) -> Option<Limits> {
    let known = ["services", "reals", "flows"];
    let section = Section::open(findings, "[limits]".to_owned(), value, &known)?;
    Some(Limits {
        services: section.number(findings, "services", "", 1..=MAX_SERVICES.into()),
        reals: section.number(findings, "reals", "", 1..=MAX_REALS.into()),
        flows: section.number(findings, "flows", "", 1024..=1 << 28),
    })
}

fn service(findings: &mut Findings, name: Spanned<String>, value: &Value<'_>) -> Option<Service> {
    let known = ["address", "protocol", "scheduler", "ring_size", "check", "reals"];
    let section = Section::open(findings, title("service", name.get_ref()), value, &known)?;
    section.require(findings, "address", "add address = \"192.0.2.1:80\"");
    section.require(findings, "protocol", "add protocol = \"tcp\" or \"udp\"");
    let no_reals = format!("add [[service.{}.reals]] and below it its address", name.get_ref());
    section.require(findings, "reals", &no_reals);
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let schedulers = [("mh", Scheduler::Mh), ("sh", Scheduler::Sh), ("rr", Scheduler::Rr), ("wrr", Scheduler::Wrr)];
    let check_title = format!("the check of {}", section.title());
    let check = section.value("check").and_then(|value| check(findings, check_title, value));
    let reals = section.items(findings, "reals", "[{ address = \"192.0.2.40\" }]");
    if let Some(list) = section.empty_list("reals") {
        findings.report(
            list,
            format!("{} has no real to send to", section.title()),
            "add a real, or remove the service",
        );
    }
    let real_title = format!("a real of {}", section.title());
    Some(Service {
        name,
        header: section.span.clone(),
        address: section.parsed(findings, "address", "\"192.0.2.1:80\"", value::endpoint),
        protocol: section.choice(findings, "protocol", &protocols),
        scheduler: section.choice(findings, "scheduler", &schedulers),
        ring_size: section.number(findings, "ring_size", "slots (a prime)", 251..=1_048_573),
        check,
        reals: reals.unwrap_or_default().iter().filter_map(|value| real(findings, &real_title, value)).collect(),
    })
}

fn real(findings: &mut Findings, title: &str, value: &Value<'_>) -> Option<Real> {
    let known = ["address", "weight", "mac", "interface", "vlan"];
    let section = Section::open(findings, title.to_owned(), value, &known)?;
    section.require(findings, "address", "add address = \"192.0.2.40\"");
    Some(Real {
        address: section.parsed(findings, "address", "\"192.0.2.40\"", value::real),
        weight: section.number(findings, "weight", "(0 quiesces)", 0..=65_535),
        mac: section.parsed(findings, "mac", "\"02:00:5e:10:00:28\"", value::mac),
        interface: section.parsed(findings, "interface", "\"eth1\"", value::interface),
        vlan: section.number(findings, "vlan", "(0 is untagged)", 0..=4094),
    })
}

fn check(findings: &mut Findings, title: String, value: &Value<'_>) -> Option<Check> {
    const HTTP: [&str; 4] = ["method", "path", "host", "status"];
    let known = ["type", "port", "interval", "timeout", "rise", "fall", "jitter", "method", "path", "host", "status"];
    let section = Section::open(findings, title, value, &known)?;
    section.require(findings, "type", "add type = \"tcp\" or \"http\"");
    let kinds = [("tcp", Kind::Tcp), ("http", Kind::Http)];
    Some(Check {
        span: section.span.clone(),
        kind: section.choice(findings, "type", &kinds),
        port: section.number(findings, "port", "", 1..=65_535),
        interval: section.parsed(findings, "interval", "\"2s\"", value::duration),
        timeout: section.parsed(findings, "timeout", "\"1s\"", value::duration),
        rise: section.number(findings, "rise", "", 1..=100),
        fall: section.number(findings, "fall", "", 1..=100),
        jitter: section.number(findings, "jitter", "percent", 0..=50),
        method: section.parsed(findings, "method", "\"GET\"", value::method),
        path: section.parsed(findings, "path", "\"/\"", value::path),
        host: section.parsed(findings, "host", "\"www.example.org\"", value::host),
        status: statuses(findings, &section),
        http_keys: HTTP.into_iter().filter_map(|key| Some((key, section.key_span(key)?))).collect(),
    })
}

/// `status = ["200-299", 301]`.
fn statuses(findings: &mut Findings, section: &Section<'_>) -> Vec<(u16, u16)> {
    let mut ranges = Vec::new();
    let items = section.items(findings, "status", "[\"200-299\"]");
    if let Some(list) = section.empty_list("status") {
        findings.report(
            list,
            "`status` is empty: no answer would be good",
            "name the good ones, such as [\"200-299\", 301], or remove the line",
        );
    }
    for item in items.unwrap_or_default() {
        if let DeValue::Integer(code) = item.get_ref() {
            match value::status(&code.to_string()) {
                Ok(range) => ranges.push(range),
                Err(fault) => findings.report(item.span(), fault.message, fault.mend),
            }
        } else {
            let range = section::parsed(findings, "a range", "\"200-299\"", item, value::status);
            ranges.extend(range.map(Spanned::into_inner));
        }
    }
    ranges
}

/// The items of a list of strings that `read` understands.
fn strings<T>(
    findings: &mut Findings,
    section: &Section<'_>,
    key: &str,
    example: &str,
    read: fn(&str) -> Result<T, section::Fault>,
) -> Vec<Spanned<T>> {
    let items = section.items(findings, key, &format!("[{example}]"));
    items
        .unwrap_or_default()
        .iter()
        .filter_map(|item| section::parsed(findings, &format!("an item of `{key}`"), example, item, read))
        .collect()
}

fn title(kind: &str, name: &str) -> String {
    format!("[{kind}.{}]", value::short(name))
}
