//! Reading the counters again and again, beside the controller, so that rates are there when they are asked for.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::task::JoinError;
use tracing::warn;

use super::Controller;
use crate::api::MapStatus;
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
                self.next_sample = Instant::now() + PAUSE.max(took * SHARE);
            }
            Err(error) => {
                warn!("the counters can't be read, so that no rates are told: {error:#}");
                self.next_sample = Instant::now() + 60 * PAUSE;
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
