//! The flow table, as peers that are met are told of it, and what it takes to name its entries.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lb_common::maps::{Service, ServiceKey};

use super::words::told_flow;
use crate::agent::status::plain_address;
use crate::dataplane::{Dataplane, Error, Remembered};
use crate::peers::state;

/// A view is made anew after so long, if the maps aren't written before.
const LASTS: Duration = Duration::from_secs(60);

/// The table, services and reals as the maps have them, all of the same moment: a number means nothing without its pool.
pub(super) struct View {
    pub(super) table: Remembered,
    pub(super) services: HashMap<ServiceKey, Service>,
    pub(super) reals: HashMap<(u32, u16), IpAddr>,
    pub(super) numbers: HashMap<(u32, IpAddr), u16>,
    pub(super) tick: Duration,
    now: (u32, Instant),
}

impl View {
    /// As the maps are now.
    ///
    /// # Errors
    /// The clock can't be read.
    pub(super) fn new(dataplane: &mut Dataplane) -> Result<Self, Error> {
        let table = dataplane.remembered();
        let reals: HashMap<_, _> = dataplane.reals().map(|(place, real)| (place, plain_address(real))).collect();
        Ok(Self {
            services: table.services().map(|service| (service.key, *service)).collect(),
            numbers: reals.iter().map(|((pool, number), real)| ((*pool, *real), *number)).collect(),
            table,
            reals,
            tick: dataplane.time_of(1),
            now: (dataplane.ticks()?, Instant::now()),
        })
    }

    /// The clock's ticks.
    pub(super) fn now(&self) -> u32 {
        let (ticks, at) = self.now;
        let since = at.elapsed().as_nanos() / self.tick.as_nanos().max(1);
        // They wrap around as the clock's do.
        ticks.wrapping_add(since as u32)
    }

    /// From then on its clock may be off by what a tick is rounded to.
    pub(super) fn until(&self) -> Instant {
        self.now.1 + LASTS
    }

    /// Seconds that so many ticks are.
    pub(super) fn age(&self, ticks: u32) -> u32 {
        u32::try_from((self.tick * ticks).as_secs()).unwrap_or(u32::MAX)
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
        let now = view.now();
        let next = view.table.part(u32::try_from(part).ok()?, |at, flow| {
            if let Some((key, service)) = view.table.known(at, flow)
                && let Some(real) = view.reals.get(&(service.reals, flow.real))
            {
                flows.extend(told_flow(service.key, &key, *real, Some(flow.stage), view.age(flow.idle(now))));
            }
        });
        next.map(u64::from)
    }
}
