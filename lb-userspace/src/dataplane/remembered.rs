//! The remembered flows, as those see them who read the table beside the program or write into it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lb_common::flow::{self, Flow, Place, Stage};
use lb_common::maps::{FlowKey, FlowKeys, FlowLine, Service, ServiceKey, SlotPair, Timeouts};
use lb_common::slot::Slot;
use lb_common::{Hash, Ip, Ports, flow_hash, scale, source_hash};

use super::mapped::Mapped;
use super::{Dataplane, Desired, Error, Words as _};

/// A flow table, with the services by which its keys are read.
#[derive(Clone)]
pub struct Remembered {
    reader: KeyReader,
    timeouts: Timeouts,
    arrays: Arrays,
}

/// The arrays that it reads.
#[derive(Clone)]
pub struct Arrays {
    /// The flows' words.
    pub lines: Arc<Mapped<FlowLine>>,
    /// Their keys.
    pub keys: Arc<Mapped<FlowKeys>>,
    /// The slots that they belong to.
    pub slots: Arc<Mapped<SlotPair>>,
}

/// What it takes to read a table's keys, wherever it lies.
#[derive(Debug, Clone)]
pub struct KeyReader {
    services: Arc<HashMap<u32, Service>>,
    seed: u64,
    lines: u32,
}

/// Where a flow's word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Its line.
    pub line: u32,
    /// Which of the line's words.
    pub way: usize,
}

impl Dataplane {
    /// The flow table as the maps are now.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            reader: KeyReader::new(&self.applied, self.maps.flows.len()),
            timeouts: self.clock.timeouts(self.applied.timeouts),
            arrays: Arrays {
                lines: self.maps.flows.clone(),
                keys: self.maps.flow_keys.clone(),
                slots: self.maps.slots.clone(),
            },
        }
    }
}

impl Dataplane {
    /// The slots that aren't settled of rings that changed since they were told, by where the rings start; `told` has their
    /// changes up to then.
    pub fn slot_news(&self, told: &mut BTreeMap<u32, u64>) -> Vec<(u32, Vec<(u32, Slot)>)> {
        self.slots.news(&self.maps.slots, told)
    }
}

impl Remembered {
    /// The table that lies in these arrays, and remembers flows for these times.
    pub fn new(reader: KeyReader, timeouts: Timeouts, arrays: Arrays) -> Self {
        Self { reader, timeouts, arrays }
    }

    /// Lines of the table.
    pub fn lines(&self) -> u32 {
        self.arrays.lines.len()
    }

    /// How long it remembers what, in ticks.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The services of its keys.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.reader.services.values()
    }

    /// The words of a line, free ones too.
    ///
    /// # Errors
    /// There is no such line.
    pub fn words(&self, line: u32) -> Result<[u64; FlowLine::WAYS], Error> {
        Ok(self.arrays.lines.get(line)?.words)
    }

    /// By whom the keys are read.
    pub fn reader(&self) -> &KeyReader {
        &self.reader
    }

    /// A flow's key, as it is now.
    pub fn key(&self, at: At) -> Option<FlowKey> {
        self.arrays.keys.get(at.line).ok()?.keys.get(at.way).copied()
    }

    /// Whose a flow is; `None` where its key is half-written, another flow's, or of a service that is gone.
    pub fn known(&self, at: At, flow: Flow) -> Option<(FlowKey, &Service)> {
        self.reader.known(at.line, self.key(at)?, flow)
    }

    /// The slot that a flow belongs to, counted from its ring's first.
    pub fn slot(&self, key: &FlowKey, service: &Service) -> u32 {
        self.reader.slot(key, service)
    }

    /// Whether another director has to be told of a flow, since slots' words don't tell it. Nobody is told of one that nothing
    /// followed, unless it is in the midst of its life, on a real that its slot has ceased to name.
    pub fn is_told(&self, at: At, flow: Flow) -> bool {
        let named = |(key, service): (FlowKey, &Service)| {
            let slot = service.ring.saturating_add(self.slot(&key, service));
            Slot::of(self.arrays.slots.word(slot)).names(flow.real)
        };
        flow.stage != Stage::Opening || self.known(at, flow).is_some_and(|known| !named(known))
    }

    /// How long others may be left in the belief that a flow is silent, in ticks: they must not take it for one that is over.
    fn refresh(&self, flow: Flow) -> u32 {
        let Timeouts { tcp, udp, closing, .. } = self.timeouts;
        REFRESH.min(if flow.stage == Stage::Closing { closing } else { tcp.min(udp) } / 4)
    }

    /// Forgets a flow, if its word is still this one. Whether it was.
    pub fn forget(&self, at: At, word: u64) -> bool {
        let place = self.arrays.lines.entry(at.line).ok().and_then(|mut words| words.nth(at.way));
        place.is_some_and(|place| place.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok())
    }

    /// Writes a flow of this stage, seen at `seen`, whatever the table knew of it. Whether there was room.
    pub fn put(&self, key: &FlowKey, service: &Service, real: u16, stage: Stage, seen: u32) -> bool {
        let place = self.reader.place(key, service);
        let flow = Flow { tag: place.tag, seen, stage, real };
        if let Some((at, word)) = self.find(place) {
            let held = self.arrays.lines.entry(at.line).ok().and_then(|mut words| words.nth(at.way));
            let replaced = held.is_some_and(|held| {
                held.compare_exchange(word, flow.word(), Ordering::SeqCst, Ordering::Relaxed).is_ok()
            });
            return replaced && self.note_key(at, key);
        }
        let [first, second] = place.lines.map(|line| self.arrays.lines.pointer(line));
        let (Ok(first), Ok(second)) = (first, second) else { return false };
        match flow::insert_shared(first, second, flow, &self.timeouts) {
            Some(at) => {
                let [first, second] = place.lines;
                self.note_key(At { line: if at.second { second } else { first }, way: at.way }, key)
            }
            None => false,
        }
    }

    /// Forgets the flow with this key.
    pub fn remove(&self, key: &FlowKey, service: &Service) {
        if let Some((at, word)) = self.find(self.reader.place(key, service)) {
            self.forget(at, word);
        }
    }

    fn find(&self, place: Place) -> Option<(At, u64)> {
        place.lines.into_iter().find_map(|line| {
            let words = self.words(line).ok()?;
            let way = words.iter().position(|word| Flow::of(*word).is_some_and(|flow| flow.tag == place.tag))?;
            Some((At { line, way }, words.get(way).copied()?))
        })
    }

    fn note_key(&self, at: At, key: &FlowKey) -> bool {
        let words = FlowKey::words(Ip::from(key.client), Ports::of(key.ports), key.service);
        let Ok(entry) = self.arrays.keys.entry(at.line) else { return false };
        entry.skip(at.way * words.len()).zip(words).for_each(|(place, word)| place.store(word, Ordering::Release));
        true
    }
}

impl KeyReader {
    /// For the services of `desired`, and a table of so many lines.
    pub fn new(desired: &Desired, lines: u32) -> Self {
        let services = desired.services.values().map(|service| (service.id, *service)).collect();
        Self { services: Arc::new(services), seed: desired.hash_seed, lines }
    }

    /// Whose a flow of this line is, by the key beside it.
    pub fn known(&self, line: u32, key: FlowKey, flow: Flow) -> Option<(FlowKey, &Service)> {
        let service = self.services.get(&key.service)?;
        let place = self.place(&key, service);
        (place.tag == flow.tag && place.lines.contains(&line)).then_some((key, service))
    }

    /// The slot that a flow belongs to, counted from its ring's first.
    pub fn slot(&self, key: &FlowKey, service: &Service) -> u32 {
        let hash = if service.flags & Service::BY_SOURCE != 0 {
            source_hash(self.seed, Ip::from(key.client))
        } else {
            self.own_hash(key, service)
        };
        scale(hash, service.ring_size)
    }

    fn place(&self, key: &FlowKey, service: &Service) -> Place {
        Place::of(self.own_hash(key, service), self.lines)
    }

    fn own_hash(&self, key: &FlowKey, service: &Service) -> Hash {
        let (client, vip) = (Ip::from(key.client), Ip::from(service.key.address));
        flow_hash(self.seed, client, vip, Ports::of(key.ports), service.key.protocol)
    }
}

/// What became of a flow since it was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Its service.
    pub service: ServiceKey,
    /// Number 0 of its pool's reals.
    pub pool: u32,
    /// The client and the ports.
    pub key: FlowKey,
    /// Its real's number.
    pub real: u16,
    /// `None` where it is forgotten.
    pub stage: Option<Stage>,
    /// Ticks since it was seen.
    pub idle: u32,
}

/// Finds what changed in a flow table since it was looked at last: each entry is held against what was told of it.
#[derive(Default)]
pub struct Watch {
    told: Vec<u64>,
}

/// A flow that lives is told again after so many ticks of its packets at the latest.
const REFRESH: u32 = 128;

impl Watch {
    /// Everything that is news, of the services that `wants` names.
    ///
    /// # Errors
    /// A line can't be read, which can't be.
    pub fn look(&mut self, table: &Remembered, now: u32, wants: impl Fn(&Service) -> bool) -> Result<Vec<News>, Error> {
        self.told.resize(table.lines() as usize * FlowLine::WAYS, 0);
        let mut news = Vec::new();
        for (line, told) in (0..).zip(self.told.chunks_mut(FlowLine::WAYS)) {
            let words = table.words(line)?;
            for (way, (word, told)) in words.into_iter().zip(told).enumerate() {
                if word != *told {
                    look_at(table, now, At { line, way }, word, told, &wants, &mut news);
                }
            }
        }
        Ok(news)
    }

    /// Forgets what was told: it is all news again.
    pub fn start_anew(&mut self) {
        self.told.clear();
    }
}

fn look_at(
    table: &Remembered,
    now: u32,
    at: At,
    word: u64,
    told: &mut u64,
    wants: &impl Fn(&Service) -> bool,
    news: &mut Vec<News>,
) {
    let mut tell = |flow: Flow, stage: Option<Stage>| {
        let known = table.known(at, flow).filter(|(_, service)| wants(service));
        let of = |(key, service): (FlowKey, &Service)| News {
            service: service.key,
            pool: service.reals,
            key,
            real: flow.real,
            stage,
            idle: flow.idle(now),
        };
        news.extend(known.map(of));
        known.is_some()
    };
    // Once it was told it is told on.
    let was_told = |flow: &Flow| Flow::of(*told).is_some_and(|before| before.tag == flow.tag);
    let lives = Flow::of(word).filter(|flow| was_told(flow) || table.is_told(at, *flow));
    if let Some(before) = Flow::of(*told)
        && lives.is_none_or(|flow| flow.tag != before.tag)
    {
        // Where its key is another's already, the others find out by its silence.
        tell(before, None);
        *told = 0;
    }
    let Some(flow) = lives else { return };
    let known = Flow::of(*told);
    let same = known.is_some_and(|known| (known.stage, known.real) == (flow.stage, flow.real));
    // Half the clock's bits are the future.
    let fresh = known.is_some_and(|known| known.idle(flow.seen) < table.refresh(flow));
    if !(same && fresh) && tell(flow, Some(flow.stage)) {
        *told = word;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use lb_common::maps::mapped;

    use super::*;

    const LINES: u32 = 16;

    fn array<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy>(
        entries: u32,
    ) -> Arc<Mapped<T>> {
        Arc::new(Mapped::apart("array", entries).unwrap())
    }

    pub(in crate::dataplane) fn service(id: u32, flags: u16) -> Service {
        let key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
        Service { key, id, reals: 8, room: 8, ring_size: 251, flags, ..Service::FREE }
    }

    pub(in crate::dataplane) fn table() -> Remembered {
        Remembered {
            reader: KeyReader {
                services: Arc::new(HashMap::from([(3, service(3, Service::TRACKED))])),
                seed: 7,
                lines: LINES,
            },
            timeouts: Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 },
            arrays: Arrays { lines: array(LINES), keys: array(LINES), slots: array(256) },
        }
    }

    pub(in crate::dataplane) fn key(port: u16) -> FlowKey {
        let [a, b] = port.to_be_bytes();
        FlowKey { client: mapped([10, 0, 0, 1]), ports: [a, b, 0, 80], service: 3 }
    }

    fn all(table: &Remembered) -> Vec<(At, u64)> {
        let line =
            |line| table.words(line).unwrap().into_iter().enumerate().map(move |(way, word)| (At { line, way }, word));
        (0..LINES).flat_map(line).filter(|(_, word)| *word != 0).collect()
    }

    #[test]
    fn what_is_put_is_known_by_its_key() {
        let table = table();
        let service = service(3, Service::TRACKED);
        for port in 0..20 {
            assert!(table.put(&key(port), &service, 5, Stage::Open, 100));
        }
        let held = all(&table);
        assert_eq!(held.len(), 20);
        for (at, word) in held {
            let flow = Flow::of(word).unwrap();
            let (held, service) = table.known(at, flow).expect("its key");
            assert_eq!((held.client, service.id, flow.real, flow.stage), (mapped([10, 0, 0, 1]), 3, 5, Stage::Open));
            let other = Flow { tag: flow.tag ^ 1, ..flow };
            assert!(table.known(at, other).is_none(), "the word is another flow's");
        }
        assert!(table.put(&key(4), &service, 6, Stage::Closing, 101), "it moves");
        assert_eq!(all(&table).len(), 20);
        table.remove(&key(4), &service);
        assert_eq!(all(&table).len(), 19);
    }

    #[test]
    fn news_is_what_changed_since_it_was_told() {
        let (table, mut watch) = (table(), Watch::default());
        let service = service(3, Service::TRACKED);
        let mut look = |now| watch.look(&table, now, |_| true).unwrap();
        let mut slots = table.arrays.slots.clone();
        (0..251).for_each(|slot| slots.put(slot, Slot { current: 6, base: 5 }.word()));
        table.put(&key(1), &service, 5, Stage::Opening, 100);
        assert!(look(100).is_empty(), "nothing followed it yet");
        table.put(&key(3), &service, 5, Stage::Opening, 100);
        (0..251).for_each(|slot| slots.put(slot, Slot { current: 6, base: 0 }.word()));
        assert!(look(100).iter().all(|news| news.real == 5) && look(100).is_empty(), "slots told of it until now");
        (0..251).for_each(|slot| slots.put(slot, Slot { current: 5, base: 6 }.word()));
        assert!(look(100).is_empty(), "it is told on");
        table.remove(&key(3), &service);
        assert_eq!(look(100).first().map(|news| news.stage), Some(None));
        table.put(&key(1), &service, 5, Stage::Open, 101);
        table.put(&key(2), &service, 6, Stage::Open, 90);
        let news: Vec<_> =
            look(101).into_iter().map(|news| (news.key.ports[1], news.real, news.stage, news.idle)).collect();
        assert_eq!(news.len(), 2);
        assert!(news.contains(&(1, 5, Some(Stage::Open), 0)) && news.contains(&(2, 6, Some(Stage::Open), 11)));
        table.put(&key(1), &service, 5, Stage::Open, 150);
        assert!(look(150).is_empty(), "it lives, as it was told");
        table.put(&key(1), &service, 5, Stage::Open, 176);
        assert_eq!(look(176).len(), 1, "it lives on, which others don't see: datagrams are over after 300");
        table.put(&key(1), &service, 7, Stage::Open, 300);
        assert_eq!(look(300).first().map(|news| news.real), Some(7), "it moved");
        table.put(&key(1), &service, 7, Stage::Closing, 301);
        assert_eq!(look(301).first().and_then(|news| news.stage), Some(Stage::Closing));
        table.remove(&key(1), &service);
        assert_eq!(look(302).first().map(|news| news.stage), Some(None), "it is forgotten");
        assert!(look(303).is_empty());
    }

    #[test]
    fn nobody_is_told_of_what_is_another_s() {
        let (table, mut watch) = (table(), Watch::default());
        table.put(&key(1), &service(3, Service::TRACKED), 5, Stage::Open, 100);
        assert!(watch.look(&table, 100, |_| false).unwrap().is_empty());
        assert_eq!(watch.look(&table, 100, |_| true).unwrap().len(), 1, "since it is served here");
    }
}
