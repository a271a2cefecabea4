//! The walk through the flow table: a blocking task beside the controller, again and again.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use tokio::task::JoinError;
use tracing::{debug, info, warn};

use super::Controller;
use super::exchange::Exchange;
use crate::dataplane::{Swept, clock};

/// A walk begins so long after the last, and never takes more than a tenth of a CPU.
const PAUSE: Duration = Duration::from_millis(900);
const SHARE: u32 = 10;

/// Groups that join their pools after a walk, at most.
const AT_ONCE: usize = 64;

impl Controller {
    /// Begins a walk, if one is due.
    pub(super) fn sweep(&mut self) {
        if !self.sweeping.is_empty() || Instant::now() < self.next_sweep {
            return;
        }
        let dataplane = self.dataplane.clone();
        let teller = self.exchange.as_ref().map(Exchange::teller);
        self.sweeping.spawn_blocking(move || {
            let (began, worked) = (Instant::now(), clock::worked());
            let sweep = dataplane.blocking_lock().begin_sweep()?;
            // The maps may be written meanwhile.
            let mut swept = sweep.run()?;
            let mut dataplane = dataplane.blocking_lock();
            dataplane.end_sweep(&mut swept)?;
            if let Some(teller) = teller {
                teller.tell_slots(&dataplane);
            }
            swept.took = began.elapsed();
            swept.worked = clock::worked().saturating_sub(worked);
            Ok(swept)
        });
    }

    /// A walk has ended.
    pub(super) fn fold_sweep(&mut self, ended: Result<Result<Swept>, JoinError>) {
        let ended = ended.unwrap_or_else(|error| Err(anyhow!("the task failed: {error}")));
        match ended {
            Ok(swept) => {
                debug!("{} remembered connections, looked at in {:?}", swept.used, swept.took);
                self.next_sweep = Instant::now() + PAUSE.max(swept.worked * SHARE);
                self.end_drains(&swept);
                self.join_groups();
                self.swept = swept;
            }
            Err(error) => {
                warn!("the flow table can't be walked through, so that nothing in it ends: {error:#}");
                self.next_sweep = Instant::now() + 60 * PAUSE;
            }
        }
    }

    /// Forgets drained reals that nothing names.
    fn end_drains(&mut self, swept: &Swept) {
        if self.model.draining.is_empty() || !self.writing.is_empty() {
            return;
        }
        let began = SystemTime::now() - swept.took - PAUSE;
        let before: Vec<_> = self.model.draining.all().map(|(_, drained)| drained.real.address).collect();
        if !self.model.draining.end(&self.model.config, &self.desired, &swept.named, began) {
            return;
        }
        let held: Vec<_> = self.model.draining.all().map(|(_, drained)| drained.real.address).collect();
        for address in before.iter().filter(|address| !held.contains(address)) {
            info!("{address}: its last connection has ended; it is gone");
        }
        self.follow();
        self.settle();
    }

    /// Services that came to a pool share its rings as soon as nobody's connections tell one ring from the other.
    fn join_groups(&mut self) {
        let pairs = self.allocation.pairs();
        if pairs.is_empty() || !self.writing.is_empty() {
            return;
        }
        let Ok(dataplane) = self.dataplane.try_lock() else { return };
        // Each takes a moment, and the rest has time.
        let equal: Vec<_> = pairs.into_iter().filter(|pair| dataplane.are_equal(&pair.rings)).take(AT_ONCE).collect();
        drop(dataplane);
        if equal.is_empty() {
            return;
        }
        equal.iter().for_each(|pair| self.allocation.join(pair));
        debug!("{} rings are those of their pools now", equal.len());
        self.settle();
    }
}
