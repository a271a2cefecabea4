//! What the reals of a pool do together, without a clock or a map: slow starts, the quorum with its sorry server, and the
//! panic threshold. `pools` joins it with the model.
//!
//! Rules:
//! - **Slow start**: a real that takes new connections again, or for the first time in a pool that runs already, begins with a tenth of its
//!   weight and gets more of it step by step. The reals that an agent finds when it starts begin whole. While a sorry server stands in
//!   for them, slow starts wait for the moment when they take connections.
//! - **Quorum**: the weights of the healthy reals, added up. Below `quorum - hysteresis` it is lost, from
//!   `quorum + hysteresis` on it is back. It isn't lost while it isn't known of every real whether it is up, where it never was there.
//!   While it is lost, a sorry server that can take connections takes all new ones, and the others keep theirs.
//! - **Panic**: where fewer than so many percent of the reals that should take new connections are healthy, the checks are rather wrong
//!   than the reals: all that can be reached take them, until as many are healthy again. It doesn't begin while one isn't decided.
//!
//! Shares change who gets new connections; none that lives is moved by that (`dataplane/slots`).

mod pools;
mod ramp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::config;
pub use pools::{Fleets, Share, starts_slowly};
use ramp::Ramp;
pub use ramp::WHOLE;

/// What is known of a real at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// Its weight in force.
    pub weight: u32,
    /// Whether it takes new connections, or might.
    pub seat: Seat,
}

/// Whether a real takes new connections, or might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// It is healthy, and nobody said that it shall not.
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

/// A quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Whether there are enough.
    pub met: bool,
    /// The weights of the healthy reals.
    pub weight: u64,
    /// What it takes to be met, without hysteresis.
    pub needed: u32,
}

/// How many are healthy of those that should take new connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Healthy {
    /// So many.
    pub healthy: usize,
    /// Of so many.
    pub of: usize,
}

/// The reals of one pool together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    /// Those that were there before.
    reals: BTreeMap<IpAddr, Known>,
    /// It was followed before.
    runs: bool,
    /// Whether the quorum is met, once that is decided.
    met: Option<bool>,
    quorum: Option<Quorum>,
    /// The sorry server takes all new connections.
    stands_in: bool,
    panics: bool,
    healthy: Healthy,
    /// Weights are told in tenths, so that a tenth of 1 is a weight too.
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
}

/// The weights of counting schedulers have 16 bits in the maps, and a round of turns has so many.
const HEAVIEST: u64 = 0xffff;

impl Fleet {
    /// Of a pool whose sorry server was taking all new connections when the last agent ended.
    #[must_use]
    pub fn lost() -> Self {
        Self { met: Some(false), ..Self::default() }
    }

    /// Takes what is known now of the reals, and of the sorry server.
    pub fn follow(&mut self, rules: &config::Fleet, members: &[Member], sorry: Option<Seat>, now: Instant) {
        self.follow_quorum(rules, members);
        let stood_in = self.stands_in;
        self.stands_in = self.met == Some(false) && sorry == Some(Seat::Takes);
        self.follow_panic(rules, members);
        self.follow_reals(rules, members, stood_in || self.stands_in, now);
        let ramps = self.reals.values().filter_map(|known| known.ramp.as_ref());
        self.due = ramps.map(Ramp::due).min().filter(|_| !self.stands_in);
        // By the configuration alone, so that no ring changes when a slow start begins or ends.
        let heaviest = members.iter().map(|member| u64::from(member.weight)).sum::<u64>() * u64::from(WHOLE);
        self.is_fine = rules.slow_start.is_some() && heaviest <= HEAVIEST;
        self.runs = true;
    }

    fn follow_quorum(&mut self, rules: &config::Fleet, members: &[Member]) {
        let Some((needed, hysteresis)) = rules.quorum_in_force() else {
            (self.met, self.quorum) = (None, None);
            return;
        };
        let healthy = members.iter().filter(|member| member.seat == Seat::Takes);
        let weight: u64 = healthy.map(|member| u64::from(member.weight)).sum();
        let undecided = members.iter().any(|member| member.seat == Seat::Undecided);
        self.met = match self.met {
            None if weight >= u64::from(needed) => Some(true),
            None if undecided => None,
            None => Some(false),
            Some(true) => Some(weight >= u64::from(needed.saturating_sub(hysteresis))),
            Some(false) => Some(weight >= u64::from(needed) + u64::from(hysteresis)),
        };
        self.quorum = self.met.map(|met| Quorum { met, weight, needed });
    }

    fn follow_panic(&mut self, rules: &config::Fleet, members: &[Member]) {
        let counted = || members.iter().filter(|member| member.seat != Seat::Out);
        let healthy = counted().filter(|member| member.seat == Seat::Takes).count();
        self.healthy = Healthy { healthy, of: counted().count() };
        let undecided = counted().any(|member| member.seat == Seat::Undecided);
        let few = healthy * 100 < self.healthy.of * usize::from(rules.panic_below);
        self.panics = few && (self.panics || !undecided);
    }

    /// `waits` says that none of them took new connections until now.
    fn follow_reals(&mut self, rules: &config::Fleet, members: &[Member], waits: bool, now: Instant) {
        let there: BTreeSet<IpAddr> = members.iter().map(|member| member.address).collect();
        self.reals.retain(|address, _| there.contains(address));
        for member in members {
            let is_up = member.seat == Seat::Takes;
            let takes = is_up || self.panics && member.seat == Seat::Fails;
            let found = !self.runs;
            let known = self.reals.entry(member.address).or_insert(Known {
                takes: takes && found,
                found: found && member.seat == Seat::Undecided,
                ramp: None,
            });
            known.ramp = match rules.slow_start {
                Some(length) if is_up && !known.takes && !known.found => Some(Ramp::begin(now, length)),
                Some(length) if is_up && waits => known.ramp.as_ref().map(|_| Ramp::begin(now, length)),
                Some(_) if is_up => known.ramp.take().and_then(|ramp| ramp.at(now)),
                _ => None,
            };
            known.takes = takes;
            known.found &= member.seat == Seat::Undecided;
        }
    }

    /// Tenths of its weight that a real gets new connections by, 0 to 10.
    #[must_use]
    pub fn tenths(&self, address: IpAddr, seat: Seat) -> u32 {
        let takes = match seat {
            Seat::Takes => !self.stands_in,
            Seat::Fails => self.panics,
            Seat::Undecided | Seat::Lost | Seat::Out => false,
        };
        let ramp = self.reals.get(&address).and_then(|known| known.ramp.as_ref());
        if takes { ramp.map_or(WHOLE, Ramp::tenths) } else { 0 }
    }

    /// A part of a weight, on the scale that all weights of this pool are on.
    #[must_use]
    pub fn part(&self, weight: u32, tenths: u32) -> u32 {
        if self.is_fine || weight == 0 || tenths == 0 {
            return weight * tenths;
        }
        let part = u64::from(weight) * u64::from(tenths) / u64::from(WHOLE);
        u32::try_from(part).unwrap_or(weight).max(1)
    }

    /// The quorum, where one is needed and it is decided.
    #[must_use]
    pub fn quorum(&self) -> Option<Quorum> {
        self.quorum
    }

    /// The sorry server takes all new connections.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        self.stands_in
    }

    /// How many are healthy, while all take new connections whatever their checks say.
    #[must_use]
    pub fn panic(&self) -> Option<Healthy> {
        self.panics.then_some(self.healthy)
    }

    /// When a slow start goes on.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests;
