//! What the reals of a pool do together, without a clock or a map: slow starts, the quorum with its sorry server, and the
//! panic threshold.
//!
//! Rules:
//! - **Slow start**: a real that takes new connections again, or for the first time in a pool that runs already, begins with a tenth of its
//!   weight and gets a tenth more in each tenth of the time. The reals that an agent finds when it starts begin whole. Where all
//!   of a pool begin together, they share as they always do.
//! - **Quorum**: the weights of the reals that take new connections, added up. Below `quorum - hysteresis` it is lost, from
//!   `quorum + hysteresis` on it is back. It isn't lost while it isn't known of every real whether it is up, where it never was there.
//!   While it is lost, a sorry server takes all new connections, and the others keep theirs.
//! - **Panic**: where fewer than so many percent of the reals that should take new connections are healthy, the checks are rather wrong
//!   than the reals: all that can be reached take them, until as many are healthy again. It doesn't begin while one isn't decided.
//!
//! Weights change who gets new connections; none that lives is moved by that (`dataplane/slots`).

mod ramp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::config;
use ramp::{Ramp, STEPS};

/// What is known of a real at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// Its weight in force.
    pub weight: u32,
    /// Whether it takes new connections, or might.
    pub seat: Seat,
    /// Whether it is healthy, whatever its weight; `None` while that isn't known.
    pub healthy: Option<bool>,
}

/// Whether a real takes new connections, or might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// It does.
    Takes,
    /// Nothing is known of it yet.
    Undecided,
    /// Its checks say no, but it can be reached.
    Fails,
    /// It can't be reached.
    Lost,
    /// Somebody said that it shall not: it drains, is disabled, or has a weight of 0.
    Out,
}

/// What a real gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Frames of its connections may be sent to it.
    pub usable: bool,
    /// Its part of the new connections, among those of its pool; 0 where it gets none.
    pub weight: u32,
}

/// What changed in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A real is up or down now.
    Real {
        /// Which.
        address: IpAddr,
        /// Which of the two.
        up: bool,
    },
    /// The quorum is there again, or lost.
    Quorum {
        /// Which of the two.
        met: bool,
        /// The weights of those that take new connections.
        weight: u64,
        /// What it takes to be met.
        needed: u32,
    },
    /// All take new connections, whatever their checks say; or that is over.
    Panic {
        /// Which of the two.
        begins: bool,
        /// How many are healthy.
        healthy: usize,
        /// Of how many.
        of: usize,
    },
}

/// The reals of one pool together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    /// Those that were there before.
    reals: BTreeMap<IpAddr, Known>,
    /// It was followed before.
    runs: bool,
    /// Whether the quorum is met, once that is decided.
    quorum: Option<bool>,
    panics: bool,
    /// Weights are ten times what they are, so that a tenth of 1 is a weight too.
    is_fine: bool,
    /// When a slow start goes on.
    due: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Known {
    takes: bool,
    /// It was undecided when the agent found it: it begins whole.
    found: bool,
    ramp: Option<Ramp>,
    /// What was told of it.
    healthy: Option<bool>,
}

/// The weights of counting schedulers have 16 bits in the maps.
const HEAVIEST: u32 = 0xffff;

impl Fleet {
    /// Takes what is known now. Returns what changed.
    pub fn follow(&mut self, rules: &config::Fleet, members: &[Member], now: Instant) -> Vec<Event> {
        let mut events = self.follow_reals(rules, members, now);
        events.extend(self.follow_quorum(rules, members));
        events.extend(self.follow_panic(rules, members));
        let ramps = || self.reals.values().filter_map(|known| known.ramp.as_ref());
        self.due = ramps().map(Ramp::due).min();
        self.is_fine = ramps().next().is_some() && members.iter().all(|member| member.weight <= HEAVIEST / STEPS);
        self.runs = true;
        events
    }

    fn follow_reals(&mut self, rules: &config::Fleet, members: &[Member], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        let there: BTreeSet<IpAddr> = members.iter().map(|member| member.address).collect();
        self.reals.retain(|address, _| there.contains(address));
        for member in members {
            let takes = member.seat == Seat::Takes;
            let found = !self.runs;
            let known = self.reals.entry(member.address).or_insert(Known {
                takes: takes && found,
                found: found && member.seat == Seat::Undecided,
                ramp: None,
                healthy: None,
            });
            match rules.slow_start {
                Some(length) if takes && !known.takes && !known.found => known.ramp = Some(Ramp::begin(now, length)),
                Some(_) if takes => known.ramp = known.ramp.take().and_then(|ramp| ramp.at(now)),
                _ => known.ramp = None,
            }
            known.takes = takes;
            known.found &= member.seat == Seat::Undecided;
            if let Some(up) = member.healthy
                && known.healthy != Some(up)
            {
                // That a real is as it should be is no news at first.
                if known.healthy.is_some() || !up {
                    events.push(Event::Real { address: member.address, up });
                }
                known.healthy = Some(up);
            }
        }
        events
    }

    fn follow_quorum(&mut self, rules: &config::Fleet, members: &[Member]) -> Option<Event> {
        let Some((needed, hysteresis)) = rules.quorum_in_force() else {
            self.quorum = None;
            return None;
        };
        let takes = members.iter().filter(|member| member.seat == Seat::Takes);
        let weight: u64 = takes.map(|member| u64::from(member.weight)).sum();
        let undecided = members.iter().any(|member| member.seat == Seat::Undecided);
        let before = self.quorum;
        self.quorum = match before {
            None if weight >= u64::from(needed) => Some(true),
            None if undecided => None,
            None => Some(false),
            Some(true) => Some(weight >= u64::from(needed.saturating_sub(hysteresis))),
            Some(false) => Some(weight >= u64::from(needed.saturating_add(hysteresis))),
        };
        let is_news = self.quorum != before && (before.is_some() || self.quorum == Some(false));
        self.quorum.filter(|_| is_news).map(|met| Event::Quorum { met, weight, needed })
    }

    fn follow_panic(&mut self, rules: &config::Fleet, members: &[Member]) -> Option<Event> {
        let counted = || members.iter().filter(|member| member.seat != Seat::Out);
        let (of, healthy) = (counted().count(), counted().filter(|member| member.seat == Seat::Takes).count());
        let undecided = counted().any(|member| member.seat == Seat::Undecided);
        let few = healthy * 100 < of * usize::from(rules.panic_below);
        let before = self.panics;
        self.panics = few && (before || !undecided);
        (before != self.panics).then_some(Event::Panic { begins: self.panics, healthy, of })
    }

    /// What a real gets.
    #[must_use]
    pub fn share(&self, rules: &config::Fleet, member: &Member, usable: bool) -> Share {
        let is_sorry = rules.sorry.as_ref().is_some_and(|sorry| sorry.address == member.address);
        let is_lost = self.is_lost();
        let takes = match member.seat {
            Seat::Takes if is_sorry => is_lost,
            Seat::Takes => !(is_lost && rules.sorry.is_some()),
            Seat::Fails => self.panics && !is_sorry,
            Seat::Undecided | Seat::Lost | Seat::Out => false,
        };
        let weight = if takes { self.weigh(member) } else { 0 };
        Share { usable: usable || takes, weight }
    }

    fn weigh(&self, member: &Member) -> u32 {
        let steps = self.reals.get(&member.address).and_then(|known| known.ramp.as_ref()).map_or(STEPS, Ramp::steps);
        if self.is_fine {
            return member.weight * steps;
        }
        let part = u64::from(member.weight) * u64::from(steps) / u64::from(STEPS);
        u32::try_from(part).unwrap_or(member.weight).max(1)
    }

    /// The quorum is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.quorum == Some(false)
    }

    /// All take new connections, whatever their checks say.
    #[must_use]
    pub fn panics(&self) -> bool {
        self.panics
    }

    /// The percentage of its weight that a real begins with, while it does.
    #[must_use]
    pub fn ramp(&self, address: IpAddr) -> Option<u32> {
        let ramp = self.reals.get(&address)?.ramp.as_ref()?;
        Some(ramp.steps() * 100 / STEPS)
    }

    /// When a slow start goes on.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests;
