//! Things that may be said once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use crate::config::read::source::{Source, Span};

/// Where each of some things was first said.
pub struct FirstSeen<K>(HashMap<K, Span>);

impl<K> Default for FirstSeen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> FirstSeen<K> {
    /// Where `key` was said before, such as `line 5`; else this place becomes its first.
    pub fn before(&mut self, key: K, span: Span, source: &Source) -> Option<String> {
        match self.0.entry(key) {
            Entry::Occupied(first) => Some(source.place(first.get().start, span.start)),
            Entry::Vacant(free) => {
                free.insert(span);
                None
            }
        }
    }
}
