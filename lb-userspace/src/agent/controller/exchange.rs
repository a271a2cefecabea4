//! The exchange with other directors: what is told follows from the model, the slots' words and the flow table; what they tell
//! goes into the model and the table.
//!
//! One blocking task at a time looks at slots and table, some ten times a second.

mod bulk;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use lb_common::maps::ServiceKey;
use lb_common::slot::Slot;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, info, warn};

use super::Controller;
use crate::config::Config;
use crate::dataplane::{Dataplane, News, Watch};
use crate::peers::state::{Flow, Member, Offer, ServiceId};
use crate::peers::{self, Change, Item, Key, Taken, Told};
use crate::planner::theirs::Theirs;
use crate::planner::told::{self, Takes, service_key};
use bulk::{Bulk, Shared};
use words::{members, offer, service_id};

/// The table is looked at so often, and never for more than a tenth of the time.
const LOOK: Duration = Duration::from_millis(80);
const SHARE: u32 = 10;

/// The exchange that runs.
pub(super) struct Exchange {
    handle: peers::Handle,
    items: mpsc::Receiver<Item>,
    /// The peers' state, once all have told it or the wait is over.
    bulk: Option<oneshot::Receiver<Taken>>,
    shared: Arc<Mutex<Shared>>,
    /// What was told last, by service.
    told: BTreeMap<ServiceId, (Offer, Vec<Member>)>,
    looking: JoinSet<Result<Seen>>,
    /// What the looking task remembers between two looks; `None` while it has it.
    watch: Option<(Watch, BTreeMap<u32, u64>)>,
    next_look: Instant,
}

/// What a look found.
pub(super) struct Seen {
    watch: Watch,
    rings: BTreeMap<u32, u64>,
    slots: Vec<(u32, Vec<(u32, Slot)>)>,
    news: Vec<News>,
    tick: Duration,
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
        let shared = Arc::new(Mutex::new(Shared {
            table: dataplane.remembered(),
            reals: HashMap::new(),
            now: (dataplane.ticks()?, Instant::now()),
            tick: dataplane.time_of(1),
        }));
        let (handle, items) = peers::spawn(peers, key, rings, Arc::new(Bulk { shared: shared.clone() }));
        let (told, bulk) = oneshot::channel();
        let taken = handle.bulk_taken(peers.bulk_wait);
        tokio::spawn(async move {
            let taken = taken.await;
            // Who doesn't wait any more needs no answer.
            let _ = told.send(taken);
        });
        Ok(Some(Self {
            handle,
            items,
            bulk: Some(bulk),
            shared,
            told: BTreeMap::new(),
            looking: JoinSet::new(),
            watch: Some((Watch::default(), BTreeMap::new())),
            next_look: Instant::now(),
        }))
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

    fn status(&self) -> peers::Status {
        self.handle.status()
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
    /// The look at slots and table has ended.
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
        self.exchange = Exchange::start(&self.model.config, &mut *self.dataplane.lock().await)?;
        self.tell_members();
        Ok(())
    }

    /// How every peer is; `None` without any.
    pub(super) fn peers(&self) -> Option<peers::Status> {
        self.exchange.as_ref().map(Exchange::status)
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

    fn fold_item(&mut self, item: Item) {
        let mut rings = false;
        for told in &item.told {
            match told {
                Told::Flows(flows) => self.remember(flows),
                told => rings |= self.model.theirs.take(item.peer, told, service_key),
            }
        }
        if rings {
            self.settle();
        }
    }

    /// Writes connections into the table that others have told.
    fn remember(&self, flows: &[Flow]) {
        let Some(exchange) = &self.exchange else { return };
        let shared = exchange.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, reals, now, tick) = (&shared.table, &shared.reals, shared.now(), shared.tick);
        Takes { table, reals, now, tick }.take(flows);
    }

    /// Tells what follows from the model: who serves what, and with which reals.
    pub(super) fn tell_members(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Ok(mut shared) = exchange.shared.lock() {
            shared.reals = told::reals(&self.desired);
        }
        let mut named = HashSet::new();
        for service in &self.model.config.services {
            let id = service_id(service);
            named.insert(id);
            let now = (offer(&self.model, service), members(&self.model, service));
            let before = exchange.told.get(&id);
            // Members first: a service that begins to be served is told whole.
            if before.is_none_or(|(_, members)| *members != now.1) {
                exchange.handle.tell(Change::Members(id, now.1.clone()));
            }
            if before.is_none_or(|(offer, _)| *offer != now.0) {
                exchange.handle.tell(Change::Service(id, now.0.clone()));
            }
            if before != Some(&now) {
                exchange.told.insert(id, now);
            }
        }
        let gone: Vec<ServiceId> = exchange.told.keys().filter(|id| !named.contains(id)).copied().collect();
        for id in gone {
            exchange.told.remove(&id);
            exchange.handle.tell(Change::Gone(id));
        }
    }

    /// Begins a look at slots and table.
    fn look(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        let Some((mut watch, mut rings)) = exchange.watch.take() else { return };
        let (dataplane, shared) = (self.dataplane.clone(), exchange.shared.clone());
        let serving: HashSet<ServiceKey> =
            exchange.told.iter().filter(|(_, (offer, _))| offer.serving).map(|(id, _)| service_key(id)).collect();
        exchange.looking.spawn_blocking(move || {
            let began = Instant::now();
            let (table, now, tick, slots) = {
                let mut dataplane = dataplane.blocking_lock();
                let slots = dataplane.slot_news(&mut rings);
                (dataplane.remembered(), dataplane.ticks()?, dataplane.time_of(1), slots)
            };
            let news = watch.look(&table, now, |service| serving.contains(&service.key))?;
            let mut shared = shared.lock().map_err(|_| anyhow!("what bulk is read by is lost"))?;
            (shared.table, shared.now, shared.tick) = (table, (now, Instant::now()), tick);
            Ok(Seen { watch, rings, slots, news, tick, took: began.elapsed() })
        });
    }

    fn fold_seen(&mut self, seen: Result<Result<Seen>, JoinError>) {
        let Some(exchange) = &mut self.exchange else { return };
        let seen = seen.unwrap_or_else(|error| Err(anyhow!("the task failed: {error}")));
        match seen {
            Ok(seen) => {
                exchange.next_look = Instant::now() + LOOK.max(seen.took * SHARE);
                exchange.watch = Some((seen.watch, seen.rings));
                let flows: Vec<Flow> =
                    seen.news.iter().filter_map(|news| told::news(&self.desired, news, seen.tick)).collect();
                let slots: Vec<Change> =
                    seen.slots.iter().flat_map(|(ring, slots)| told::slots(&self.desired, *ring, slots)).collect();
                let Some(exchange) = &self.exchange else { return };
                debug!("told {} connections and {} rings, looked for {:?}", flows.len(), slots.len(), seen.took);
                slots.into_iter().for_each(|change| exchange.handle.tell(change));
                if !flows.is_empty() {
                    exchange.handle.tell(Change::Flows(flows));
                }
            }
            Err(error) => {
                warn!("peers: they aren't told of connections for the moment: {error:#}");
                exchange.next_look = Instant::now() + 10 * LOOK;
                exchange.watch = Some((Watch::default(), BTreeMap::new()));
            }
        }
    }
}
