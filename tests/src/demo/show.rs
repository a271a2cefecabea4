//! The client's loop as the audience sees it: each answer is printed as it comes, and counted to the phase in which it
//! was asked for; each failure to the one in which it failed.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::figures::{reason, time};
use super::screen::say;
use crate::client::{Background, Client, Entry, Report, tally};
use crate::lab::{Host, VIP};

/// The client's beat: twice as fast as the published lab's, which nobody has to sit through.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// How long a request may take: until the next one is due.
const PATIENCE: Duration = BEAT;

/// The longest that an answer takes in a lab that is whole.
const ANSWERED: Duration = Duration::from_millis(10);

/// How long a phase may take that ends with an event.
const DEADLINE: Duration = Duration::from_secs(15);

const GLANCE: Duration = Duration::from_millis(10);

/// A client that asks the VIP over and over, and the phases of the story that it does so in.
pub(crate) struct Show {
    asking: Background,
    shown: usize,
    phases: Vec<Phase>,
}

struct Phase {
    title: String,
    start: Instant,
    took: Duration,
}

impl Show {
    /// Starts the loop.
    pub(crate) fn begin(client: &Host) -> Self {
        let asking = Client::new(client).timeout(PATIENCE).poll((VIP, 80), BEAT);
        Self { asking, shown: 0, phases: Vec::new() }
    }

    /// Prints answers for as long as `done` doesn't hold, as one phase. Tells how long it took.
    ///
    /// # Errors
    /// It doesn't within the deadline, or can't be told.
    pub(crate) fn until(&mut self, title: &str, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
        self.phase(title, |_| done())
    }

    /// Prints this many more answers, as one phase.
    ///
    /// # Errors
    /// They don't come within the deadline.
    pub(crate) fn requests(&mut self, title: &str, count: usize) -> Result<()> {
        self.requests_until(title, count, || Ok(true))
    }

    /// Prints this many more answers, and more for as long as `done` doesn't hold, as one phase.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub(crate) fn requests_until(
        &mut self,
        title: &str,
        count: usize,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let wanted = self.shown + count;
        self.phase(title, |shown| Ok(shown >= wanted && done()?)).map(|_| ())
    }

    /// When the first answer was there.
    pub(crate) fn first_answer(&self) -> Option<Instant> {
        self.asking.log().iter().find(|entry| entry.outcome.is_ok()).map(|entry| entry.end)
    }

    /// The longest time from one answer to the next, from the last one before the last `phases` phases on.
    pub(crate) fn longest_gap(&self, phases: usize) -> Duration {
        let begin = self.phases.iter().rev().take(phases).next_back().map(|phase| phase.start);
        let entries = self.asking.log();
        let before = |entry: &Entry| begin.is_some_and(|begin| entry.end < begin);
        let last = entries.iter().rposition(|entry| entry.outcome.is_ok() && before(entry)).unwrap_or(0);
        Report { entries: entries.into_iter().skip(last).collect(), retransmitted: None }.longest_gap()
    }

    fn phase(&mut self, title: &str, mut done: impl FnMut(usize) -> Result<bool>) -> Result<Duration> {
        let (start, before) = (Instant::now(), self.shown);
        loop {
            self.print(before)?;
            if done(self.shown)? {
                break;
            }
            ensure!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {title}");
            thread::sleep(GLANCE);
        }
        let took = start.elapsed();
        self.phases.push(Phase { title: title.to_owned(), start, took });
        Ok(took)
    }

    /// Prints what is new; in front of a phase's first line, which has the number `first`, an empty one.
    fn print(&mut self, first: usize) -> Result<()> {
        for entry in self.asking.log().iter().skip(self.shown) {
            if self.shown == first {
                say!()?;
            }
            match &entry.outcome {
                Ok(answer) => say!("  {}", answer.body.trim_end())?,
                Err(error) => say!("  no answer: {}", reason(error))?,
            }
            self.shown += 1;
        }
        Ok(())
    }

    /// Stops the loop and sums it up.
    pub(crate) fn end(self) -> Summary {
        Summary { phases: self.phases, report: self.asking.finish() }
    }
}

/// What the client has seen, by phase.
pub(crate) struct Summary {
    phases: Vec<Phase>,
    pub(crate) report: Report,
}

impl Summary {
    /// A row for each phase, and one for their sum.
    pub(crate) fn print(&self) -> Result<()> {
        let reals: BTreeSet<String> = self.report.answers().map(|answer| answer.real.clone()).collect();
        let mut table = Table::new();
        table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
        let columns = ["Phase", "Time", "Requests"].into_iter().chain(reals.iter().map(String::as_str));
        table.set_header(columns.chain(["Failed"]));
        let starts = self.phases.iter().map(|phase| phase.start);
        let ends = starts.skip(1).map(Some).chain([None]);
        for (phase, end) in self.phases.iter().zip(ends) {
            let inside = |entry: &&Entry| booked(entry) >= phase.start && end.is_none_or(|end| booked(entry) < end);
            let entries: Vec<&Entry> = self.report.entries.iter().filter(inside).collect();
            table.add_row(row(&phase.title, phase.took, &reals, &entries));
        }
        let whole = self.phases.iter().map(|phase| phase.took).sum();
        table.add_row(row("in all", whole, &reals, &self.report.entries.iter().collect::<Vec<_>>()));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.lines().try_for_each(|line| say!(" {}", line.trim_end()))
    }
}

/// The moment by which a request counts to a phase: its begin, and for one that failed the time by which it would have
/// had its answer. One that was cut off at a phase's end failed in the next.
fn booked(entry: &Entry) -> Instant {
    match entry.outcome {
        Ok(_) => entry.at,
        Err(_) => entry.end.min(entry.at + ANSWERED),
    }
}

fn row(title: &str, took: Duration, reals: &BTreeSet<String>, entries: &[&Entry]) -> Vec<String> {
    let answers = tally(entries.iter().filter_map(|entry| entry.outcome.as_ref().ok()));
    let failed = entries.iter().filter(|entry| entry.outcome.is_err()).count();
    let mut row = vec![title.to_owned(), time(took), entries.len().to_string()];
    row.extend(reals.iter().map(|real| answers.get(real).copied().unwrap_or_default().to_string()));
    row.push(failed.to_string());
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Answer;

    #[test]
    fn a_request_that_a_phases_end_cuts_off_failed_in_the_next() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let answer = || Answer { real: String::new(), status: 200, body: String::new(), took: Duration::ZERO };
        let failed = || Err("timed out".to_owned());
        // A phase ends at 100, and with it the answers; the next at 1000.
        let rows = [
            ((98, 99, Ok(answer())), 98),
            ((99, 599, failed()), 109),
            ((40, 540, failed()), 50),
            ((700, 1200, failed()), 710),
            ((999, 1000, failed()), 1000),
        ];
        for ((begin, end, outcome), expected) in rows {
            let entry = Entry { at: at(begin), end: at(end), outcome };
            assert_eq!(booked(&entry), at(expected), "{begin}");
        }
    }
}
