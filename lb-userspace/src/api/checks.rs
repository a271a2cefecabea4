//! What the health checks say: the JSON of `GET /v1/checks` and of `lb checks --json`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Everything that `lb checks` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// How the checks get on.
    #[serde(flatten)]
    pub pace: CheckPace,
    /// Each check, by its real's address.
    pub checks: Vec<CheckStatus>,
}

/// How the checks get on as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPace {
    /// How many may run at once.
    pub limit: usize,
    /// How many run.
    pub running: usize,
    /// How many are due, but wait for others to end, since as many run as may.
    pub waiting: usize,
    /// How many had to wait so since the agent started.
    pub delayed: u64,
    /// 99 of 100 of the last checks started no later than this after they should have; microseconds.
    pub late_p99_us: Option<u64>,
    /// Checks that couldn't be made when they were due last, for a reason of this director's own: their reals stay what they were.
    #[serde(default)]
    pub unasked: usize,
    /// Why one of them couldn't.
    #[serde(default)]
    pub own_fault: Option<String>,
}

/// One check of one real: what is asked, what came of it, and what is next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The real's own address.
    pub real: IpAddr,
    /// What it is called: "http on port 80".
    pub check: String,
    /// What is asked, how often, and what decides, in words.
    pub asks: String,
    /// The services that it is for.
    pub services: Vec<String>,
    /// Where it stands.
    pub state: CheckState,
    /// Results in a row towards the other state, or seconds that a held one was good.
    pub have: u64,
    /// How many it takes; 0 where none speak against what holds.
    pub need: u64,
    /// Since when it is up or down, in seconds since 1970.
    pub since: Option<u64>,
    /// Why it is down.
    pub why: Option<String>,
    /// One runs.
    pub running: bool,
    /// Milliseconds until the next one starts; 0 where it is due.
    pub next_ms: u64,
    /// Half of the last good answers came within this; microseconds.
    pub p50_us: Option<u64>,
    /// 99 of 100 of them did.
    pub p99_us: Option<u64>,
    /// Good answers since it is asked.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// Times that it couldn't be asked.
    pub unasked: u64,
    /// The last results, the oldest first.
    pub last: Vec<CheckResult>,
    /// What was known before the agent started, where that is too old to count and no check has ended since.
    #[serde(default)]
    pub before: Option<CheckBefore>,
}

/// What was known of a check before the agent started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckBefore {
    /// When the last result came, in seconds since 1970.
    pub at: u64,
    /// Up or down.
    pub state: CheckState,
    /// Why it was down.
    pub why: Option<String>,
}

/// Where a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// No check has ended yet.
    Unknown,
    /// Up.
    Up,
    /// Up, but bad results in a row.
    Falling,
    /// Down.
    Down,
    /// Down, but good results in a row.
    Rising,
    /// Held down since it went down too often.
    Held,
}

impl CheckState {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Falling => "falling",
            Self::Down => "down",
            Self::Rising => "rising",
            Self::Held => "held",
        }
    }
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// When it came, in seconds since 1970.
    pub at: u64,
    /// How long it took; microseconds.
    pub took_us: u64,
    /// Whether it was good; `None` where the real couldn't be asked.
    pub good: Option<bool>,
    /// What was wrong.
    pub said: Option<String>,
}
