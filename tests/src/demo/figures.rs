//! Figures for people.

use std::time::Duration;

/// A time with three digits that matter: `0.35 ms`, `123 ms`, `1.31 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..0.01 => format!("{:.2} ms", seconds * 1e3),
        0.01..1.0 => format!("{:.0} ms", seconds * 1e3),
        1.0..100.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// Least, median and greatest of some times; nothing of none.
pub(crate) fn spread(times: &[Duration]) -> Option<Spread> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    Some(Spread { min: *sorted.first()?, median: *sorted.get(sorted.len() / 2)?, max: *sorted.last()? })
}

/// See [`spread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) min: Duration,
    pub(crate) median: Duration,
    pub(crate) max: Duration,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {}, min {}, max {}", time(self.median), time(self.min), time(self.max))
    }
}

/// The innermost reason of an error's chain, without the system's number for it: `Connection refused`.
pub(crate) fn reason(error: &str) -> &str {
    let last = error.rsplit(": ").next().unwrap_or(error);
    last.split(" (os error").next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_shows_the_digits_that_matter() {
        let cases = [(350, "0.35 ms"), (123_400, "123 ms"), (1_310_000, "1.31 s"), (250_000_000, "250 s")];
        for (micros, expected) in cases {
            assert_eq!(time(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_spread_is_of_what_was_measured() {
        let [one, two, three] = [1, 2, 3].map(Duration::from_secs);
        assert_eq!(spread(&[three, one, two]), Some(Spread { min: one, median: two, max: three }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn an_error_is_shown_by_its_reason() {
        let error = "client cannot connect to 172.28.128.210:80: Connection refused (os error 111)";
        assert_eq!(reason(error), "Connection refused");
        assert_eq!(reason("nothing"), "nothing");
    }
}
