//! What a machine is doing, for people: up, down, or on the way.

use std::time::{Duration, Instant};

use super::{Health, Machine};

/// Where a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No check has ended yet.
    Unknown,
    /// Up, and the last result was good.
    Up,
    /// Up, with so many bad results in a row of the so many that take it down.
    Falling(u32, u32),
    /// Down, and the last result was bad.
    Down,
    /// Down, with so many good results in a row of the so many that bring it up.
    Rising(u32, u32),
    /// Held down by its damping: good for so long of as long as it must be.
    Held(Duration, Duration),
}

impl Machine {
    /// Where the target stands now.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match self.health {
            Health::Unknown => Phase::Unknown,
            Health::Up { .. } if self.against == 0 => Phase::Up,
            Health::Up { .. } => Phase::Falling(self.against, self.fall),
            Health::Down { .. } => match self.flaps.progress(now) {
                Some((good, needed)) => Phase::Held(good, needed),
                None if self.against == 0 => Phase::Down,
                None => Phase::Rising(self.against, self.rise),
            },
        }
    }

    /// When the next check starts; in the past while one that overran it still runs.
    #[must_use]
    pub fn next_start(&self) -> Instant {
        self.next_start
    }

    /// Whether a check runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
}
