//! What the steps of `test` came to.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Error;

use crate::shell;
use crate::test::tally::Tally;

/// How one step ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The tests that it ran.
    pub(crate) tally: Tally,
    /// What went wrong other than a test that failed.
    pub(crate) error: Option<Error>,
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        Self { tally: Tally::default(), error: Some(error) }
    }
}

impl Outcome {
    /// Runs all the commands, also after one that fails: a person mends what all of them say at once.
    pub(crate) fn of_commands<const N: usize>(commands: [&mut Command; N]) -> Self {
        let mut errors = commands.into_iter().filter_map(|command| shell::run(command).err());
        let first = errors.next();
        errors.for_each(|error| eprintln!("test: {error:#}"));
        Self { tally: Tally::default(), error: first }
    }

    /// Adds the outcome of a part that runs whatever this one came to.
    pub(crate) fn and(mut self, part: impl FnOnce() -> Self) -> Self {
        let other = part();
        self.tally.add(other.tally);
        self.error = self.error.or(other.error);
        self
    }

    fn good(&self) -> bool {
        self.error.is_none() && self.tally.failed == 0
    }

    /// Failures as the closing line counts them: a step can fail without a test that does.
    fn failed(&self) -> u64 {
        self.tally.failed.max(u64::from(self.error.is_some()))
    }
}

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    /// None for a step that could not start.
    outcome: Option<Outcome>,
    time: Duration,
}

impl Report {
    /// Runs a step and keeps its outcome; whether it was good.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Outcome) -> bool {
        eprintln!("── {name}");
        let start = Instant::now();
        let outcome = run();
        let good = outcome.good();
        self.rows.push(Row { name, outcome: Some(outcome), time: start.elapsed() });
        good
    }

    /// As [`Report::step`], but a step whose ground is missing is reported as not run.
    pub(crate) fn step_if(&mut self, ready: bool, name: &'static str, run: impl FnOnce() -> Outcome) {
        if ready {
            self.step(name, run);
        } else {
            self.rows.push(Row { name, outcome: None, time: Duration::ZERO });
        }
    }

    /// Prints skips, failures, a table and the closing line; whether all was good.
    pub(crate) fn print(&self, skips: &[String], skips_fail: bool) -> bool {
        let outcomes = || self.rows.iter().filter_map(|row| Some((row.name, row.outcome.as_ref()?)));
        println!();
        for skip in skips {
            println!("skipped: {skip}");
        }
        for (name, outcome) in outcomes() {
            for failure in &outcome.tally.failures {
                println!("failed in {name}: {failure}");
            }
            if let Some(error) = &outcome.error {
                println!("failed in {name}: {error:#}");
            }
        }
        println!("{:<8} {:<9} {:>6} {:>12}", "step", "result", "tests", "time");
        for row in &self.rows {
            println!("{}", row.line());
        }

        let mut tally = Tally::default();
        outcomes().for_each(|(_, outcome)| tally.add(outcome.tally.clone()));
        let failed: u64 = outcomes().map(|(_, outcome)| outcome.failed()).sum();
        let (passed, skipped) = without_skips(&tally, skips.len());
        if skipped > 0 && skips_fail {
            println!("A skip is a failure here: see above what each of the skipped tests lacks.");
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        self.good(skipped, skips_fail)
    }

    fn good(&self, skipped: u64, skips_fail: bool) -> bool {
        let complete = self.rows.iter().all(|row| row.outcome.as_ref().is_some_and(Outcome::good));
        complete && (skipped == 0 || !skips_fail)
    }
}

impl Row {
    fn line(&self) -> String {
        let (result, tests) = match &self.outcome {
            None => ("not run", 0),
            Some(outcome) if outcome.good() => ("ok", outcome.tally.passed),
            Some(outcome) => ("FAILED", outcome.tally.passed + outcome.tally.failed),
        };
        let tests = if tests == 0 { String::new() } else { tests.to_string() };
        format!("{:<8} {result:<9} {tests:>6} {:>12}", self.name, shell::elapsed(self.time))
    }
}

/// A test that skipped itself returned, so cargo counts it as passed.
fn without_skips(tally: &Tally, skips: usize) -> (u64, u64) {
    let skips = u64::try_from(skips).unwrap_or(u64::MAX);
    (tally.passed.saturating_sub(skips), skips.saturating_add(tally.ignored))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Outcome, Report, without_skips};
    use crate::test::tally::Tally;

    fn tests(passed: u64, failed: u64, ignored: u64) -> Outcome {
        let tally = Tally { passed, failed, ignored, failures: Vec::new() };
        Outcome { tally, error: None }
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let tally = tests(10, 0, 2).tally;
        assert_eq!(without_skips(&tally, 3), (7, 5));
        assert_eq!(without_skips(&tally, 30), (0, 32));
    }

    #[test]
    fn a_step_fails_by_a_test_or_by_itself() {
        assert_eq!((tests(1, 0, 0).good(), tests(1, 0, 0).failed()), (true, 0));
        assert_eq!((tests(1, 2, 0).good(), tests(1, 2, 0).failed()), (false, 2));
        let broken = Outcome::from(anyhow!("no compiler"));
        assert_eq!((broken.good(), broken.failed()), (false, 1));
        let both = tests(3, 0, 0).and(|| Outcome::from(anyhow!("no compiler")));
        assert_eq!((both.good(), both.failed(), both.tally.passed), (false, 1, 3));
    }

    #[test]
    fn the_whole_is_good_when_each_step_is_and_skips_are_allowed() {
        let cases = [
            // failed, built, skipped, skips fail, good
            (0, true, 0, true, true),
            (1, true, 0, false, false),
            (0, true, 1, true, false),
            (0, true, 1, false, true),
            (0, false, 0, false, false),
        ];
        for (failed, built, skipped, skips_fail, expected) in cases {
            let mut report = Report::default();
            report.step("unit", || tests(5, failed, 0));
            report.step_if(built, "lab", || tests(5, 0, 0));
            let name = format!("{failed} {built} {skipped} {skips_fail}");
            assert_eq!(report.good(skipped, skips_fail), expected, "{name}");
        }
    }
}
