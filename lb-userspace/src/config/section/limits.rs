//! `[limits]`: sizes of the pinned maps, fixed when they are created.

use lb_common::maps::MAX_REALS;

use crate::config::read::{Given, Number, Read, key, keys};
use crate::config::report::Findings;

/// Most services that a director holds.
const MAX_SERVICES: u32 = 65_536;

/// `[limits]`: sizes of the pinned maps, fixed when they are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Services at most.
    pub services: u32,
    /// Pairs of a service and a real at most, no more than 65535: a pool's real is in a pair with each of its services, since
    /// each pair has counters.
    pub reals: u32,
    /// Slots of all rings at most, and turns of tracked services; what the configuration needs at the start and half as much
    /// again, where that is more.
    pub slots: u32,
    /// Flows remembered at most (a power of two).
    pub flows: u32,
}

impl Limits {
    const DEFAULT: Self = Self { services: 4096, reals: 32768, slots: 1 << 22, flows: 1 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

keys! {
    #[derive(Debug)]
    pub struct LimitsKeys {
        /// services at most
        services: u32 = key(Number::of(1..=MAX_SERVICES)).or(Limits::DEFAULT.services);
        /// reals at most, each counted once for each service that has it, of its own or by a pool: a pool of 10 reals with 100
        /// services counts 1000
        reals: u32 = key(Number::of(1..=MAX_REALS)).or(Limits::DEFAULT.reals);
        /// slots of all rings at most, and turns of tracked services; what the file needs and half as much again, where that is more
        slots: u32 = key(Number::of(1024..=1 << 28)).or(Limits::DEFAULT.slots);
        /// connections remembered at most: those of tracked services, and those of slots that have changed
        flows: u32 = key(Number::of(1024..=1 << 28)).or(Limits::DEFAULT.flows)
            .values("a power of two, 1024 to 268435456");
    }
}

/// Its rules, with the services and reals that the file has.
pub fn accept(read: Option<&Read<LimitsKeys>>, counts: Counts, findings: &mut Findings) -> Option<Limits> {
    if let Some((&flows, span)) = read.and_then(|read| read.flows.written())
        && !flows.is_power_of_two()
    {
        let up = flows.next_power_of_two();
        findings.report(span, format!("`flows` = {flows} is not a power of two"), format!("write {} or {up}", up / 2));
    }
    let services = read.map(|read| &read.services);
    let reals = read.map(|read| &read.reals);
    fits("services", counts.services, services, Limits::DEFAULT.services, MAX_SERVICES, findings);
    fits("reals", counts.reals, reals, Limits::DEFAULT.reals, MAX_REALS, findings);
    let Some(read) = read else {
        return Some(Limits::DEFAULT);
    };
    Some(Limits {
        services: read.services.copied()?,
        reals: read.reals.copied()?,
        slots: read.slots.copied()?,
        flows: read.flows.copied()?,
    })
}

/// What the maps will have to hold.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Services of the file.
    pub services: usize,
    /// Pairs of one of them and a real.
    pub reals: usize,
}

/// Reports more of something than its map will hold.
fn fits(name: &str, count: usize, given: Option<&Given<u32>>, default: u32, most: u32, findings: &mut Findings) {
    let Some(limit) = given.map_or(Some(default), Given::copied) else {
        return;
    };
    if u32::try_from(count).is_ok_and(|count| count <= limit) {
        return;
    }
    let counted = if name == "reals" { " (each once for each service that has it)" } else { "" };
    let message = format!("the file has {count} {name}{counted}, but the limit is {limit}");
    let most = most as usize;
    let mend = if count > most {
        format!("a director holds at most {most}: split them among several")
    } else {
        format!("set {name} = {} in [limits]", count.next_power_of_two().min(most))
    };
    match given.and_then(Given::span) {
        Some(span) => findings.report(span, message, mend),
        None => findings.report_file(message, mend),
    }
}
