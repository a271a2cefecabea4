//! What the health checks tell the controller.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::config::Check;

/// One probe: this check against this real. The same target asked for by many services is probed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The real's own address.
    pub address: IpAddr,
    /// What it is asked, and how often.
    pub check: Check,
}

impl Target {
    /// Who is asked.
    #[must_use]
    pub fn asked(&self) -> IpAddr {
        self.check.asked(self.address)
    }

    /// Whether the same is asked of the same real, if not at the same pace.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.address == other.address && self.check.asks_the_same(&other.check)
    }
}

/// How a check failed, as far as the real's living connections are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer: refused, reset, closed, or none in time. Nobody is served there.
    Unreachable,
    /// An answer, but not the one that was asked for: something works there.
    Wrong,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No check has ended yet: takes no traffic.
    Unknown,
    /// `rise` good answers in a row.
    Up {
        /// Since when.
        since: SystemTime,
    },
    /// `fall` bad answers in a row.
    Down {
        /// Since when.
        since: SystemTime,
        /// What kind of failure the last was.
        failure: Failure,
        /// The last failure, for people: "connection refused", "status 503, expected 200-299", ….
        reason: String,
    },
}

/// A target's health changed (or its first check ended).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub target: Target,
    /// What it is now.
    pub health: Health,
    /// The weight that it asks for, if it does.
    pub weight: Option<u8>,
}
