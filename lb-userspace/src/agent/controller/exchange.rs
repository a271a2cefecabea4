//! The exchange with other directors: what is told follows from the model, the slots' words and the flow table; what they tell
//! goes into the model and the table.
//!
//! Rings are told by whoever has written them. One blocking task at a time looks at the table, again and again.

mod asks;
#[cfg(all(test, feature = "bench"))]
mod bench;
mod bulk;
mod lag;
mod pace;
mod teller;
mod words;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use super::Controller;
use crate::config::Config;
use crate::dataplane::{Dataplane, Watch};
use crate::peers::state::{Flow, Member, Offer, ServiceId};
use crate::peers::{self, Change, Item, Key, Taken, Told};
use crate::planner::allocation::PoolName;
use crate::planner::theirs::Theirs;
use crate::planner::told::{members, service_key};
use asks::ASKED;
use bulk::{Bulk, Shared, View};
use lag::Lag;
use pace::{LOOK, Pace};
pub(super) use teller::{Members, Teller};
use words::{offer, service_id};

/// Before a VIP is given up, so long is waited at most until the peers were told all.
const PATIENCE: Duration = Duration::from_millis(500);
/// Items of peers that are taken at once.
const BATCH: usize = 256;

/// The exchange that runs.
pub(in crate::agent) struct Exchange {
    teller: Arc<Teller>,
    items: mpsc::Receiver<Item>,
    /// The peers' state, once all have told it or the wait is over.
    bulk: Option<oneshot::Receiver<Taken>>,
    /// What was offered last, by service.
    offered: BTreeMap<ServiceId, Offer>,
    looking: JoinSet<Result<Seen>>,
    /// What the looking task remembers between two looks; `None` while it has it.
    watch: Option<Watch>,
    next_look: Instant,
    pace: Pace,
    /// When a VIP was lost whose last connections are to be told before that.
    left: Option<Instant>,
    /// Peers that asked for what they weren't told yet, when, and by which number.
    asked: BTreeMap<SocketAddr, (Instant, u64)>,
    /// Virtual routers that wait for answers: the number of each, and who hasn't answered.
    asking: BTreeMap<String, (u64, HashSet<SocketAddr>)>,
    lag: Lag,
    /// Peers that tell more than there is room for.
    beyond: HashSet<SocketAddr>,
}

/// What a look found.
pub(super) struct Seen {
    watch: Watch,
    began: Instant,
    count: usize,
    took: Duration,
}

impl Exchange {
    /// Starts it, where the configuration has peers.
    ///
    /// # Errors
    /// The key can't be read.
    pub(super) fn start(config: &Config, dataplane: &mut Dataplane) -> Result<Option<Self>> {
        let Some(peers) = &config.peers else { return Ok(None) };
        let key = Key::read(&peers.key_file).context("[peers]: key_file")?;
        // Rings are the same where hashes and their seed are.
        let rings = lb_common::hash_sample().into_iter().fold(key.hash_seed(), |all, hash| all.rotate_left(7) ^ hash);
        let view = View::new(dataplane)?;
        // Before anybody can be met, who will read the table whole.
        let watch = Some(Watch::new(&view.names.table));
        let shared = Arc::new(Shared::new(view));
        let (handle, items) = peers::spawn(peers, key, rings, Arc::new(Bulk { shared: shared.clone() }));
        let (told, bulk) = oneshot::channel();
        let taken = handle.bulk_taken(peers.bulk_wait);
        tokio::spawn(async move {
            let taken = taken.await;
            // Who doesn't wait any more needs no answer.
            let _ = told.send(taken);
        });
        Ok(Some(Self {
            teller: Arc::new(Teller::new(handle, shared)),
            items,
            bulk: Some(bulk),
            offered: BTreeMap::new(),
            looking: JoinSet::new(),
            watch,
            next_look: Instant::now(),
            pace: Pace::default(),
            left: None,
            asked: BTreeMap::new(),
            asking: BTreeMap::new(),
            lag: Lag::default(),
            beyond: HashSet::new(),
        }))
    }

    /// By whom the peers are told of what the maps hold.
    pub(super) fn teller(&self) -> Arc<Teller> {
        self.teller.clone()
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Event {
        let bulk = async {
            match &mut self.bulk {
                Some(bulk) => bulk.await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(item) = self.items.recv() => Event::Item(item),
            Some(seen) = self.looking.join_next() => Event::Seen(seen),
            taken = bulk => Event::Bulk(taken),
            () = tokio::time::sleep_until(self.next_look.into()), if self.watch.is_some() => Event::Look,
        }
    }

    /// Goes on telling of connections until `handed`, when this director's VIPs are others' or stay, and once more then.
    pub async fn tell_during<T>(mut self, handed: impl Future<Output = T>) -> T {
        tokio::pin!(handed);
        let mut outcome = None;
        loop {
            let mut watch = match self.watch.take() {
                Some(watch) => watch,
                None => match self.looking.join_next().await {
                    Some(Ok(Ok(seen))) => seen.watch,
                    _ => break,
                },
            };
            let teller = self.teller();
            let looked = tokio::task::spawn_blocking(move || {
                teller.look(&mut watch);
                watch
            });
            self.watch = looked.await.ok();
            if outcome.is_some() {
                break;
            }
            tokio::select! {
                ended = &mut handed => outcome = Some(ended),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => handed.await,
        };
        let _ = tokio::time::timeout(PATIENCE, self.teller.handle.told()).await;
        outcome
    }

    fn status(&self) -> peers::Status {
        self.teller.handle.status()
    }

    /// What a director that starts waits for before it takes a VIP.
    pub(super) fn awaits(&self) -> bool {
        self.bulk.is_some()
    }
}

/// What happened in the exchange.
pub(super) enum Event {
    /// A peer told something.
    Item(Item),
    /// The look at the table has ended.
    Seen(Result<Result<Seen>, JoinError>),
    /// The peers have told everything, or the wait for it is over.
    Bulk(Option<Taken>),
    /// It is time to look.
    Look,
}

impl Controller {
    /// Begins the exchange that the configuration asks for, or ends the one that there is.
    ///
    /// # Errors
    /// The key can't be read, or the flow table's clock.
    pub(in crate::agent) async fn join_peers(&mut self) -> Result<()> {
        // First the old one lets go of its address.
        self.exchange = None;
        self.model.theirs = Theirs::default();
        let dataplane = self.dataplane.clone();
        let mut dataplane = dataplane.lock().await;
        self.exchange = Exchange::start(&self.model.config, &mut dataplane)?;
        self.offer();
        if let Some((teller, members)) = self.to_tell() {
            teller.wrote(&mut dataplane, members)?;
        }
        Ok(())
    }

    /// How every peer is; `None` without any.
    pub(super) fn peers(&self) -> Option<peers::Status> {
        let exchange = self.exchange.as_ref()?;
        let mut status = exchange.status();
        for peer in &mut status.peers {
            if let Some(known) = exchange.lag.of(peer.address) {
                let millis = |time: Duration| Some(time.as_secs_f64() * 1e3);
                (peer.news_ms, peer.known_ms) = (millis(known.took), millis(known.until.elapsed()));
            }
            peer.beyond = self.model.theirs.beyond(peer.address);
        }
        Some(status)
    }

    pub(super) fn fold_exchange(&mut self, event: Event) {
        match event {
            Event::Item(item) => self.fold_item(item),
            Event::Seen(seen) => self.fold_seen(seen),
            Event::Bulk(taken) => self.fold_bulk(taken),
            Event::Look => self.look(),
        }
    }

    /// Works off what was told, then lets VRRP know.
    fn fold_bulk(&mut self, taken: Option<Taken>) {
        while let Some(item) = self.exchange.as_mut().and_then(|exchange| exchange.items.try_recv().ok()) {
            self.fold_item(item);
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.bulk = None;
        }
        match taken {
            Some(Taken::Without(missing)) => {
                let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
                let whom = missing.join(", ");
                warn!(
                    "peers: {whom} did not tell what they know in time: connections of theirs may break at a take-over"
                );
            }
            _ => info!("peers: all of them have told what they know"),
        }
        self.tell_routers();
    }

    /// Takes what a peer told, and what more there is: a plan of the maps for each of many items would take its time.
    fn fold_item(&mut self, first: Item) {
        let (mut next, mut room) = (Some(first), BATCH);
        let (mut rings, mut answered) = (false, Vec::new());
        while let Some(Item { peer, told }) = next {
            let mut changed = false;
            for told in &told {
                match told {
                    Told::Flows(flows) => self.remember(flows),
                    Told::Asked(number) => self.asked(peer, *number),
                    Told::Answered(number) => answered.push((peer, Some(*number))),
                    Told::Lost => answered.push((peer, None)),
                    told => changed |= self.model.theirs.take(peer, told, service_key),
                }
            }
            if changed {
                self.note_beyond(peer);
                rings = true;
            }
            room -= 1;
            let more = self.exchange.as_mut().filter(|_| room > 0);
            next = more.and_then(|exchange| exchange.items.try_recv().ok());
        }
        if rings {
            self.settle();
        }
        // What was told before an answer is on its way into the maps.
        for (peer, number) in answered {
            self.answered(peer, number);
        }
    }

    /// Says when a peer begins to tell more than there is room for.
    fn note_beyond(&mut self, peer: SocketAddr) {
        let Some(exchange) = &mut self.exchange else { return };
        let beyond = self.model.theirs.beyond(peer);
        if beyond == 0 {
            exchange.beyond.remove(&peer);
        } else if exchange.beyond.insert(peer) {
            let address = peer.ip();
            warn!(
                "peers: {address}: tells more of {beyond} services' slots than there is room for: a take-over of their VIPs \
                 may move connections"
            );
        }
    }

    /// Writes connections into the table that others have told.
    fn remember(&self, flows: &[Flow]) {
        let Some(exchange) = &self.exchange else { return };
        let view = exchange.teller.shared.view();
        view.names.take(flows, view.now());
    }

    /// Who is to tell what the next write brings, and the reals of each service by then.
    pub(super) fn to_tell(&self) -> Option<(Arc<Teller>, Members)> {
        let exchange = self.exchange.as_ref()?;
        let mut pools: BTreeMap<PoolName, (Vec<ServiceId>, Arc<Vec<Member>>)> = BTreeMap::new();
        for service in &self.model.config.services {
            let begin = || (Vec::new(), Arc::new(members(&self.model, service)));
            pools.entry(PoolName::of(service)).or_insert_with(begin).0.push(service_id(service));
        }
        Some((exchange.teller(), pools.into_values().collect()))
    }

    /// Tells which services there are, and who serves them.
    pub(super) fn offer(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let teller = &exchange.teller;
        let mut named = HashSet::new();
        for service in &self.model.config.services {
            let id = service_id(service);
            named.insert(id);
            let mut now = offer(&self.model, service);
            let before = exchange.offered.get(&id);
            // The last connections are told of first.
            now.serving |= exchange.left.is_some() && before.is_some_and(|before| before.serving);
            if before == Some(&now) {
                continue;
            }
            let mut serving = teller.shared.serving.write().unwrap_or_else(PoisonError::into_inner);
            if now.serving {
                serving.insert(service_key(&id));
            }
            teller.handle.tell(Change::Service(id, now.clone()));
            if !now.serving {
                serving.remove(&service_key(&id));
            }
            drop(serving);
            exchange.offered.insert(id, now);
        }
        let gone: Vec<ServiceId> = exchange.offered.keys().filter(|id| !named.contains(id)).copied().collect();
        for id in gone {
            exchange.offered.remove(&id);
            teller.gone(id);
            teller.shared.serving.write().unwrap_or_else(PoisonError::into_inner).remove(&service_key(&id));
        }
    }

    /// A VIP has come or gone: its last connections are told before it isn't this director's any more.
    pub(super) fn offer_duty(&mut self, here: bool) {
        if !here && let Some(exchange) = &mut self.exchange {
            let now = Instant::now();
            (exchange.left, exchange.next_look) = (Some(now), now);
        }
        self.offer();
    }

    /// Begins a look at the table.
    fn look(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let Some(mut watch) = exchange.watch.take() else { return };
        let (dataplane, teller) = (self.dataplane.clone(), exchange.teller());
        exchange.looking.spawn_blocking(move || {
            let began = Instant::now();
            let (count, took) = teller.look(&mut watch);
            // Nobody waits for a write.
            if began >= teller.shared.view().until()
                && let Ok(mut dataplane) = dataplane.try_lock()
            {
                teller.shared.set_view(View::new(&mut dataplane)?);
            }
            if count > 0 {
                debug!("told of {count} connections, looked for {took:?}");
            }
            Ok(Seen { watch, began, count, took })
        });
    }

    fn fold_seen(&mut self, seen: Result<Result<Seen>, JoinError>) {
        let Some(exchange) = &mut self.exchange else { return };
        match seen.unwrap_or_else(|error| Err(anyhow!("the task failed: {error}"))) {
            Ok(seen) => {
                exchange.watch = Some(seen.watch);
                exchange.next_look = Instant::now() + exchange.pace.rest(seen.count, seen.took);
                for (_, (_, number)) in exchange.asked.extract_if(.., |_, (asked, _)| *asked <= seen.began) {
                    exchange.teller.handle.tell(Change::Answer(number));
                }
                if !exchange.asked.is_empty() {
                    exchange.next_look = Instant::now() + ASKED;
                }
                match exchange.left {
                    Some(left) if seen.began < left => exchange.next_look = Instant::now(),
                    Some(_) => {
                        exchange.left = None;
                        self.offer();
                    }
                    None => {}
                }
            }
            Err(error) => {
                warn!("peers: they aren't told of connections for the moment: {error:#}");
                let view = exchange.teller.shared.view();
                exchange.watch = Some(Watch::new(&view.names.table));
                exchange.next_look = Instant::now() + 10 * LOOK;
            }
        }
    }

    /// Tells the peers all that they haven't been told, before a VIP is given up, and waits until it has left this host.
    pub(super) async fn tell_all(&mut self) {
        if self.exchange.is_none() {
            return;
        }
        let (told, began) = (tokio::time::sleep(PATIENCE), Instant::now());
        tokio::pin!(told);
        // One that runs may have passed what has come since.
        let mut looks = 1 + u32::from(self.exchange.as_ref().is_some_and(|exchange| exchange.watch.is_none()));
        loop {
            self.look();
            let Some(exchange) = &mut self.exchange else { return };
            let seen = tokio::select! {
                Some(seen) = exchange.looking.join_next() => seen,
                () = &mut told => break,
            };
            self.fold_seen(seen);
            looks -= 1;
            if looks == 0 {
                break;
            }
        }
        let Some(exchange) = &self.exchange else { return };
        if tokio::time::timeout_at((began + PATIENCE).into(), exchange.teller.handle.told()).await.is_err() {
            info!("peers: not all of them took the last news in time");
        }
    }
}
