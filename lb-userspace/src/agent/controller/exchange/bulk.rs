//! The flow table, as peers that are met are told of it, and what it takes to name its entries.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lb_common::maps::ServiceKey;

use crate::dataplane::{Dataplane, Error};
use crate::peers::state;
use crate::planner::told::Names;

/// A view is made anew after so long, if the maps aren't written before.
const LASTS: Duration = Duration::from_secs(60);

/// The table and what names its entries, of one moment, and the clock.
pub(super) struct View {
    pub(super) names: Names,
    now: (u32, Instant),
}

impl View {
    /// As the maps are now.
    ///
    /// # Errors
    /// The clock can't be read.
    pub(super) fn new(dataplane: &mut Dataplane) -> Result<Self, Error> {
        let names = Names::new(dataplane.remembered(), dataplane.reals(), dataplane.time_of(1));
        Ok(Self::of(names, dataplane.ticks()?))
    }

    /// What these names name, by a clock that has so many ticks now.
    pub(super) fn of(names: Names, ticks: u32) -> Self {
        Self { names, now: (ticks, Instant::now()) }
    }

    /// The clock's ticks.
    pub(super) fn now(&self) -> u32 {
        let (ticks, at) = self.now;
        let since = at.elapsed().as_nanos() / self.names.tick.as_nanos().max(1);
        // They wrap around as the clock's do.
        ticks.wrapping_add(since as u32)
    }

    /// From then on its clock may be off by what a tick is rounded to.
    pub(super) fn until(&self) -> Instant {
        self.now.1 + LASTS
    }
}

/// What those share who tell of the table and read it.
pub(super) struct Shared {
    view: RwLock<Arc<View>>,
    /// Services of which others hear. One is put in before they hear that it is served, for they are then told what the table
    /// has, and it is taken out after they have heard that it isn't.
    pub(super) serving: RwLock<HashSet<ServiceKey>>,
}

impl Shared {
    pub(super) fn new(view: View) -> Self {
        Self { view: RwLock::new(Arc::new(view)), serving: RwLock::default() }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(super) fn serves(&self, service: &ServiceKey) -> bool {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).contains(service)
    }
}

/// The table, as peers that are met are told of it.
pub(super) struct Bulk {
    pub(super) shared: Arc<Shared>,
}

impl state::Flows for Bulk {
    fn read(&self, part: u64, flows: &mut Vec<state::Flow>) -> Option<u64> {
        let view = self.shared.view();
        let (names, now) = (&view.names, view.now());
        let next = names.table.part(u32::try_from(part).ok()?, |at, flow| flows.extend(names.entry(at, flow, now)));
        next.map(u64::from)
    }
}
