//! A reload: all of it or nothing.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Error, Result};
use tracing::{error, info, warn};

use super::{Controller, Ownership};
use crate::agent::routers::observe_macs;
use crate::agent::{changes, start};
use crate::api::Reloaded;
use crate::config::{self, Config, Service, Texts};
use crate::dataplane::{Gates, Pins};
use crate::events::{Kind, Said};
use crate::host;
use crate::planner::allocation::Allocation;
use crate::planner::model::Model;

/// Lines of changes that the log gets at most; who asked gets all.
const LOGGED: usize = 50;

/// A reload that was refused.
pub(super) struct Refusal {
    at: SystemTime,
    why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = humantime::format_rfc3339_seconds(self.at);
        write!(f, "the reload at {at} was refused, and a restart would be:\n{}", self.why)
    }
}

/// Changes that an event names at most.
const NAMED: usize = 5;

/// The first of some lines.
fn few(lines: &[String]) -> String {
    let more = lines.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    let named = lines.iter().take(NAMED).cloned().chain(more).collect::<Vec<_>>();
    if named.is_empty() { "nothing that is in force changed".to_owned() } else { named.join("; ") }
}

/// Whether the director or a real of a configuration names an interface.
fn is_named(config: &Config, name: &str) -> bool {
    let mut reals = config.owners().flat_map(Service::all_reals);
    config.director.interfaces.iter().any(|named| named == name)
        || reals.any(|real| real.interface.as_deref() == Some(name))
}

/// What was in force before.
struct Before {
    model: Model,
    allocation: Allocation,
    /// Interfaces to which the program was attached for the new configuration.
    attached: Vec<u32>,
}

impl Controller {
    /// Reads the configuration again. A fault leaves everything as it is.
    pub(super) async fn reload(&mut self) -> Result<Reloaded, String> {
        match self.try_reload().await {
            Ok(reloaded) => {
                self.refused = None;
                let told = [&reloaded.changes[..], &reloaded.without_effect].concat();
                self.events.record(Said::new(Kind::Reload, "lb", "reloaded").because(few(&told)));
                self.tell_changes(Some("reload"));
                info!("{}: reloaded", self.path.display());
                reloaded.changes.iter().take(LOGGED).for_each(|line| info!("reload: {line}"));
                if let Some(more) = reloaded.changes.len().checked_sub(LOGGED).filter(|more| *more > 0) {
                    info!("reload: {more} more changes");
                }
                reloaded.without_effect.iter().for_each(|line| warn!("reload: {line}"));
                Ok(reloaded)
            }
            Err(fault) => {
                let why = format!("{fault:#}");
                error!("reload refused, the configuration in force stays:\n{why}");
                self.refused = Some(Refusal { at: SystemTime::now(), why: why.clone() });
                let refused = Said::new(Kind::Reload, "lb", "refused, the configuration in force stays");
                self.events.record(refused.because(why.lines().next().unwrap_or_default()));
                Err(why)
            }
        }
    }

    /// What a reload of a configuration of these texts would change.
    pub(in crate::agent) fn would_change(&self, texts: &Texts) -> Result<Reloaded, String> {
        let loaded = config::accept(texts, &host::name()).map_err(|error| error.render(false))?;
        let old = &self.model.config;
        let mut new = if old.observed.is_some() { loaded.config.observing() } else { loaded.config };
        // The hash seed follows from the peers' key. No file is opened that a client names: another one is taken for another key.
        let key = |config: &Config| config.peers.as_ref().map(|peers| peers.key_file.clone());
        if let Some(named) = key(&new) {
            let seed = old.director.hash_seed;
            new.director.hash_seed = if key(old) == Some(named) { seed } else { !seed };
        }
        Ok(changes::reloaded(old, &new))
    }

    async fn try_reload(&mut self) -> Result<Reloaded> {
        let old = self.model.config.clone();
        // What is named for the first time and isn't there is more likely a slip of the pen.
        let (loaded, links) = start::read(&self.path, old.observed.is_some(), |name| is_named(&old, name)).await?;
        let config = Arc::new(loaded.config);
        let mut model = self.model.clone();
        let mut attached = Vec::new();
        for name in &config.director.interfaces {
            if model.interfaces.contains_key(name) || model.awaited.contains_key(name) {
                continue;
            }
            let mode = config.director.mode;
            let tried = start::attach(&mut *self.dataplane.lock().await, name, mode, &links);
            match tried {
                Ok(interface) => {
                    if self.model.interfaces.values().all(|held| held.index != interface.index) {
                        attached.push(interface.index);
                    }
                    model.interfaces.insert(name.clone(), interface);
                }
                Err(error) => {
                    self.detach(&attached).await;
                    return Err(error);
                }
            }
        }
        let gone = model.interfaces.values().filter(|held| !config.director.interfaces.contains(&held.name));
        let mut gone: Vec<u32> = gone.map(|held| held.index).collect();
        model.interfaces.retain(|name, _| config.director.interfaces.contains(name));
        // One that goes by another of its names now stays.
        gone.retain(|index| model.interfaces.values().all(|held| held.index != *index));
        model.awaited.retain(|name, _| config.director.interfaces.contains(name));
        model.set_config(config.clone(), SystemTime::now());
        let model = std::mem::replace(&mut self.model, model);
        let before = Before { model, allocation: self.allocation.clone(), attached };
        if let Err(error) = self.write_now().await {
            return Err(self.go_back(before, error).await);
        }
        self.devices.follow(&links);
        let named = self.named();
        if let Some(Ownership { routers, .. }) = &self.routers
            && let Err(error) = routers.reload(&named, &self.model.gates)
        {
            return Err(self.go_back(before, error).await);
        }
        if let Err(error) = Gates::open(&Pins::default()).and_then(|mut maps| observe_macs(&mut maps, &named)) {
            error!("the virtual MACs that are observed can't be set: {error}");
        }
        // Nothing below can fail.
        let forgotten = self.model.overrides.follow(&config);
        if !forgotten.is_empty() {
            self.keep_overrides();
        }
        self.fault = None;
        let left = self.detach(&gone).await;
        self.follow();
        self.guard.follow(config.director.when_agent_dies);
        if old.peers != config.peers
            && let Err(error) = self.join_peers().await
        {
            error!("peers: the exchange can't begin: {error:#}");
        }
        self.serve_metrics();
        if let Some(Ownership { tracks, notifier, .. }) = &self.routers {
            notifier.follow(named.clone());
            tracks.follow(named);
        }
        self.tell_routers();
        Ok(Reloaded {
            changes: changes::changes(&old, &config)
                .into_iter()
                .chain(forgotten.into_iter().map(|real| format!("{real}: what was set at run time is forgotten")))
                .collect(),
            touched: changes::touched(&old, &config),
            without_effect: changes::without_effect(&old, &config).into_iter().chain(left).collect(),
        })
    }

    /// Brings everything back to what it was. Returns why, and what could not be brought back.
    async fn go_back(&mut self, before: Before, why: Error) -> Error {
        (self.model, self.allocation) = (before.model, before.allocation);
        let written = self.write_now().await;
        self.detach(&before.attached).await;
        match written {
            Ok(()) => {
                self.fault = None;
                why
            }
            Err(fault) => {
                self.fault = Some(format!("{fault:#}"));
                why.context(format!(
                    "the maps hold parts of both configurations, and could not be brought back ({fault:#}); that is \
                     tried again every second"
                ))
            }
        }
    }
}
