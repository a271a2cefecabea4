//! What the tasks of one runner share.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::limit::Limit;
use crate::peers::differences::Differences;
use crate::peers::key::Key;
use crate::peers::ours::Ours;
use crate::peers::session::{State, Time, Traffic};
use crate::peers::state::{Change, Flows};
use crate::peers::status::{LISTED, PeerStatus, ServiceDifference, Strangers};
use crate::peers::wire::Greeting;

/// A peer's task may be behind by so many connections, slots and members before its connection is cut.
const WAITING: usize = 500_000;

/// What the tasks of one runner share.
pub struct Shared {
    pub own: Greeting,
    pub key: Key,
    pub listen: SocketAddr,
    pub flows: Arc<dyn Flows>,
    pub peers: Vec<Peer>,
    /// Why nobody can call.
    pub listen_error: Mutex<Option<String>>,
    /// Who called without being a peer: how many, who was the last, and when.
    pub strangers: Mutex<Option<(u64, IpAddr, Instant)>>,
    /// Told whenever a peer's state changes.
    pub changed: watch::Sender<()>,
    /// What times count from.
    epoch: Instant,
    /// Locked before any peer's record, never over an await.
    own_state: Mutex<OwnState>,
}

#[derive(Default)]
struct OwnState {
    ours: Ours,
    /// Where each peer's connection hears of changes, while there is one.
    feeds: Vec<Option<Feed>>,
}

struct Feed {
    changes: mpsc::UnboundedSender<Arc<Change>>,
    waiting: Arc<AtomicUsize>,
    /// The connection has handed the kernel all that it has taken of these.
    idle: Arc<AtomicBool>,
}

/// What a connection hears of changes; it ends when the connection is too far behind.
pub struct Changes {
    changes: mpsc::UnboundedReceiver<Arc<Change>>,
    waiting: Arc<AtomicUsize>,
    idle: Arc<AtomicBool>,
}

impl Changes {
    /// Notes whether all that was taken of these has been handed to the kernel.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Release);
    }

    fn took(&self, change: &Change) {
        self.set_idle(false);
        self.waiting.fetch_sub(weight(change), Ordering::AcqRel);
    }

    /// The next change.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        let change = self.changes.recv().await?;
        self.took(&change);
        Some(change)
    }

    /// The next change, if it is there already.
    pub fn try_next(&mut self) -> Option<Arc<Change>> {
        let change = self.changes.try_recv().ok()?;
        self.took(&change);
        Some(change)
    }
}

fn weight(change: &Change) -> usize {
    1 + match change {
        Change::Flows(flows) => flows.len(),
        Change::Slots { services, slots, .. } => services.len() + slots.len(),
        Change::Members(services, members) => services.len() + members.len(),
        Change::Service(..) | Change::Gone(_) | Change::Ask(_) | Change::Answer(_) => 0,
    }
}

/// One peer, as all tasks see it.
pub struct Peer {
    pub address: SocketAddr,
    record: Mutex<Record>,
}

/// What is known of a peer.
pub struct Record {
    pub state: State,
    pub since: Instant,
    pub lag: Option<Time>,
    pub sent: Traffic,
    pub received: Traffic,
    pub taken: bool,
    pub error: Option<String>,
    pub other_rings: bool,
    pub differences: Differences,
    limit: Limit,
}

/// Lines about one peer in a minute.
const LINES: u32 = 10;

impl Peer {
    pub fn new(address: SocketAddr) -> Self {
        let record = Record {
            state: State::Connecting,
            since: Instant::now(),
            lag: None,
            sent: Traffic::default(),
            received: Traffic::default(),
            taken: false,
            error: None,
            other_rings: false,
            differences: Differences::default(),
            limit: Limit::new(LINES),
        };
        Self { address, record: Mutex::new(record) }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of the log that tells of something good.
    pub fn say(&self, words: &str) {
        let more = self.record().limit.ask(Instant::now());
        if let Some(more) = more {
            info!("peers: {}: {words}{more}", self.address.ip());
        }
    }

    /// A line of the log that tells of something bad.
    pub fn warn(&self, words: &str) {
        let more = self.record().limit.ask(Instant::now());
        if let Some(more) = more {
            warn!("peers: {}: {words}{more}", self.address.ip());
        }
    }

    /// The same of what may happen over and over: one cause is told of once in a while.
    pub fn warn_once(&self, cause: &str, words: &str) {
        let more = self.record().limit.ask_once(Instant::now(), cause);
        if let Some(more) = more {
            warn!("peers: {}: {words}{more}", self.address.ip());
        }
    }

    pub fn status(&self, now: Time) -> PeerStatus {
        let record = self.record();
        let difference = |(service, what, since): (&crate::peers::state::ServiceId, _, Time)| ServiceDifference {
            service: service.to_string(),
            what,
            for_seconds: now.saturating_sub(since).as_secs(),
        };
        PeerStatus {
            address: self.address,
            state: record.state,
            since_seconds: record.since.elapsed().as_secs(),
            lag_ms: record.lag.map(|lag| lag.as_secs_f64() * 1e3),
            news_ms: None,
            known_ms: None,
            sent: record.sent,
            received: record.received,
            bulk_taken: record.taken,
            error: record.error.clone(),
            other_rings: record.other_rings,
            beyond: 0,
            differing: record.differences.iter().len(),
            differences: record.differences.iter().take(LISTED).map(difference).collect(),
        }
    }
}

impl Shared {
    pub fn new(own: Greeting, key: Key, listen: SocketAddr, peers: &[SocketAddr], flows: Arc<dyn Flows>) -> Self {
        let feeds = peers.iter().map(|_| None).collect();
        Self {
            own,
            key,
            listen,
            flows,
            peers: peers.iter().copied().map(Peer::new).collect(),
            listen_error: Mutex::new(None),
            strangers: Mutex::new(None),
            changed: watch::channel(()).0,
            epoch: Instant::now(),
            own_state: Mutex::new(OwnState { ours: Ours::default(), feeds }),
        }
    }

    /// Notes a caller that isn't a peer.
    pub fn note_stranger(&self, from: IpAddr) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = strangers.map_or(0, |(calls, ..)| calls);
        *strangers = Some((calls + 1, from, Instant::now()));
    }

    /// The callers that aren't peers.
    pub fn strangers(&self) -> Option<Strangers> {
        let strangers = *self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.map(|(calls, last, at)| Strangers { calls, last, seconds_ago: at.elapsed().as_secs() })
    }

    /// Now, as sessions have it.
    pub fn now(&self) -> Time {
        self.epoch.elapsed()
    }

    /// A session's time, as tokio has it.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.epoch + time).into()
    }

    fn own_state(&self) -> MutexGuard<'_, OwnState> {
        self.own_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a change and hands it to every connection.
    pub fn tell(&self, change: Change) {
        let weight = weight(&change);
        let change = Arc::new(change);
        let mut own = self.own_state();
        own.ours.apply(&change);
        for slot in &mut own.feeds {
            let Some(feed) = slot else { continue };
            let waiting = feed.waiting.fetch_add(weight, Ordering::Relaxed) + weight;
            // Without its feed the connection ends.
            if waiting > WAITING || feed.changes.send(change.clone()).is_err() {
                *slot = None;
            }
        }
    }

    /// Something that was told has not left yet.
    pub fn waits(&self) -> bool {
        let own = self.own_state();
        own.feeds.iter().flatten().any(|feed| {
            let ended = feed.changes.is_closed();
            !ended && (feed.waiting.load(Ordering::Acquire) > 0 || !feed.idle.load(Ordering::Acquire))
        })
    }

    /// The changes from now on, for the peer of this place.
    pub fn subscribe(&self, place: usize) -> Changes {
        let (sender, changes) = mpsc::unbounded_channel();
        let (waiting, idle) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        if let Some(feed) = self.own_state().feeds.get_mut(place) {
            *feed = Some(Feed { changes: sender, waiting: waiting.clone(), idle: idle.clone() });
        }
        Changes { changes, waiting, idle }
    }

    /// Looks at all that was told so far.
    pub fn with_ours<T>(&self, look: impl FnOnce(&Ours) -> T) -> T {
        look(&self.own_state().ours)
    }
}
