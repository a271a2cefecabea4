//! The tasks that talk to the peers.
//!
//! Tasks, and what cancelling each does:
//! - One listens (`listen`), and has a task for each caller until that has greeted. Without it callers are refused.
//! - One for each peer (`follow`) calls it while there is no connection, and serves the one that there is: the
//!   connection ends, and the peer calls again until somebody answers.
//!
//! All end when the [`Handle`] is dropped. Either of a pair may call. When both do at once, the call of the one whose
//! agent's run has the lower number stays; else the newer connection replaces the older, which the peer has given up.

mod greet;
mod limit;
mod link;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep, timeout, timeout_at};
use tracing::warn;

use super::key::Key;
use super::session::{Fault, State};
use super::state::{Change, Flows, Told};
use super::status::{Status, Taken};
use super::wire::Greeting;
use crate::config::Peers;
use greet::{Failed, Met};
use limit::Limit;
use shared::Shared;

/// What one peer told, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The peer, by its address in the configuration.
    pub peer: SocketAddr,
    /// One thing at least.
    pub told: Vec<Told>,
}

/// Items that wait for the agent at most, each of what one read brought: up to about 6,500 connections.
const ITEMS: usize = 16;
/// Callers that have not greeted yet, for each peer.
const CALLERS: usize = 4;
/// Waits between calls: doubled from the first to the last, and never exactly so long.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A peer that can't be talked to is let be for so long.
const LASTING: Duration = Duration::from_secs(10);
/// A connection that held for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// A caller is kept for so long while this director's own call may still succeed.
const SPARE: Duration = Duration::from_secs(1);
/// The listening socket is tried so often.
const LISTEN: Duration = Duration::from_secs(1);

/// The running tasks; they end when it is dropped.
pub struct Handle {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// Starts them, in the runtime that this is called in. `rings` is a fingerprint of how this director computes rings and hashes, the seed included: slots are
/// shared among directors of the same alone. `flows` is where bulk is read. What the peers tell comes by the receiver,
/// which must be read: a peer whose words nobody takes has to wait, and is cut at its own end.
#[must_use]
pub fn spawn(config: &Peers, key: Key, rings: u64, flows: Arc<dyn Flows>) -> (Handle, mpsc::Receiver<Item>) {
    let own = Greeting::new(fastrand::u64(..), rings);
    let shared = Arc::new(Shared::new(own, key, config.listen, &config.addresses, flows));
    let (items, receiver) = mpsc::channel(ITEMS);
    let mut tasks = JoinSet::new();
    let mut callers = Vec::new();
    for place in 0..shared.peers.len() {
        let (sender, calls) = mpsc::channel(1);
        tasks.spawn(follow(shared.clone(), place, calls, items.clone()));
        callers.push(Caller { met: sender, room: Arc::new(Semaphore::new(CALLERS)) });
    }
    tasks.spawn(listen(shared.clone(), callers));
    (Handle { shared, _tasks: tasks }, receiver)
}

impl Handle {
    /// Tells the peers of a change; those that are met later learn of it too. Waits for nobody.
    pub fn tell(&self, change: Change) {
        self.shared.tell(change);
    }

    /// Waits until all that was told so far has left for every peer that there is a connection to.
    pub async fn told(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while self.shared.waits() {
            tick.tick().await;
        }
    }

    /// The peers that each change is told at once.
    #[must_use]
    pub fn live(&self) -> HashSet<SocketAddr> {
        let peers = self.shared.peers.iter();
        peers.filter(|peer| peer.record().state == State::Live).map(|peer| peer.address).collect()
    }

    /// Every peer, as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.shared.now();
        Status {
            listen: self.shared.listen,
            listen_error: self.shared.listen_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            strangers: self.shared.strangers(),
            peers: self.shared.peers.iter().map(|peer| peer.status(now)).collect(),
        }
    }

    /// Waits until every peer has told everything, once since the start, and the agent was handed it; at most so long.
    pub fn bulk_taken(&self, within: Duration) -> impl Future<Output = Taken> + Send + use<> {
        bulk_taken(self.shared.clone(), within)
    }
}

async fn bulk_taken(shared: Arc<Shared>, within: Duration) -> Taken {
    let mut changed = shared.changed.subscribe();
    let deadline = Deadline::now() + within;
    {
        loop {
            let peers = shared.peers.iter();
            let missing: Vec<SocketAddr> = peers.filter(|peer| !peer.record().taken).map(|peer| peer.address).collect();
            if missing.is_empty() {
                return Taken::All;
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return Taken::Without(missing);
            }
        }
    }
}

/// Where a caller from a peer's address goes once it has greeted.
struct Caller {
    met: mpsc::Sender<Met>,
    room: Arc<Semaphore>,
}

async fn listen(shared: Arc<Shared>, callers: Vec<Caller>) {
    let mut strangers = Limit::new(1);
    let mut faults = Limit::new(1);
    let mut answers = JoinSet::new();
    loop {
        let error = match TcpListener::bind(shared.listen).await {
            Ok(listener) => {
                note_listening(&shared, None);
                accept(&shared, &callers, &listener, &mut answers, &mut strangers).await
            }
            Err(error) => error,
        };
        let words = format!("{} can't be listened on: {error}", shared.listen);
        if let Some(more) = faults.ask(Instant::now()) {
            warn!("peers: {words}; it is tried every second{more}");
        }
        note_listening(&shared, Some(words));
        sleep(LISTEN).await;
    }
}

fn note_listening(shared: &Shared, error: Option<String>) {
    *shared.listen_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
}

/// Answers callers until the socket fails.
async fn accept(
    shared: &Arc<Shared>,
    callers: &[Caller],
    listener: &TcpListener,
    answers: &mut JoinSet<()>,
    strangers: &mut Limit,
) -> std::io::Error {
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => return error,
            },
            Some(_) = answers.join_next() => continue,
        };
        let place = shared.peers.iter().position(|peer| peer.address.ip() == from.ip().to_canonical());
        let caller = place.and_then(|place| Some((place, callers.get(place)?)));
        let Some((place, caller)) = caller else {
            shared.note_stranger(from.ip().to_canonical());
            let words = format!("{} called, which isn't in `addresses`; it was refused", from.ip().to_canonical());
            if let Some(more) = strangers.ask_once(Instant::now(), &words) {
                warn!("peers: {words}{more}");
            }
            continue;
        };
        // Whoever holds all places of a peer has to let go of them in a few seconds.
        let Ok(room) = caller.room.clone().try_acquire_owned() else { continue };
        let (shared, met) = (shared.clone(), caller.met.clone());
        answers.spawn(async move {
            answer(&shared, place, stream, &met).await;
            drop(room);
        });
    }
}

async fn answer(shared: &Shared, place: usize, stream: TcpStream, met: &mpsc::Sender<Met>) {
    let Some(peer) = shared.peers.get(place) else { return };
    match greet::answer(shared, stream).await {
        Ok(call) => {
            let _ = met.send(call).await;
        }
        Err(error) => {
            let words = error.to_string();
            peer.warn_once(&error.cause(), &words);
            let mut record = peer.record();
            if record.state == State::Connecting {
                record.error = Some(words);
            }
        }
    }
}

/// Keeps a connection to one peer.
async fn follow(shared: Arc<Shared>, place: usize, mut calls: mpsc::Receiver<Met>, items: mpsc::Sender<Item>) {
    let Some(peer) = shared.peers.get(place) else { return };
    let mut wait = WAITS.0;
    let mut next = None;
    let mut is_missed = false;
    loop {
        let met = match next.take() {
            Some(met) => met,
            None => {
                meet(&shared, peer.address, &mut calls, &mut wait, |failed| {
                    let words = failed.to_string();
                    match failed {
                        // Once until it is met again, whatever the kernel says of each call.
                        Failed::Unreached(_) if is_missed => {}
                        failed => peer.warn_once(&failed.cause(), &words),
                    }
                    is_missed = true;
                    peer.record().error = Some(words);
                    shared.changed.send_replace(());
                })
                .await
            }
        };
        let since = Instant::now();
        let (fault, replaced) = link::serve(&shared, place, peer, met, &mut calls, &items).await;
        next = replaced;
        {
            let mut record = peer.record();
            record.state = State::Connecting;
            record.since = Instant::now();
            record.lag = None;
            if fault != Fault::Replaced {
                record.error = Some(fault.to_string());
            }
        }
        shared.changed.send_replace(());
        match &fault {
            Fault::Replaced => {}
            // It will do so again when it calls again.
            fault if fault.is_lasting() => peer.warn_once(&fault.to_string(), &fault.to_string()),
            fault => peer.warn(&fault.to_string()),
        }
        is_missed = true;
        if items.send(Item { peer: peer.address, told: vec![Told::Lost] }).await.is_err() {
            return;
        }
        if fault.is_lasting() {
            next = None;
            let end = Deadline::now() + LASTING;
            // Whoever calls meanwhile would only do it again.
            while let Ok(Some(_)) = timeout_at(end, calls.recv()).await {}
        } else {
            wait = if since.elapsed() >= GOOD { WAITS.0 } else { (wait * 2).min(WAITS.1) };
        }
    }
}

/// Calls a peer until it answers, or takes its call.
async fn meet(
    shared: &Shared,
    address: SocketAddr,
    calls: &mut mpsc::Receiver<Met>,
    wait: &mut Duration,
    mut failed: impl FnMut(Failed),
) -> Met {
    loop {
        // Two that lost each other don't call at the same time again and again.
        let jittered = wait.mul_f64(0.5 + fastrand::f64());
        if let Ok(Some(call)) = timeout(jittered, calls.recv()).await {
            return call;
        }
        let own = greet::call(shared, address);
        tokio::pin!(own);
        let result = tokio::select! {
            met = &mut own => met,
            Some(call) = calls.recv() => {
                if shared.own.instance > call.instance {
                    return call;
                }
                // The peer will take this director's call, if it hears it.
                match timeout(SPARE, &mut own).await {
                    Ok(Ok(met)) => Ok(met),
                    Ok(Err(_)) | Err(_) => return call,
                }
            }
        };
        match result {
            Ok(met) => return met,
            Err(error) => failed(error),
        }
        *wait = (*wait * 2).min(WAITS.1);
    }
}
