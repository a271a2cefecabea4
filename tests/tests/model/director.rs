//! A director without a kernel: the tables that the packet path reads, and the part of the agent that writes them.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may stop where its own tables are wrong")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lb_common::Opens;
use lb_common::flow::{Flow, Place};
use lb_common::maps::{
    Director as Head, Filter, FlowLine, FragmentEntry, Loads, NOBODY, Real, Service, ServiceKey, Table, Timeouts,
    mapped,
};
use lb_common::ring::Member;
use lb_common::slot::{Slot, State};
use lb_common::{Ip, Load, Query, Scheduler, flow_hash, recall, scale, source_hash};
use lb_userspace::dataplane::{
    Adopted, Arrays, At, Desired, FlowTimes, KeyReader, Mapped, Pool, Remembered, Ring, Room, Rules, Slots, Sweep,
    Swept, Turns, Words as _,
};
use lb_userspace::planner::allocation::{Allocation, Kept, PoolName};
use lb_userspace::planner::theirs::Theirs;
use lb_userspace::planner::told::Names;
use zerocopy::FromZeros;

use super::exchange::Told;
use super::wish::{Name, Opinion, VIP, Wish, address};

pub const TICK: Duration = Duration::from_secs(1);
/// In ticks.
pub const TIMEOUTS: Timeouts = Timeouts { tcp: 901, udp: 301, opening: 61, closing: 121 };
const ROOM: Room = Room { services: 4, reals: 256, slots: 1024 };

/// What maps hold: it outlives an agent.
pub struct Maps {
    pub head: Head,
    service: Option<Service>,
    reals: BTreeMap<u32, Real>,
    pub arrays: Arrays,
    turn: Cell<u64>,
    now: Cell<u32>,
}

impl lb_common::Tables for Maps {
    fn director(&self) -> Option<&Head> {
        Some(&self.head)
    }

    fn service(&self, _: u32) -> Option<&Service> {
        self.service.as_ref()
    }

    fn slot(&self, index: u32) -> Option<u32> {
        (index < ROOM.slots).then(|| self.arrays.slots.word(index))
    }

    fn real(&self, index: u32) -> Option<&Real> {
        self.reals.get(&index)
    }

    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        self.arrays.lines.pointer(index).ok()
    }

    fn note_key(&self, line: u32, way: usize, key: [u64; 3]) {
        let words = self.arrays.keys.entry(line).into_iter().flatten();
        words.skip(way * key.len()).zip(key).for_each(|(place, word)| place.store(word, Ordering::Relaxed));
    }

    fn fragment(&self, _: [u64; 5]) -> Option<FragmentEntry> {
        None
    }

    fn note_fragment(&self, _: [u64; 5], _: [u64; 2]) {}

    fn take_turn(&self, _: u32) -> Option<u64> {
        Some(self.turn.replace(self.turn.get() + 1))
    }

    fn load(&self, _: u32) -> Option<Load> {
        None
    }

    fn ticks(&self, _: u32) -> u32 {
        self.now.get()
    }
}

/// An agent, the maps that it writes, and what it knows of the other one.
pub struct Director {
    pub wish: Wish,
    /// It has the VIP.
    pub serving: bool,
    pub maps: Maps,
    pub desired: Desired,
    reader: KeyReader,
    pub slots: Slots,
    pub theirs: Theirs,
    pub told: Told,
    allocation: Allocation,
    /// Reals that left the configuration, and when.
    draining: BTreeMap<u8, u64>,
    walk: Option<(Sweep, Swept, u32, u64)>,
    /// No service of these counts its connections.
    loads: Arc<Mapped<Loads>>,
}

impl Director {
    pub fn new(wish: Wish, lines: u32, serving: bool, now: u64) -> Self {
        let head = Head {
            hash_seed: wish.hash_seed,
            tables: [Table::default(); 2],
            table: 0,
            flags: 0,
            flow_lines: lines,
            tick_shift: 0,
            timeouts: TIMEOUTS,
            vips: Filter::EMPTY,
            reals: Filter::EMPTY,
        };
        let arrays = Arrays {
            lines: Arc::new(Mapped::apart("flows", lines).unwrap()),
            keys: Arc::new(Mapped::apart("flow_keys", lines).unwrap()),
            slots: Arc::new(Mapped::apart("slots", ROOM.slots / 2).unwrap()),
        };
        let maps = Maps { head, service: None, reals: BTreeMap::new(), arrays, turn: Cell::new(0), now: Cell::new(0) };
        let mut director = Self {
            wish,
            serving,
            maps,
            desired: Desired::default(),
            reader: KeyReader::new(&Desired::default(), lines),
            slots: Slots::default(),
            theirs: Theirs::default(),
            told: Told::default(),
            allocation: Allocation::adopt(&Adopted::default(), ROOM),
            draining: BTreeMap::new(),
            walk: None,
            loads: Arc::new(Mapped::apart("loads", 1).unwrap()),
        };
        director.at(now);
        director.apply(now);
        director
    }

    pub fn at(&mut self, now: u64) {
        self.maps.now.set(now as u32);
    }

    /// A reload: a real that isn't named any more drains.
    pub fn configure(&mut self, change: impl FnOnce(&mut Wish), now: u64) {
        let before: Vec<u8> = self.wish.weights.keys().copied().collect();
        change(&mut self.wish);
        self.draining.extend(before.into_iter().map(|real| (real, now)));
        self.apply(now);
    }

    /// The reals that it has, with their weights: those that it is configured with, and those that drain.
    pub fn reals(&self) -> Vec<(u8, u32)> {
        let weights = self.wish.weights.iter().map(|(real, weight)| (*real, *weight));
        weights.chain(self.draining.keys().map(|real| (*real, 0))).collect()
    }

    /// Whether it has this real.
    pub fn has(&self, real: u8) -> bool {
        self.wish.weights.contains_key(&real) || self.draining.contains_key(&real)
    }

    /// What follows from the wish, as the planner has it, in the maps.
    pub fn apply(&mut self, now: u64) {
        let weights = &self.wish.weights;
        self.draining.retain(|real, _| !weights.contains_key(real));
        let key =
            ServiceKey { address: mapped(VIP), port: 80u16.to_be_bytes(), protocol: self.wish.protocol, reserved: 0 };
        let name = PoolName::Of(key);
        let all = self.reals();
        let addresses: BTreeSet<_> = all.iter().map(|(real, _)| address(*real)).collect();
        let parts = self.allocation.groups(BTreeMap::from([(name, vec![(key, ())])]));
        let group = parts[0].group;
        let (room, numbers) = self.allocation.reals(group, &addresses);
        let (mut reals, mut members) = (BTreeMap::new(), Vec::new());
        for (real, weight) in all {
            let (number, opinion) = (numbers[&address(real)], self.wish.opinion(real));
            let flags = Real::IN_USE | if opinion == Opinion::Down { 0 } else { Real::USABLE };
            let entry = Real { address: address(real), flags, pool: room.start, weight, ..Real::new_zeroed() };
            reals.insert(number, entry);
            if weight > 0 && opinion == Opinion::Up {
                members.push(Member { address: address(real), weight, real: number });
            }
        }
        let (seed, size) = (self.wish.hash_seed, self.wish.ring_size);
        let ring = self.allocation.ring(group, size);
        let mut service = Service {
            key,
            id: self.allocation.id(key),
            ring: ring.start,
            ring_size: size,
            reals: room.start,
            counters: self.allocation.counters(key, room.length).start,
            room: room.length,
            flags: self.wish.flags,
            ..Service::FREE
        };
        let mut desired = Desired { hash_seed: seed, ..Desired::default() };
        if service.flags & Service::TRACKED != 0 {
            let turns = Turns::new(Scheduler::Wrr, &members);
            service.turns = self.allocation.turns(key, turns.words()).start;
            desired.turns.insert(service.turns, turns);
        }
        desired.pools.insert(room.start, Pool { room: room.length, reals });
        let mut taken = if self.serving { None } else { self.theirs.words(key, size, &numbers) };
        if let Some(taken) = &mut taken {
            taken.loose = service.flags & Service::TRACKED == 0 && self.theirs.tracks(key);
        }
        let in_use = self.serving;
        let holds = !in_use && taken.is_none();
        desired.rings.insert(ring.start, Ring { pool: room.start, seed, size, members, in_use, taken, holds });
        desired.services.insert(key, service);
        let groups = BTreeMap::from([(group, (BTreeSet::from([size]), addresses))]);
        self.allocation.keep(&Kept { services: BTreeSet::from([key]), groups, interfaces: BTreeSet::new() });
        self.write(desired, service, now);
    }

    fn write(&mut self, desired: Desired, service: Service, now: u64) {
        let loosened = desired.loosened(&self.desired.services);
        let mut words = self.maps.arrays.slots.clone();
        self.slots.write(&mut words, &desired, &loosened, Duration::from_secs(now));
        for (start, turns) in &desired.turns {
            words.put(*start, turns.entries().len() as u32);
            (start + 1..).zip(turns.entries()).for_each(|(index, number)| words.put(index, *number));
        }
        self.maps.head.hash_seed = desired.hash_seed;
        self.maps.reals = desired.reals().map(|(index, real)| (index, *real)).collect();
        self.maps.service = Some(service);
        self.reader = KeyReader::new(&desired, self.lines());
        self.desired = desired;
    }

    pub fn service(&self) -> Service {
        self.maps.service.unwrap_or(Service::FREE)
    }

    fn hash(&self, name: Name) -> u64 {
        let vip = Ip::from(mapped(VIP));
        flow_hash(self.maps.head.hash_seed, name.address(), vip, name.ports(), self.wish.protocol)
    }

    /// The word of a connection's slot.
    pub fn slot(&self, name: Name) -> Slot {
        let service = self.service();
        let by_source = service.flags & Service::BY_SOURCE != 0;
        let seed = self.maps.head.hash_seed;
        let hash = if by_source { source_hash(seed, name.address()) } else { self.hash(name) };
        Slot::of(self.maps.arrays.slots.word(service.ring + scale(hash, service.ring_size)))
    }

    /// Who takes a packet, as `lb_common::select` asks; `None` for nobody.
    pub fn packet(&self, name: Name, opens: Opens) -> Option<u8> {
        let (service, slot) = (self.service(), self.slot(name));
        let tracked = service.flags & Service::TRACKED != 0;
        let alone = service.flags & Service::QUERY != 0 && opens == Opens::Unknown;
        let number = if !tracked && (slot.is_settled() || alone) {
            slot.current
        } else {
            let (hash, client, ports) = (self.hash(name), name.address(), name.ports());
            let query = Query::new((hash, client, ports), 0, slot, opens).words();
            let answer = recall(&self.maps, query);
            if !answer.connection && self.living(answer.number).is_none() {
                recall(&self.maps, Query::again(query)).number
            } else {
                answer.number
            }
        };
        self.living(number).map(|real| real.address[15])
    }

    /// The real of this number, if frames may be sent to it.
    fn living(&self, number: u16) -> Option<&Real> {
        let real = self.maps.reals.get(&(self.service().reals + u32::from(number)));
        real.filter(|real| number != NOBODY && real.flags & Real::USABLE != 0)
    }

    pub fn place(&self, name: Name) -> Place {
        Place::of(self.hash(name), self.maps.head.flow_lines)
    }

    /// The flow table, as the agent has it.
    pub fn table(&self) -> Remembered {
        Remembered::new(self.reader.clone(), TIMEOUTS, self.maps.arrays.clone())
    }

    /// What names its entries.
    pub fn names(&self) -> Names {
        let pools = self.desired.pools.iter();
        let reals =
            pools.flat_map(|(pool, held)| held.reals.iter().map(|(number, real)| ((*pool, *number), real.address)));
        Names::new(self.table(), reals, TICK)
    }

    /// Lines of its table.
    pub fn lines(&self) -> u32 {
        self.maps.head.flow_lines
    }

    /// What a connection's two lines hold.
    pub fn around(&self, name: Name) -> Vec<Flow> {
        self.entries_around(self.place(name)).into_iter().map(|(_, flow)| flow).collect()
    }

    /// Their tags.
    pub fn tags_around(&self, name: Name) -> Vec<u32> {
        self.around(name).iter().map(|flow| flow.tag).collect()
    }

    fn entries_around(&self, place: Place) -> Vec<(At, Flow)> {
        let mut entries = Vec::new();
        for line in place.lines {
            let words = self.maps.arrays.lines.get(line).unwrap().words;
            let flows = words.into_iter().enumerate().map(|(way, word)| (At { line, way }, Flow::of(word)));
            entries.extend(flows.filter_map(|(at, flow)| Some((at, flow?))));
        }
        entries
    }

    pub fn entry(&self, name: Name) -> Option<Flow> {
        let tag = self.place(name).tag;
        self.around(name).into_iter().find(|flow| flow.tag == tag)
    }

    /// Whether a sweep sees whose a connection's entry is.
    pub fn is_known(&self, name: Name) -> bool {
        let (place, table) = (self.place(name), self.table());
        let mut entries = self.entries_around(place).into_iter().filter(|(_, flow)| flow.tag == place.tag);
        entries.any(|(at, flow)| table.known(at, flow).is_some())
    }

    /// A real is marked as one that has died, and the slots aren't written yet.
    pub fn die_unnoticed(&mut self, real: u8) {
        for held in self.maps.reals.values_mut().filter(|held| held.address == address(real)) {
            held.flags &= !Real::USABLE;
        }
    }

    pub fn is_tracked(&self) -> bool {
        self.service().flags & Service::TRACKED != 0
    }

    pub fn unsettled(&self) -> usize {
        self.slots.unsettled()
    }

    /// The next step of the walk through the table, of so many lines.
    pub fn sweep(&mut self, lines: u32, now: u64) {
        let (sweep, mut swept, from, began) = self.walk.take().unwrap_or_else(|| {
            let reals = self.maps.reals.keys().copied().collect();
            let open = self.slots.open(&self.maps.arrays.slots, Duration::from_secs(now), FlowTimes::default());
            let table = self.table();
            let rules = Rules::new(table.reader().clone(), reals, open, (now as u32, TIMEOUTS));
            let sweep = Sweep::new(table, rules, self.loads.clone());
            let swept = sweep.begin().unwrap();
            (sweep, swept, 0, now)
        });
        let end = from.saturating_add(lines).min(self.lines());
        sweep.part(&mut swept, from..end).unwrap();
        if end < self.lines() {
            self.walk = Some((sweep, swept, end, began));
            return;
        }
        let mut words = self.maps.arrays.slots.clone();
        swept.end(&mut self.slots, &mut words, &self.desired, Duration::from_secs(now));
        let service = self.service();
        let pool = self.desired.pools.get(&service.reals).map(|pool| pool.reals.clone()).unwrap_or_default();
        let number = |real: u8| pool.iter().find(|(_, held)| held.address == address(real)).map(|(number, _)| *number);
        let before = self.draining.len();
        self.draining.retain(|real, since| {
            *since >= began || number(*real).is_none_or(|number| swept.named.contains(&(service.reals, number)))
        });
        if self.draining.len() != before {
            self.apply(now);
        }
    }

    /// The agent ends and another adopts what the maps hold.
    pub fn restart(&mut self, now: u64) {
        let service = self.service();
        let pools = self.desired.pools.iter().map(|(start, pool)| (*start, pool.reals.clone())).collect();
        let turns = self.desired.turns.iter().map(|(start, turns)| (*start, turns.entries().len() as u32)).collect();
        let services = BTreeMap::from([(service.key, service)]);
        let adopted = Adopted { services, pools, turns, ..Adopted::default() };
        self.allocation = Allocation::adopt(&adopted, ROOM);
        self.slots = Slots::default();
        self.slots.adopt(&self.maps.arrays.slots, service.ring, service.ring_size, Duration::from_secs(now));
        self.walk = None;
        self.told.start_anew();
        self.theirs = Theirs::default();
        // Reals that are in the maps and not in the file go on draining.
        self.draining.values_mut().for_each(|since| *since = now);
        self.apply(now);
    }

    /// Slots whose base waits.
    pub fn is_moving(&self, name: Name) -> bool {
        self.slot(name).state() == State::Moving
    }
}
