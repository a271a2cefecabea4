//! Notices what changed in the model, by holding it against what it was: reals, services, interfaces and peers. Whatever changed
//! it (a check, an order, a reload, time), each change is one event.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::api::State;
use crate::config::Service;
use crate::events::{Kind, NAMED, Said};
use crate::peers;
use crate::peers::session;
use crate::planner::fleet::{Healthy, Quorum};
use crate::planner::model::{Model, Standing, reals};
use crate::planner::overrides::section;

use super::status::describe;

/// So many reals of one section that change alike at once are told one by one; more are one event.
const APART: usize = 8;

/// What a service may be that needs people.
const NOBODY: &str = "no real takes new connections";
const AGAIN: &str = "has reals for new connections again";
const LOST: &str = "quorum lost";
const MET: &str = "quorum met again";
const STANDS_IN: &str = "sorry server takes new connections";
const STANDS_BACK: &str = "sorry server takes no new connections";
const CALM: &str = "panic is over";
const PANIC: &str = "panic: all reals take new connections";

/// The states of services, and what each is in one word for scripts.
const STATES: [(&str, &str); 8] = [
    (NOBODY, "no-reals"),
    (AGAIN, "has-reals"),
    (LOST, "quorum-lost"),
    (MET, "quorum-met"),
    (STANDS_IN, "sorry-begins"),
    (STANDS_BACK, "sorry-ends"),
    (PANIC, "panic-begins"),
    (CALM, "panic-ends"),
];

/// Its state in one word.
pub fn word(said: &Said) -> &str {
    let known = STATES.iter().find(|(state, _)| *state == said.state && said.kind == Kind::Service);
    known.map_or_else(|| said.state.split(' ').next().unwrap_or_default(), |(_, word)| word)
}

/// Whether it is something that needs people.
pub fn is_alarm(said: &Said) -> bool {
    [NOBODY, LOST, PANIC].contains(&said.state.as_str())
}

/// What a real was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    state: State,
    since: SystemTime,
    weight: u32,
}

/// What the reals of a section did together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Together {
    lost: bool,
    stands_in: bool,
    panics: bool,
}

/// What everything was when it was looked at last.
#[derive(Debug, Default)]
pub struct Witness {
    /// By the section that names the reals.
    sections: HashMap<String, HashMap<IpAddr, Held>>,
    /// What its reals did together, by the section that names them.
    fleets: HashMap<String, Together>,
    /// Whether new connections of a service found a real, by its name.
    served: HashMap<String, bool>,
    /// Why an interface is waited for; `None` where the program runs on it.
    interfaces: BTreeMap<String, Option<String>>,
    peers: BTreeMap<SocketAddr, (session::State, usize)>,
    fault: Option<String>,
}

/// What happened to a real, and why.
type Change = (String, String);

impl Witness {
    /// What changed since the last look. `because` says what was asked for, where somebody did.
    pub fn look(&mut self, model: &Model, fault: Option<&str>, because: Option<&str>, now: SystemTime) -> Vec<Said> {
        let mut out = self.look_at_interfaces(model);
        let mut before = std::mem::take(&mut self.sections);
        for service in model.config.owners() {
            let section = section(service);
            let held = before.remove(&section);
            let (now_held, changes) = look_at_reals(model, service, held.as_ref(), because, now);
            out.extend(group(&section, changes));
            self.sections.insert(section, now_held);
        }
        out.extend(self.look_at_fleets(model));
        out.extend(self.look_at_services(model, because));
        if self.fault.as_deref() != fault {
            self.fault = fault.map(str::to_owned);
            out.push(match fault {
                Some(fault) => Said::new(Kind::Agent, "lb", "the maps are not what they should be").because(fault),
                None => Said::new(Kind::Agent, "lb", "the maps are what they should be again"),
            });
        }
        out
    }

    /// That a quorum is met and nobody panics is no news at first.
    fn look_at_fleets(&mut self, model: &Model) -> Vec<Said> {
        let mut out = Vec::new();
        let before = std::mem::take(&mut self.fleets);
        for service in model.config.owners() {
            let Some(fleet) = model.fleets.of(service) else { continue };
            let (quorum, panic) = (fleet.quorum(), fleet.panic());
            let lost = quorum.filter(|quorum| !quorum.met);
            let now = Together { lost: lost.is_some(), stands_in: fleet.stands_in(), panics: panic.is_some() };
            let section = section(service);
            let held = before.get(&section).copied().unwrap_or_default();
            let mut say = |state: String, cause: String| {
                out.push(Said::new(Kind::Service, section.clone(), state).because(cause));
            };
            let weights =
                quorum.map(|Quorum { weight, needed, .. }| format!("{weight} of {needed}")).unwrap_or_default();
            match (held.lost, now.lost) {
                (false, true) => say(LOST.to_owned(), weights),
                (true, false) => say(MET.to_owned(), weights),
                _ => {}
            }
            let sorry = service.sorry().map(|sorry| sorry.address.to_string()).unwrap_or_default();
            match (held.stands_in, now.stands_in) {
                (false, true) => say(STANDS_IN.to_owned(), sorry),
                (true, false) => say(STANDS_BACK.to_owned(), sorry),
                _ => {}
            }
            match (panic, held.panics) {
                (Some(Healthy { healthy, of }), false) => {
                    say(PANIC.to_owned(), format!("{healthy} of {of} healthy"));
                }
                (None, true) => say(CALM.to_owned(), String::new()),
                _ => {}
            }
            self.fleets.insert(section, now);
        }
        out
    }

    fn look_at_services(&mut self, model: &Model, because: Option<&str>) -> Vec<Said> {
        let mut out = Vec::new();
        let before = std::mem::take(&mut self.served);
        for service in &model.config.services {
            let takes = service.all_reals().any(|real| model.share(service, real).takes_new());
            let said = |state: &str| {
                let said = Said::new(Kind::Service, format!("service.{}", service.name), state);
                said.because(because.unwrap_or_default())
            };
            match (before.get(&service.name), takes) {
                (Some(true), false) => out.push(said(NOBODY)),
                (Some(false), true) => out.push(said(AGAIN)),
                _ => {}
            }
            self.served.insert(service.name.clone(), takes);
        }
        out
    }

    fn look_at_interfaces(&mut self, model: &Model) -> Vec<Said> {
        let runs = model.interfaces.keys().map(|name| (name.clone(), None));
        let awaited = model.awaited.iter().map(|(name, awaited)| (name.clone(), Some(awaited.why.clone())));
        let now: BTreeMap<String, Option<String>> = runs.chain(awaited).collect();
        let mut out = Vec::new();
        for (name, why) in now.iter().filter(|(name, why)| self.interfaces.get(*name) != Some(*why)) {
            let said = |state: &str| Said::new(Kind::Interface, name.clone(), state);
            out.push(match why {
                Some(why) => said("waited for").because(why.as_str()),
                None => {
                    let mode = model.interfaces.get(name).map_or("", |held| held.mode.name());
                    said("the program runs on it").because(mode)
                }
            });
        }
        let gone = self.interfaces.keys().filter(|name| !now.contains_key(*name));
        out.extend(gone.map(|name| Said::new(Kind::Interface, name.clone(), "the director's no more")));
        self.interfaces = now;
        out
    }

    /// What changed among the peers.
    pub fn look_at_peers(&mut self, status: Option<&peers::Status>) -> Vec<Said> {
        let mut out = Vec::new();
        let before = std::mem::take(&mut self.peers);
        for peer in status.iter().flat_map(|status| &status.peers) {
            let held = before.get(&peer.address);
            let said = |state: &str| Said::new(Kind::Peer, peer.address.to_string(), state);
            let is_live = peer.state == session::State::Live;
            let was_live = held.is_some_and(|(state, _)| *state == session::State::Live);
            if is_live != was_live {
                let why = peer.error.clone().unwrap_or_default();
                out.push(if is_live { said("live") } else { said("lost").because(why) });
            }
            let differed = held.map_or(0, |(_, differing)| *differing);
            if is_live && peer.differing != differed {
                let first = peer.differences.first().map(|one| one.service.clone()).unwrap_or_default();
                out.push(match peer.differing {
                    0 => said("has the same services configured"),
                    count => said(&format!("{count} services are configured otherwise there")).because(first),
                });
            }
            // While it is away nothing is known of what differs.
            let differing = if is_live { peer.differing } else { differed };
            self.peers.insert(peer.address, (peer.state, differing));
        }
        out
    }
}

/// What the reals of a section are, and what changed of each.
fn look_at_reals(
    model: &Model,
    service: &Service,
    before: Option<&HashMap<IpAddr, Held>>,
    because: Option<&str>,
    now: SystemTime,
) -> (HashMap<IpAddr, Held>, Vec<(IpAddr, Change)>) {
    let (mut held, mut changes) = (HashMap::new(), Vec::new());
    for real in reals(service, &model.draining) {
        let standing = model.standing(service, real);
        let left = model.draining.get(service, real.address).is_some();
        let weight = if left { 0 } else { model.weight(service, real) };
        let before = before.and_then(|before| before.get(&real.address));
        let unseen = real.mac.is_none() && !model.hops.contains_key(&real.address);
        let state = match describe(standing.clone()).0 {
            // Nobody has looked for it yet.
            State::Down if unseen => State::Checking,
            state => state,
        };
        let since = before.filter(|before| before.state == state).map_or(now, |before| before.since);
        if let Some(before) = before {
            let lasted = now.duration_since(before.since).unwrap_or_default();
            if before.state != state {
                let standing = if state == State::Checking { Standing::Checking } else { standing };
                changes.push((real.address, change(before.state, lasted, &standing, left, because)));
            } else if before.weight != weight && !left {
                let asked = model.asked_weight(service, real).is_some_and(|(asked, _)| asked == weight);
                let because = because.unwrap_or(if asked { "its check asks for it" } else { "" });
                let cause = with(&format!("was {}", before.weight), because);
                changes.push((real.address, (format!("weight {weight}"), cause)));
            }
        }
        held.insert(real.address, Held { state, since, weight });
    }
    let gone = before.into_iter().flatten().filter(|(address, _)| !held.contains_key(address));
    for (address, before) in gone {
        let cause = match (because, before.state) {
            (Some(because), _) => because,
            (None, State::Drained) => "its connections were given up",
            (None, _) => "its last connection has ended",
        };
        changes.push((*address, ("gone".to_owned(), cause.to_owned())));
    }
    changes.sort_by_key(|(address, _)| *address);
    (held, changes)
}

/// What a real became, and why.
fn change(before: State, lasted: Duration, now: &Standing, left: bool, because: Option<&str>) -> Change {
    let lasted = humantime::format_duration(Duration::from_secs(lasted.as_secs()));
    let because = because.unwrap_or_default();
    let (state, cause) = match now {
        Standing::Up { since } => {
            let cause = match (before, because) {
                (State::Checking, _) if since.is_some() => "its first check passed".to_owned(),
                (State::Checking, _) => "its MAC address is known".to_owned(),
                (State::Down, _) if since.is_some() => format!("its check passes again; was down for {lasted}"),
                (State::Down, _) => format!("its MAC address is known; was down for {lasted}"),
                (_, because) => because.to_owned(),
            };
            ("up", cause)
        }
        Standing::Quiesced => ("quiesced", with("weight 0", because)),
        Standing::Draining { until, .. } => {
            let until = until.map(|until| format!("until {}", humantime::format_rfc3339_seconds(until)));
            let why = if left { "it left the file" } else { because };
            ("draining", with(why, &until.unwrap_or_default()))
        }
        Standing::Drained { .. } => ("drained", "its deadline has come: it takes nothing any more".to_owned()),
        Standing::Disabled { .. } => ("disabled", because.to_owned()),
        Standing::Checking => ("checking", because.to_owned()),
        Standing::Down { why, quiesced, .. } => {
            let stays = if *quiesced { "its connections go on" } else { "" };
            ("down", with(why, stays))
        }
    };
    (state.to_owned(), cause)
}

/// The two, where there are two.
fn with(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (false, false) => format!("{first}; {second}"),
        _ => format!("{first}{second}"),
    }
}

/// An event for each real, or for all of those that changed alike where they are many.
fn group(section: &str, changes: Vec<(IpAddr, Change)>) -> Vec<Said> {
    let said = |(state, cause): Change, reals: Vec<IpAddr>| {
        let more_reals = reals.len().saturating_sub(NAMED) as u64;
        let reals = reals.into_iter().take(NAMED).collect();
        Said { reals, more_reals, ..Said::new(Kind::Real, section, state) }.because(cause)
    };
    let mut alike: BTreeMap<Change, Vec<IpAddr>> = BTreeMap::new();
    for (real, change) in changes {
        alike.entry(change).or_default().push(real);
    }
    let each = alike.into_iter().flat_map(|(change, reals)| match reals.len() {
        0..=APART => reals.into_iter().map(|real| said(change.clone(), vec![real])).collect(),
        _ => vec![said(change, reals)],
    });
    each.collect()
}

#[cfg(test)]
mod tests;
