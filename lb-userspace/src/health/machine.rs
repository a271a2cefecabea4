//! One target's health as a machine: results and the time in, starts and changes of health out.
//!
//! Rules:
//! - A target that nothing is known of ([`Health::Unknown`]) is decided by the first check that ends,
//!   whatever `rise` and `fall` say: good is up, bad is down. A start or a reload is then as quick as one check.
//! - Afterwards `fall` bad results in a row take it down and `rise` good ones bring it up. A target whose
//!   health was carried over (an adopted one) counts the same way: a single bad check of `fall = 3` leaves it up.
//! - While results speak against what holds (it is coming up, or going down) the next check follows after `fast`
//!   in place of the interval.
//! - A target that went down as often as its damping says ([`Flaps`]) is held down, however good its answers are, until it
//!   has been good for as long as that says, and at least `rise` times in a row.
//! - What is known outlives the agent ([`Kept`]): while it counts the machine goes on from there, afterwards the target is one
//!   that nothing is known of.
//! - A check that says nothing about the real (this director ran out of sockets) counts neither way.
//! - One check at a time. One that is still running when the next is due delays it; beats that
//!   were missed are not made up.
//! - The first check starts at a random moment within a time that grows with the number of new targets ([`first_within`]).
//!   The second follows after a random part of the interval, which spreads the targets over it. Each later wait, from
//!   start to start, is the interval and its jitter.

use std::time::{Duration, Instant, SystemTime};

mod flaps;
mod kept;
pub mod phase;

use super::{Failure, Health};
use crate::config::Check;
use flaps::Flaps;
pub use flaps::Held;
pub use kept::Kept;

/// Within what time the first checks of so many new targets start: a few are known at once, a thousand are no burst.
#[must_use]
pub fn first_within(targets: usize) -> Duration {
    const EACH: Duration = Duration::from_millis(1);
    const RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
    EACH.saturating_mul(u32::try_from(targets).unwrap_or(u32::MAX)).clamp(RANGE.0, RANGE.1)
}

/// A probe bounds itself by its timeout and names what it waited for. One that still has
/// not ended this much later is given up by the machine.
pub const GRACE: Duration = Duration::from_millis(250);

/// Intervals and timeouts are held within these, so that no arithmetic on them overflows and none is a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Names one check of one machine; a result under another ticket than the running one is late and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The real answered as expected.
    Good,
    /// Likewise, and asks for this weight.
    Weighed(u8),
    /// It did not; the reason is for people.
    Bad(Failure, String),
    /// The check could not be made for a reason of this director's own: it says nothing of the real.
    Void(String),
}

/// The two clocks at the moment of an event.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Deadlines are on this one.
    pub monotonic: Instant,
    /// `since` is told on this one.
    pub wall: SystemTime,
}

/// What to do after [`Machine::tick`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before [`Machine::deadline`].
    Wait,
    /// Start a check and bring its outcome back under this ticket.
    Start(Ticket),
    /// The check of this ticket overran its timeout: stop it. It counted as this outcome; report the health if it is given.
    GiveUp(Ticket, Outcome, Option<Health>),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Machine {
    interval: Duration,
    fast: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    jitter: u8,
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
    /// When a result last said something of the real.
    heard: Option<SystemTime>,
    /// The weight that a good answer last asked for.
    weight: Option<u8>,
    /// How often it went down lately.
    flaps: Flaps,
    /// Whether a check has ended and was reported.
    reported: bool,
    /// Checks started so far.
    started: u64,
    next_start: Instant,
    /// When the last one started.
    began: Option<Instant>,
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    ticket: Ticket,
    give_up: Instant,
    /// When the next is to start, should this one leave the target in doubt.
    fast: Instant,
}

impl Machine {
    /// A new target. `known` is the health that it is carried over with. Its first check starts no later than `within`,
    /// nor than the interval; `random` is any number.
    #[must_use]
    pub fn new(check: &Check, known: Option<Health>, within: Duration, now: Instant, random: u64) -> Self {
        let interval = check.interval.clamp(SHORTEST, LONGEST);
        let mut machine = Self {
            interval,
            fast: interval,
            timeout: check.timeout,
            rise: check.rise,
            fall: check.fall,
            jitter: check.jitter,
            health: known.unwrap_or(Health::Unknown),
            against: 0,
            heard: None,
            weight: None,
            flaps: Flaps::default(),
            reported: false,
            started: 0,
            next_start: now + part(within.min(interval), random),
            began: None,
            running: None,
        };
        machine.take_pace(check);
        machine
    }

    /// Goes on at another pace. What is known, what counts against it and a check that runs stay; the next one starts within
    /// the new interval. Where what counts against it is enough now, the next result of that kind decides.
    pub fn set_pace(&mut self, check: &Check, now: Instant, random: u64) {
        self.take_pace(check);
        self.next_start = self.next_start.min(now + part(self.interval, random));
    }

    /// Something else speaks against it: the next check starts now where that is `new`, else after `fast`.
    pub fn hurry(&mut self, now: Instant, new: bool) {
        if matches!(self.health, Health::Down { .. }) || self.running.is_some() {
            return;
        }
        let next = if new { now } else { self.began.map_or(now, |began| (began + self.fast).max(now)) };
        self.next_start = self.next_start.min(next);
    }

    fn take_pace(&mut self, check: &Check) {
        self.interval = check.interval.clamp(SHORTEST, LONGEST);
        self.fast = check.fast.clamp(SHORTEST, self.interval);
        self.timeout = check.timeout.min(LONGEST);
        (self.rise, self.fall, self.jitter) = (check.rise, check.fall, check.jitter);
        self.flaps.set(check.damping);
    }

    /// Whether the last results, or what it was reported as, are known to whoever hears of it.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.reported
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The weight that a good answer last asked for: those that ask for none leave it.
    #[must_use]
    pub fn weight(&self) -> Option<u8> {
        self.weight
    }

    /// The weight that it asked for once, which stays however old the rest is.
    pub fn remember_weight(&mut self, weight: Option<u8>) {
        self.weight = weight;
    }

    /// When [`Self::tick`] has to be called next, if no result comes before.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.running.map_or(self.next_start, |running| running.give_up)
    }

    /// Time has passed. `random` is any number; it places the next start.
    pub fn tick(&mut self, now: Now, random: u64) -> Step {
        match self.running {
            Some(running) if now.monotonic >= running.give_up => {
                let reason = format!("timed out after {}", humantime::format_duration(self.timeout));
                let outcome = Outcome::Bad(Failure::Unreachable, reason);
                let report = self.finish(running.ticket, outcome.clone(), now);
                Step::GiveUp(running.ticket, outcome, report)
            }
            None if now.monotonic >= self.next_start => Step::Start(self.start(now.monotonic, random)),
            Some(_) | None => Step::Wait,
        }
    }

    /// A check ended. Gives the health to report: it changed (a new reason for being down, or another weight of one that is up,
    /// is a change), or this was the first result.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Now) -> Option<Health> {
        let running = self.running.take_if(|running| running.ticket == ticket)?;
        if !matches!(outcome, Outcome::Void(_)) {
            self.heard = Some(now.wall);
        }
        let changed = match outcome {
            Outcome::Void(_) => None,
            Outcome::Good => Some(self.good(now)),
            Outcome::Weighed(weight) => {
                let is_other = self.weight.replace(weight) != Some(weight);
                Some(self.good(now) || is_other && matches!(self.health, Health::Up { .. }))
            }
            Outcome::Bad(failure, reason) => Some(self.bad(failure, reason, now)),
        };
        if self.against > 0 {
            self.next_start = self.next_start.min(running.fast);
        }
        let changed = changed?;
        let first = !std::mem::replace(&mut self.reported, true);
        (changed || first).then(|| self.health.clone())
    }

    fn start(&mut self, now: Instant, random: u64) -> Ticket {
        let wait = if self.started == 0 { part(self.interval, random) } else { self.jittered(self.interval, random) };
        let fast = now + self.jittered(self.fast, random);
        self.next_start = now + wait;
        self.began = Some(now);
        self.started += 1;
        let ticket = Ticket(self.started);
        self.running = Some(Running { ticket, give_up: now + self.timeout + GRACE, fast });
        ticket
    }

    fn jittered(&self, wait: Duration, random: u64) -> Duration {
        wait + part(wait * u32::from(self.jitter) / 100, random)
    }

    fn good(&mut self, now: Now) -> bool {
        let enough = match &mut self.health {
            Health::Unknown => true,
            Health::Up { .. } => {
                self.against = 0;
                return false;
            }
            Health::Down { reason, .. } => {
                self.against = self.against.saturating_add(1);
                let risen = self.against >= self.rise;
                let held = self.flaps.is_held(now.monotonic);
                match held {
                    // Said once, as its last failure is what it was before.
                    Some(words) if risen && *reason != words => {
                        *reason = words;
                        return true;
                    }
                    Some(_) => false,
                    None => risen,
                }
            }
        };
        if enough {
            self.against = 0;
            self.flaps.came_up();
            self.health = Health::Up { since: now.wall };
        }
        enough
    }

    fn bad(&mut self, failure: Failure, reason: String, now: Now) -> bool {
        let since = match &self.health {
            Health::Unknown => now.wall,
            Health::Up { .. } => {
                if !self.count_against(self.fall) {
                    return false;
                }
                self.flaps.went_down(now.monotonic);
                now.wall
            }
            Health::Down { since, failure: held, reason: old } => {
                self.against = 0;
                self.flaps.was_bad();
                if (*held, old) == (failure, &reason) {
                    return false;
                }
                *since
            }
        };
        self.against = 0;
        self.health = Health::Down { since, failure, reason };
        true
    }

    fn count_against(&mut self, limit: u32) -> bool {
        self.against = self.against.saturating_add(1);
        self.against >= limit
    }
}

/// A part of `whole`, uniform over it for a uniform `random`: 0 up to, but without, `whole`.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
