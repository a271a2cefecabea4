//! A slow start.

use std::time::{Duration, Instant};

/// A whole weight, in tenths.
pub const WHOLE: u32 = 10;

/// Steps are at least so far apart: each changes slots, and has rings built anew.
const STEP: Duration = Duration::from_secs(1);

/// A real that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ramp {
    began: Instant,
    length: Duration,
    /// Steps that are done, of [`Self::steps`].
    done: u32,
}

impl Ramp {
    /// It begins now, with the first step.
    pub(super) fn begin(began: Instant, length: Duration) -> Self {
        Self { began, length, done: 0 }
    }

    /// What it is at this moment; `None` when it is over.
    pub(super) fn at(self, now: Instant) -> Option<Self> {
        let gone = now.saturating_duration_since(self.began).as_nanos() * u128::from(self.steps());
        let done = u32::try_from(gone / self.length.as_nanos().max(1)).unwrap_or(u32::MAX);
        (done < self.steps()).then_some(Self { done, ..self })
    }

    /// Tenths of its weight that it has: 1 to [`WHOLE`].
    pub(super) fn tenths(&self) -> u32 {
        (WHOLE * (self.done + 1) / self.steps()).clamp(1, WHOLE)
    }

    /// When its next step is, or it is over.
    pub(super) fn due(&self) -> Instant {
        self.began + self.length * (self.done + 1) / self.steps()
    }

    /// As many as it has tenths, or fewer where they would come too fast.
    fn steps(&self) -> u32 {
        let most = self.length.as_nanos() / STEP.as_nanos();
        u32::try_from(most).unwrap_or(WHOLE).clamp(1, WHOLE)
    }
}
