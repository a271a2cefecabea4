//! Waiting for a condition with a deadline, instead of sleeping for luck.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait for what should take milliseconds: generous, since a shared machine can stall for seconds, and
/// only a failing test ever waits that long.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `condition` holds and returns how long that took.
///
/// # Errors
/// When `deadline` has passed; the message names `what` was waited for.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<Duration> {
    wait_for(deadline, what, || condition().then_some(())).map(|((), took)| took)
}

/// Waits until `attempt` gives a value and returns it with the time that took.
///
/// # Errors
/// When `deadline` has passed; the message names `what` was waited for.
pub fn wait_for<T>(deadline: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return Ok((value, start.elapsed()));
        }
        if start.elapsed() >= deadline {
            bail!("waited {deadline:?} in vain: {what}");
        }
        thread::sleep(PAUSE);
    }
}
