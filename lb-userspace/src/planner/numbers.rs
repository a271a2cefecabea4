//! Numbers of things.

use std::collections::{BTreeMap, VecDeque};

/// Numbers of things of one kind. Up to `end`, one that was never given out goes before one that was given back.
#[derive(Debug, Clone)]
pub(super) struct Numbers<T> {
    held: BTreeMap<T, u32>,
    next: u32,
    end: u32,
    returned: VecDeque<u32>,
}

impl<T: Ord + Clone> Numbers<T> {
    /// From `first` on.
    pub(super) fn new(first: u32, end: u32) -> Self {
        Self { held: BTreeMap::new(), next: first, end, returned: VecDeque::new() }
    }

    /// Notes a number that is in use already.
    pub(super) fn put(&mut self, thing: T, number: u32) {
        self.returned.extend(self.next..number);
        self.returned.retain(|returned| *returned != number);
        self.next = self.next.max(number + 1);
        self.held.insert(thing, number);
    }

    /// The number of a thing, which it keeps.
    pub(super) fn take(&mut self, thing: T) -> u32 {
        if let Some(number) = self.held.get(&thing) {
            return *number;
        }
        let fresh = (self.next < self.end).then_some(self.next);
        let number = fresh.or_else(|| self.returned.pop_front()).unwrap_or(self.next);
        self.next = self.next.max(number.saturating_add(1));
        self.held.insert(thing, number);
        number
    }

    /// Whether the same things have the same numbers.
    pub(super) fn are(&self, other: &Self) -> bool {
        self.held == other.held
    }

    /// Takes back the numbers of all that isn't kept.
    pub(super) fn keep(&mut self, kept: impl Fn(&T) -> bool) {
        let gone: Vec<T> = self.held.keys().filter(|thing| !kept(thing)).cloned().collect();
        for thing in gone {
            self.returned.extend(self.held.remove(&thing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_and_comes_back_late() {
        let mut numbers = Numbers::new(1, 4);
        assert_eq!(["a", "b"].map(|thing| numbers.take(thing)), [1, 2]);
        assert_eq!(numbers.take("a"), 1);
        numbers.keep(|thing| *thing == "b");
        assert_eq!(numbers.take("c"), 3, "a fresh number before a returned one");
        assert_eq!(numbers.take("d"), 1, "then the one returned longest ago");
        assert!(numbers.take("e") >= 4, "then one past the end, for the writer to refuse");
    }
}
