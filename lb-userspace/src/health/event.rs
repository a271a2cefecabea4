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
}
