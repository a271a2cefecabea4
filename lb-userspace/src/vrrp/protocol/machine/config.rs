//! What the machine is told once.

use std::net::IpAddr;
use std::time::Duration;

use crate::vrrp::wire::packet::Version;

/// An instance's part in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The protocol's version: it decides the skew and whether intervals are learned.
    pub version: Version,
    /// The priority to begin with, 1 to 255.
    pub priority: u8,
    /// The interval to send adverts at.
    pub interval: Duration,
    /// Whether a master of lower priority is displaced.
    pub preempt: bool,
    /// How long a master of lower priority is let be after it was first heard.
    pub preempt_delay: Duration,
    /// How long a releasing master waits for its successor before it gives up the VIPs anyway.
    pub handover: Duration,
    /// Whether it takes over only when its sync group does.
    pub grouped: bool,
    /// Whether others are asked for what they know before a master that lives is displaced.
    pub asks: bool,
    /// The address that adverts are sent from; the higher one wins a tie.
    pub address: IpAddr,
}

/// A limit for hand-overs that leaves any successor its skew, also when the first resignation got lost.
pub fn default_handover(interval: Duration) -> Duration {
    (interval * 4).clamp(Duration::from_millis(100), Duration::from_secs(30))
}
