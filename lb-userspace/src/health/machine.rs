//! One target's health as a machine: results and the time in, starts and changes of health out.
//!
//! Rules:
//! - A target that nothing is known of ([`Health::Unknown`]) is decided by the first check that ends,
//!   whatever `rise` and `fall` say: good is up, bad is down. A start or a reload is then as quick as one check.
//! - Afterwards `fall` bad results in a row take it down and `rise` good ones bring it up. A target whose
//!   health was carried over (an adopted one) counts the same way: a single bad check of `fall = 3` leaves it up.
//! - A check that says nothing about the real (this director ran out of sockets) counts neither way.
//! - One check at a time. One that is still running when the next is due delays it; beats that
//!   were missed are not made up.
//! - The first check starts at a random moment within a time that grows with the number of new targets ([`first_within`]).
//!   The second follows after a random part of the interval, which spreads the targets over it. Each later wait, from
//!   start to start, is the interval and its jitter.

use std::time::{Duration, Instant, SystemTime};

use super::{Failure, Health};
use crate::config::Check;

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
    /// The check of this ticket overran its timeout: stop it. It counted as bad; report the health if it is given.
    GiveUp(Ticket, Option<Health>),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Machine {
    interval: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    jitter: u8,
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
    /// Whether a check has ended and was reported.
    reported: bool,
    /// Checks started so far.
    started: u64,
    next_start: Instant,
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    ticket: Ticket,
    give_up: Instant,
}

impl Machine {
    /// A new target. `known` is the health that it is carried over with. Its first check starts no later than `within`,
    /// nor than the interval; `random` is any number.
    #[must_use]
    pub fn new(check: &Check, known: Option<Health>, within: Duration, now: Instant, random: u64) -> Self {
        let interval = check.interval.clamp(SHORTEST, LONGEST);
        Self {
            interval,
            timeout: check.timeout.min(LONGEST),
            rise: check.rise,
            fall: check.fall,
            jitter: check.jitter,
            health: known.unwrap_or(Health::Unknown),
            against: 0,
            reported: false,
            started: 0,
            next_start: now + part(within.min(interval), random),
            running: None,
        }
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
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
                Step::GiveUp(
                    running.ticket,
                    self.finish(running.ticket, Outcome::Bad(Failure::Unreachable, reason), now),
                )
            }
            None if now.monotonic >= self.next_start => Step::Start(self.start(now.monotonic, random)),
            Some(_) | None => Step::Wait,
        }
    }

    /// A check ended. Gives the health to report: it changed (a new reason for being down is a change),
    /// or this was the first result.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now: Now) -> Option<Health> {
        if self.running.map(|running| running.ticket) != Some(ticket) {
            return None;
        }
        self.running = None;
        let changed = match outcome {
            Outcome::Void(_) => return None,
            Outcome::Good => self.good(now.wall),
            Outcome::Bad(failure, reason) => self.bad(failure, reason, now.wall),
        };
        let first = !std::mem::replace(&mut self.reported, true);
        (changed || first).then(|| self.health.clone())
    }

    fn start(&mut self, now: Instant, random: u64) -> Ticket {
        let wait = if self.started == 0 {
            part(self.interval, random)
        } else {
            self.interval + part(self.interval * u32::from(self.jitter) / 100, random)
        };
        self.next_start = now + wait;
        self.started += 1;
        let ticket = Ticket(self.started);
        self.running = Some(Running { ticket, give_up: now + self.timeout + GRACE });
        ticket
    }

    fn good(&mut self, wall: SystemTime) -> bool {
        let enough = match self.health {
            Health::Unknown => true,
            Health::Down { .. } => self.count_against(self.rise),
            Health::Up { .. } => {
                self.against = 0;
                false
            }
        };
        if enough {
            self.against = 0;
            self.health = Health::Up { since: wall };
        }
        enough
    }

    fn bad(&mut self, failure: Failure, reason: String, wall: SystemTime) -> bool {
        let since = match &self.health {
            Health::Unknown => wall,
            Health::Up { .. } => {
                if !self.count_against(self.fall) {
                    return false;
                }
                wall
            }
            Health::Down { since, failure: held, reason: old } => {
                self.against = 0;
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
        self.against += 1;
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
