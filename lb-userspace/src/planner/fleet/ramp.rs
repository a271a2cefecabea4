//! A slow start.

use std::time::{Duration, Instant};

/// In so many steps a real gets its whole weight.
pub(super) const STEPS: u32 = 10;

/// A real that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ramp {
    began: Instant,
    length: Duration,
    steps: u32,
}

impl Ramp {
    /// It begins now, with one step.
    pub(super) fn begin(began: Instant, length: Duration) -> Self {
        Self { began, length, steps: 1 }
    }

    /// What it is at this moment; `None` when it is over.
    pub(super) fn at(self, now: Instant) -> Option<Self> {
        let gone = now.saturating_duration_since(self.began).as_nanos() * u128::from(STEPS);
        let steps = u32::try_from(gone / self.length.as_nanos().max(1)).unwrap_or(STEPS).saturating_add(1);
        (steps <= STEPS).then_some(Self { steps, ..self })
    }

    /// Steps of its weight that it has: 1 to [`STEPS`].
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    /// When it has one more, or is over.
    pub(super) fn due(&self) -> Instant {
        self.began + self.length * self.steps / STEPS
    }
}
