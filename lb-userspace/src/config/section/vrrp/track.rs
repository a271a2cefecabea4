//! `track`: what moves a virtual router's priority.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::OWNER;
use crate::config::read::texts::{ANY, FILE_PATH, INTERFACE};
use crate::config::read::value::short;
use crate::config::read::{Flag, Keys, Kind, Named, Number, Read, Site, Text, Value, hours, key, keys};
use crate::config::report::{
    Fault, Findings, suggest,
    text::{WIDTH, clip},
};
use crate::config::section::notify;
use crate::config::section::pool::Declared;
use crate::config::section::script::{self, Script};
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
    /// Holds while the number in a file is 0, or there is no file. A weight counts as often as the number says.
    File {
        /// The file.
        path: PathBuf,
        /// Time between two looks.
        interval: Duration,
    },
    /// Holds while at least `count` processes of this name run.
    Process {
        /// As in /proc/PID/comm, or of the program that was started.
        name: String,
        /// 1 or more.
        count: u32,
        /// Time between two looks.
        interval: Duration,
    },
    /// Holds while at least `healthy` reals of the service of this name are healthy.
    Service {
        /// A service of the same file.
        name: String,
        /// 1 to the number of its reals.
        healthy: u32,
    },
}

keys! {
    #[derive(Debug)]
    pub struct TrackKeys {
        /// holds while it is there and has a link
        interface: String = key(INTERFACE).without("").example("\"eth2\"");
        /// holds while the command ends with exit code 0; no shell is in between. Or the NAME of a `[script.NAME]`
        script: CommandOrName = key(CommandKind).without("").values("`[\"/path/check\", \"argument\", …]`, `\"NAME\"`");
        /// holds while enough of its reals are healthy
        service: String = key(ANY).without("").example("\"web\"").values("NAME of a `[service.NAME]`");
        /// holds while the whole number in it is 0, or there is no file: a switch for operators and other programs
        file: PathBuf = key(FILE_PATH).without("").example("\"/run/lb/maintenance\"");
        /// holds while enough processes of this name run: that of `ps -o comm`, or of the program that was started
        process: String = key(PROCESS).without("").example("\"haproxy\"");
        /// without: the VIPs are given up while the condition fails. Below zero: added to the priority while it
        /// fails. Above zero: added while it holds, as keepalived does. Of a file: its number times this is added
        weight: i16 = key(Number::of(-253..=253)).values("-253 to 253, not 0");
        /// of a service: how many are enough
        healthy: u32 = key(Number::of(1..=65_535)).or(1).values("1 to the number of its reals");
        /// of a process: how many are enough
        count: u32 = key(Number::of(1..=65_535)).or(1);
        /// of a script: time between the starts of two runs; of a file or process: between two looks
        interval: Duration = key(times::interval()).or(INTERVAL);
        /// of a script: a run that takes longer has failed
        timeout: Duration = key(times::timeout()).without(TIMEOUT_WORDS).values("1ms to the interval");
        /// of a script: good runs in a row until it holds
        rise: u32 = key(script::runs()).or(1);
        /// of a script: bad ones in a row until it fails
        fall: u32 = key(script::runs()).or(1);
        /// of a script: whether it fails until `rise` runs were good; else it has no effect before its first run, which decides alone
        init_fail: bool = key(Flag).or(false);
        /// of a script: the user that it runs as
        user: String = key(notify::USER).without("the agent's own");
    }
}

/// What can be tracked, and the keys that each has besides `weight`.
const KINDS: [(&str, &[&str]); 5] = [
    ("interface", &[]),
    ("script", &["interval", "timeout", "rise", "fall", "init_fail", "user"]),
    ("service", &["healthy"]),
    ("file", &["interval"]),
    ("process", &["count", "interval"]),
];

/// The name of a process.
const PROCESS: Text<String> = Text { read: process, example: "\"haproxy\"", values: "a process's name" };

fn process(text: &str) -> Result<String, Fault> {
    let is_name = !text.is_empty() && text.len() <= 255 && !text.contains(char::is_control);
    if is_name {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("\"{}\" is not the name of a process", short(text)), "write it as `ps -o comm` shows it"))
}

/// A tracked script, as it is written.
#[derive(Debug)]
pub enum CommandOrName {
    /// Its command.
    Command(Vec<Spanned<String>>),
    /// The name of a `[script.NAME]`.
    Name(Spanned<String>),
}

impl CommandOrName {
    /// The program, where it is a command.
    pub fn program(&self) -> Option<&Spanned<String>> {
        match self {
            Self::Command(argv) => argv.first(),
            Self::Name(_) => None,
        }
    }
}

/// A list, or a name.
#[derive(Debug, Clone, Copy)]
pub struct CommandKind;

impl Kind for CommandKind {
    type Value = CommandOrName;

    fn read(&self, site: Site<'_>, value: &Value<'_>) -> Option<CommandOrName> {
        match value.get_ref() {
            // What has a slash or a space was meant to be a command.
            DeValue::String(text) if !text.contains(['/', ' ']) => {
                Some(CommandOrName::Name(Spanned::new(value.span(), text.to_string())))
            }
            _ => script::COMMAND.read(site, value).map(CommandOrName::Command),
        }
    }

    fn example(&self) -> String {
        script::COMMAND.example()
    }

    fn values(&self) -> String {
        script::COMMAND.values()
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [script::COMMAND.schema(), { "type": "string" }] })
    }
}

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
        Condition::File { path, .. } => ("file", vec![path.display().to_string()]),
        // Two thresholds of one process are two conditions, as those of one service.
        Condition::Process { name, count, .. } => ("process", vec![name.clone(), count.to_string()]),
        // Two thresholds of one service are two conditions.
        Condition::Service { name, healthy } => ("service", vec![name.clone(), healthy.to_string()]),
    }
}

fn one(raw: &Read<TrackKeys>, priority: Option<u8>, declared: Declared<'_>, findings: &mut Findings) -> Option<Track> {
    let kind = kind(raw, findings)?;
    let weight = weight(raw, priority, findings);
    let condition = match kind {
        "interface" => Condition::Interface(raw.interface.cloned()?),
        "script" => Condition::Script(script(raw, declared, findings)?),
        "file" => Condition::File { path: raw.file.cloned()?, interval: raw.interval.copied()? },
        "process" => Condition::Process {
            name: raw.process.cloned()?,
            count: raw.count.copied()?,
            interval: raw.interval.copied()?,
        },
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
            "give it one of interface = \"eth2\", script = [\"/path/check\"], service = \"web\", file or process",
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

fn script(raw: &Read<TrackKeys>, declared: Declared<'_>, findings: &mut Findings) -> Option<Script> {
    let name = match raw.script.get()? {
        CommandOrName::Name(name) => name,
        CommandOrName::Command(command) => {
            let parts = script::Parts {
                command,
                interval: &raw.interval,
                timeout: &raw.timeout,
                rise: &raw.rise,
                fall: &raw.fall,
                init_fail: &raw.init_fail,
                user: &raw.user,
            };
            return script::one(None, &parts, findings);
        }
    };
    for (key, span) in raw.present() {
        if !["script", "weight"].contains(&key) {
            let section = short(name.get_ref());
            findings.report(span, format!("`{key}` is the script's own"), format!("write it below [script.{section}]"));
        }
    }
    match declared.scripts.get(name.get_ref()) {
        Some(script) => script.clone(),
        None if findings.is_excused(&format!("[script.{}]", short(name.get_ref()))) => None,
        None => {
            let known = declared.scripts.keys().map(String::as_str).take(MANY).collect::<Vec<_>>();
            let mend = if known.is_empty() {
                format!("add [script.{}], or write the command: script = [\"/path/check\"]", short(name.get_ref()))
            } else {
                suggest::mend(name.get_ref(), "The file's scripts are", known)
            };
            findings.report(name.span(), format!("there is no script \"{}\"", short(name.get_ref())), mend);
            None
        }
    }
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
                let command = clip(&script.label(), WIDTH / 2);
                let often = format!(
                    "{command} (every {}, for at most {}, up after {}, down after {})",
                    hours(script.interval),
                    hours(script.timeout),
                    script.rise,
                    script.fall,
                );
                (format!("{often} succeeds"), format!("{often} fails"))
            }
            Condition::File { path, .. } => {
                let path = clip(&path.display().to_string(), WIDTH / 2);
                if let Some(weight) = self.weight {
                    return format!("priority {weight:+} times the number in {path}");
                }
                (format!("{path} says 0"), format!("{path} says another number than 0"))
            }
            Condition::Process { name, count, .. } => (
                format!("{count} or more processes {} run", clip(name, WIDTH / 2)),
                format!("fewer than {count} processes {} run", clip(name, WIDTH / 2)),
            ),
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
