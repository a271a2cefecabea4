//! `track`: what moves a virtual router's priority.

use std::collections::HashSet;
use std::time::Duration;

use super::{HOUR, OWNER, check_range, command, number, time};
use crate::config::diagnose::Findings;
use crate::config::model::{Condition, Script, Track};
use crate::config::raw;
use crate::config::suggest;
use crate::config::value::short;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// What can be tracked, and the keys that each has besides `weight`.
const KINDS: [(&str, &[&str]); 3] =
    [("interface", &[]), ("script", &["interval", "timeout", "rise", "fall"]), ("service", &["healthy"])];

pub(super) fn accept(
    raw: &[raw::Track],
    priority: u8,
    services: &[raw::Service],
    findings: &mut Findings,
) -> Vec<Track> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for item in raw {
        let Some(track) = one(item, priority, services, findings) else {
            continue;
        };
        if seen.insert(key(&track.condition)) {
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
fn key(condition: &Condition) -> (&'static str, Vec<String>) {
    match condition {
        Condition::Interface(name) => ("interface", vec![name.clone()]),
        Condition::Script(script) => ("script", script.command.clone()),
        // Two thresholds of one service are two conditions.
        Condition::Service { name, healthy } => ("service", vec![name.clone(), healthy.to_string()]),
    }
}

fn one(raw: &raw::Track, priority: u8, services: &[raw::Service], findings: &mut Findings) -> Option<Track> {
    let kind = kind(raw, findings)?;
    let weight = weight(raw, priority, findings);
    let condition = match kind {
        "interface" => Condition::Interface(raw.interface.as_ref()?.get_ref().clone()),
        "script" => Condition::Script(script(raw, findings)?),
        _ => service(raw, services, findings)?,
    };
    Some(Track { condition, weight })
}

/// The one kind that an item has, with no keys of another.
fn kind(raw: &raw::Track, findings: &mut Findings) -> Option<&'static str> {
    let has = |wanted: &str| raw.keys.iter().any(|(key, _)| *key == wanted);
    let mut given = KINDS.iter().filter(|(kind, _)| has(kind));
    let (Some((kind, keys)), None) = (given.next(), given.next()) else {
        findings.report(
            raw.span.clone(),
            "a track watches one thing",
            "give it one of interface = \"eth2\", script = [\"/path/check\"] or service = \"web\"",
        );
        return None;
    };
    for (key, span) in &raw.keys {
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

fn weight(raw: &raw::Track, priority: u8, findings: &mut Findings) -> Option<i16> {
    let weight = raw.weight.as_ref()?;
    if *weight.get_ref() == 0 {
        findings.report(
            weight.span(),
            "`weight` = 0 changes nothing",
            "write -253 to -1, or 1 to 253; or remove it to give up the VIPs when it fails",
        );
    } else if priority == OWNER {
        findings.report(
            weight.span(),
            "priority 255 is the addresses' owner: no weight changes it",
            "set priority = 254 or less, or remove the weight to give up the VIPs when it fails",
        );
    }
    i16::try_from(*weight.get_ref()).ok()
}

fn script(raw: &raw::Track, findings: &mut Findings) -> Option<Script> {
    command(&raw.script, "script", findings);
    let interval = time(raw.interval.as_ref(), DEFAULT_INTERVAL);
    let timeout = time(raw.timeout.as_ref(), DEFAULT_TIMEOUT.min(interval));
    check_range("interval", raw.interval.as_ref(), MIN_INTERVAL..=HOUR, "\"10ms\" to \"1h\"", findings);
    if let Some(place) = raw.timeout.as_ref().filter(|_| timeout > interval) {
        let (shown, interval) = (humantime::format_duration(timeout), humantime::format_duration(interval));
        findings.report(
            place.span(),
            format!("`timeout` = {shown} is longer than the interval of {interval}"),
            "shorten the timeout or lengthen the interval, so that runs don't overlap",
        );
    } else {
        check_range("timeout", raw.timeout.as_ref(), MIN_TIMEOUT..=HOUR, "\"1ms\" or more", findings);
    }
    let command: Vec<String> = raw.script.iter().map(|argument| argument.get_ref().clone()).collect();
    (!command.is_empty()).then(|| Script {
        command,
        interval,
        timeout,
        rise: number(raw.rise.as_ref(), 1),
        fall: number(raw.fall.as_ref(), 1),
    })
}

fn service(raw: &raw::Track, services: &[raw::Service], findings: &mut Findings) -> Option<Condition> {
    let place = raw.service.as_ref()?;
    let name = place.get_ref();
    let names = services.iter().map(|service| service.name.get_ref().as_str());
    let Some(service) = services.iter().find(|service| service.name.get_ref() == name) else {
        let mend = if services.is_empty() {
            format!("add [service.{}], or remove this", short(name))
        } else {
            suggest::mend(name, "The file's services are", names.take(MANY).collect::<Vec<_>>())
        };
        findings.report(place.span(), format!("there is no service \"{}\"", short(name)), mend);
        return None;
    };
    let healthy: u32 = number(raw.healthy.as_ref(), 1);
    let reals = service.reals.len();
    if let Some(place) = raw.healthy.as_ref().filter(|_| usize::try_from(healthy).is_ok_and(|wanted| wanted > reals)) {
        findings.report(
            place.span(),
            format!("`healthy` = {healthy} can't be reached: [service.{name}] has {reals} reals"),
            format!("write 1 to {reals}"),
        );
    }
    Some(Condition::Service { name: name.clone(), healthy })
}

/// Names that a mend lists at most.
const MANY: usize = 12;
