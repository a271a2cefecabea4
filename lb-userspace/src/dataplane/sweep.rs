//! A walk through the flow table, from its first line to its last: connections are counted, those that are over forgotten,
//! and slots found in which no remembered flow is another real's than the current one's.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lb_common::flow::{Flow, LINGERS, Stage};
use lb_common::header;
use lb_common::maps::{FlowKey, Loads, Service, Timeouts};

use super::loads::Tally;
use super::mapped::Mapped;
use super::remembered::{At, KeyReader, Remembered, is_template};
use super::slots::{Open, Slots, Words};
use super::{Dataplane, Desired, Error};

/// Connections of a real, by ipvsadm's columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Live {
    /// Packets go both ways, or one way for datagrams: ActiveConn.
    pub active: u64,
    /// One packet was seen, or the client said that it ends: InActConn.
    pub inactive: u64,
}

/// What a sweep found.
#[derive(Default)]
pub struct Swept {
    /// Remembered connections by service id and real's number.
    pub flows: BTreeMap<(u32, u16), Live>,
    /// Those of stateless services that are in the sample, likewise: one of [`SAMPLE`](lb_common::SAMPLE), whether its slot is settled or not.
    pub sampled: BTreeMap<(u32, u16), Live>,
    /// Entries of the table that are in use.
    pub used: u64,
    /// Numbers that entries and slots name, with their pools: none of them may be given to another real.
    pub named: HashSet<(u32, u16)>,
    open: Open,
    met: HashSet<(u32, u32)>,
    /// An entry whose key doesn't go with it: it may be any slot's.
    unknown: bool,
    /// Numbers that entries without keys name.
    anybodys: HashSet<u16>,
    tally: Tally,
    /// How long it took.
    pub took: Duration,
    /// The CPU's time of that.
    pub worked: Duration,
}

/// A sweep that is about to begin: all that it needs, so that it holds nobody up.
pub struct Sweep {
    table: Remembered,
    rules: Rules,
    loads: Arc<Mapped<Loads>>,
}

/// What a sweep makes of an entry, wherever the table lies.
#[derive(Debug, Clone)]
pub struct Rules {
    reader: KeyReader,
    reals: HashSet<u32>,
    open: Open,
    now: u32,
    timeouts: Timeouts,
}

impl Dataplane {
    /// Prepares a sweep.
    ///
    /// # Errors
    /// The clock can't be read.
    pub fn begin_sweep(&mut self) -> Result<Sweep, Error> {
        let (now, table) = (self.ticks()?, self.remembered());
        let reals = self.held_reals.keys().copied().collect();
        let open = self.slots.open(&self.maps.slots, super::clock::now(), self.applied.timeouts);
        let rules = Rules::new(table.reader().clone(), reals, open, (now, *table.timeouts()));
        Ok(Sweep::new(table, rules, self.maps.loads.clone()))
    }

    /// Sets live connections right, settles what a sweep has found settled, and gives up bases that have been silent for as
    /// long as a connection may be.
    ///
    /// # Errors
    /// A count can't be written, which can't be.
    pub fn end_sweep(&mut self, swept: &mut Swept) -> Result<(), Error> {
        swept.end(&mut self.slots, &mut self.maps.slots, &self.applied, super::clock::now());
        self.mend_loads(&std::mem::take(&mut swept.tally))
    }
}

impl Sweep {
    /// A walk through this table by these rules, with the live connections that were counted.
    pub fn new(table: Remembered, rules: Rules, loads: Arc<Mapped<Loads>>) -> Self {
        Self { table, rules, loads }
    }

    /// Walks through the whole table. It takes some 20 ms for a million entries.
    ///
    /// # Errors
    /// A line can't be read, which can't be.
    pub fn run(&self) -> Result<Swept, Error> {
        let mut swept = self.begin()?;
        self.part(&mut swept, 0..self.table.lines())?;
        Ok(swept)
    }

    /// Nothing found yet.
    ///
    /// # Errors
    /// A count of live connections can't be read, which can't be.
    pub fn begin(&self) -> Result<Swept, Error> {
        let tally = Tally::begin(&self.loads, self.table.services())?;
        Ok(Swept { tally, ..self.rules.begin() })
    }

    /// Walks through some lines.
    ///
    /// # Errors
    /// There is no such line.
    pub fn part(&self, swept: &mut Swept, lines: Range<u32>) -> Result<(), Error> {
        for line in lines {
            for (way, word) in self.table.words(line)?.into_iter().enumerate() {
                if let Some(flow) = Flow::of(word) {
                    let at = At { line, way };
                    // Where a packet came meanwhile, it isn't over.
                    let forget = || self.table.forget(at, word);
                    if let Some((key, service)) = self.rules.look(swept, line, flow, self.table.key(at), forget) {
                        self.table.renew(&key, service, flow.real, self.rules.renewed(flow));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Swept {
    /// Settles what was found settled, gives up bases that have been silent for as long as a connection may be, and notes the
    /// numbers that slots name. `now` is the clock of [`Slots`].
    pub fn end(&mut self, slots: &mut Slots, words: &mut impl Words, desired: &Desired, now: Duration) {
        if !self.unknown {
            slots.settle(words, &self.open, &self.met);
        }
        slots.give_up_bases(words, now, desired.timeouts.longest());
        for (start, ring) in &desired.rings {
            self.named.extend(slots.named(words, *start).into_iter().map(|number| (ring.pool, number)));
        }
        // They may be of any pool that has a real of this number.
        let all = desired.pools.iter().flat_map(|(pool, held)| held.reals.keys().map(|number| (*pool, *number)));
        self.named.extend(all.filter(|(_, number)| self.anybodys.contains(number)));
    }
}

impl Rules {
    /// For a table whose keys `reader` reads, and the reals in use by their indices in `reals`; `now` in ticks.
    pub fn new(reader: KeyReader, reals: HashSet<u32>, open: Open, (now, timeouts): (u32, Timeouts)) -> Self {
        Self { reader, reals, open, now, timeouts }
    }

    /// Nothing found yet.
    pub fn begin(&self) -> Swept {
        Swept { open: self.open.clone(), ..Swept::default() }
    }

    /// When the client of a flow is to have been seen last: as long as a connection is open, its client is there.
    fn renewed(&self, flow: Flow) -> u32 {
        if flow.stage == Stage::Open { self.now } else { flow.seen }
    }

    /// Looks at an entry of a line. `forget` frees its place, or tells that it has changed. Returns the connection whose client's
    /// template is to be renewed.
    pub fn look(
        &self,
        swept: &mut Swept,
        line: u32,
        flow: Flow,
        key: Option<FlowKey>,
        forget: impl FnOnce() -> bool,
    ) -> Option<(FlowKey, &Service)> {
        let known = key.and_then(|key| self.reader.known(line, key, flow));
        if self.is_over(flow, known) && forget() {
            return None;
        }
        swept.used += 1;
        let Some((key, service)) = known else {
            // A tracked service's opening connections have no keys yet, but where they are counted; those of others have.
            swept.unknown |= flow.stage != Stage::Opening;
            swept.anybodys.insert(flow.real);
            return None;
        };
        if is_template(&key, service) {
            return None;
        }
        swept.named.insert((service.reals, flow.real));
        swept.tally.meet(service, flow, self.now);
        let live = swept.flows.entry((service.id, flow.real)).or_default();
        match flow.stage {
            Stage::Open => live.active += 1,
            Stage::Opening => live.inactive += 1,
            Stage::Closing if flow.idle(self.now) <= LINGERS => live.inactive += 1,
            Stage::Closing => {}
        }
        if service.flags & Service::TRACKED == 0 && self.reader.is_sampled(&key, service) {
            let sampled = swept.sampled.entry((service.id, flow.real)).or_default();
            match flow.stage {
                // Nobody remembers its first packet.
                Stage::Open | Stage::Opening => sampled.active += 1,
                Stage::Closing if flow.idle(self.now) <= LINGERS => sampled.inactive += 1,
                Stage::Closing => {}
            }
        }
        // Where every flow is remembered, slots needn't be settled for them.
        if service.flags & Service::TRACKED == 0 && !self.open.is_empty() {
            let slot = self.reader.slot(&key, service);
            if self.open.current(service.ring, slot).is_some_and(|current| current != flow.real) {
                swept.met.insert((service.ring, slot));
            }
        }
        (service.flags & Service::PERSISTENT != 0 && flow.stage != Stage::Opening).then_some((key, service))
    }

    fn is_over(&self, flow: Flow, known: Option<(FlowKey, &Service)>) -> bool {
        let Some((key, service)) = known else { return flow.is_over(self.now, &self.timeouts, false) };
        // Of a real that is gone; that of a dead one may be another director's, which sees it otherwise.
        if !self.reals.contains(&(service.reals + u32::from(flow.real))) {
            return true;
        }
        if is_template(&key, service) {
            let once = flow.stage == Stage::Opening && flow.is_over(self.now, &self.timeouts, false);
            return once || flow.idle(self.now) > service.persistence_ticks();
        }
        let datagrams = service.key.protocol == header::protocol::UDP;
        // One that was seen once and has its key isn't a tracked service's new connection: of a slot that moved, it may be in
        // the midst of its life.
        let midst = flow.stage == Stage::Opening;
        let flow = if midst { Flow { stage: Stage::Open, ..flow } } else { flow };
        flow.is_over(self.now, &self.timeouts, datagrams)
    }
}

#[cfg(test)]
mod tests {
    use lb_common::flow::Place;
    use lb_common::maps::{Real, ServiceKey, mapped};
    use lb_common::{Ip, Ports, flow_hash, persist};

    use super::*;
    use crate::dataplane::Pool;

    const TIMEOUTS: Timeouts = Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 };
    const LINES: u32 = 64;

    /// What a sweep at second 1000 makes of a flow last seen at this second, with its key or without.
    fn swept(flags: u16, flow: (Stage, u32), with_key: bool) -> (Swept, bool) {
        swept_of(flags, flow, with_key.then_some([1, 2, 0, 80]))
    }

    /// The same of a flow with these ports, of a service that keeps clients for 300 ticks.
    fn swept_of(flags: u16, (stage, seen): (Stage, u32), ports: Option<[u8; 4]>) -> (Swept, bool) {
        let service_key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
        let service = Service {
            key: service_key,
            ring_size: 7,
            room: 8,
            flags,
            persistence: Service::persistent(300, 128),
            ..Service::FREE
        };
        let real = Real { flags: Real::USABLE, ..zerocopy::FromZeros::new_zeroed() };
        let desired = Desired {
            services: BTreeMap::from([(service_key, service)]),
            pools: BTreeMap::from([(0, Pool { room: 8, reals: BTreeMap::from([(3, real)]) })]),
            ..Desired::default()
        };
        let rules = Rules::new(KeyReader::new(&desired, LINES), HashSet::from([3]), Open::default(), (1000, TIMEOUTS));
        let key = FlowKey { client: mapped([10, 0, 0, 9]), ports: ports.unwrap_or([1, 2, 0, 80]), service: 0 };
        let client = Ip::from(key.client);
        let hash = if is_template(&key, &service) {
            persist::template(0, &service, client).1
        } else {
            flow_hash(0, client, Ip::from(service_key.address), Ports::of(key.ports), 6)
        };
        let place = Place::of(hash, LINES);
        let flow = Flow { tag: place.tag, seen, stage, real: 3 };
        let (mut swept, mut gone) = (rules.begin(), false);
        rules.look(&mut swept, place.lines[0], flow, ports.map(|_| key), || {
            gone = true;
            true
        });
        swept.end(&mut Slots::default(), &mut Vec::new(), &desired, Duration::ZERO);
        (swept, gone)
    }

    #[test]
    fn a_flow_that_a_moving_slot_has_met_once_is_remembered_as_long_as_an_open_one() {
        for flags in [0, Service::TRACKED] {
            assert!(!swept(flags, (Stage::Opening, 800), true).1);
            assert!(!swept(flags, (Stage::Open, 800), true).1);
            assert!(swept(flags, (Stage::Opening, 90), true).1);
            assert!(swept(flags, (Stage::Open, 90), true).1);
        }
        assert!(swept(Service::TRACKED, (Stage::Opening, 800), false).1, "a SYN that nothing followed");
    }

    #[test]
    fn a_client_is_remembered_for_as_long_as_the_service_says() {
        let flags = Service::TRACKED | Service::PERSISTENT;
        for (stage, seen, over) in [
            (Stage::Open, 700, false),
            (Stage::Open, 699, true),
            (Stage::Opening, 940, false),
            // One connection came, and nothing followed.
            (Stage::Opening, 930, true),
        ] {
            let (swept, gone) = swept_of(flags, (stage, seen), Some([0, 0, 0, 80]));
            assert_eq!(gone, over, "{stage:?} {seen}");
            assert!(swept.flows.is_empty() && swept.named.is_empty(), "it is no connection");
        }
    }

    #[test]
    fn a_number_is_named_by_entries_without_keys_too() {
        let (swept, gone) = swept(Service::TRACKED, (Stage::Opening, 990), false);
        assert!(!gone && swept.named.contains(&(0, 3)));
    }
}
