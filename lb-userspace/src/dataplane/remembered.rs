//! The remembered flows, as those see them who read the table beside the program or write into it.

mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::flow::{self, Flow, Place, Refresh, Stage};
use lb_common::maps::{Address, FlowKey, FlowKeys, FlowLine, Service, ServiceKey, SlotPair, Timeouts};
use lb_common::slot::Slot;
use lb_common::{Ip, Ports};

use super::mapped::Mapped;
use super::slots::{SlotNews, ToldRing};
use super::{Dataplane, Error, Words as _};

pub use reader::{KeyReader, is_template};

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
    /// The reals of the maps as they are now, by pool and number.
    pub fn reals(&self) -> impl Iterator<Item = ((u32, u16), Address)> {
        let pools = self.applied.pools.iter();
        pools.flat_map(|(pool, held)| held.reals.iter().map(move |(number, real)| ((*pool, *number), real.address)))
    }

    /// The words of rings that changed since they were told; `told` has what was, by where the rings start.
    pub fn slot_news(&self, told: &mut BTreeMap<u32, ToldRing>) -> Vec<SlotNews> {
        let mut services: BTreeMap<u32, Vec<Service>> = BTreeMap::new();
        self.applied.services.values().for_each(|service| services.entry(service.ring).or_default().push(*service));
        self.slots.news(&self.maps.slots, &services, told)
    }
}

impl Remembered {
    /// Lines that are read as one part.
    pub const PART: u32 = 512;

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

    /// Hands the flows of some lines that others are to be told of ([`Self::is_told`]) to `found`. These are [`Self::PART`] lines at most,
    /// and it returns the first line behind them, `None` at the table's end.
    pub fn part(&self, first: u32, mut found: impl FnMut(At, Flow)) -> Option<u32> {
        const WORDS: usize = Remembered::PART as usize * FlowLine::WAYS;
        let all = self.arrays.lines.all();
        let start = first as usize * FlowLine::WAYS;
        let end = (start + WORDS).min(all.len());
        let words = all.get(start..end).unwrap_or_default();
        let mut places = [0; WORDS];
        let (count, _) = flow::find_news(words, &[0; WORDS], NEVER, &mut places);
        for place in places.iter().take(count) {
            let way = *place as usize % FlowLine::WAYS;
            let line = first + *place / FlowLine::WAYS as u32;
            let word = words.get(*place as usize).map_or(0, |word| word.load(Ordering::Acquire));
            let at = At { line, way };
            if let Some(flow) = Flow::of(word).filter(|flow| self.is_told(at, *flow)) {
                found(at, flow);
            }
        }
        (end < all.len()).then(|| first.saturating_add(Self::PART))
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
        let in_midst = |(key, service): (FlowKey, &Service)| {
            let slot = service.ring.saturating_add(self.slot(&key, service));
            service.flags & Service::TRACKED == 0 && !Slot::of(self.arrays.slots.word(slot)).names(flow.real)
        };
        flow.stage != Stage::Opening || self.known(at, flow).is_some_and(in_midst)
    }

    /// How long others may be left in the belief that a flow is silent: they must not take it for one that is over.
    fn refresh(&self) -> Refresh {
        let Timeouts { tcp, udp, closing, .. } = self.timeouts;
        Refresh { open: REFRESH.min(tcp.min(udp) / 4), closing: REFRESH.min(closing / 4) }
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

    /// Renews the template of the client of a connection that lives, which was last seen at `seen`, or makes it: its real has the client.
    pub fn renew(&self, key: &FlowKey, service: &Service, real: u16, seen: u32) {
        let template = self.reader.template(key, service);
        let held =
            self.find(self.reader.place(&template, service)).and_then(|(at, word)| Some((at, word, Flow::of(word)?)));
        let Some((at, word, flow)) = held else {
            self.put(&template, service, real, Stage::Open, seen);
            return;
        };
        // Where another real has the client, that one keeps it.
        let younger = Flow { seen, ..flow }.idle(flow.seen) == 0;
        let next = Flow { stage: Stage::Open, seen: if younger { seen } else { flow.seen }, ..flow }.word();
        if next != word
            && let Ok(mut words) = self.arrays.lines.entry(at.line)
            && let Some(place) = words.nth(at.way)
        {
            // A connection that began meanwhile has renewed it.
            let _ = place.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed);
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

/// Who hears of a service's flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// Others hear of this one.
    Others,
    /// Nobody hears of it: what it is now need not be told.
    Nobody,
    /// It can't be told yet; it stays news.
    Later,
}

/// Finds what changed in a flow table since it was looked at last: each entry is held against what was told of it.
pub struct Watch {
    /// Of each entry the word as it was told, open where nothing followed it; an opening one was looked at, and not told.
    told: Vec<u64>,
    found: Box<[u32]>,
}

/// A flow that lives is told again after so many ticks of its packets at the latest.
const REFRESH: u32 = 128;
/// Nothing was told yet.
const NEVER: Refresh = Refresh { open: REFRESH, closing: REFRESH };
/// Words of news that are looked for at once.
const FOUND: usize = 4096;

impl Watch {
    /// One for which all that the table holds now has been told: whoever is met later reads the table whole.
    pub fn new(table: &Remembered) -> Self {
        let opening = |word: u64| Flow::of(word).is_some_and(|flow| flow.stage == Stage::Opening);
        let told = |word: &AtomicU64| Some(word.load(Ordering::Relaxed)).filter(|word| !opening(*word)).unwrap_or(0);
        let told = table.arrays.lines.all().iter().map(told).collect();
        Self { told, found: vec![0; FOUND].into() }
    }

    /// Hands everything that is news to `hear`. That is asked after the entry was read. Where slots' words have `changed`, those
    /// that nothing followed are looked at once more: their slots may have ceased to name their reals.
    pub fn look(&mut self, table: &Remembered, now: u32, changed: bool, mut hear: impl FnMut(News) -> Hears) {
        let (words, ways) = (table.arrays.lines.all(), FlowLine::WAYS);
        if changed {
            let looked_at = |word: u64| Flow::of(word).is_some_and(|flow| flow.stage == Stage::Opening);
            self.told.iter_mut().filter(|word| looked_at(**word)).for_each(|word| *word = 0);
        }
        let mut first = 0;
        while first < self.told.len().min(words.len()) {
            let rest = words.get(first..).unwrap_or_default();
            let told = self.told.get(first..).unwrap_or_default();
            let (count, looked) = flow::find_news(rest, told, table.refresh(), &mut self.found);
            for place in self.found.iter().take(count).map(|place| first + *place as usize) {
                let at = At { line: u32::try_from(place / ways).unwrap_or(u32::MAX), way: place % ways };
                if let (Some(word), Some(told)) = (words.get(place), self.told.get_mut(place)) {
                    look_at(table, now, at, word.load(Ordering::Acquire), told, &mut hear);
                }
            }
            first += looked;
        }
    }
}

fn look_at(table: &Remembered, now: u32, at: At, word: u64, told: &mut u64, hear: &mut impl FnMut(News) -> Hears) {
    let mut tell = |flow: Flow, stage: Option<Stage>| {
        let Some((key, service)) = table.known(at, flow) else { return Hears::Later };
        let (pool, real, idle) = (service.reals, flow.real, flow.idle(now));
        hear(News { service: service.key, pool, key, real, stage, idle })
    };
    let before = Flow::of(*told).filter(|before| before.stage != Stage::Opening);
    let flow = Flow::of(word);
    let goes_on = before.is_some_and(|before| flow.is_some_and(|flow| flow.tag == before.tag));
    if let Some(before) = before
        && !goes_on
    {
        // Where its key is another's already, the others find out by its silence.
        tell(before, None);
        *told = 0;
    }
    let Some(flow) = flow else { return };
    // What was told is told on.
    if !goes_on && !table.is_told(at, flow) {
        *told = word;
        return;
    }
    let as_told = Flow { stage: if flow.stage == Stage::Opening { Stage::Open } else { flow.stage }, ..flow };
    if flow::is_news(word, *told, table.refresh()) && tell(flow, Some(as_told.stage)) != Hears::Later {
        *told = as_told.word();
    }
}

#[cfg(test)]
pub(super) mod tests;
