//! A walk through the flow table, from its first line to its last: connections are counted, those that are over forgotten,
//! and slots found in which no remembered flow is another real's than the current one's.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use lb_common::flow::{Flow, Stage};
use lb_common::header;
use lb_common::maps::Service;

use super::remembered::{At, Remembered};
use super::slots::Open;
use super::{Dataplane, Error};

/// A closing connection that has been silent for so many ticks counts no more, though its entry stays for packets that come late.
const LINGERS: u32 = 2;

/// Connections of a real, by ipvsadm's columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Live {
    /// Packets go both ways, or one way for datagrams: ActiveConn.
    pub active: u64,
    /// One packet was seen, or the client said that it ends: InActConn.
    pub inactive: u64,
}

/// What a sweep found.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// Remembered connections by service id and real's number.
    pub flows: BTreeMap<(u32, u16), Live>,
    /// Entries of the table that are in use.
    pub used: u64,
    /// Numbers that entries and slots name, with their pools: none of them may be given to another real.
    pub named: HashSet<(u32, u16)>,
    open: Open,
    met: HashSet<(u32, u32)>,
    /// An entry whose key doesn't go with it: it may be any slot's.
    unknown: bool,
    /// How long it took.
    pub took: Duration,
}

/// A sweep that is about to begin: all that it needs, so that it holds nobody up.
pub struct Sweep {
    table: Remembered,
    /// Reals that are in use, by their index.
    reals: HashSet<u32>,
    open: Open,
    now: u32,
}

impl Dataplane {
    /// Prepares a sweep.
    ///
    /// # Errors
    /// The clock can't be read.
    pub fn begin_sweep(&mut self) -> Result<Sweep, Error> {
        let now = self.ticks()?;
        Ok(Sweep {
            table: self.remembered(),
            reals: self.held_reals.keys().copied().collect(),
            open: self.slots.open(&self.maps.slots),
            now,
        })
    }

    /// Settles what a sweep has found settled, and gives up bases that have been silent for as long as a connection may be.
    pub fn end_sweep(&mut self, swept: &mut Swept) {
        if !swept.unknown {
            self.slots.settle(&mut self.maps.slots, &swept.open, &swept.met);
        }
        self.slots.give_up_bases(&mut self.maps.slots, super::clock::now(), self.applied.timeouts.tcp);
        for (start, ring) in &self.applied.rings {
            let named = self.slots.named(&self.maps.slots, *start);
            swept.named.extend(named.into_iter().map(|number| (ring.pool, number)));
        }
    }
}

impl Sweep {
    /// Walks through the whole table. It takes some 20 ms for a million entries.
    ///
    /// # Errors
    /// A line can't be read, which can't be.
    pub fn run(&self) -> Result<Swept, Error> {
        let mut swept = Swept { open: self.open.clone(), ..Swept::default() };
        for line in 0..self.table.lines() {
            for (way, word) in self.table.words(line)?.into_iter().enumerate() {
                if let Some(flow) = Flow::of(word) {
                    self.look(&mut swept, At { line, way }, word, flow);
                }
            }
        }
        Ok(swept)
    }

    fn look(&self, swept: &mut Swept, at: At, word: u64, flow: Flow) {
        let known = self.table.known(at, flow);
        let datagrams = known.is_some_and(|(_, service)| service.key.protocol == header::protocol::UDP);
        // Of a real that is gone; that of a dead one may be another director's, which sees it otherwise.
        let gone = known.is_some_and(|(_, service)| !self.reals.contains(&(service.reals + u32::from(flow.real))));
        // Where a packet came meanwhile, it isn't over.
        if (gone || flow.is_over(self.now, self.table.timeouts(), datagrams)) && self.table.forget(at, word) {
            return;
        }
        swept.used += 1;
        let Some((key, service)) = known else {
            // A tracked service's opening connections have no keys yet, and those of others have.
            swept.unknown |= flow.stage != Stage::Opening;
            return;
        };
        swept.named.insert((service.reals, flow.real));
        let live = swept.flows.entry((service.id, flow.real)).or_default();
        match flow.stage {
            Stage::Open => live.active += 1,
            Stage::Opening => live.inactive += 1,
            Stage::Closing if flow.idle(self.now) <= LINGERS => live.inactive += 1,
            Stage::Closing => {}
        }
        // Where every flow is remembered, slots needn't be settled for them.
        if service.flags & Service::TRACKED == 0 && !self.open.is_empty() {
            let slot = self.table.slot(&key, service);
            if self.open.current(service.ring, slot).is_some_and(|current| current != flow.real) {
                swept.met.insert((service.ring, slot));
            }
        }
    }
}
