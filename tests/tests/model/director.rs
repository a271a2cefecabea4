//! A director without a kernel: the tables that the packet path reads, and the part of the agent that writes them.
#![expect(clippy::indexing_slicing, reason = "a test may stop where its own tables are wrong")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_common::Opens;
use lb_common::flow::{Flow, Place, Stage};
use lb_common::maps::{
    Director as Head, Filter, FlowKeys, FlowLine, FragmentEntry, NOBODY, Real, Service, ServiceKey, Table, Timeouts,
    mapped,
};
use lb_common::ring::Member;
use lb_common::slot::{Slot, State};
use lb_common::{Ip, Ports, Query, flow_hash, recall, scale, source_hash};
use lb_userspace::dataplane::{
    Adopted, Desired, FlowTimes, KeyReader, Pool, Ring, Room, Rules, Slots, Swept, Taken, Turns, Words as _,
};
use lb_userspace::planner::allocation::{Allocation, Kept, PoolName};
use zerocopy::FromZeros;

/// A tick is a second here.
pub const TIMEOUTS: Timeouts = Timeouts { tcp: 901, udp: 301, opening: 61, closing: 121 };
const ROOM: Room = Room { services: 4, reals: 256, slots: 1024 };

/// What a director thinks of a real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    Up,
    /// It answers wrongly: it keeps its connections.
    Quiesced,
    Down,
}

/// What a director wants of its only service.
#[derive(Debug, Clone)]
pub struct Wish {
    pub protocol: u8,
    pub flags: u16,
    pub ring_size: u32,
    pub hash_seed: u64,
    /// By the last byte of the real's address.
    pub weights: BTreeMap<u8, u32>,
    pub opinions: BTreeMap<u8, Opinion>,
}

impl Wish {
    pub fn opinion(&self, real: u8) -> Opinion {
        self.opinions.get(&real).copied().unwrap_or(Opinion::Up)
    }
}

/// A connection's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    pub client: u32,
    pub port: u16,
}

impl Name {
    fn address(self) -> Ip {
        let [a, b, c, d] = self.client.to_be_bytes();
        Ip::from(mapped([a, b, c, d]))
    }

    fn ports(self) -> Ports {
        let [a, b] = self.port.to_be_bytes();
        Ports::of([a, b, 0, 80])
    }
}

/// What maps hold: it outlives an agent.
pub struct Maps {
    head: Head,
    service: Option<Service>,
    reals: BTreeMap<u32, Real>,
    lines: Vec<UnsafeCell<FlowLine>>,
    keys: RefCell<Vec<FlowKeys>>,
    words: Vec<u32>,
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
        self.words.get(index as usize).copied()
    }

    fn real(&self, index: u32) -> Option<&Real> {
        self.reals.get(&index)
    }

    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        self.lines.get(index as usize).map(UnsafeCell::get)
    }

    fn note_key(&self, line: u32, way: usize, key: [u64; 3]) {
        self.keys.borrow_mut()[line as usize].keys[way] = zerocopy::transmute!(key);
    }

    fn fragment(&self, _: [u64; 5]) -> Option<FragmentEntry> {
        None
    }

    fn note_fragment(&self, _: [u64; 5], _: [u64; 2]) {}

    fn take_turn(&self, _: u32) -> Option<u64> {
        Some(self.turn.replace(self.turn.get() + 1))
    }

    fn ticks(&self, _: u32) -> u32 {
        self.now.get()
    }
}

/// The words and entries that another director has been told.
#[derive(Clone)]
pub struct Told {
    words: Vec<u32>,
    lines: Vec<FlowLine>,
    keys: Vec<FlowKeys>,
    desired: Desired,
    allocation: Allocation,
    holding: BTreeMap<u8, u64>,
    turn: u64,
}

pub struct Director {
    pub wish: Wish,
    maps: Maps,
    desired: Desired,
    slots: Slots,
    allocation: Allocation,
    /// Reals that left the configuration, and when.
    draining: BTreeMap<u8, u64>,
    walk: Option<(Rules, Swept, u32, u64)>,
}

pub const VIP: [u8; 4] = [192, 0, 2, 1];

fn address(real: u8) -> [u8; 16] {
    mapped([192, 0, 2, real])
}

impl Director {
    pub fn new(wish: Wish, lines: u32, now: u64) -> Self {
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
        let maps = Maps {
            head,
            service: None,
            reals: BTreeMap::new(),
            lines: (0..lines).map(|_| UnsafeCell::new(FlowLine::new_zeroed())).collect(),
            keys: RefCell::new(vec![FlowKeys::new_zeroed(); lines as usize]),
            words: vec![0; ROOM.slots as usize],
            turn: Cell::new(0),
            now: Cell::new(0),
        };
        let mut director = Self {
            wish,
            maps,
            desired: Desired::default(),
            slots: Slots::default(),
            allocation: Allocation::adopt(&Adopted::default(), ROOM),
            draining: BTreeMap::new(),
            walk: None,
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

    /// What follows from the wish, as the planner has it, in the maps.
    pub fn apply(&mut self, now: u64) {
        let weights = self.wish.weights.clone();
        self.draining.retain(|real, _| !weights.contains_key(real));
        let key =
            ServiceKey { address: mapped(VIP), port: 80u16.to_be_bytes(), protocol: self.wish.protocol, reserved: 0 };
        let name = PoolName::Of(key);
        let all: Vec<(u8, u32)> = weights.into_iter().chain(self.draining.keys().map(|real| (*real, 0))).collect();
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
            let turns = Turns::new(members.clone());
            service.turns = self.allocation.turns(key, turns.words()).start;
            desired.turns.insert(service.turns, turns);
        }
        desired.pools.insert(room.start, Pool { room: room.length, reals });
        desired.rings.insert(ring.start, Ring { pool: room.start, seed, size, members, in_use: true, taken: None });
        desired.services.insert(key, service);
        let groups = BTreeMap::from([(group, (BTreeSet::from([size]), addresses))]);
        self.allocation.keep(&Kept { services: BTreeSet::from([key]), groups, interfaces: BTreeSet::new() });
        self.write(desired, service, now);
    }

    fn write(&mut self, desired: Desired, service: Service, now: u64) {
        let loosened = desired.loosened(&self.desired.services);
        self.slots.write(&mut self.maps.words, &desired, &loosened, Duration::from_secs(now));
        for (start, turns) in &desired.turns {
            self.maps.words.put(*start, turns.order().len() as u32);
            (start + 1..).zip(turns.order()).for_each(|(index, number)| self.maps.words.put(index, u32::from(*number)));
        }
        self.maps.head.hash_seed = desired.hash_seed;
        self.maps.reals = desired.reals().map(|(index, real)| (index, *real)).collect();
        self.maps.service = Some(service);
        self.desired = desired;
    }

    fn service(&self) -> Service {
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
        Slot::of(self.maps.words.word(service.ring + scale(hash, service.ring_size)))
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
            let query = Query { hash, client, ports, service: 0, slot, opens, again: false };
            let answer = recall(&self.maps, query);
            if !answer.connection && self.living(answer.number).is_none() {
                recall(&self.maps, Query { again: true, ..query }).number
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

    fn line(&self, index: u32) -> FlowLine {
        // SAFETY: packets and sweeps of a model are played one after the other.
        #[expect(unsafe_code, reason = "the packet path has lines by pointer")]
        unsafe {
            *self.maps.lines[index as usize].get()
        }
    }

    /// Lines of its table.
    pub fn lines(&self) -> u32 {
        self.maps.head.flow_lines
    }

    /// What a connection's two lines hold.
    pub fn around(&self, name: Name) -> Vec<Flow> {
        let lines = self.place(name).lines.map(|line| self.line(line));
        lines.iter().flat_map(|line| line.words).filter_map(Flow::of).collect()
    }

    pub fn entry(&self, name: Name) -> Option<Flow> {
        let tag = self.place(name).tag;
        self.around(name).into_iter().find(|flow| flow.tag == tag)
    }

    /// Whether a sweep sees whose a connection's entry is.
    pub fn is_known(&self, name: Name) -> bool {
        let (place, reader) = (self.place(name), KeyReader::new(&self.desired, self.lines()));
        place.lines.into_iter().any(|line| {
            let (words, keys) = (self.line(line).words, self.maps.keys.borrow()[line as usize].keys);
            let mut entries = words.into_iter().zip(keys);
            entries.any(|(word, key)| {
                let flow = Flow::of(word).filter(|flow| flow.tag == place.tag);
                flow.is_some_and(|flow| reader.known(line, key, flow).is_some())
            })
        })
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
        let (rules, mut swept, from, began) = self.walk.take().unwrap_or_else(|| {
            let reals = self.maps.reals.keys().copied().collect();
            let open = self.slots.open(&self.maps.words, Duration::from_secs(now), FlowTimes::default());
            let reader = KeyReader::new(&self.desired, self.maps.head.flow_lines);
            let rules = Rules::new(reader, reals, open, (now as u32, TIMEOUTS));
            let swept = rules.begin();
            (rules, swept, 0, now)
        });
        let end = (from + lines).min(self.maps.head.flow_lines);
        for line in from..end {
            for way in 0..FlowLine::WAYS {
                let Some(flow) = Flow::of(self.line(line).words[way]) else { continue };
                let key = self.maps.keys.borrow()[line as usize].keys[way];
                let mut gone = false;
                rules.look(&mut swept, line, flow, Some(key), || {
                    gone = true;
                    true
                });
                if gone {
                    self.maps.lines[line as usize].get_mut().words[way] = 0;
                }
            }
        }
        if end < self.maps.head.flow_lines {
            self.walk = Some((rules, swept, end, began));
            return;
        }
        swept.end(&mut self.slots, &mut self.maps.words, &self.desired, Duration::from_secs(now));
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
        let turns = self.desired.turns.iter().map(|(start, turns)| (*start, turns.order().len() as u32)).collect();
        let services = BTreeMap::from([(service.key, service)]);
        let adopted = Adopted { services, pools, turns, ..Adopted::default() };
        self.allocation = Allocation::adopt(&adopted, ROOM);
        self.slots = Slots::default();
        self.slots.adopt(&self.maps.words, service.ring, service.ring_size, Duration::from_secs(now));
        self.walk = None;
        // Reals that are in the maps and not in the file go on draining.
        self.draining.values_mut().for_each(|since| *since = now);
        self.apply(now);
    }

    /// What the others know of this director: words, and entries that somebody follows.
    pub fn tell(&self) -> Told {
        let mut lines: Vec<FlowLine> = (0..self.maps.head.flow_lines).map(|line| self.line(line)).collect();
        let keys = self.maps.keys.borrow().clone();
        for word in lines.iter_mut().flat_map(|line| &mut line.words) {
            if Flow::of(*word).is_some_and(|flow| flow.stage == Stage::Opening) {
                *word = 0;
            }
        }
        let (words, desired, allocation) = (self.maps.words.clone(), self.desired.clone(), self.allocation.clone());
        let mut holding = self.draining.clone();
        holding.extend(self.wish.weights.keys().map(|real| (*real, 0)));
        Told { words, lines, keys, desired, allocation, holding, turn: self.maps.turn.get() }
    }

    /// Goes on from what another director told: its words, then this one's own wish by the rule of change.
    pub fn take_over(&mut self, told: Told, now: u64) {
        for (line, held) in self.maps.lines.iter_mut().zip(told.lines) {
            *line.get_mut() = held;
        }
        self.maps.keys.replace(told.keys);
        self.maps.turn.set(told.turn);
        self.allocation = told.allocation;
        let Some(service) = told.desired.services.values().next().copied() else { return };
        self.maps.head.hash_seed = told.desired.hash_seed;
        self.maps.service = Some(service);
        // As another director tells them: its members, and the slots that aren't settled.
        let slot = |index: u32| Slot::of(told.words.word(service.ring + index));
        let open = (0..service.ring_size).filter(|index| !slot(*index).is_settled());
        let slots: Vec<(u32, Slot)> = open.map(|index| (index, slot(index))).collect();
        let mut idle = told.desired.clone();
        for ring in idle.rings.values_mut() {
            ring.in_use = false;
            ring.taken = Some(Taken { members: ring.members.clone(), slots: slots.clone() });
        }
        self.slots = Slots::default();
        self.slots.write(&mut self.maps.words, &idle, &BTreeSet::new(), Duration::from_secs(now));
        for (start, turns) in &told.desired.turns {
            self.maps.words.put(*start, turns.order().len() as u32);
        }
        self.desired = told.desired;
        self.draining.extend(told.holding.into_keys().map(|real| (real, now)));
        self.walk = None;
        self.apply(now);
    }

    /// Slots whose base waits.
    pub fn is_moving(&self, name: Name) -> bool {
        self.slot(name).state() == State::Moving
    }
}
