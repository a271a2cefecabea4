//! What the last checks of a target said, and how long they took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::machine::Outcome;

/// Results that are kept of a target.
pub const RESULTS: usize = 8;
/// Times of good answers that are kept of a target: percentiles are of these.
pub const TIMES: usize = 128;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The last results, the oldest first.
    pub results: VecDeque<Entry>,
    /// How long the last good answers took.
    times: Times<TIMES>,
    /// Good answers so far.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// Checks that couldn't be made.
    pub void: u64,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it came.
    pub at: SystemTime,
    /// How long the check took.
    pub took: Duration,
    /// What it was.
    pub said: Said,
}

/// What a check said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The real answered as expected.
    Good,
    /// It did not, for this reason.
    Bad(Arc<str>),
    /// Nothing about the real, for this reason of the director's own.
    Void(Arc<str>),
}

impl History {
    /// A check ended.
    pub fn note(&mut self, at: SystemTime, took: Duration, outcome: &Outcome) {
        let said = match outcome {
            Outcome::Good | Outcome::Weighed(_) => {
                self.good += 1;
                self.times.note(took);
                Said::Good
            }
            Outcome::Bad(_, reason) => {
                self.bad += 1;
                Said::Bad(self.shared(reason))
            }
            Outcome::Void(reason) => {
                self.void += 1;
                Said::Void(self.shared(reason))
            }
        };
        if self.results.len() == RESULTS {
            self.results.pop_front();
        }
        self.results.push_back(Entry { at, took, said });
    }

    /// One that goes on from these results, times in microseconds, and counts of good, bad and void ones.
    #[must_use]
    pub fn of(
        results: impl Iterator<Item = Entry>,
        times: impl IntoIterator<Item = u32>,
        (good, bad, void): (u64, u64, u64),
    ) -> Self {
        let results = results.take(RESULTS).collect();
        Self { results, times: Times(times.into_iter().take(TIMES).collect()), good, bad, void }
    }

    /// How long the last good answers took, the oldest first; microseconds.
    pub fn times(&self) -> impl Iterator<Item = u32> + '_ {
        self.times.0.iter().copied()
    }

    /// So many percent of the last good answers took no longer; `None` before the first.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        self.times.percentile(percent)
    }

    /// Why the last check couldn't be made, if it couldn't.
    #[must_use]
    pub fn own_fault(&self) -> Option<&str> {
        match &self.results.back()?.said {
            Said::Void(reason) => Some(reason),
            Said::Good | Said::Bad(_) => None,
        }
    }

    /// One text for the same reason again and again.
    fn shared(&self, reason: &str) -> Arc<str> {
        match self.results.back().map(|last| &last.said) {
            Some(Said::Bad(held) | Said::Void(held)) if **held == *reason => Arc::clone(held),
            _ => reason.into(),
        }
    }
}

/// The last `N` of some lengths of time, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times<const N: usize>(VecDeque<u32>);

impl<const N: usize> Times<N> {
    /// One more; above an hour it counts as that.
    pub fn note(&mut self, time: Duration) {
        if self.0.len() == N {
            self.0.pop_front();
        }
        self.0.push_back(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// So many percent of them are no longer (nearest rank); `None` where there are none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<u32> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map(|micros| Duration::from_micros(u64::from(*micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Failure;

    #[test]
    fn percentiles_are_of_the_last_good_answers_alone() {
        let mut history = History::default();
        assert_eq!(history.percentile(50), None);
        let bad = Outcome::Bad(Failure::Unreachable, "refused".to_owned());
        history.note(SystemTime::UNIX_EPOCH, Duration::from_secs(9), &bad);
        assert_eq!(history.percentile(99), None);
        for millis in 1..=300 {
            history.note(SystemTime::UNIX_EPOCH, Duration::from_millis(millis), &Outcome::Good);
        }
        let millis = |percent| history.percentile(percent).unwrap().as_millis();
        // Of 173 to 300.
        assert_eq!((millis(0), millis(50), millis(99), millis(100)), (173, 236, 299, 300));
        assert_eq!((history.good, history.bad, history.void), (300, 1, 0));
    }

    #[test]
    fn the_last_results_are_kept_in_order() {
        let mut history = History::default();
        let bad = |reason: &str| Outcome::Bad(Failure::Wrong, reason.to_owned());
        let void = Outcome::Void("no socket".to_owned());
        let all =
            [bad("a"), Outcome::Good, bad("a"), bad("a"), bad("b"), void.clone(), void.clone(), Outcome::Good, void];
        for outcome in &all {
            history.note(SystemTime::UNIX_EPOCH, Duration::ZERO, outcome);
            let own = matches!(outcome, Outcome::Void(_)).then_some("no socket");
            assert_eq!(history.own_fault(), own);
        }
        let marks: String = history
            .results
            .iter()
            .map(|entry| match entry.said {
                Said::Good => '+',
                Said::Bad(_) => '-',
                Said::Void(_) => '!',
            })
            .collect();
        assert_eq!(marks, "+---!!+!");
        let texts = [2, 1].map(|n| match &history.results[n].said {
            Said::Bad(text) => text.clone(),
            other => panic!("{other:?}"),
        });
        assert!(Arc::ptr_eq(&texts[0], &texts[1]), "one text for one reason");
    }
}
