//! The interval and timeout of something that is done again and again.

use std::time::Duration;

use crate::config::read::{Given, Time};
use crate::config::report::Findings;

/// Time between two starts where the file says none.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// What one run may take where the file says nothing and the interval is no shorter.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// [`TIMEOUT`] in the documentation.
pub const TIMEOUT_WORDS: &str = "`\"1s\"`, or the interval if that is shorter";

const HOUR: Duration = Duration::from_secs(3600);

/// Intervals.
pub fn interval() -> Time {
    Time::of(Duration::from_millis(10)..=HOUR)
}

/// Timeouts.
pub fn timeout() -> Time {
    Time::of(Duration::from_millis(1)..=HOUR)
}

/// Both, the timeout within the interval; else the report that `what` would overlap.
pub fn accept(
    interval: &Given<Duration>,
    timeout: &Given<Duration>,
    what: &str,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let interval = interval.copied()?;
    if timeout.is_refused() {
        return None;
    }
    let Some((&given, span)) = timeout.written() else {
        return Some((interval, TIMEOUT.min(interval)));
    };
    if given > interval {
        let (shown, interval) = (humantime::format_duration(given), humantime::format_duration(interval));
        findings.report(
            span,
            format!("`timeout` = {shown} is longer than the interval of {interval}"),
            format!("shorten the timeout or lengthen the interval, so that {what} don't overlap"),
        );
    }
    Some((interval, given))
}
