//! How often the log hears of a peer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Some lines in a while, of one cause one alone, and how many more there would have been.
#[derive(Debug)]
pub struct Limit {
    most: u32,
    began: Option<Instant>,
    said: u32,
    left_out: u64,
    /// Causes that were told of, the oldest first.
    causes: VecDeque<(String, Instant)>,
}

/// Lines are counted over so long.
const WHILE: Duration = Duration::from_secs(60);
/// The same cause isn't told of again for so long.
const AGAIN: Duration = Duration::from_secs(600);
/// Causes that are known at most.
const CAUSES: usize = 16;

impl Limit {
    /// At most so many lines a minute.
    pub fn new(most: u32) -> Self {
        Self { most, began: None, said: 0, left_out: 0, causes: VecDeque::new() }
    }

    /// What to add to a line that may be said now; `None` when it may not.
    pub fn ask(&mut self, now: Instant) -> Option<String> {
        let over = self.began.is_none_or(|began| now.saturating_duration_since(began) >= WHILE);
        if over {
            self.began = Some(now);
            self.said = 0;
        }
        if self.said == self.most {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        let more = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            1 => " (and 1 line that was left out)".to_owned(),
            more => format!(" (and {more} lines that were left out)"),
        };
        Some(more)
    }

    /// The same of a cause that isn't to be told of over and over, as often as somebody repeats it.
    pub fn ask_once(&mut self, now: Instant, cause: &str) -> Option<String> {
        self.causes.retain(|(_, said)| now.saturating_duration_since(*said) < AGAIN);
        if self.causes.iter().any(|(held, _)| held == cause) {
            self.left_out += 1;
            return None;
        }
        let more = self.ask(now)?;
        if self.causes.len() == CAUSES {
            self.causes.pop_front();
        }
        self.causes.push_back((cause.to_owned(), now));
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_later() {
        let mut limit = Limit::new(2);
        let start = Instant::now();
        let asked: Vec<_> = (0..5).map(|second| limit.ask(start + Duration::from_secs(second))).collect();
        assert_eq!(asked, [Some(String::new()), Some(String::new()), None, None, None]);
        let later = limit.ask(start + WHILE).unwrap();
        assert_eq!(later, " (and 3 lines that were left out)");
        assert_eq!(limit.ask(start + WHILE), Some(String::new()));
    }

    #[test]
    fn a_cause_is_told_of_once_in_a_while() {
        let mut limit = Limit::new(1000);
        let start = Instant::now();
        let said = |limit: &mut Limit, second, cause: &str| limit.ask_once(start + Duration::from_secs(second), cause);
        let many = (0..600).filter_map(|second| said(&mut limit, second, "a")).count();
        assert_eq!(many, 1);
        assert_eq!(said(&mut limit, 600, "b").unwrap(), " (and 599 lines that were left out)");
        assert_eq!(said(&mut limit, 600, "a"), Some(String::new()));
        assert_eq!(said(&mut limit, 601, "a"), None);
        (0..100).for_each(|n| drop(said(&mut limit, 601, &n.to_string())));
        assert_eq!(limit.causes.len(), CAUSES);
    }
}
