//! How often the log hears of a peer.

use std::time::{Duration, Instant};

/// Some lines in a while, and how many more there would have been.
#[derive(Debug)]
pub struct Limit {
    most: u32,
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

/// Lines are counted over so long.
const WHILE: Duration = Duration::from_secs(60);

impl Limit {
    /// At most so many lines a minute.
    pub fn new(most: u32) -> Self {
        Self { most, began: None, said: 0, left_out: 0 }
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
            more => format!(" (and {more} lines about it that were left out)"),
        };
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
        assert_eq!(later, " (and 3 lines about it that were left out)");
        assert_eq!(limit.ask(start + WHILE), Some(String::new()));
    }
}
