//! What an operator has to look at, of all that a director tells of itself: `lb status` and the status page have it from here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::api::{ClaimStatus, FleetStatus, MapStatus, RealStatus, RouterStatus, ServiceStatus, State, Status};
use crate::config::endpoint;
use crate::peers;
use crate::peers::session;
use crate::verdicts;
use crate::vrrp;

/// A map that is fuller than so many percent is told of.
const FULL: u64 = 90;
/// Reals that a finding names at most.
const NAMED: usize = 5;

/// Something that is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Traffic is lost or will be, or nobody would notice if it were. Others are told for completeness.
    pub bad: bool,
    /// What it is about, such as `service.web`.
    pub subject: String,
    /// What is.
    pub what: String,
    /// Why that matters; `None` where it says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it; `None` where that is said, or nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)
    }
}

/// Who has a VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vip {
    /// Its address.
    pub address: IpAddr,
    /// The virtual router that has it; `None` where no `[vrrp.*]` does.
    pub router: Option<String>,
    /// That router's state.
    pub state: Option<vrrp::State>,
    /// The master, where another director is known to be.
    pub master: Option<IpAddr>,
    /// The services at it.
    pub services: Vec<String>,
}

impl Vip {
    /// Its state in one word, as lists have it; empty where no virtual router has it.
    #[must_use]
    pub fn word(&self) -> String {
        self.state.map(|state| state.to_string().to_uppercase()).unwrap_or_default()
    }
}

/// The VIPs of services and virtual routers, in the order of their addresses.
#[must_use]
pub fn vips(status: &Status, routers: &[RouterStatus]) -> Vec<Vip> {
    let new = |address| Vip { address, router: None, state: None, master: None, services: Vec::new() };
    let mut all: BTreeMap<IpAddr, Vip> = BTreeMap::new();
    for service in &status.services {
        let vip = all.entry(service.address).or_insert_with(|| new(service.address));
        vip.services.extend(service.name.clone());
    }
    for router in routers {
        for address in &router.addresses {
            let vip = all.entry(*address).or_insert_with(|| new(*address));
            let here = router.state == vrrp::State::Master;
            vip.master = router.master.filter(|_| !here);
            (vip.router, vip.state) = (Some(router.name.clone()), Some(router.state));
        }
    }
    all.into_values().collect()
}

/// Everything that is found, what is bad first. `now` is in seconds since 1970.
#[must_use]
pub fn findings(status: &Status, routers: &[RouterStatus], now: u64) -> Vec<Finding> {
    let mut found = Found::default();
    found.agent(status);
    status.services.iter().for_each(|service| found.service(service, now));
    routers.iter().for_each(|router| found.router(router));
    status.claims.iter().for_each(|claim| found.claim(claim));
    status.peers.iter().for_each(|peers| found.peers(peers));
    found.frames(status);
    status.maps.iter().for_each(|map| found.map(map));
    let (mut all, notes): (Vec<Finding>, Vec<Finding>) = found.0.into_iter().partition(|finding| finding.bad);
    all.extend(notes);
    all
}

#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, bad: bool, subject: impl Into<String>, what: impl Into<String>) -> &mut Finding {
        self.0.push(Finding { bad, subject: subject.into(), what: what.into(), why: None, mend: None });
        // What was pushed is there.
        let last = self.0.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "it was pushed a line above")]
        &mut self.0[last]
    }

    fn bad(&mut self, subject: impl Into<String>, what: impl Into<String>, mend: &str) {
        self.add(true, subject, what).mend = (!mend.is_empty()).then(|| mend.to_owned());
    }

    fn note(&mut self, subject: impl Into<String>, what: impl Into<String>, mend: &str) {
        self.add(false, subject, what).mend = (!mend.is_empty()).then(|| mend.to_owned());
    }

    fn agent(&mut self, status: &Status) {
        if !status.agent {
            self.bad(
                "lb",
                "NO AGENT RUNS: nothing is checked; this is what the pinned maps forward",
                "start it: `systemctl start lb`, or `lb run`; `lb events` shows how the last one ended",
            );
        }
        if let Some(fault) = &status.fault {
            let lines: Vec<&str> = fault.lines().take(3).map(str::trim).collect();
            self.bad("lb", lines.join(" "), "`lb check` says it all, and how to mend a file");
        }
        if let Some(checks) = &status.checks {
            if let Some(fault) = &checks.own_fault {
                let what = format!(
                    "{} health checks can't be made, so that their reals stay what they were: {fault}",
                    checks.unasked
                );
                self.bad("lb", what, "`lb checks --failing` has them");
            }
            if checks.waiting > 0 {
                let what = format!("{} health checks wait, since {} run at once", checks.waiting, checks.limit);
                self.note("lb", what, "raise LimitNOFILE, lengthen intervals or shorten timeouts");
            }
        }
        for interface in &status.interfaces {
            if let Some(why) = &interface.awaited {
                let why = why.lines().next().unwrap_or_default();
                let what = format!("nothing is forwarded by it, and it is waited for: {why}");
                self.bad(&interface.name, what, "bring it up, or take it out of director.interfaces");
            }
        }
        if status.agent && status.version != env!("CARGO_PKG_VERSION") {
            let what = format!("the agent is version {}, this is {}", status.version, env!("CARGO_PKG_VERSION"));
            self.note("lb", what, "restart the agent: forwarding goes on meanwhile");
        }
        if status.log_dropped > 0 {
            let what = format!("{} lines of the log were dropped, since nothing took them", status.log_dropped);
            self.note("lb", what, "");
        }
    }

    fn service(&mut self, service: &ServiceStatus, now: u64) {
        let subject = match &service.name {
            Some(name) => format!("service.{name}"),
            None => format!("{} {}", service.protocol.to_uppercase(), endpoint(service.address, service.port)),
        };
        let reals: Vec<&RealStatus> = service.reals.iter().filter(|real| !real.left && !real.sorry).collect();
        let takers = reals.iter().filter(|real| real.state == State::Up).count();
        let of = |states: &[State]| -> Vec<&RealStatus> {
            reals.iter().copied().filter(|real| states.contains(&real.state)).collect()
        };
        let (down, waits) = (of(&[State::Down]), of(&[State::Checking]));
        let told = of(&[State::Quiesced, State::Standby, State::Draining, State::Drained, State::Disabled]);
        let alarm = service.fleet.as_ref().and_then(FleetStatus::alarm);
        let count = match takers {
            _ if alarm.is_some() => alarm.clone().unwrap_or_default(),
            0 => "no real takes new connections".to_owned(),
            takers => format!("{takers} of {} reals take new connections", reals.len()),
        };
        let named = |reals: &[&RealStatus]| {
            let mut words: Vec<String> = reals.iter().take(NAMED).map(|real| one(real, now)).collect();
            if let Some(more) = reals.len().checked_sub(NAMED).filter(|more| *more > 0) {
                words.push(format!("{more} more"));
            }
            words.join("; ")
        };
        let kept: Vec<&RealStatus> = down.iter().chain(&waits).chain(&told).copied().collect();
        let what = if kept.is_empty() { count } else { format!("{count}: {}", named(&kept)) };
        let mend = service.name.as_ref().map(|name| format!("`lb events --service {name}` tells since when and why"));
        if takers == 0 || !down.is_empty() || alarm.is_some() {
            self.bad(subject, what, &mend.unwrap_or_default());
        } else if !kept.is_empty() {
            self.note(subject, what, "");
        }
    }

    fn router(&mut self, router: &RouterStatus) {
        let subject = format!("vrrp.{}", router.name);
        if let Some(obstacle) = &router.obstacle {
            self.bad(&subject, format!("takes no part: {obstacle}"), "");
        } else if router.state == vrrp::State::Backup && router.master.is_none() && !router.yielded {
            self.note(&subject, "no master has been heard yet", "");
        }
        if router.yielded {
            let mend = format!("`lb vrrp reclaim {}` ends that", router.name);
            self.note(&subject, "released: it leaves the VIPs to others", &mend);
        }
        if let Some(awaited) = &router.awaits {
            self.note(&subject, format!("takes no VIP from a lower master before {awaited}"), "");
        }
        if let Some(other) = &router.counters.mismatch {
            let theirs = other.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("{} has other VIPs for this id: {theirs}", other.source);
            self.bad(&subject, what, "give every director the same list of addresses");
        }
        if let Some(last) = &router.counters.last_refused {
            let (count, source, reason) = (router.counters.refused.total(), last.source, last.reason);
            let what = format!("{count} adverts were refused, the last one from {source}: {reason}");
            self.note(&subject, what, "");
        }
        if router.counters.unsent > 0 {
            self.note(&subject, format!("{} adverts could not be sent", router.counters.unsent), "");
        }
    }

    fn claim(&mut self, claim: &ClaimStatus) {
        let what = format!("{} answers for it too", claim.station());
        let found = self.add(true, format!("VIP {}", claim.vip), what);
        found.why = Some("clients that learn its MAC address go past this director".to_owned());
        found.mend = Some(claim.mend());
    }

    fn peers(&mut self, status: &peers::Status) {
        if let Some(error) = &status.listen_error {
            self.bad("peers", format!("nobody can reach this director: {error}"), "");
        }
        if let Some(strangers) = &status.strangers {
            self.note("peers", strangers.to_string(), "");
        }
        for peer in &status.peers {
            let subject = format!("peer {}", peer.address);
            let error = peer.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            if peer.state != session::State::Live {
                let since = brief(peer.since_seconds);
                let what = format!("not in step for {since}{error}");
                self.bad(&subject, what, "connections may break when one of the two takes over from the other");
            }
            if peer.other_rings {
                let what = "computes slots otherwise (another version or key): only its connections are taken";
                self.bad(&subject, what, "give both directors the same version of lb and the same key");
            }
            if peer.beyond > 0 {
                let what = format!("tells more of {} services' slots than there is room for", peer.beyond);
                self.bad(&subject, what, "smaller rings (`ring_size`) for services with many slots that move");
            }
            if peer.differing > 0 {
                let named = |one: &peers::status::ServiceDifference| {
                    format!("{} {}, for {}", one.service, one.what.words(), brief(one.for_seconds))
                };
                let names: Vec<String> = peer.differences.iter().take(NAMED).map(named).collect();
                let more = peer.differing.saturating_sub(names.len());
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                let what = format!("{} of the services differ: {}{more}", peer.differing, names.join("; "));
                self.bad(&subject, what, "give both directors the same services, reals and weights");
            }
        }
    }

    fn frames(&mut self, status: &Status) {
        for counted in &status.verdicts {
            let Some(mend) = verdicts::named(&counted.verdict)
                .map(verdicts::words)
                .and_then(|words| words.mend.map(|mend| (words.meaning, mend)))
            else {
                continue;
            };
            let (meaning, mend) = mend;
            let so_far = format!("{} packets so far", counted.packets);
            let subject = format!("verdict {}", counted.verdict);
            match counted.per_second.filter(|rate| *rate > 0.0) {
                Some(rate) => self.bad(subject, format!("{rate:.1} packets/s, {so_far}: {meaning}"), mend),
                None => self.note(subject, format!("none now, {so_far}: {meaning}"), ""),
            }
        }
        for drops in &status.drops {
            let what = format!("{} frames were not handed on, {} not taken by its driver", drops.refused, drops.unsent);
            self.note(&drops.interface, what, "");
        }
    }

    fn map(&mut self, map: &MapStatus) {
        let percent = map.percent();
        if percent >= FULL {
            let what = format!("{} of {} are used ({percent} %)", map.used, map.size);
            let mend = match map.name.as_str() {
                "flows" => "raise limits.flows: a connection that finds no room goes by its slot, and may move",
                _ => "raise it in [limits]",
            };
            self.bad(format!("map {}", map.name), what, &format!("{mend}; then `lb detach` and a new start"));
        }
    }
}

fn one(real: &RealStatus, now: u64) -> String {
    let state = if real.state == State::Checking { "not checked yet" } else { real.state.word() };
    let since = real.since.map(|since| format!(" for {}", brief(now.saturating_sub(since)))).unwrap_or_default();
    let why = real.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {state}{since}{why}", real.address)
}

/// A time of so many seconds, in its two largest units.
#[must_use]
pub fn brief(seconds: u64) -> String {
    let whole = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(crate) mod tests;
