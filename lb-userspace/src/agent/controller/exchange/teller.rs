//! What is told of the maps: rings by whoever has written them, connections by a look at the table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bulk::{Shared, View};
use crate::dataplane::{Dataplane, Error, Hears, ToldRing, Watch, clock};
use crate::peers::state::{Member, ServiceId};
use crate::peers::{self, Change};
use crate::planner::told::service_key;

/// Connections that are told at once.
const BATCH: usize = 1024;

/// Tells the peers of what the maps hold.
pub(in crate::agent::controller) struct Teller {
    pub(super) handle: peers::Handle,
    pub(super) shared: Arc<Shared>,
    told: Mutex<ToldRings>,
    /// Slots' words have changed since the table was looked at.
    changed: AtomicBool,
}

/// What was told of rings. It is locked only by those who have the data plane.
#[derive(Default)]
struct ToldRings {
    members: BTreeMap<ServiceId, Arc<Vec<Member>>>,
    rings: BTreeMap<u32, ToldRing>,
}

/// The members of the services, as a write of the maps has them; those of a pool have them in common.
pub(in crate::agent::controller) type Members = Vec<(Vec<ServiceId>, Arc<Vec<Member>>)>;

impl Teller {
    pub(super) fn new(handle: peers::Handle, shared: Arc<Shared>) -> Self {
        Self { handle, shared, told: Mutex::default(), changed: AtomicBool::new(false) }
    }

    /// Tells what was just written: the reals of each service and the words of their rings, which mean nothing without each
    /// other.
    ///
    /// # Errors
    /// The clock can't be read.
    pub(in crate::agent::controller) fn wrote(&self, dataplane: &mut Dataplane, members: Members) -> Result<(), Error> {
        self.shared.set_view(View::new(dataplane)?);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut told.members);
        for (services, members) in members {
            let is_news = |id: &ServiceId| before.remove(id).is_none_or(|held| held != members);
            let news: Vec<ServiceId> = services.iter().copied().filter(is_news).collect();
            told.members.extend(services.into_iter().map(|id| (id, members.clone())));
            if !news.is_empty() {
                self.handle.tell(Change::Members(news, members.to_vec()));
            }
        }
        drop(told);
        self.tell_slots(dataplane);
        Ok(())
    }

    /// A service left the configuration. If it comes again, all is told anew.
    pub(super) fn gone(&self, id: ServiceId) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.members.remove(&id);
        told.rings.values_mut().for_each(|ring| ring.forget(&service_key(&id)));
        self.handle.tell(Change::Gone(id));
    }

    /// Tells the words that have changed. The data plane is the caller's meanwhile, so that words are told in their order.
    pub(in crate::agent::controller) fn tell_slots(&self, dataplane: &Dataplane) {
        let view = self.shared.view();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for news in dataplane.slot_news(&mut told.rings) {
            self.handle.tell(view.names.slots(&news));
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Tells of the connections that are news. How many there were, and how much of a CPU's time it took.
    pub(super) fn look(&self, watch: &mut Watch) -> (usize, Duration) {
        let (began, view) = (clock::worked(), self.shared.view());
        let (mut flows, mut count) = (Vec::new(), 0);
        let changed = self.changed.swap(false, Ordering::AcqRel);
        watch.look(&view.names.table, view.now(), changed, |news| {
            if !self.shared.serves(&news.service) {
                return Hears::Nobody;
            }
            let Some(flow) = view.names.news(&news) else { return Hears::Later };
            flows.push(flow);
            count += 1;
            if flows.len() >= BATCH {
                self.handle.tell(Change::Flows(std::mem::take(&mut flows)));
            }
            Hears::Others
        });
        if !flows.is_empty() {
            self.handle.tell(Change::Flows(flows));
        }
        (count, clock::worked().saturating_sub(began))
    }
}
