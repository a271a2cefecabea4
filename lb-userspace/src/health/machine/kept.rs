//! What of a machine outlives the agent, and for how long it counts.

use std::time::{Duration, Instant, SystemTime};

use super::flaps::Held;
use super::{Health, Machine, Now};
use crate::config::Check;

/// What is known of a target, on the clock that goes on while no agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Up or down; never unknown.
    pub health: Health,
    /// When the last result came that said something of the real.
    pub heard: SystemTime,
    /// The weight that it asked for.
    pub weight: Option<u8>,
    /// Results in a row that speak against `health`.
    pub against: u32,
    /// What its damping counts.
    pub held: Held,
}

/// What is known counts for this long at least: an agent that is replaced, or started again, is there by then.
const RESTART: Duration = Duration::from_secs(60);

impl Kept {
    /// Whether it still counts: nobody has looked since, but for no longer than the checks themselves take to turn it (`fall` or
    /// `rise` intervals, and a timeout), or a restart takes. A clock that was put back leaves nothing that counts.
    #[must_use]
    pub fn counts(&self, check: &Check, now: SystemTime) -> bool {
        let turns = check.interval.saturating_mul(check.fall.max(check.rise)).saturating_add(check.timeout);
        now.duration_since(self.heard).is_ok_and(|age| age <= turns.max(RESTART))
    }
}

impl Machine {
    /// A target of which this is known and counts; the rest is as of [`Self::new`].
    #[must_use]
    pub fn resume(check: &Check, kept: &Kept, within: Duration, now: Now, random: u64) -> Self {
        let mut machine = Self::new(check, Some(kept.health.clone()), within, now.monotonic, random);
        machine.against = kept.against;
        machine.heard = Some(kept.heard);
        machine.weight = kept.weight;
        machine.flaps.resume(&kept.held, now);
        // It is known to whoever has the same record.
        machine.reported = true;
        machine
    }

    /// What is to be kept, once a result has said something.
    #[must_use]
    pub fn kept(&self, now: Now) -> Option<Kept> {
        let heard = self.heard.filter(|_| self.health != Health::Unknown)?;
        let (health, held) = (self.health.clone(), self.flaps.kept(now));
        Some(Kept { health, heard, weight: self.weight, against: self.against, held })
    }
}

/// The moment of the one clock on the other; `None` where it is before what that can say.
pub(super) fn on_the_wall(moment: Instant, now: Now) -> Option<SystemTime> {
    now.wall.checked_sub(now.monotonic.duration_since(moment))
}

/// Likewise the other way round. What is to come counts as now.
pub(super) fn from_the_wall(moment: SystemTime, now: Now) -> Option<Instant> {
    now.monotonic.checked_sub(now.wall.duration_since(moment).unwrap_or_default())
}
