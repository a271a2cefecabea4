//! How far this director is behind the others: it asks them now and then for what they haven't told yet. What its own connection
//! to a peer takes is no measure of that, since connections are told by a look at the table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// It is asked so often: each time the table is looked at once more.
const EVERY: Duration = Duration::from_secs(2);

/// What is known of the peers.
#[derive(Debug, Default)]
pub(super) struct Lag {
    asked: Option<(u64, Instant)>,
    known: BTreeMap<SocketAddr, Known>,
}

/// What is known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// All that had happened there by then was told, and is in this director's maps.
    pub(super) until: Instant,
    /// From the question to that.
    pub(super) took: Duration,
}

impl Lag {
    /// The question that is due, by this number.
    pub(super) fn due(&mut self, now: Instant, number: u64) -> Option<u64> {
        if self.asked.is_some_and(|(_, asked)| now < asked + EVERY) {
            return None;
        }
        self.asked = Some((number, now));
        Some(number)
    }

    /// A peer has answered a question.
    pub(super) fn answered(&mut self, peer: SocketAddr, number: u64, now: Instant) {
        // Who answers late is as far behind as that: the question before is forgotten.
        if let Some((_, until)) = self.asked.filter(|(asked, _)| *asked == number) {
            self.known.insert(peer, Known { until, took: now.saturating_duration_since(until) });
        }
    }

    /// What is known of a peer.
    pub(super) fn of(&self, peer: SocketAddr) -> Option<Known> {
        self.known.get(&peer).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_as_old_as_the_last_question_that_was_answered() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let [one, other] = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 8849)));
        let known = |until, took| Some(Known { until: at(until), took: Duration::from_millis(took) });
        let mut lag = Lag::default();
        lag.answered(one, 7, at(0));
        assert_eq!(lag.of(one), None, "it wasn't asked");
        assert_eq!(lag.due(at(0), 7), Some(7));
        assert_eq!(lag.due(at(1999), 8), None);
        lag.answered(one, 7, at(30));
        assert_eq!([lag.of(one), lag.of(other)], [known(0, 30), None]);
        assert_eq!(lag.due(at(2000), 9), Some(9));
        lag.answered(other, 7, at(2010));
        lag.answered(one, 9, at(2050));
        assert_eq!([lag.of(one), lag.of(other)], [known(2000, 50), None], "one is too late");
    }
}
