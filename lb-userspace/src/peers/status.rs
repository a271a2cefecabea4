//! What `lb status` shows of the peers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::differences::Difference;
use super::session::{State, Traffic};

/// Every peer, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where this director listens.
    pub listen: SocketAddr,
    /// Why it doesn't, if it doesn't.
    pub listen_error: Option<String>,
    /// Calls from addresses that aren't a peer's, since the exchange began; each was refused.
    #[serde(default)]
    pub strangers: Option<Strangers>,
    /// The others.
    pub peers: Vec<PeerStatus>,
}

/// Calls from addresses that aren't a peer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strangers {
    /// How many.
    pub calls: u64,
    /// Where the last came from.
    pub last: IpAddr,
    /// Seconds since then.
    pub seconds_ago: u64,
}

impl fmt::Display for Strangers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, last, seconds_ago } = self;
        let calls = if *calls == 1 { "1 call".to_owned() } else { format!("{calls} calls") };
        let ago = humantime::format_duration(Duration::from_secs(*seconds_ago));
        write!(out, "{calls} from elsewhere than `addresses` refused, the last from {last} {ago} ago")
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address.
    pub address: SocketAddr,
    /// How far its connection is.
    pub state: State,
    /// For how long it has been so, in seconds.
    pub since_seconds: u64,
    /// What the last ping took, there and back behind everything that waited, in milliseconds: a change is there in
    /// less. `None` before the first.
    pub lag_ms: Option<f64>,
    /// How long it took until all was known here that it hadn't told yet when it was asked last, in milliseconds: what was opened
    /// within that time is lost with it. `None` before the first answer.
    #[serde(default)]
    pub news_ms: Option<f64>,
    /// When that was: all that had happened there so many milliseconds ago is known here.
    #[serde(default)]
    pub known_ms: Option<f64>,
    /// What it was told over the present connection.
    pub sent: Traffic,
    /// What it told over the present connection.
    pub received: Traffic,
    /// It has told everything, once at least since this director's agent runs.
    pub bulk_taken: bool,
    /// Why its last connection ended or couldn't be made, in words; `None` while it is well.
    pub error: Option<String>,
    /// It computes slots otherwise, so that its slots aren't taken.
    pub other_rings: bool,
    /// Services of which it tells more than there is room for: a take-over goes on from this director's own rings.
    #[serde(default)]
    pub beyond: usize,
    /// How many services differ by configuration.
    pub differing: usize,
    /// The first of those, in order.
    pub differences: Vec<ServiceDifference>,
}

/// Differences that a status lists at most, of each peer.
pub const LISTED: usize = 100;

/// A service that the peer has configured otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDifference {
    /// Such as `TCP 192.0.2.1:80`.
    pub service: String,
    /// What differs.
    pub what: Difference,
    /// For how long it is known, in seconds.
    pub for_seconds: u64,
}

/// What came of the wait for the peers' state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Every peer has told everything.
    All,
    /// These haven't in time.
    Without(Vec<SocketAddr>),
}
