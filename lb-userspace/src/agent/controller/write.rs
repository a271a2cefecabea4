//! Writing the maps, beside the controller: one blocking task at a time, always with the newest that the model says.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tracing::{debug, error, info};

use super::exchange::{Exchange, Members, Teller};
use super::{Controller, Ownership, waiting};
use crate::dataplane::{Desired, Part};
use crate::planner::plan::plan;
use crate::planner::urgent::urgent;
use crate::pulse::BEAT;

/// What a task writes, and who is to tell of it.
struct Rest {
    desired: Arc<Desired>,
    to_tell: Option<(Arc<Teller>, Members)>,
}

impl Controller {
    /// Has the maps brought to what the model says; a failure is kept, shown, and tried again.
    pub(super) fn settle(&mut self) {
        self.settle_first(&HashSet::new());
    }

    /// The same where the health of these reals is all that has changed: where flows go now is written ahead of the rest.
    pub(super) fn settle_first(&mut self, changed: &HashSet<IpAddr>) {
        self.model.follow_fleets(Instant::now());
        let first = self.first(changed);
        let writes = first.is_some().then(|| self.begin_write(first));
        // That it would do the traffic no good holds before it is written; the opposite only after.
        if self.awaited.is_none() && !self.model.is_ready() {
            self.tell_awaited(waiting::awaited(&self.model));
        }
        self.plan();
        match writes {
            Some(writes) => self.go_on(writes),
            None if self.writing.is_empty() => self.write(),
            None => self.stale = true,
        }
        // The maps wait for none of these, which look at every real.
        self.checks.set_hops(self.model.hops_of_checks());
        self.tell_changes(None);
    }

    /// What is written first, where the maps are as the last plan has them.
    fn first(&self, changed: &HashSet<IpAddr>) -> Option<Part> {
        let is_apart = !changed.is_empty() && self.writing.is_empty() && !self.stale && self.fault.is_none();
        let services = changed.iter().flat_map(|address| self.names.services_of(*address));
        let part = is_apart.then(|| urgent(&self.model, &self.desired, services))?;
        (!part.rings.is_empty()).then_some(part)
    }

    /// A task that wrote has ended.
    pub(super) fn written(&mut self, ended: Result<Result<()>, JoinError>) {
        match outcome(ended) {
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
        if let Some(heard) = self.heard.1.take() {
            debug!("health in the maps after {:?}", heard.elapsed());
        }
        self.answer_waiting();
        if self.stale {
            self.write();
        }
        self.tell_routers();
    }

    /// Brings the maps to what the model says, and waits for it.
    ///
    /// # Errors
    /// They can't be; a part may be written.
    pub(super) async fn write_now(&mut self) -> Result<()> {
        self.model.follow_fleets(Instant::now());
        self.plan();
        // One that is under way writes something older; what comes of it doesn't matter any more.
        while self.next_written().await.is_some() {}
        self.write();
        let written = self.next_written().await.map_or(Ok(()), outcome);
        self.waiting.iter_mut().for_each(|(writes, _)| *writes = 1);
        self.answer_waiting();
        written
    }

    /// The end of the task that writes; `None` where none does. The controller lives meanwhile.
    async fn next_written(&mut self) -> Option<Result<Result<()>, JoinError>> {
        let mut beats = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                written = self.writing.join_next() => return written,
                _ = beats.tick() => self.heart.beat(),
            }
        }
    }

    fn plan(&mut self) {
        let start = Instant::now();
        self.desired = Arc::new(plan(&self.model, &mut self.allocation));
        self.model.end_start(SystemTime::now());
        debug!("planned in {:?}", start.elapsed());
    }

    fn write(&mut self) {
        let writes = self.begin_write(None);
        self.go_on(writes);
    }

    /// Begins a task that writes this part of the maps at once, and the rest when it is told what that is.
    fn begin_write(&mut self, first: Option<Part>) -> oneshot::Sender<Rest> {
        self.stale = false;
        self.heard.1 = self.heard.0.take();
        let (dataplane, mut heard) = (self.dataplane.clone(), self.heard.1);
        let (writes, rest) = oneshot::channel::<Rest>();
        self.writing.spawn_blocking(move || {
            // Nobody else has it between the two: peers are told what both have brought.
            let mut dataplane = dataplane.blocking_lock();
            let mut tell = || {
                if let Some(heard) = heard.take() {
                    debug!("health in the slots after {:?}", heard.elapsed());
                }
            };
            if let Some(first) = first {
                dataplane.apply_first(&first)?;
                tell();
            }
            let Ok(Rest { desired, to_tell }) = rest.blocking_recv() else { return Ok(()) };
            let start = Instant::now();
            dataplane.apply_and(&desired, tell)?;
            debug!("written in {:?}", start.elapsed());
            if let Some((teller, members)) = to_tell {
                teller.wrote(&mut dataplane, members)?;
            }
            Ok(())
        });
        writes
    }

    /// Has that task write what was planned last.
    fn go_on(&mut self, writes: oneshot::Sender<Rest>) {
        self.offer();
        // A task that has failed says so when it is joined.
        let _ = writes.send(Rest { desired: self.desired.clone(), to_tell: self.to_tell() });
    }

    /// Tells the virtual routers how healthy the services are, and whether this director would do the traffic good: the
    /// maps say so too.
    pub(super) fn tell_routers(&mut self) {
        let awaited = match &self.fault {
            Some(_) => Some("the maps, which are not what they should be".to_owned()),
            None if self.exchange.as_ref().is_some_and(Exchange::awaits) => Some("what the peers know".to_owned()),
            None => waiting::awaited(&self.model),
        };
        let settled = self.writing.is_empty();
        let Some(Ownership { tracks, .. }) = &mut self.routers else { return };
        tracks.set_services(self.model.health_of_services());
        if awaited != self.awaited && (settled || awaited.is_some()) {
            self.tell_awaited(awaited);
        }
    }

    fn tell_awaited(&mut self, awaited: Option<String>) {
        if let Some(Ownership { routers, .. }) = &self.routers
            && routers.handle().await_before_preemption(awaited.clone()).is_ok()
        {
            self.awaited = awaited;
        }
    }
}

fn outcome(ended: Result<Result<()>, JoinError>) -> Result<()> {
    ended.unwrap_or_else(|error| Err(anyhow!("the task that writes them failed: {error}")))
}
