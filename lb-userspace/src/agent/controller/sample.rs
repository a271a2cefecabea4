//! Reading the counters again and again, beside the controller, so that rates are there when they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use lb_common::header::protocol::TCP;
use lb_common::maps::ServiceKey;
use tokio::task::JoinError;
use tracing::{info, warn};

use super::Controller;
use crate::agent::status;
use crate::api::{MapStatus, State, Status};
use crate::health::suspects::Sent;
use crate::planner::plan::{key, mapped_address};
use crate::rates::{PAUSE, Reading, SHARE};

impl Controller {
    /// Begins a reading, if one is due.
    pub(super) fn sample(&mut self) {
        if !self.sampling.is_empty() || Instant::now() < self.next_sample {
            return;
        }
        let (stats, desired) = (self.stats.clone(), self.desired.clone());
        self.sampling.spawn_blocking(move || {
            let began = Instant::now();
            let reading = Reading::take(&stats, &desired)?;
            Ok((reading, began.elapsed()))
        });
    }

    /// A reading has ended.
    pub(super) fn fold_sample(&mut self, ended: Result<Result<(Reading, Duration)>, JoinError>) {
        match ended.unwrap_or_else(|error| Err(anyhow!("the task failed: {error}"))) {
            Ok((reading, took)) => {
                self.sampled.take(reading);
                self.suspect();
                self.next_sample = Instant::now() + PAUSE.max(took * SHARE);
            }
            Err(error) => {
                warn!("the counters can't be read, so that no rates are told: {error:#}");
                self.next_sample = Instant::now() + 60 * PAUSE;
            }
        }
    }

    /// Asks reals at once whose clients open connections that nothing follows. Their checks decide.
    fn suspect(&mut self) {
        let sent = self
            .sampled
            .between()
            .filter(|((key, _), _)| key.protocol == TCP)
            .map(|(real, counted)| (real, Sent { connections: counted.connections, packets: counted.packets }));
        let suspect = self.suspects.take(sent);
        if suspect.is_empty() {
            return;
        }
        let mut hurried: BTreeMap<IpAddr, bool> = BTreeMap::new();
        for ((_, address), new) in suspect {
            *hurried.entry(status::plain_address(address)).or_default() |= new;
        }
        for (address, _) in hurried.iter().filter(|(_, new)| **new) {
            info!("real {address}: suspect: connections to it are opened, and nothing follows: it is asked at once");
        }
        self.checks.hurry(hurried.into_iter().collect());
    }

    /// Adds to a status which reals are suspect.
    pub(super) fn add_suspects(&self, told: &mut Status) {
        let keys: HashMap<&str, ServiceKey> =
            self.model.config.services.iter().map(|service| (service.name.as_str(), key(service))).collect();
        for service in &mut told.services {
            let Some(key) = service.name.as_deref().and_then(|name| keys.get(name)) else { continue };
            for real in service.reals.iter_mut().filter(|real| real.state == State::Up) {
                real.suspect = self.suspects.opened((*key, mapped_address(real.address)));
            }
        }
    }

    /// How full the maps are.
    pub(super) fn fill(&self) -> Vec<MapStatus> {
        let (desired, (room, flows)) = (&self.desired, self.room);
        let of = |name: &str, used: u64, size: u32| MapStatus { name: name.to_owned(), used, size: size.into() };
        let reals = desired.pools.values().map(|pool| u64::from(pool.room)).sum();
        let rings = desired.rings.values().map(|ring| u64::from(ring.size)).sum::<u64>();
        let turns = desired.turns.values().map(|turns| u64::from(turns.words())).sum::<u64>();
        vec![
            of("services", desired.services.len() as u64, room.services),
            of("reals", reals, room.reals),
            of("slots", rings + turns, room.slots),
            of("flows", self.swept.used, flows),
        ]
    }
}
