//! Loops of requests on a thread of their own, and what they have seen.

use std::fmt;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Answer;
use crate::lab::{sys, wait_until};

/// One request of a loop.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was begun.
    pub at: Instant,
    /// When its answer, or its error, was there.
    pub end: Instant,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, String>,
}

/// A loop of requests on a thread of its own. It ends when dropped.
#[derive(Debug)]
pub struct Background {
    log: Arc<Mutex<Vec<Entry>>>,
    stop: Arc<AtomicBool>,
    connection: Option<TcpStream>,
    asker: Option<JoinHandle<()>>,
}

impl Background {
    pub(super) fn start(
        interval: Duration,
        connection: Option<TcpStream>,
        mut ask: impl FnMut(usize) -> Result<Answer> + Send + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let ends_with_error = connection.is_some();
        let asker = thread::spawn({
            let (log, stop) = (log.clone(), stop.clone());
            move || {
                let mut next = Instant::now();
                for number in 1.. {
                    let at = Instant::now();
                    let outcome = ask(number).map_err(|error| format!("{error:#}"));
                    let last = ends_with_error && outcome.is_err();
                    let end = Instant::now();
                    lock(&log).push(Entry { at, end, outcome });
                    // The beat is kept; what a slow request has missed is not made up for.
                    next = (next + interval).max(end);
                    while !stop.load(Ordering::Relaxed) && Instant::now() < next {
                        thread::park_timeout(next.saturating_duration_since(Instant::now()));
                    }
                    if last || stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        Self { log, stop, connection, asker: Some(asker) }
    }

    /// All requests so far.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.log).clone()
    }

    /// Waits until `count` more requests have been answered well.
    ///
    /// # Errors
    /// When they have not within `deadline`; the message has the last error.
    pub fn wait_for_answers(&self, count: usize, deadline: Duration) -> Result<()> {
        let good = || lock(&self.log).iter().filter(|it| it.outcome.is_ok()).count();
        let wanted = good() + count;
        let waited = wait_until(deadline, &format!("{count} more answers"), || good() >= wanted);
        waited.map(|_| ()).with_context(|| {
            let log = lock(&self.log);
            let error = log.iter().rev().find_map(|it| it.outcome.clone().err());
            format!("the last error: {}", error.unwrap_or("none".to_owned()))
        })
    }

    /// Stops the loop after its present request and returns what it has seen.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end();
        let retransmitted =
            self.connection.as_ref().and_then(|connection| sys::retransmitted_segments(connection).ok());
        Report { entries: std::mem::take(&mut *lock(&self.log)), retransmitted }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(asker) = self.asker.take() {
            asker.thread().unpark();
            // One that has panicked has said so.
            let _ = asker.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(log: &Mutex<Vec<Entry>>) -> std::sync::MutexGuard<'_, Vec<Entry>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a loop of requests has seen. Prints as a line of figures.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every request in order.
    pub entries: Vec<Entry>,
    /// For a held connection, the segments that the client had to send again: the losses that nobody else notices.
    pub retransmitted: Option<u32>,
}

impl Report {
    /// The answers in order.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.entries.iter().filter_map(|it| it.outcome.as_ref().ok())
    }

    /// The errors in order.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|it| it.outcome.as_ref().err().map(String::as_str))
    }

    /// The longest time from the end of one good answer to that of the next: how long the service was away, give or take
    /// the interval.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let ends: Vec<_> = self.entries.iter().filter(|it| it.outcome.is_ok()).map(|it| it.end).collect();
        let gaps = ends.windows(2).filter_map(|pair| match pair {
            [one, next] => Some(next.duration_since(*one)),
            _ => None,
        });
        gaps.max().unwrap_or_default()
    }

    /// Checks that every request was answered.
    ///
    /// # Errors
    /// When one was not, or there was none at all; the message has the figures and the first error.
    pub fn without_loss(&self) -> Result<()> {
        ensure!(!self.entries.is_empty(), "nothing was asked");
        if let Some(error) = self.errors().next() {
            bail!("{self}; the first error: {error}");
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = self.answers().count();
        let (all, gap) = (self.entries.len(), self.longest_gap());
        write!(f, "{good} of {all} requests answered, longest gap {gap:.1?}")?;
        if let Some(again) = self.retransmitted {
            write!(f, ", {again} segments sent again")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tally;

    #[test]
    fn a_gap_lies_between_good_answers() {
        let start = Instant::now();
        let answer =
            |real: &str| Answer { real: real.to_owned(), status: 200, body: String::new(), took: Duration::ZERO };
        let entry = |at: u64, outcome| Entry {
            at: start + Duration::from_secs(at),
            end: start + Duration::from_secs(at),
            outcome,
        };
        let report = Report {
            entries: vec![
                entry(0, Ok(answer("Real-1"))),
                entry(1, Err("refused".to_owned())),
                entry(3, Ok(answer("Real-2"))),
                entry(4, Ok(answer("Real-2"))),
            ],
            retransmitted: None,
        };
        assert_eq!(report.longest_gap(), Duration::from_secs(3));
        assert_eq!(tally(report.answers())["Real-2"], 2);
        let error = report.without_loss().unwrap_err().to_string();
        assert_eq!(error, "3 of 4 requests answered, longest gap 3.0s; the first error: refused");
    }
}
