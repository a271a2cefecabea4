//! What a peer is still to be told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use super::{FLUSH, Time, Traffic};
use crate::peers::ours::{Ours, Own};
use crate::peers::state::{Change, Flow, Flows, Member, ServiceId, Slot};
use crate::peers::wire::flow::{Entry, Records};
use crate::peers::wire::{Counts, MEMBERS, Message, NAMED, SERVICES, Service, Slots, WORD_REALS, WORDS};

/// Bulk is read while less than this waits to be sent.
const WINDOW: usize = 256 << 10;
/// Parts of bulk, services or those of the table, that are read at once.
const PARTS: usize = 16;
/// A peer for which more than this waits is cut: about 400,000 connections over IPv6.
pub const BOUND: usize = 16 << 20;

/// Bytes that a message takes beside its own while it waits: a peer may ask for any number of small ones.
const BESIDE: usize = 64;

/// Messages that wait, and what bulk has still to be read.
#[derive(Default)]
pub struct Outgoing {
    queue: VecDeque<Vec<u8>>,
    /// What the queue takes.
    bytes: usize,
    flows: [Batch; 2],
    numbers: Numbers,
    /// Services whose members and slots are to be told whole. Their deltas are left out until then.
    services: BTreeSet<ServiceId>,
    scan: Scan,
    /// Services whose connections are told by another scan, after the one that runs.
    again: BTreeSet<ServiceId>,
    /// They are given when all of that was told.
    answers: Vec<u64>,
    /// What bulk has told so far; `None` outside of it.
    counts: Option<Counts>,
    begun: bool,
    pub traffic: Traffic,
    spare: Vec<Flow>,
}

/// Connections of one family, which wait to fill a message.
#[derive(Default)]
struct Batch {
    records: Records,
    since: Option<Time>,
}

/// Where the flow table is read.
#[derive(Default)]
enum Scan {
    #[default]
    Idle,
    /// The part that is next, and the services whose connections are told; all that are served in bulk.
    At(u64, Option<BTreeSet<ServiceId>>),
}

/// This director's numbers for its services, for one peer.
#[derive(Default)]
struct Numbers {
    numbers: HashMap<ServiceId, Number>,
    free: Vec<u16>,
    next: u32,
}

/// A service as it was told last.
#[derive(Clone, Copy)]
struct Number {
    number: u16,
    serving: bool,
    ring_size: u32,
}

impl Numbers {
    fn get(&self, service: &ServiceId) -> Option<u16> {
        self.numbers.get(service).map(|told| told.number)
    }

    /// The service's number, a new one if it has none, and whether it was served when it was told last; `None` when
    /// all 65536 are taken.
    fn give(&mut self, service: ServiceId, serving: bool) -> Option<(u16, bool)> {
        if let Some(told) = self.numbers.get_mut(&service) {
            let before = mem::replace(&mut told.serving, serving);
            return Some((told.number, before));
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u16::try_from(self.next).ok()?;
                self.next += 1;
                number
            }
        };
        self.numbers.insert(service, Number { number, serving, ring_size: 0 });
        Some((number, false))
    }

    fn take(&mut self, service: &ServiceId) -> Option<u16> {
        let number = self.numbers.remove(service)?.number;
        self.free.push(number);
        Some(number)
    }
}

impl Outgoing {
    /// Begins bulk.
    pub fn begin(&mut self, ours: &Ours) {
        self.begun = true;
        self.counts = Some(Counts::default());
        self.put(&Message::Begin);
        let mut services = Vec::new();
        for (service, own) in ours.iter() {
            let Some((told, _)) = self.number(*service, own.serving, own) else { continue };
            services.push(told);
            if own.serving {
                self.services.insert(*service);
            }
        }
        for part in services.chunks(SERVICES) {
            self.put(&Message::Services(part.to_vec()));
        }
        self.count(|counts| counts.services += services.len() as u64);
        self.scan = Scan::At(0, None);
    }

    /// What is told of a service, and whether it was told before that it is served.
    fn number(&mut self, service: ServiceId, serving: bool, own: &Own) -> Option<(Service, bool)> {
        let (number, served) = self.numbers.give(service, serving)?;
        Some((Service::new(number, service, own.kind, serving, own.digest), served))
    }

    /// Puts a message behind all others.
    pub fn put(&mut self, message: &Message) {
        self.flush();
        self.raw(message.encode());
    }

    /// Puts the bytes of a message behind all others.
    pub fn raw(&mut self, bytes: Vec<u8>) {
        self.traffic.messages += 1;
        self.traffic.bytes += bytes.len() as u64;
        self.bytes += bytes.len() + BESIDE;
        self.queue.push_back(bytes);
    }

    /// The first message that waits.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let bytes = self.queue.pop_front()?;
        self.bytes -= bytes.len() + BESIDE;
        Some(bytes)
    }

    /// Nothing waits, neither messages nor connections that may fill one.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flush_at().is_none()
    }

    /// More waits than a peer may be behind.
    pub fn is_over(&self) -> bool {
        self.bytes > BOUND
    }

    /// Bulk was told.
    pub fn is_live(&self) -> bool {
        self.begun && self.counts.is_none()
    }

    /// There is bulk to read, and room for it.
    pub fn is_filling(&self) -> bool {
        self.begun && self.is_reading() && self.bytes < WINDOW
    }

    fn is_reading(&self) -> bool {
        !self.services.is_empty() || matches!(self.scan, Scan::At(..)) || self.counts.is_some()
    }

    /// Reads bulk while there is room, and no more than some parts of it: meanwhile nothing else of the peer's is done, and
    /// nobody tells anything. An empty table fills no room.
    pub fn fill(&mut self, ours: &Ours, flows: &dyn Flows) {
        for _ in 0..PARTS {
            if !self.is_filling() {
                break;
            }
            if let Some(service) = self.services.pop_first() {
                if let Some(own) = ours.get(&service).filter(|own| own.serving) {
                    let services = self.with(service, own, ours);
                    self.whole(&services, own);
                }
                continue;
            }
            match mem::take(&mut self.scan) {
                Scan::At(part, services) => self.read(part, services, flows),
                Scan::Idle => {}
            }
            if matches!(self.scan, Scan::Idle) {
                self.end();
            }
        }
    }

    /// The scan has come to its end: the next one, or the end of bulk.
    fn end(&mut self) {
        self.flush();
        if let Some(counts) = self.counts.take() {
            self.put(&Message::End(counts));
        }
        let again = mem::take(&mut self.again);
        if !again.is_empty() {
            self.scan = Scan::At(0, Some(again));
            return;
        }
        for number in mem::take(&mut self.answers) {
            self.put(&Message::Answer(number));
        }
    }

    fn read(&mut self, part: u64, services: Option<BTreeSet<ServiceId>>, flows: &dyn Flows) {
        let mut read = mem::take(&mut self.spare);
        read.clear();
        let next = flows.read(part, &mut read);
        for flow in &read {
            if services.as_ref().is_none_or(|services| services.contains(&flow.service)) {
                self.flow(None, flow);
            }
        }
        self.spare = read;
        // A table whose parts don't go on would never end.
        if let Some(next) = next.filter(|&next| next > part) {
            self.scan = Scan::At(next, services);
        }
    }

    /// This service, and those that are to be told whole like it and have the same reals and ring: they are told once.
    fn with(&mut self, service: ServiceId, own: &Own, ours: &Ours) -> Vec<ServiceId> {
        let mut services = vec![service];
        if Arc::strong_count(&own.words) > 1 {
            let is_alike = |other: &Own| {
                other.serving && Arc::ptr_eq(&own.words, &other.words) && Arc::ptr_eq(&own.members, &other.members)
            };
            services.extend(self.services.extract_if(.., |service| ours.get(service).is_some_and(is_alike)));
        }
        services
    }

    /// All members and slots of services that have the same.
    fn whole(&mut self, services: &[ServiceId], own: &Own) {
        self.members(services, &own.members);
        if own.words.ring_size > 0 {
            let slots = own.words.slots.iter().map(|(&slot, &(current, base))| Slot { slot, current, base });
            self.slots(services, own.words.ring_size, true, slots);
        }
    }

    fn members(&mut self, services: &[ServiceId], members: &[Member]) {
        let mut numbers: Vec<u16> = services.iter().filter_map(|service| self.numbers.get(service)).collect();
        numbers.sort_unstable();
        for services in numbers.chunks(NAMED) {
            let mut rest = members;
            loop {
                let (part, behind) = rest.split_at(rest.len().min(MEMBERS));
                let more = !behind.is_empty();
                self.put(&Message::Members { services: services.to_vec(), more, members: part.to_vec() });
                if !more {
                    break;
                }
                rest = behind;
            }
            self.count(|counts| counts.members += 1);
        }
    }

    fn slots(
        &mut self,
        services: &[ServiceId],
        ring_size: u32,
        whole: bool,
        slots: impl Iterator<Item = Slot> + Clone,
    ) {
        // Whose ring is another one than was told begin anew.
        let (mut begin, mut go_on) = (Vec::new(), Vec::new());
        for service in services {
            let Some(told) = self.numbers.numbers.get_mut(service) else { continue };
            let is_other = mem::replace(&mut told.ring_size, ring_size) != ring_size;
            let numbers = if is_other || whole { &mut begin } else { &mut go_on };
            numbers.push(told.number);
        }
        for (whole, mut numbers) in [(true, begin), (false, go_on)] {
            numbers.sort_unstable();
            for services in numbers.chunks(NAMED) {
                self.words(services, (ring_size, whole), slots.clone());
            }
        }
    }

    fn words(&mut self, services: &[u16], (ring_size, whole): (u32, bool), slots: impl Iterator<Item = Slot>) {
        let services = services.to_vec();
        let mut message = Slots { services, ring_size, whole, reals: Vec::new(), words: Vec::new() };
        let mut places = HashMap::new();
        let mut told = 0;
        for slot in slots.filter(|slot| slot.slot < ring_size) {
            if message.words.len() == WORDS || message.reals.len() + 2 > WORD_REALS {
                let services = message.services.clone();
                let next = Slots { services, ring_size, whole: false, reals: Vec::new(), words: Vec::new() };
                self.put(&Message::Slots(mem::replace(&mut message, next)));
                places.clear();
            }
            let mut place = |real| match real {
                None => 0,
                Some(real) => *places.entry(real).or_insert_with(|| {
                    message.reals.push(real);
                    u16::try_from(message.reals.len()).unwrap_or(0)
                }),
            };
            let (current, base) = (place(slot.current), place(slot.base));
            message.words.push((slot.slot, current, base));
            told += 1;
        }
        // Nothing is a word too: that all are settled.
        if message.whole || !message.words.is_empty() {
            self.put(&Message::Slots(message));
        }
        self.count(|counts| counts.slots += told);
    }

    /// Tells a change, unless it will be read with the rest.
    pub fn change(&mut self, now: Time, change: &Change, ours: &Ours) {
        if !self.begun {
            return;
        }
        match change {
            Change::Service(service, offer) => self.offer(*service, offer.serving, ours),
            Change::Members(services, members) => self.members(&self.told(services), members),
            Change::Slots { services, ring_size, whole, slots } => {
                self.slots(&self.told(services), *ring_size, *whole, slots.iter().copied());
            }
            Change::Flows(flows) => {
                for flow in flows {
                    self.flow(Some(now), flow);
                }
            }
            Change::Gone(service) => {
                self.services.remove(service);
                self.again.remove(service);
                if let Some(number) = self.numbers.take(service) {
                    self.put(&Message::Gone(number));
                }
            }
            Change::Ask(number) => self.put(&Message::Ask(*number)),
            Change::Answer(number) if self.is_reading() => self.answers.push(*number),
            Change::Answer(number) => self.put(&Message::Answer(*number)),
        }
    }

    /// The number of a service that is served, as far as it was told: what a director says before it gives a VIP up
    /// goes out though it has given it up by now.
    fn served(&self, service: &ServiceId) -> Option<u16> {
        self.numbers.numbers.get(service).filter(|told| told.serving).map(|told| told.number)
    }

    /// Those of these services that are served and whose members and slots were told.
    fn told(&self, services: &[ServiceId]) -> Vec<ServiceId> {
        let is_told = |service: &&ServiceId| !self.services.contains(service) && self.served(service).is_some();
        services.iter().filter(is_told).copied().collect()
    }

    fn offer(&mut self, service: ServiceId, serving: bool, ours: &Ours) {
        let Some(own) = ours.get(&service) else { return };
        let Some((told, served)) = self.number(service, serving, own) else { return };
        self.put(&Message::Services(vec![told]));
        self.count(|counts| counts.services += 1);
        if !serving {
            self.services.remove(&service);
            self.again.remove(&service);
        } else if !served {
            self.services.insert(service);
            match self.scan {
                Scan::Idle => self.scan = Scan::At(0, Some(BTreeSet::from([service]))),
                Scan::At(..) => {
                    self.again.insert(service);
                }
            }
        }
    }

    /// Puts a connection into its batch: at once when it is read from the table, else within [`FLUSH`].
    fn flow(&mut self, told: Option<Time>, flow: &Flow) {
        let Some(service) = self.served(&flow.service) else { return };
        let Flow { client, port, real, stage, age, .. } = *flow;
        let [four, six] = &mut self.flows;
        let ipv6 = flow.service.vip.is_ipv6();
        let batch = if ipv6 { six } else { four };
        if batch.records.is_empty() {
            batch.records = Records::new(ipv6);
            batch.since = None;
        }
        batch.since = batch.since.or(told);
        if !batch.records.push(&Entry { service, client, port, real, stage, age }) {
            return;
        }
        self.traffic.flows += 1;
        let full = batch.records.is_full();
        self.count(|counts| counts.flows += 1);
        if full {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for batch in mem::take(&mut self.flows) {
            if !batch.records.is_empty() {
                self.raw(Message::Flows(batch.records).encode());
            }
        }
    }

    /// Connections that waited long enough go out.
    pub fn flush_due(&mut self, now: Time) {
        if self.flush_at().is_some_and(|at| now >= at) {
            self.flush();
        }
    }

    /// When connections have waited long enough.
    pub fn flush_at(&self) -> Option<Time> {
        self.flows.iter().filter_map(|batch| Some(batch.since? + FLUSH)).min()
    }

    fn count(&mut self, add: impl FnOnce(&mut Counts)) {
        if let Some(counts) = &mut self.counts {
            add(counts);
        }
    }
}
