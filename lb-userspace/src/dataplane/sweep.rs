//! A walk through the flow table, from its first line to its last: connections are counted, those that are over forgotten,
//! and slots found in which no remembered flow is another real's than the current one's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lb_common::flow::{Flow, Place, Stage};
use lb_common::maps::{FlowKey, FlowKeys, FlowLine, Real, Service, Timeouts};
use lb_common::{Hash, Ip, Ports, flow_hash, header, scale, source_hash};

use super::mapped::Mapped;
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
    services: HashMap<u32, Service>,
    usable: HashSet<u32>,
    open: Open,
    seed: u64,
    now: u32,
    timeouts: Timeouts,
    lines: Arc<Mapped<FlowLine>>,
    keys: Arc<Mapped<FlowKeys>>,
}

impl Dataplane {
    /// Prepares a sweep.
    ///
    /// # Errors
    /// The clock can't be read.
    pub fn begin_sweep(&mut self) -> Result<Sweep, Error> {
        let now = self.ticks()?;
        let usable = self.held_reals.iter().filter(|(_, real)| real.flags & Real::USABLE != 0);
        Ok(Sweep {
            services: self.applied.services.values().map(|service| (service.id, *service)).collect(),
            usable: usable.map(|(index, _)| *index).collect(),
            open: self.slots.open(&self.maps.slots),
            seed: self.applied.hash_seed,
            now,
            timeouts: self.clock.timeouts(self.applied.timeouts),
            lines: self.maps.flows.clone(),
            keys: self.maps.flow_keys.clone(),
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
        for line in 0..self.lines.len() {
            for (way, word) in self.lines.entry(line)?.enumerate() {
                let held = word.load(Ordering::Relaxed);
                if let Some(flow) = Flow::of(held) {
                    self.look(&mut swept, (line, way), (word, held), flow)?;
                }
            }
        }
        Ok(swept)
    }

    fn look(
        &self,
        swept: &mut Swept,
        (line, way): (u32, usize),
        (word, held): (&AtomicU64, u64),
        flow: Flow,
    ) -> Result<(), Error> {
        let key = self.keys.get(line)?.keys.get(way).copied();
        let known = key.and_then(|key| Some((key, *self.services.get(&key.service)?)));
        let known = known.filter(|(key, service)| {
            let place = Place::of(own_hash(self.seed, key, service), self.lines.len());
            place.tag == flow.tag && place.lines.contains(&line)
        });
        let datagrams = known.is_some_and(|(_, service)| service.key.protocol == header::protocol::UDP);
        // Its real is dead, and its next packet would say so.
        let dead = known.is_some_and(|(_, service)| !self.usable.contains(&(service.reals + u32::from(flow.real))));
        if dead || flow.is_over(self.now, &self.timeouts, datagrams) {
            // Where a packet came meanwhile, it isn't over.
            if word.compare_exchange(held, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
        swept.used += 1;
        let Some((key, service)) = known else {
            // A tracked service's opening connections have no keys yet, and those of others have.
            swept.unknown |= flow.stage != Stage::Opening;
            return Ok(());
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
            let slot = scale(slot_hash(self.seed, &key, &service), service.ring_size);
            if self.open.current(service.ring, slot).is_some_and(|current| current != flow.real) {
                swept.met.insert((service.ring, slot));
            }
        }
        Ok(())
    }
}

/// The hash by which a flow finds its place in the table.
fn own_hash(seed: u64, key: &FlowKey, service: &Service) -> Hash {
    let (client, vip) = (Ip::from(key.client), Ip::from(service.key.address));
    flow_hash(seed, client, vip, Ports::of(key.ports), service.key.protocol)
}

/// The hash by which a flow finds its slot.
fn slot_hash(seed: u64, key: &FlowKey, service: &Service) -> Hash {
    if service.flags & Service::BY_SOURCE != 0 {
        return source_hash(seed, Ip::from(key.client));
    }
    own_hash(seed, key, service)
}
