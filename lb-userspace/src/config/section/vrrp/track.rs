//! `track`: what moves a virtual router's priority.

use std::collections::HashSet;
use std::time::Duration;

use toml::Spanned;

use super::OWNER;
use crate::config::read::texts::{ANY, ARGUMENT, INTERFACE};
use crate::config::read::value::short;
use crate::config::read::{Keys, List, Named, Number, Read, Text, hours, key, keys};
use crate::config::report::{
    Findings, suggest,
    text::{WIDTH, clip},
};
use crate::config::section::notify::is_by_path;
use crate::config::section::pool::Declared;
use crate::config::section::service::{ServiceKeys, ports};
use crate::config::section::times::{self, INTERVAL, TIMEOUT_WORDS};

/// One item of `track`.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// What is watched.
    pub condition: Condition,
    /// `None`: the VIPs are given up while the condition fails. Below zero: added while it fails. Above zero:
    /// added while it holds. Never 0, -253 to 253.
    pub weight: Option<i16>,
}

/// What a virtual router watches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Holds while the interface of this name is there, up and has a link.
    Interface(String),
    /// Holds while a command ends with 0.
    Script(Script),
    /// Holds while at least `healthy` reals of the service of this name are healthy.
    Service {
        /// A service of the same file.
        name: String,
        /// 1 to the number of its reals.
        healthy: u32,
    },
}

/// A tracked command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Script {
    /// argv, its first element an absolute path.
    pub command: Vec<String>,
    /// Time between the starts of two runs.
    pub interval: Duration,
    /// A run that takes longer is ended and counts as failed; at most the interval.
    pub timeout: Duration,
    /// Good runs in a row that make it hold.
    pub rise: u32,
    /// Bad ones in a row that make it fail.
    pub fall: u32,
}

const SCRIPT: List<Text<String>> = List {
    item: Text { example: "\"/path/check\"", ..ARGUMENT },
    empty: ("there is no command", "write [\"/path/check\", \"argument\"]"),
};

keys! {
    #[derive(Debug)]
    pub struct TrackKeys {
        /// holds while it is there and has a link
        interface: String = key(INTERFACE).without("").example("\"eth2\"");
        /// holds while the command ends with exit code 0; no shell is in between
        script: Vec<Spanned<String>> = key(SCRIPT).without("").values("`[\"/path/check\", \"argument\", …]`");
        /// holds while enough of its reals are healthy
        service: String = key(ANY).without("").example("\"web\"").values("NAME of a `[service.NAME]`");
        /// without: the VIPs are given up while the condition fails. Below zero: added to the priority while it
        /// fails. Above zero: added while it holds, as keepalived does
        weight: i16 = key(Number::of(-253..=253)).values("-253 to 253, not 0");
        /// of a service: how many are enough
        healthy: u32 = key(Number::of(1..=65_535)).or(1).values("1 to the number of its reals");
        /// of a script: time between the starts of two runs
        interval: Duration = key(times::interval()).or(INTERVAL);
        /// of a script: a run that takes longer has failed
        timeout: Duration = key(times::timeout()).without(TIMEOUT_WORDS).values("1ms to the interval");
        /// of a script: good runs in a row until it holds
        rise: u32 = key(Number::of(1..=100)).or(1);
        /// of a script: bad ones in a row until it fails
        fall: u32 = key(Number::of(1..=100)).or(1);
    }
}

/// What can be tracked, and the keys that each has besides `weight`.
const KINDS: [(&str, &[&str]); 3] =
    [("interface", &[]), ("script", &["interval", "timeout", "rise", "fall"]), ("service", &["healthy"])];

/// Its rules.
pub fn accept(
    raw: &[Read<TrackKeys>],
    priority: Option<u8>,
    declared: Declared<'_>,
    findings: &mut Findings,
) -> Vec<Track> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for item in raw {
        let Some(track) = one(item, priority, declared, findings) else {
            continue;
        };
        if seen.insert(identity(&track.condition)) {
            all.push(track);
        } else {
            findings.report(
                item.span.clone(),
                "this virtual router already tracks the same",
                "track it once, with one weight or none",
            );
        }
    }
    all
}

/// What makes two conditions the same thing to watch.
fn identity(condition: &Condition) -> (&'static str, Vec<String>) {
    match condition {
        Condition::Interface(name) => ("interface", vec![name.clone()]),
        Condition::Script(script) => ("script", script.command.clone()),
        // Two thresholds of one service are two conditions.
        Condition::Service { name, healthy } => ("service", vec![name.clone(), healthy.to_string()]),
    }
}

fn one(raw: &Read<TrackKeys>, priority: Option<u8>, declared: Declared<'_>, findings: &mut Findings) -> Option<Track> {
    let kind = kind(raw, findings)?;
    let weight = weight(raw, priority, findings);
    let condition = match kind {
        "interface" => Condition::Interface(raw.interface.cloned()?),
        "script" => Condition::Script(script(raw, findings)?),
        _ => service(raw, declared, findings)?,
    };
    Some(Track { condition, weight })
}

/// The one kind that an item has, with no keys of another.
fn kind(raw: &Read<TrackKeys>, findings: &mut Findings) -> Option<&'static str> {
    let there = raw.present();
    let has = |wanted: &str| there.iter().any(|(key, _)| *key == wanted);
    let mut given = KINDS.iter().filter(|(kind, _)| has(kind));
    let (Some((kind, keys)), None) = (given.next(), given.next()) else {
        findings.report(
            raw.span.clone(),
            "a track watches one thing",
            "give it one of interface = \"eth2\", script = [\"/path/check\"] or service = \"web\"",
        );
        return None;
    };
    for (key, span) in &there {
        if key != kind && *key != "weight" && !keys.contains(key) {
            let mend = match KINDS.iter().find(|(_, keys)| keys.contains(key)) {
                Some((owner, _)) => format!("remove it: it goes with a tracked {owner}"),
                None => "remove it".to_owned(),
            };
            findings.report(span.clone(), format!("a tracked {kind} has no `{key}`"), mend);
        }
    }
    Some(kind)
}

fn weight(raw: &Read<TrackKeys>, priority: Option<u8>, findings: &mut Findings) -> Option<i16> {
    let (&weight, span) = raw.weight.written()?;
    if weight == 0 {
        findings.report(
            span,
            "`weight` = 0 changes nothing",
            "write -253 to -1, or 1 to 253; or remove it to give up the VIPs when it fails",
        );
    } else if priority == Some(OWNER) {
        findings.report(
            span,
            "priority 255 is the addresses' owner: no weight changes it",
            "set priority = 254 or less, or remove the weight to give up the VIPs when it fails",
        );
    }
    Some(weight)
}

fn script(raw: &Read<TrackKeys>, findings: &mut Findings) -> Option<Script> {
    is_by_path(raw.script.items(), "script", findings);
    let times = times::accept(&raw.interval, &raw.timeout, "runs", findings);
    let command: Vec<String> = raw.script.items().iter().map(|argument| argument.get_ref().clone()).collect();
    let (interval, timeout) = times?;
    Some(Script { command, interval, timeout, rise: raw.rise.copied()?, fall: raw.fall.copied()? })
}

/// Whether a section is named, or a port of it.
fn is_named(read: &Named<ServiceKeys>, name: &str) -> bool {
    read.name.get_ref() == name || ports::names(read).iter().any(|part| part == name)
}

fn service(raw: &Read<TrackKeys>, declared: Declared<'_>, findings: &mut Findings) -> Option<Condition> {
    let (name, span) = raw.service.written()?;
    let services = declared.services;
    let names = services.iter().map(|service| service.name.get_ref().as_str());
    if findings.is_excused(&format!("[service.{}]", short(name))) {
        return None;
    }
    let Some(service) = services.iter().find(|service| is_named(service, name)) else {
        let mend = if services.is_empty() {
            format!("add [service.{}], or remove this", short(name))
        } else {
            suggest::mend(name, "The file's services are", names.take(MANY).collect::<Vec<_>>())
        };
        findings.report(span, format!("there is no service \"{}\"", short(name)), mend);
        return None;
    };
    let healthy = raw.healthy.copied()?;
    let reals = declared.reals(service).len();
    if let Some((_, span)) = raw.healthy.written()
        && usize::try_from(healthy).is_ok_and(|wanted| wanted > reals)
    {
        findings.report(
            span,
            format!("`healthy` = {healthy} can't be reached: [service.{name}] has {reals} reals"),
            format!("write 1 to {reals}"),
        );
    }
    Some(Condition::Service { name: name.clone(), healthy })
}

/// Names that a mend lists at most.
const MANY: usize = 12;

impl Track {
    /// What moves the priority, and how.
    pub fn words(&self) -> String {
        let (what, fails) = match &self.condition {
            Condition::Interface(name) => (format!("{name} has a link"), format!("{name} has none")),
            Condition::Script(script) => {
                let command = clip(&script.command.join(" "), WIDTH / 2);
                let often = format!(
                    "{command} (every {}, for at most {}, up after {}, down after {})",
                    hours(script.interval),
                    hours(script.timeout),
                    script.rise,
                    script.fall,
                );
                (format!("{often} succeeds"), format!("{often} fails"))
            }
            Condition::Service { name, healthy } => (
                format!("service {name} has {healthy} healthy reals or more"),
                format!("service {name} has fewer than {healthy} healthy reals"),
            ),
        };
        match self.weight {
            None => format!("gives up the VIPs while {fails}"),
            Some(weight) if weight < 0 => format!("priority {weight} while {fails}"),
            Some(weight) => format!("priority +{weight} while {what}"),
        }
    }
}
