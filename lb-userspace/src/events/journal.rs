//! Which events are kept: a bounded number, so that no flood of one kind or of one real pushes out what else happened.

use std::collections::VecDeque;

use super::{Event, Kind, Said};

/// Events about reals that are kept at most.
pub const REALS: usize = 1500;
/// And others.
pub const OTHERS: usize = 500;
/// Of one subject and the same reals, so many: one that flaps has no more.
pub const EACH: usize = 100;

/// The events that are kept, the oldest first.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Event>,
    last: u64,
}

impl Journal {
    /// Goes on from events that were written down, in their order; what is more than may be kept is forgotten.
    #[must_use]
    pub fn adopt(events: Vec<Event>) -> Self {
        let mut journal = Self::default();
        for event in events {
            // Numbers rise, whatever a file says.
            journal.last = journal.last.max(event.number.saturating_sub(1));
            journal.record(event.at_ms, event.said);
        }
        journal
    }

    /// The last event's number; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What is kept, the oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// Something happened at a time in milliseconds since 1970.
    pub fn record(&mut self, at_ms: u64, said: Said) {
        self.bound(|held| held.subject == said.subject && held.kind == said.kind && held.reals == said.reals, EACH);
        match said.kind {
            Kind::Real => self.bound(|held| held.kind == Kind::Real, REALS),
            _ => self.bound(|held| held.kind != Kind::Real, OTHERS),
        }
        self.last = self.last.saturating_add(1);
        self.events.push_back(Event { number: self.last, at_ms, said });
    }

    /// Makes room for one more of these, by forgetting the oldest.
    fn bound(&mut self, is_one: impl Fn(&Said) -> bool, most: usize) {
        let mut held = 0;
        let oldest = self.events.iter().enumerate().rev().find_map(|(at, event)| {
            held += usize::from(is_one(&event.said));
            (held >= most).then_some(at)
        });
        if let Some(at) = oldest {
            self.events.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn down(number: u32) -> Said {
        let real = IpAddr::from(number.to_be_bytes());
        Said { reals: vec![real], ..Said::new(Kind::Real, "service.web", "down") }
    }

    #[test]
    fn a_flood_of_reals_leaves_what_else_happened_and_one_that_flaps_leaves_the_others() {
        let mut journal = Journal::default();
        journal.record(1, Said::new(Kind::Vrrp, "vrrp.web", "master"));
        (0..2 * EACH).for_each(|at| journal.record(at as u64, down(7)));
        assert_eq!(journal.events().filter(|event| event.said == down(7)).count(), EACH);
        (100..10_100).for_each(|number| journal.record(5, down(number)));
        let kinds = |kind: Kind| journal.events().filter(|event| event.said.kind == kind).count();
        assert_eq!((kinds(Kind::Vrrp), kinds(Kind::Real)), (1, REALS));
        assert_eq!(journal.events().next_back().map(|event| event.number), Some(journal.last()));
        assert_eq!(journal.last(), 10_001 + 2 * EACH as u64);
        (0..2 * OTHERS).for_each(|n| journal.record(5, Said::new(Kind::Peer, format!("peer {n}"), "live")));
        assert_eq!(journal.events().count(), REALS + OTHERS);
        let numbers: Vec<u64> = journal.events().map(|event| event.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn numbers_go_on_from_what_was_kept_and_rise_whatever_a_file_says() {
        let event = |number| Event { number, at_ms: 1, said: down(1) };
        let mut journal = Journal::adopt(vec![event(41), event(7), event(50), event(u64::MAX)]);
        journal.record(2, down(2));
        let numbers: Vec<u64> = journal.events().map(|event| event.number).collect();
        assert_eq!(numbers, [41, 42, 50, u64::MAX, u64::MAX]);
    }
}
