//! The one task that folds events into the model and has the maps written.
//!
//! Long work is done beside it: the maps are written by one blocking task at a time ([`write`]), which always takes the
//! newest that the model says.

mod answer;
mod claims;
mod exchange;
mod interfaces;
mod obey;
mod reload;
mod sample;
mod say;
mod sweep;
mod waiting;
mod write;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use lb_common::maps::{Address, ServiceKey};
use tokio::signal::unix::Signal;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::api::{Answer, ClaimStatus, ProgramStatus, Request, Status};
use crate::config::Config;
use crate::dataplane::{Dataplane, Desired, Pins, Room, StatsReader, Swept};
use crate::events::{Events, Kind};
use crate::health::Vips;
use crate::health::suspects::Suspects;
use crate::host::neighbour::NeighbourEvent;
use crate::metrics::{self, Listener};
use crate::pulse::{BEAT, Heart};
use crate::rates::{Reading, Sampled};
use crate::segment::{self, Claim};
use crate::{dataplane, health, host};

use super::devices::Devices;
use super::guard::Guard;
use super::routers::{self, Routers, Word};
use super::witness::{self, Witness};
use crate::planner::allocation::Allocation;
use crate::planner::gates::GateNumbers;
use crate::planner::model::{self, Model};
use crate::tracking::Tracks;
use crate::tracking::hooks::Hooks;
use crate::tracking::notify::Notifier;
use exchange::Exchange;
use reload::Refusal;
use say::Names;

/// Most events that are folded before the maps are written.
const BATCH: usize = 4096;

/// Changes of interfaces that come within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(20);

/// Who asked for the status, and the counters that were read for it.
type Asked = (Answer<Status>, Result<Reading, dataplane::Error>);

/// Who asked for the status, and what is told.
type Told = (Answer<Status>, Result<Status, String>);

/// What the controller listens to.
pub struct Inputs {
    /// News of the health checks.
    pub health: mpsc::Receiver<health::Event>,
    /// News of the neighbour table.
    pub neighbours: mpsc::Receiver<NeighbourEvent>,
    /// The API's requests.
    pub requests: mpsc::Receiver<Request>,
    /// Who else answers for VIPs.
    pub claims: mpsc::Receiver<Vec<Claim>>,
    /// The virtual routers.
    pub words: mpsc::UnboundedReceiver<Word>,
    /// SIGHUP: reload.
    pub hangup: Signal,
    /// SIGTERM: stop.
    pub terminate: Signal,
    /// SIGINT: stop.
    pub interrupt: Signal,
    /// SIGUSR1: write the state to the log.
    pub dump: Signal,
    /// SIGUSR2: nothing, where it would end the process.
    pub ignored: Signal,
    /// The watchdog: a part of the agent failed.
    pub fault: oneshot::Receiver<String>,
}

/// What is left to be ended after the controller.
pub struct Parts {
    /// The health checks.
    pub checks: health::Handle,
    /// The neighbour table.
    pub neighbours: host::neighbour::Handle,
    /// The virtual routers.
    pub routers: Option<Ownership>,
    /// Which part of the agent failed, where that is the reason of the end.
    pub fault: Option<String>,
    /// Peers are told of connections until the VIPs are handed over.
    pub exchange: Option<Exchange>,
    /// The last changes are told to scripts.
    pub hooks: Hooks,
}

/// See the module.
pub struct Controller {
    path: PathBuf,
    model: Model,
    allocation: Allocation,
    /// Held by the task that writes.
    dataplane: Arc<Mutex<Dataplane>>,
    stats: Arc<StatsReader>,
    /// What the model says that the maps shall hold.
    desired: Arc<Desired>,
    /// The task that writes the maps, if one does.
    writing: JoinSet<Result<()>>,
    /// Something newer than what it writes is to be written.
    stale: bool,
    /// With other directors.
    exchange: Option<Exchange>,
    /// The task that walks through the flow table, if one does.
    sweeping: JoinSet<Result<Swept>>,
    /// What the last walk found, when it began, and when the next is due.
    swept: Swept,
    next_sweep: Instant,
    /// The task that reads the counters, if one does; the last two readings, and when the next is due.
    sampling: JoinSet<Result<(Reading, Duration)>>,
    sampled: Sampled,
    /// Reals that clients' packets speak against.
    suspects: Suspects<(ServiceKey, Address)>,
    next_sample: Instant,
    /// The tasks that read the counters for those who asked for the status.
    telling: JoinSet<Asked>,
    /// What the maps have room for.
    room: (Room, u32),
    program: Option<ProgramStatus>,
    /// When the first health was heard of that isn't in the maps: of what is to be written, and of what is being.
    heard: (Option<Instant>, Option<Instant>),
    /// Who asked for the status meanwhile, what it was then, and after how many writes the maps hold that.
    waiting: Vec<(u32, Told)>,
    /// Why the maps are not what they should be.
    fault: Option<String>,
    /// The reload that was refused last, where none was taken since.
    refused: Option<Refusal>,
    guard: Guard,
    heart: Heart,
    /// Who asks it, for those that are served elsewhere.
    requests: Option<mpsc::WeakSender<Request>>,
    metrics: Option<Listener>,
    names: Names,
    /// Where changes are told, and what was seen of them so far.
    events: Events,
    witness: Witness,
    hooks: Hooks,
    checks: health::Handle,
    neighbours: host::neighbour::Handle,
    routers: Option<Ownership>,
    /// Who else answers for VIPs.
    claims: Vec<ClaimStatus>,
    /// What alternative names of interfaces stand for.
    devices: Devices,
    /// What VRRP was told last that this director waits for before it takes VIPs from another.
    awaited: Option<String>,
}

/// The virtual routers, and what goes with them.
pub struct Ownership {
    /// Their thread.
    pub routers: Routers,
    /// What they watch.
    pub tracks: Tracks,
    /// Who hears of their changes.
    pub notifier: Notifier,
    /// Who asks for others that have the VIPs.
    pub watch: segment::Watch,
}

impl Controller {
    /// A controller over opened maps.
    pub fn new(
        path: PathBuf,
        model: Model,
        mut dataplane: Dataplane,
        stats: StatsReader,
        checks: health::Handle,
        neighbours: host::neighbour::Handle,
        heart: Heart,
    ) -> Self {
        let program = dataplane.describe_program();
        let maps = dataplane.maps();
        let room = (maps.room(), maps.most_flows());
        let allocation = Allocation::adopt(dataplane.adopted(), maps.room());
        Self {
            path,
            model,
            allocation,
            dataplane: Arc::new(Mutex::new(dataplane)),
            stats: Arc::new(stats),
            desired: Arc::default(),
            writing: JoinSet::new(),
            stale: false,
            exchange: None,
            sweeping: JoinSet::new(),
            swept: Swept::default(),
            next_sweep: Instant::now(),
            sampling: JoinSet::new(),
            sampled: Sampled::default(),
            suspects: Suspects::default(),
            next_sample: Instant::now(),
            telling: JoinSet::new(),
            room,
            program,
            heard: (None, None),
            waiting: Vec::new(),
            fault: None,
            refused: None,
            guard: Guard::default(),
            heart,
            requests: None,
            metrics: None,
            names: Names::default(),
            events: Events::default(),
            witness: Witness::default(),
            hooks: Hooks::default(),
            checks,
            neighbours,
            routers: None,
            claims: Vec::new(),
            devices: Devices::default(),
            awaited: Some(routers::AWAITED.to_owned()),
        }
    }

    /// Where it can be asked through, before [`Self::start`].
    pub fn asked_through(mut self, requests: &mpsc::Sender<Request>) -> Self {
        self.requests = Some(requests.downgrade());
        self
    }

    /// Where it tells what changed, before [`Self::start`].
    pub fn telling(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// The gates of virtual routers.
    pub fn gates(&self) -> &GateNumbers {
        &self.model.gates
    }

    /// The configuration as virtual routers get it, with the kernel's names of interfaces; after [`Self::start`].
    pub fn named(&self) -> Arc<Config> {
        self.devices.name(&self.model.config)
    }

    /// Takes charge of the virtual routers.
    pub fn join_routers(&mut self, ownership: Ownership) {
        self.routers = Some(ownership);
        self.tell_routers();
    }

    /// Writes the maps for the first time, and starts the checks and the neighbour table.
    ///
    /// # Errors
    /// The maps can't hold what the configuration asks for, or can't be written.
    pub async fn start(&mut self) -> Result<()> {
        self.follow_interfaces().await;
        self.write_now().await?;
        self.tell_changes(None);
        // Those of an earlier run's configuration that are in this one no more.
        let held: Vec<u32> = self.model.interfaces.values().map(|interface| interface.index).collect();
        let mut left = Pins::default().linked()?;
        left.retain(|index| !held.contains(index));
        self.detach(&left).await;
        self.follow();
        self.serve_metrics();
        Ok(())
    }

    /// Listens where the configuration says.
    fn serve_metrics(&mut self) {
        let wanted = self.model.config.metrics.as_ref().map(|metrics| metrics.listen);
        if self.metrics.as_ref().map(Listener::address) == wanted {
            return;
        }
        // The old one lets go first: it may be another address of the same port.
        self.metrics = None;
        let requests = self.requests.as_ref().and_then(mpsc::WeakSender::upgrade);
        self.metrics =
            wanted.zip(requests).map(|(address, requests)| Listener::spawn(address, metrics::pages(requests)));
    }

    /// Folds events until a signal to stop, or until a part of the agent has failed.
    pub async fn run(mut self, mut inputs: Inputs) -> Parts {
        self.guard.follow(self.model.config.director.when_agent_dies);
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut links, mut look) = (self.neighbours.links(), None);
        let fault = loop {
            // Not in a fixed order: none of these may keep another from its turn.
            tokio::select! {
                _ = tick.tick() => self.tick().await,
                Ok(()) = links.changed() => { look.get_or_insert_with(|| Instant::now() + SETTLE); }
                () = sleep_until(look) => { look = None; self.look_at_interfaces().await }
                _ = inputs.terminate.recv() => { info!("SIGTERM: stopping"); break None }
                _ = inputs.interrupt.recv() => { info!("SIGINT: stopping"); break None }
                fault = &mut inputs.fault => break Some(fault.unwrap_or_else(|_| "the watchdog's thread ended".to_owned())),
                Some(written) = self.writing.join_next() => self.written(written),
                Some(swept) = self.sweeping.join_next() => self.fold_sweep(swept),
                Some(read) = self.sampling.join_next() => self.fold_sample(read),
                Some(Ok(asked)) = self.telling.join_next() => self.answer_status(asked),
                Some(event) = inputs.health.recv() => self.fold_health(event, &mut inputs.health),
                Some(event) = inputs.neighbours.recv() => self.fold_neighbours(event, &mut inputs.neighbours),
                Some(word) = inputs.words.recv() => self.fold_word(word),
                Some(claims) = inputs.claims.recv() => self.fold_claims(&claims),
                event = next_of(&mut self.exchange) => self.fold_exchange(event),
                Some(request) = inputs.requests.recv() => self.answer(request).await,
                _ = inputs.hangup.recv() => { let _ = self.reload().await; }
                _ = inputs.dump.recv() => self.dump(),
                _ = inputs.ignored.recv() => info!("SIGUSR2: nothing to do"),
            }
        };
        self.tell_all().await;
        Parts {
            checks: self.checks,
            neighbours: self.neighbours,
            routers: self.routers,
            fault,
            exchange: self.exchange,
            hooks: self.hooks,
        }
    }

    async fn tick(&mut self) {
        self.heart.beat();
        self.guard.look();
        self.watch_vips();
        self.sweep();
        self.sample();
        self.measure_lag();
        let peers = self.peers();
        self.events.record_all(self.witness.look_at_peers(peers.as_ref()));
        let goes_on = self.model.fleets.due().is_some_and(|due| due <= Instant::now());
        if self.expire_drains() || goes_on {
            self.settle();
        }
        self.look_at_interfaces().await;
    }

    /// Also what couldn't be written is tried again.
    async fn look_at_interfaces(&mut self) {
        if self.follow_interfaces().await || self.fault.is_some() {
            self.settle();
        }
    }

    /// Tells what has changed since the last time, and by whom it was asked for.
    fn tell_changes(&mut self, because: Option<&str>) {
        let changes = self.witness.look(&self.model, self.fault.as_deref(), because, SystemTime::now());
        let of_services = changes.iter().filter(|said| said.kind == Kind::Service);
        of_services.for_each(|said| if witness::is_alarm(said) { warn!("{said}") } else { info!("{said}") });
        self.hooks.tell(&self.model.config, &changes);
        self.events.record_all(changes);
    }

    fn fold_word(&mut self, word: Word) {
        match word {
            Word::Duty(duty) => {
                if self.model.set_duty(duty.router, duty.here) {
                    self.offer_duty(duty.here);
                    self.watch_vips();
                    self.settle();
                }
            }
            Word::Asks(router) => self.ask_peers(router),
        }
    }

    fn fold_health(&mut self, first: health::Event, more: &mut mpsc::Receiver<health::Event>) {
        self.names.follow(&self.model.config);
        self.heard.0.get_or_insert_with(Instant::now);
        let mut next = Some(first);
        let mut room = BATCH;
        let mut changed = HashSet::new();
        while let Some(event) = next {
            // One that a reload has removed meanwhile is nobody's.
            let before = self.model.health.get(&event.target);
            if self.names.say_health(&event, before, Instant::now()) || self.is_of_drained(&event) {
                changed.insert(event.target.address);
                self.model.set_weight(&event.target, event.weight);
                self.model.set_health(event.target, event.health);
            }
            room -= 1;
            next = if room > 0 { more.try_recv().ok() } else { None };
        }
        self.settle_first(&changed);
    }

    /// Whether it is news of a real that left the configuration.
    fn is_of_drained(&self, event: &health::Event) -> bool {
        self.model.draining.all().any(|(_, drained)| drained.real.address == event.target.address)
    }

    fn fold_neighbours(&mut self, first: NeighbourEvent, more: &mut mpsc::Receiver<NeighbourEvent>) {
        self.names.follow(&self.model.config);
        let mut next = Some(first);
        let mut room = BATCH;
        while let Some(event) = next {
            self.names.say_neighbour(self.model.hops.get(&event.address), &event);
            if event.state.is_some_and(|hop| !self.model.can_send_by(&hop)) {
                warn!("real {}: takes no traffic: {}", event.address, model::BY_KERNEL);
            }
            self.model.set_hop(event, SystemTime::now());
            room -= 1;
            next = if room > 0 { more.try_recv().ok() } else { None };
        }
        self.settle();
    }

    /// Takes the program off interfaces. Returns where that failed, in words.
    async fn detach(&self, indices: &[u32]) -> Vec<String> {
        let mut faults = Vec::new();
        for index in indices {
            if let Err(error) = self.dataplane.lock().await.detach_interface(*index) {
                warn!("interface {index}: {error}");
                faults.push(format!("the program stays on interface {index}: {error}"));
            }
        }
        faults
    }

    /// Tells the checks and the neighbour table what is configured now.
    fn follow(&self) {
        let mut targets = model::targets(&self.model.config, &self.model.draining);
        for (target, health) in &mut targets {
            *health = self.model.health.get(target).cloned();
        }
        self.checks.set_vips(Vips::of(&self.model.config));
        self.checks.set_hops(self.model.hops_of_checks());
        self.checks.set_targets(targets);
        self.neighbours.set_addresses(model::addresses(&self.model.config, &self.model.draining));
    }
}

async fn next_of(exchange: &mut Option<Exchange>) -> exchange::Event {
    match exchange {
        Some(exchange) => exchange.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
