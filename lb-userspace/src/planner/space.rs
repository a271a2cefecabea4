//! Ranges of a map's entries, given out and taken back.

use std::collections::BTreeMap;

/// Entries `start .. start + length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Range {
    /// The first.
    pub start: u32,
    /// How many.
    pub length: u32,
}

/// The entries of one map. A range that was given back is given out again as late as can be, since a frame in flight may
/// still read it.
#[derive(Debug, Clone)]
pub struct Space {
    /// First entry that was never given out, and how many there are.
    next: u32,
    end: u32,
    /// Free ranges below `next`, by their starts; no two of them touch.
    free: BTreeMap<u32, u32>,
}

impl Space {
    /// The entries from `first` up to `end`.
    pub fn new(first: u32, end: u32) -> Self {
        Self { next: first, end, free: BTreeMap::new() }
    }

    /// Notes a range that is in use already. One that overlaps another in use is refused.
    pub fn put(&mut self, range: Range) -> bool {
        let Some(behind) = range.start.checked_add(range.length) else { return false };
        if range.start >= self.next {
            if range.start > self.next {
                self.free(self.next, range.start - self.next);
            }
            self.next = behind;
            return true;
        }
        let holder = self.free.range(..=range.start).next_back().map(|(start, length)| (*start, *length));
        let Some((start, length)) = holder.filter(|(start, length)| start + length >= behind) else { return false };
        self.free.remove(&start);
        if range.start > start {
            self.free.insert(start, range.start - start);
        }
        if start + length > behind {
            self.free.insert(behind, start + length - behind);
        }
        true
    }

    /// A range of this length. Past the end where none is left, which the writer refuses.
    pub fn take(&mut self, length: u32) -> Range {
        let fits = |end: u32| end <= self.end;
        if self.next.checked_add(length).is_some_and(fits) {
            let start = self.next;
            self.next += length;
            return Range { start, length };
        }
        let held = self.free.iter().find(|(_, free)| **free >= length).map(|(start, free)| (*start, *free));
        match held {
            Some((start, free)) => {
                self.free.remove(&start);
                if free > length {
                    self.free.insert(start + length, free - length);
                }
                Range { start, length }
            }
            None => {
                let start = self.next.max(self.end);
                self.next = start.saturating_add(length);
                Range { start, length }
            }
        }
    }

    /// Takes a range back.
    pub fn give(&mut self, range: Range) {
        if range.length > 0 {
            self.free(range.start, range.length);
        }
    }

    fn free(&mut self, mut start: u32, mut length: u32) {
        if let Some((&before, &held)) = self.free.range(..start).next_back()
            && before + held == start
        {
            self.free.remove(&before);
            (start, length) = (before, length + held);
        }
        if let Some(behind) = self.free.remove(&(start + length)) {
            length += behind;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_never_used_goes_first() {
        let mut space = Space::new(0, 30);
        let [a, b] = [space.take(10), space.take(10)];
        space.give(a);
        assert_eq!(space.take(10).start, 20);
        assert_eq!(space.take(4).start, 0);
        space.give(b);
        assert_eq!(space.take(16).start, 4, "ranges that touch are one");
        assert!(space.take(1).start >= 30, "past the end, for the writer to refuse");
    }

    #[test]
    fn ranges_in_use_are_not_given_out() {
        let mut space = Space::new(0, 100);
        assert!(space.put(Range { start: 40, length: 10 }));
        assert!(space.put(Range { start: 10, length: 10 }));
        assert!(!space.put(Range { start: 15, length: 10 }), "another's");
        assert!(!space.put(Range { start: 45, length: 1 }));
        assert_eq!(space.take(50).start, 50);
        assert_eq!(space.take(20).start, 20);
        assert_eq!(space.take(10).start, 0);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((1u32..40, any::<bool>(), any::<prop::sample::Index>()), 1..80)) {
            let mut space = Space::new(0, 500);
            let mut held: Vec<Range> = Vec::new();
            for (length, gives, which) in steps {
                if gives && !held.is_empty() {
                    space.give(held.swap_remove(which.index(held.len())));
                } else {
                    let range = space.take(length);
                    let behind = range.start + range.length;
                    prop_assert!(held.iter().all(|other| other.start >= behind || other.start + other.length <= range.start));
                    if behind <= 500 {
                        held.push(range);
                    }
                }
            }
        }
    }
}
