//! The one task that folds events into the model and writes the maps.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::api::{Request, Status};
use crate::dataplane::{Dataplane, Desired, Pins, StatsReader};
use crate::host::neighbour::NeighbourEvent;
use crate::{health, host, vrrp};

use super::routers::Routers;
use super::start;
use crate::planner::allocation::Allocation;
use crate::planner::gates::GateNumbers;
use crate::planner::model::{self, Hop, Interface, Model};
use crate::planner::plan::plan;
use crate::tracking::Tracks;
use crate::tracking::notify::Notifier;

/// Most events that are folded before the maps are written.
const BATCH: usize = 4096;
/// How often systemd's watchdog is told that the controller runs, and writing the maps is tried again after it failed.
const TICK: Duration = Duration::from_secs(1);

/// What the controller listens to.
pub struct Inputs {
    /// News of the health checks.
    pub health: mpsc::Receiver<health::Event>,
    /// News of the neighbour table.
    pub neighbours: mpsc::Receiver<NeighbourEvent>,
    /// The API's requests.
    pub requests: mpsc::Receiver<Request>,
    /// SIGHUP: reload.
    pub hangup: Signal,
    /// SIGTERM: stop.
    pub terminate: Signal,
    /// SIGINT: stop.
    pub interrupt: Signal,
}

/// See the module.
pub struct Controller {
    path: PathBuf,
    model: Model,
    allocation: Allocation,
    dataplane: Dataplane,
    stats: StatsReader,
    desired: Desired,
    /// Why the maps are not what they should be.
    fault: Option<String>,
    checks: health::Handle,
    neighbours: host::neighbour::Handle,
    routers: Option<Ownership>,
    /// What VRRP was told last.
    ready: bool,
}

/// The virtual routers, and what goes with them.
pub struct Ownership {
    /// Their thread.
    pub routers: Routers,
    /// What they watch.
    pub tracks: Tracks,
    /// Who hears of their changes.
    pub notifier: Notifier,
}

impl Controller {
    /// A controller over opened maps.
    pub fn new(
        path: PathBuf,
        model: Model,
        dataplane: Dataplane,
        stats: StatsReader,
        checks: health::Handle,
        neighbours: host::neighbour::Handle,
    ) -> Self {
        let maps = dataplane.maps();
        let allocation = Allocation::adopt(dataplane.adopted(), maps.service_capacity(), maps.real_capacity());
        Self {
            path,
            model,
            allocation,
            dataplane,
            stats,
            desired: Desired::default(),
            fault: None,
            checks,
            neighbours,
            routers: None,
            ready: false,
        }
    }

    /// The gates of virtual routers.
    pub fn gates(&self) -> &GateNumbers {
        &self.model.gates
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
    pub fn start(&mut self) -> Result<()> {
        self.write()?;
        // Those of an earlier run's configuration that are in this one no more.
        let held: Vec<u32> = self.model.interfaces.values().map(|interface| interface.index).collect();
        let mut left = Pins::default().linked()?;
        left.retain(|index| !held.contains(index));
        self.detach(&left);
        self.follow();
        Ok(())
    }

    /// Folds events until a signal to stop. Returns the parts that are to be joined.
    pub async fn run(mut self, mut inputs: Inputs) -> (health::Handle, host::neighbour::Handle, Option<Ownership>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = inputs.terminate.recv() => { info!("SIGTERM: stopping"); break }
                _ = inputs.interrupt.recv() => { info!("SIGINT: stopping"); break }
                Some(event) = inputs.health.recv() => self.fold_health(event, &mut inputs.health),
                Some(event) = inputs.neighbours.recv() => self.fold_neighbours(event, &mut inputs.neighbours),
                Some(request) = inputs.requests.recv() => self.answer(request).await,
                _ = inputs.hangup.recv() => { let _ = self.reload().await; }
                _ = tick.tick() => self.tick().await,
            }
        }
        (self.checks, self.neighbours, self.routers)
    }

    async fn tick(&mut self) {
        // Does nothing where no systemd asked for it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        if self.follow_interfaces().await || self.fault.is_some() {
            self.settle();
        }
    }

    /// Follows the director's own interfaces: one whose MAC changed, or that went and came back as another one,
    /// to which the program is attached anew. Whether the maps are to be written.
    async fn follow_interfaces(&mut self) -> bool {
        let Ok(links) = host::links::snapshot().await else { return false };
        let mut changed = false;
        for held in self.model.interfaces.clone().into_values() {
            let Some(link) = links.iter().find(|link| link.name == held.name) else { continue };
            let now = if link.index == held.index {
                let vlans = host::links::vlans_on(&links, held.index);
                Interface { mac: link.mac.unwrap_or(held.mac), vlans, ..held.clone() }
            } else {
                let mode = self.model.config.director.mode;
                match start::attach(&mut self.dataplane, &held.name, mode, &links) {
                    Ok(interface) => interface,
                    Err(error) => {
                        debug!("{}: {error:#}", held.name);
                        continue;
                    }
                }
            };
            if now != held {
                if (now.mac, now.index) == (held.mac, held.index) {
                    info!("{}: the VLANs on it are {:?} now", now.name, now.vlans);
                } else {
                    info!("{}: its MAC is {} now, its index {}", now.name, super::status::mac(now.mac), now.index);
                }
                self.model.interfaces.insert(held.name, now);
                changed = true;
            }
        }
        changed
    }

    fn fold_health(&mut self, first: health::Event, more: &mut mpsc::Receiver<health::Event>) {
        let start = Instant::now();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(health::Event { target, health }) = next else { break };
            say_health(&target, &health);
            self.model.set_health(target, health);
            next = more.try_recv().ok();
        }
        if let Some(health::Event { target, health }) = next {
            self.model.set_health(target, health);
        }
        self.settle();
        debug!("health in the maps after {:?}", start.elapsed());
    }

    fn fold_neighbours(&mut self, first: NeighbourEvent, more: &mut mpsc::Receiver<NeighbourEvent>) {
        let mut next = Some(first);
        while let Some(event) = next {
            say_neighbour(&self.model, &event);
            self.model.set_hop(event, SystemTime::now());
            next = more.try_recv().ok();
        }
        self.settle();
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Status(answer) => {
                if let Ok(status) = self.status() {
                    // Whoever asked may have gone.
                    let _ = answer.send(status);
                }
            }
            Request::Routers(answer) => {
                let routers = self.ask_routers(vrrp::Handle::status);
                let _ = answer.send(routers.map(|all| all.into_iter().map(Into::into).collect()));
            }
            Request::Release(name, answer) => {
                let _ = answer.send(self.ask_routers(|handle| handle.release(&name)));
            }
            Request::Reclaim(name, answer) => {
                let _ = answer.send(self.ask_routers(|handle| handle.reclaim(&name)));
            }
            Request::Reload(answer) => {
                let _ = answer.send(self.reload().await);
            }
        }
    }

    /// The VRRP thread answers within microseconds.
    fn ask_routers<T>(&self, ask: impl FnOnce(&vrrp::Handle) -> Result<T, vrrp::Error>) -> Result<T, String> {
        match &self.routers {
            Some(ownership) => ask(ownership.routers.handle()).map_err(|error| error.to_string()),
            None => Err("VRRP is not running".to_owned()),
        }
    }

    fn status(&self) -> Result<Status> {
        let status = super::status::status(&self.model, &self.desired, &self.stats, self.fault.clone());
        if let Err(error) = &status {
            error!("the counters can't be read: {error}");
        }
        Ok(status?)
    }

    /// Reads the configuration again. A fault leaves everything as it is.
    async fn reload(&mut self) -> Result<(), String> {
        match self.try_reload().await {
            Ok(()) => {
                info!("{}: reloaded", self.path.display());
                Ok(())
            }
            Err(fault) => {
                error!("reload refused, the configuration in force stays:\n{fault:#}");
                Err(format!("{fault:#}"))
            }
        }
    }

    async fn try_reload(&mut self) -> Result<()> {
        let (loaded, links) = start::read(&self.path).await?;
        let config = Arc::new(loaded.config);
        if config.limits != self.model.config.limits {
            warn!("[limits] take effect after `lb detach`");
        }
        let mut model = self.model.clone();
        let mut attached = Vec::new();
        for name in &config.director.interfaces {
            if model.interfaces.contains_key(name) {
                continue;
            }
            match start::attach(&mut self.dataplane, name, config.director.mode, &links) {
                Ok(interface) => {
                    attached.push(interface.index);
                    model.interfaces.insert(name.clone(), interface);
                }
                Err(error) => {
                    self.detach(&attached);
                    return Err(error);
                }
            }
        }
        let gone = model.interfaces.values().filter(|held| !config.director.interfaces.contains(&held.name));
        let gone: Vec<u32> = gone.map(|held| held.index).collect();
        model.interfaces.retain(|name, _| config.director.interfaces.contains(name));
        model.set_config(config.clone());
        let before = (std::mem::replace(&mut self.model, model), self.allocation.clone());
        if let Err(error) = self.write() {
            (self.model, self.allocation) = before;
            self.settle();
            self.detach(&attached);
            return Err(error);
        }
        self.detach(&gone);
        self.follow();
        if let Some(Ownership { routers, tracks, notifier }) = &self.routers {
            notifier.follow(config.clone());
            routers.reload(&config, &self.model.gates)?;
            tracks.follow(config);
        }
        self.tell_routers();
        Ok(())
    }

    fn detach(&mut self, indices: &[u32]) {
        for index in indices {
            if let Err(error) = self.dataplane.detach_interface(*index) {
                warn!("interface {index}: {error}");
            }
        }
    }

    /// Tells the checks and the neighbour table what is configured now.
    fn follow(&self) {
        let mut targets = model::targets(&self.model.config);
        for (target, health) in &mut targets {
            *health = self.model.health.get(target).cloned();
        }
        self.checks.set_targets(targets);
        self.neighbours.set_addresses(model::addresses(&self.model.config));
    }

    /// Brings the maps to what the model says; a failure is kept, shown, and tried again.
    fn settle(&mut self) {
        match self.write() {
            Ok(()) => {
                if self.fault.take().is_some() {
                    info!("the maps hold what they should again");
                }
            }
            Err(fault) => {
                let fault = format!("{fault:#}");
                if self.fault.as_ref() != Some(&fault) {
                    error!("the maps are not what they should be: {fault}");
                }
                self.fault = Some(fault);
            }
        }
        self.tell_routers();
    }

    /// Tells the virtual routers how healthy the services are, and whether this director would do the traffic good.
    fn tell_routers(&mut self) {
        let ready = self.fault.is_none() && self.model.is_ready();
        let Some(Ownership { routers, tracks, .. }) = &mut self.routers else { return };
        tracks.set_services(self.model.health_of_services());
        if ready != self.ready && routers.handle().ready(ready).is_ok() {
            self.ready = ready;
        }
    }

    fn write(&mut self) -> Result<()> {
        let start = Instant::now();
        let desired = plan(&self.model, &mut self.allocation);
        let planned = start.elapsed();
        self.dataplane.apply(&desired)?;
        debug!("planned in {planned:?}, written in {:?}", start.elapsed().saturating_sub(planned));
        self.desired = desired;
        Ok(())
    }
}

fn say_health(target: &health::Target, health: &health::Health) {
    match health {
        health::Health::Up { .. } => info!("real {}: up", target.address),
        health::Health::Down { reason, .. } => warn!("real {}: down: {reason}", target.address),
        health::Health::Unknown => {}
    }
}

fn say_neighbour(model: &Model, event: &NeighbourEvent) {
    let before = model.hops.get(&event.address);
    match &event.state {
        Some(resolved) if before != Some(&Hop::Reached(*resolved)) => {
            info!("real {}: {} ({})", event.address, super::status::mac(resolved.mac), event.why);
        }
        None => warn!("real {}: takes no traffic: {}", event.address, event.why),
        Some(_) => {}
    }
}
