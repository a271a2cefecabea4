//! What the runner is doing, at one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::history::History;
use super::machine::Kept;
use super::machine::phase::Phase;
use super::{Health, Target};

/// All checks.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Each, in no order.
    pub checks: Vec<Seen>,
    /// Checks that may run at once.
    pub limit: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are due, but wait since as many run as may.
    pub waiting: usize,
    /// Those that had to wait so, since the start.
    pub delayed: u64,
    /// How much later than they should the last checks started: 99 of 100 no later than this.
    pub late: Option<Duration>,
}

/// One check.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which.
    pub target: Arc<Target>,
    /// What is known of the real by it.
    pub health: Health,
    /// Where it stands between up and down.
    pub phase: Phase,
    /// When the next one starts; in the past where it waits, or where one that overran its time still runs.
    pub next: Instant,
    /// Whether one runs.
    pub running: bool,
    /// The last ones.
    pub history: History,
    /// What was known before the agent started, where that is too old to count and no check has ended since.
    pub before: Option<Kept>,
}
