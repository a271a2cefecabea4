//! Live connections of reals, by which `lc`, `wlc`, `sed` and `nq` choose.
//!
//! The packet path adds and takes away as connections open and close. It can't know of those that end in silence, are pushed
//! out of the flow table, or belong to a real that died: what a walk through the table has counted says so, about once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::flow::{Flow, LINGERS, Stage};
use lb_common::maps::{Loads, Service};

use super::mapped::Mapped;
use super::{Dataplane, Error};

/// The counts of services whose schedulers go by them, while the flow table is walked through.
#[derive(Default)]
pub(super) struct Tally {
    /// By their index in `loads`: what was there before, and what the walk has met.
    counts: BTreeMap<u32, Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    before: [u64; 2],
    met: [u64; 2],
}

impl Tally {
    /// Begins a walk.
    pub(super) fn begin<'a>(
        loads: &Arc<Mapped<Loads>>,
        services: impl Iterator<Item = &'a Service>,
    ) -> Result<Self, Error> {
        let mut tally = Self::default();
        for service in services.filter(|service| service.flags & Service::COUNTED != 0) {
            for number in 1..service.room {
                let index = service.counters.saturating_add(number);
                let Loads { active, inactive } = loads.get(index)?;
                tally.counts.insert(index, Count { before: [active, inactive], met: [0; 2] });
            }
        }
        Ok(tally)
    }

    /// The walk meets a connection.
    pub(super) fn meet(&mut self, service: &Service, flow: Flow, now: u32) {
        let index = service.counters.saturating_add(u32::from(flow.real));
        let Some(count) = self.counts.get_mut(&index).filter(|_| u32::from(flow.real) < service.room) else { return };
        let [active, inactive] = &mut count.met;
        match flow.stage {
            Stage::Open | Stage::Opening => *active += 1,
            Stage::Closing if flow.idle(now) <= LINGERS => *inactive += 1,
            Stage::Closing => {}
        }
    }
}

impl Dataplane {
    /// Sets the counts right. What the packet path has added during the walk stays: the walk is taken to have met half of it, and
    /// a count that is off by no more than that has changed may be right.
    pub(super) fn mend_loads(&self, tally: &Tally) -> Result<(), Error> {
        for (index, count) in &tally.counts {
            let words = self.maps.loads.entry(*index)?;
            words.zip(count.before).zip(count.met).for_each(|((word, before), met)| mend(word, before, met));
        }
        Ok(())
    }

    /// A service that is new starts from nothing; one whose counts are elsewhere now takes them along.
    pub(super) fn move_loads(&self, held: Option<Service>, service: &Service) -> Result<(), Error> {
        for number in 0..service.room {
            let before = held.filter(|held| number < held.room);
            let value = match before {
                Some(held) => self.maps.loads.get(held.counters + number)?,
                None => Loads::default(),
            };
            self.maps.loads.set(service.counters + number, value)?;
        }
        Ok(())
    }
}

fn mend(word: &AtomicU64, before: u64, met: u64) {
    let now = word.load(Ordering::Relaxed);
    let change = now.wrapping_sub(before).cast_signed();
    let wrong = met.wrapping_sub(before.wrapping_add((change / 2).cast_unsigned()));
    if wrong.cast_signed().unsigned_abs() > change.unsigned_abs() {
        word.fetch_add(wrong, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(before: u64, now: u64, met: u64) -> i64 {
        let word = AtomicU64::new(now);
        mend(&word, before, met);
        word.into_inner().cast_signed()
    }

    #[test]
    fn a_count_at_rest_becomes_what_was_met() {
        for (held, met) in [(0, 7), (7, 0), (7, 7), (u64::MAX, 2), (3, 1000)] {
            assert_eq!(mended(held, held, met), met.cast_signed(), "{held}");
        }
    }

    /// What came during the walk is neither counted twice nor lost.
    #[test]
    fn a_count_that_moves_keeps_its_course() {
        assert_eq!(mended(100, 120, 110), 120);
        assert_eq!(mended(100, 80, 90), 80);
        assert_eq!(mended(130, 150, 110), 120, "30 that had ended");
        assert_eq!(mended(u64::MAX - 4, 5, 11), 16, "it was below zero");
    }

    /// All that came was met, or nothing of it.
    #[test]
    fn a_count_that_may_be_right_is_left_alone() {
        assert_eq!(mended(100, 160, 160), 160);
        assert_eq!(mended(100, 160, 100), 160);
        assert_eq!(mended(160, 100, 100), 100);
    }
}
