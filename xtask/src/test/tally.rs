//! Counts tests from what `cargo test` prints.

/// What one or more `cargo test` commands counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed, those included that skipped themselves.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests marked `#[ignore]`.
    pub(crate) ignored: u64,
    /// The names of those that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Takes a line of output; all but a test binary's `test result:` and each `test … FAILED` mean nothing here.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
    }
}

/// The number before `what` in `ok. 12 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, what: &str) -> u64 {
    let mut parts = counts.split(['.', ';']).map(str::trim);
    parts.find_map(|part| part.strip_suffix(what)?.trim_end().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_results_of_all_binaries_are_summed() {
        let output = "\
running 3 tests
test a ... ok
test module::b ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s

running 12 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 61.20s
test result: something else
the test result: ok. 5 passed; 0 failed
";
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        let expected = Tally { passed: 13, failed: 1, ignored: 1, failures: vec!["module::b".to_owned()] };
        assert_eq!(tally, expected);

        tally.add(expected);
        assert_eq!((tally.passed, tally.failed, tally.ignored, tally.failures.len()), (26, 2, 2, 2));
    }
}
