//! The flow table, as peers that are met are told of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lb_common::flow::Flow;

use crate::dataplane::{At, Remembered};
use crate::peers::state;
use crate::planner::told;

/// Lines of the table that are read as one part of bulk.
const PART: u64 = 512;

/// What bulk is read by.
pub(super) struct Shared {
    pub(super) table: Remembered,
    pub(super) reals: HashMap<(u32, u16), IpAddr>,
    pub(super) now: (u32, Instant),
    pub(super) tick: Duration,
}

impl Shared {
    pub(super) fn now(&self) -> u32 {
        let (ticks, at) = self.now;
        let since = at.elapsed().as_millis() / self.tick.as_millis().max(1);
        ticks.wrapping_add(u32::try_from(since).unwrap_or_default())
    }
}

/// The table, as peers that are met are told of it.
pub(super) struct Bulk {
    pub(super) shared: Arc<Mutex<Shared>>,
}

impl state::Flows for Bulk {
    fn read(&self, part: u64, flows: &mut Vec<state::Flow>) -> Option<u64> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = u64::from(shared.table.lines());
        let end = (part + PART).min(lines);
        let now = shared.now();
        for line in part..end {
            let line = u32::try_from(line).ok()?;
            for (way, word) in shared.table.words(line).ok()?.into_iter().enumerate() {
                let at = At { line, way };
                let Some(flow) = Flow::of(word).filter(|flow| shared.table.is_told(at, *flow)) else { continue };
                let Some((key, service)) = shared.table.known(at, flow) else { continue };
                let Some(real) = shared.reals.get(&(service.reals, flow.real)) else { continue };
                let age = shared.tick * flow.idle(now);
                flows.push(told::flow((service.key, &key), *real, Some(flow.stage), age));
            }
        }
        (end < lines).then_some(end)
    }
}
