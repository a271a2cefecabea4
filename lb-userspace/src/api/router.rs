//! A virtual router, as `lb vrrp` shows it: the JSON of `GET /v1/vrrp`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::vrrp;

/// A virtual router of this director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its virtual router id.
    pub id: u8,
    /// Its VIPs.
    pub addresses: Vec<IpAddr>,
    /// `initialize`, `backup`, `master` or `releasing`.
    pub state: String,
    /// Why it is in this state, for people.
    pub cause: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The master's address, if it is known.
    pub master: Option<IpAddr>,
    /// The priority in effect.
    pub priority: u8,
    /// The priority in the configuration.
    pub configured_priority: u8,
    /// What tracking made of it.
    pub why: Option<String>,
    /// It was released: the VIPs are left to others until `lb vrrp reclaim`.
    pub yielded: bool,
    /// Why it can't take part.
    pub obstacle: Option<String>,
    /// How often it became master.
    pub elections: u64,
    /// Adverts sent.
    pub sent: u64,
    /// Adverts that the system would not send.
    pub unsent: u64,
    /// Adverts taken.
    pub received: u64,
    /// Of those, version 3 over IPv4 with the pseudo-header in the checksum.
    pub with_pseudo_header: u64,
    /// Of those, version 3 over IPv4 without it.
    pub without_pseudo_header: u64,
    /// Adverts refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Who sent the last one that was refused, and why it was.
    pub last_refused: Option<String>,
    /// Who sent the last advert and which addresses it named, while those are not ours.
    pub mismatch: Option<String>,
    /// Adverts on its interface for ids that nobody here has.
    pub strangers: u64,
}

impl From<vrrp::Status> for RouterStatus {
    fn from(status: vrrp::Status) -> Self {
        let since = SystemTime::now().checked_sub(status.age).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let counters = status.counters;
        let refused = counters.refused.iter().filter(|(_, count)| *count > 0);
        Self {
            name: status.name,
            interface: status.interface,
            id: status.router,
            addresses: status.addresses,
            state: status.state.to_string(),
            cause: status.cause.to_string(),
            since: since.map_or(0, |since| since.as_secs()),
            master: status.master,
            priority: status.priority,
            configured_priority: status.configured_priority,
            why: status.why,
            yielded: status.yielded,
            obstacle: status.obstacle,
            elections: counters.elections,
            sent: counters.sent,
            unsent: counters.unsent,
            received: counters.received,
            with_pseudo_header: counters.with_pseudo_header,
            without_pseudo_header: counters.without_pseudo_header,
            refused: refused.map(|(refusal, count)| (refusal.key().to_owned(), count)).collect(),
            last_refused: counters.last_refused.map(|(refusal, source)| format!("from {source}: {refusal}")),
            mismatch: counters.mismatch.map(|(source, addresses)| {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("{source} has {}", addresses.join(", "))
            }),
            strangers: status.strangers,
        }
    }
}
