//! The flow table: who has a flow that its slot alone doesn't tell.
//!
//! A flow is one word of 64 bits: a tag of its hash, when it was last seen, its stage and its real's number. Eight of them fill
//! a cache line, and each flow has two lines to be in, so that a look-up touches one line mostly and a table at four fifths
//! of its size loses no flow (`tests/model`). A word changes by one compare-and-exchange: any CPU may read it meanwhile,
//! and sees it before or after.
//!
//! The words hold no keys, so another flow may pass for this one: a new flow with full lines meets its own tag there with a
//! probability of 16 in 2^28. It then goes to that flow's real, or, where its own pool has no such real, by its slot.
//! Whole keys stand beside the lines for those who list and exchange flows.
#![expect(unsafe_code, reason = "a line is shared with other CPUs and reached by pointer")]

use crate::atomic::{Word, forget, opaque};
use crate::hash::{Hash, scale, spread};
use crate::maps::{FlowLine, Timeouts};
use crate::parse::Opens;
use crate::schedule::Change;

/// Bits of the clock that a word holds: about three days of ticks.
const SEEN_BITS: u32 = 18;
const SEEN: u32 = (1 << SEEN_BITS) - 1;
/// A word that looks younger than now by less than this was seen by a CPU that is ahead.
const AHEAD: u32 = SEEN / 2;
const STAGE_SHIFT: u32 = 16;
const SEEN_SHIFT: u32 = STAGE_SHIFT + 2;
const TAG_SHIFT: u32 = SEEN_SHIFT + SEEN_BITS;

/// Lines of a page of 4 KiB.
const PAGE: u32 = 64;

/// A closing connection that has been silent for so many ticks counts no more, though its entry stays for packets that come late.
pub const LINGERS: u32 = 2;

/// A line with fewer free words than this shares its new flows with the other.
const ROOMY: u64 = 2;

/// Where in its life a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// One packet was seen, nothing after it.
    Opening = 1,
    /// The client sent a FIN or RST.
    Closing = 2,
    /// Packets go through.
    Open = 3,
}

/// A remembered flow, as its word has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// 28 bits of its hash, never 0.
    pub tag: u32,
    /// When a packet of it was last seen: the low 18 bits of the clock's ticks.
    pub seen: u32,
    /// Where in its life it is.
    pub stage: Stage,
    /// Its real's number in its service's pool.
    pub real: u16,
}

impl Flow {
    /// From a line's word; `None` where that is free.
    #[inline(always)]
    pub fn of(word: u64) -> Option<Self> {
        let stage = match word >> STAGE_SHIFT & 3 {
            1 => Stage::Opening,
            2 => Stage::Closing,
            3 => Stage::Open,
            _ => return None,
        };
        let seen = (word >> SEEN_SHIFT) as u32 & SEEN;
        Some(Self { tag: (word >> TAG_SHIFT) as u32, seen, stage, real: word as u16 })
    }

    /// Its word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.tag as u64) << TAG_SHIFT
            | ((self.seen & SEEN) as u64) << SEEN_SHIFT
            | (self.stage as u64) << STAGE_SHIFT
            | self.real as u64
    }

    /// Ticks since it was seen. Who saw it last may have read a younger clock than this reader: then it was seen now.
    #[inline(always)]
    pub const fn idle(self, now: u32) -> u32 {
        let idle = now.wrapping_sub(self.seen) & SEEN;
        if idle > AHEAD { 0 } else { idle }
    }

    /// Whether it has been silent for so long that it is nobody's connection any more. `datagrams` tells UDP.
    pub const fn is_over(self, now: u32, timeouts: &Timeouts, datagrams: bool) -> bool {
        let limit = match self.stage {
            Stage::Opening => timeouts.opening,
            Stage::Closing => timeouts.closing,
            Stage::Open if datagrams => timeouts.udp,
            Stage::Open => timeouts.tcp,
        };
        self.idle(now) > limit
    }
}

/// After how many ticks of its packets a flow that lives is told again.
#[derive(Debug, Clone, Copy)]
pub struct Refresh {
    /// An open one.
    pub open: u32,
    /// One that closes.
    pub closing: u32,
}

/// Whether others may have to be told of a word, of which they were told as it was `told`: its flow is another one, moved, became
/// closing, has gone, or is still alive so much later. One that nothing followed is as an open one, if it was told; where
/// `told` is opening it was looked at and not told, and is so once more when it is another word.
#[inline(always)]
pub fn is_news(word: u64, told: u64, refresh: Refresh) -> bool {
    if word == told {
        return false;
    }
    let (Some(flow), before) = (Flow::of(word), Flow::of(told)) else {
        return Flow::of(told).is_some_and(|before| before.stage != Stage::Opening);
    };
    let Some(before) = before.filter(|before| before.stage != Stage::Opening) else { return true };
    let (stage, refresh) = match flow.stage {
        Stage::Opening | Stage::Open => (Stage::Open, refresh.open),
        Stage::Closing => (Stage::Closing, refresh.closing),
    };
    // Half the clock's bits are the future.
    Flow { seen: before.seen, stage, ..flow } != before || before.idle(flow.seen) >= refresh
}

/// Places of the words that are news ([`is_news`]); `told` is what was told of each. At most as many as `found` holds, and
/// it returns how many they are and how many words were looked at.
///
/// It is here, and not with those who tell, since this crate is optimised in every build: a table has millions of words.
#[cfg(not(target_arch = "bpf"))]
pub fn find_news(
    words: &[core::sync::atomic::AtomicU64],
    told: &[u64],
    refresh: Refresh,
    found: &mut [u32],
) -> (usize, usize) {
    let (mut count, mut looked) = (0, 0);
    for (word, told) in words.iter().zip(told) {
        if is_news(word.load(core::sync::atomic::Ordering::Relaxed), *told, refresh) {
            let Some(place) = found.get_mut(count) else { return (count, looked) };
            *place = looked as u32;
            count += 1;
        }
        looked += 1;
    }
    (count, looked)
}

/// Where a flow's word may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its lines.
    pub lines: [u32; 2],
    /// 28 bits of its hash, never 0.
    pub tag: u32,
}

impl Place {
    /// Of a flow with this hash, in a table of so many lines.
    #[inline(always)]
    pub fn of(hash: Hash, lines: u32) -> Self {
        let other = spread(hash);
        // A tag of 0 would be a free word's.
        let tag = (other as u32 & ((1 << 28) - 1)) | u32::from(other & ((1 << 28) - 1) == 0);
        // `scale` goes by the high half; the slot is chosen by that of the hash.
        let first = scale(hash << 32, lines);
        // Lines of one page of memory, as far as the table's size allows: one walk through the page table finds both.
        let near = lines.wrapping_sub(1) & !lines & (PAGE - 1);
        Self { lines: [first, first ^ (((other >> 32) as u32 | 1) & near)], tag }
    }
}

/// A flow's entry, and what its word was when it was found.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    word: Word,
    held: u64,
    /// It is in the second line.
    second: bool,
    way: u64,
}

impl Found {
    /// Whether there is one.
    #[inline(always)]
    pub(crate) fn is_there(&self) -> bool {
        self.held != 0
    }

    /// Whether it is there, open and was seen in this very tick.
    #[inline(always)]
    pub(crate) fn is_steady(&self, now: u32) -> bool {
        let stage_and_seen = self.held << (64 - TAG_SHIFT) >> (64 - TAG_SHIFT + STAGE_SHIFT);
        stage_and_seen == u64::from(now & SEEN) << (SEEN_SHIFT - STAGE_SHIFT) | Stage::Open as u64
    }

    /// Number of the flow's real.
    #[inline(always)]
    pub(crate) fn real(&self) -> u16 {
        self.held as u16
    }

    #[inline(always)]
    fn stage(&self) -> u64 {
        self.held >> STAGE_SHIFT & 3
    }

    /// Ticks since it was seen.
    #[inline(always)]
    pub(crate) fn idle(&self, now: u32) -> u32 {
        let idle = now.wrapping_sub((self.held >> SEEN_SHIFT) as u32) & SEEN;
        if idle > AHEAD { 0 } else { idle }
    }

    /// Whether a packet of this kind is the first of another connection: the old one is closed, or was idle for long.
    #[inline(always)]
    pub(crate) fn starts_anew(&self, opens: Opens, now: u32, timeouts: &Timeouts) -> bool {
        match opens {
            Opens::Yes => self.stage() == Stage::Closing as u64 || self.idle(now) > timeouts.tcp,
            Opens::Unknown => self.idle(now) > timeouts.udp,
            Opens::No | Opens::Ends | Opens::About => false,
        }
    }

    /// Where it is.
    #[inline(always)]
    pub(crate) fn at(&self) -> Inserted {
        Inserted { second: self.second, way: self.way as usize }
    }

    /// What its real's live connections are without it.
    #[inline(always)]
    pub(crate) fn gone(&self, now: u32) -> Change {
        if self.stage() != Stage::Closing as u64 {
            Change { active: -1, inactive: 0 }
        } else {
            Change { active: 0, inactive: -i32::from(self.idle(now) <= LINGERS) }
        }
    }

    /// Notes a packet of the flow.
    #[inline(always)]
    pub(crate) fn see(&self, opens: Opens, now: u32) -> Seen {
        let stage = match opens {
            Opens::Yes | Opens::About => self.stage(),
            Opens::Ends => Stage::Closing as u64,
            Opens::No | Opens::Unknown if self.stage() == Stage::Opening as u64 => Stage::Open as u64,
            Opens::No | Opens::Unknown => self.stage(),
        };
        // Never back: see `idle`.
        let seen = ((self.held >> SEEN_SHIFT) as u32).wrapping_add(self.idle(now)) & SEEN;
        let tag_and_real = self.held & (u64::MAX << TAG_SHIFT | 0xffff);
        let won = self.put(tag_and_real | u64::from(seen) << SEEN_SHIFT | stage << STAGE_SHIFT);
        if self.stage() == stage {
            return Seen { followed: false, closed: false };
        }
        Seen { followed: self.stage() == Stage::Opening as u64, closed: won && stage == Stage::Closing as u64 }
    }

    /// Gives the entry to another state. When another CPU changed it first, that one's is as good as ours. Whether none did.
    #[inline(always)]
    pub(crate) fn replace(&self, flow: Flow) -> bool {
        self.put(flow.word())
    }

    #[inline(always)]
    fn put(&self, next: u64) -> bool {
        next != self.held && self.word.replace(self.held, next)
    }
}

/// What a packet has made of its flow's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It is the first that followed the one that opened the connection.
    pub(crate) followed: bool,
    /// It is the one that closes the connection; no other CPU was faster.
    pub(crate) closed: bool,
}

/// The entry with this tag in a line, which is the flow's second or its first. Where there is none it is one that isn't
/// [there](Found::is_there): without values in the other case the compiler would save registers that hold nothing, which
/// the verifier refuses.
#[inline(always)]
pub(crate) fn find(line: *mut FlowLine, tag: u32, second: bool) -> Found {
    for index in 0..FlowLine::WAYS {
        let held = way(line, index).load();
        if held >> TAG_SHIFT == u64::from(tag) {
            let index = forget(index as u64, held);
            return Found { word: way(line, index as usize), held, second, way: index };
        }
    }
    Found { word: way(line, 0), held: 0, second, way: 0 }
}

/// What a line holds of the flow with this tag.
#[cfg(any(test, feature = "host"))]
pub(crate) fn held(line: *mut FlowLine, tag: u32) -> Option<Flow> {
    Flow::of(find(line, tag, false).held)
}

/// Where a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// In its second line, not in its first.
    pub second: bool,
    /// Which of the line's words.
    pub way: usize,
}

/// Writes a flow where there is room, or over the entry that is worth least: one that nothing followed the first packet of,
/// then one that was closed, then one that is over. `None` where all sixteen are open connections, which are never given
/// up for a new one, and where another CPU was faster.
#[inline(always)]
pub(crate) fn insert(first: *mut FlowLine, second: *mut FlowLine, flow: Flow, timeouts: &Timeouts) -> Option<Inserted> {
    let here = room(first);
    let there = if here.free < ROOMY { room(second) } else { Room { free: 0, first: 0 } };
    let elsewhere = there.free > here.free;
    let (line, roomy) = if elsewhere { (second, there) } else { (first, here) };
    if roomy.free > 0 {
        let index = roomy.first as usize;
        let taken = way(line, index).replace(0, flow.word());
        return taken.then_some(Inserted { second: elsewhere, way: index });
    }
    let (here, there) = (least(first, flow.seen, timeouts), least(second, flow.seen, timeouts));
    let elsewhere = there < here;
    let (line, chosen) = if elsewhere { (second, there) } else { (first, here) };
    if chosen >= KEPT {
        return None;
    }
    let index = (chosen & 7) as usize;
    let word = way(line, index);
    let held = word.load();
    // Another CPU may have put something worthier here since.
    let taken = worth(held, flow.seen, timeouts) <= chosen >> 3 && word.replace(held, flow.word());
    taken.then_some(Inserted { second: elsewhere, way: index })
}

/// The same for lines that another process shares with the program.
#[cfg(feature = "host")]
#[must_use]
pub fn insert_shared(first: *mut FlowLine, second: *mut FlowLine, flow: Flow, timeouts: &Timeouts) -> Option<Inserted> {
    insert(first, second, flow, timeouts)
}

/// Free words of a line.
#[derive(Clone, Copy)]
struct Room {
    free: u64,
    /// The first of them.
    first: u64,
}

/// Without a branch for a word: the verifier would walk every way through them.
#[inline(always)]
fn room(line: *mut FlowLine) -> Room {
    let (mut taken, mut bits) = (0, 0);
    for index in 0..FlowLine::WAYS {
        let held = way(line, index).load();
        // A stage is never 0.
        let one = opaque(held | held >> 1) >> STAGE_SHIFT & 1;
        taken += one;
        bits |= one << index;
    }
    // Of the first free word a single bit; these eight products differ in the three bits above their lowest four.
    let bit = !bits & (bits + 1);
    let first = FIRSTS >> (((bit * 0x17) >> 4 & 7) << 2) & 7;
    Room { free: FlowLine::WAYS as u64 - taken, first }
}

/// Which bit it is, by those three bits, in four bits each.
const FIRSTS: u64 = {
    let (mut table, mut index) = (0, 0);
    while index < 8 {
        table |= index << (((((1 << index) * 0x17u64) >> 4) & 7) << 2);
        index += 1;
    }
    table
};

/// The least worth of a line's words, times eight, and which it is. As `room`, without a branch.
#[inline(always)]
fn least(line: *mut FlowLine, now: u32, timeouts: &Timeouts) -> u64 {
    let mut least = u64::MAX >> 1;
    for index in 0..FlowLine::WAYS {
        let worth = worth(way(line, index).load(), now, timeouts) << 3 | index as u64;
        let less = below(worth, least);
        least = worth & less | least & !less;
    }
    least
}

/// From this worth on an entry is kept: an open connection.
const KEPT: u64 = (Stage::Open as u64) << SEEN_BITS << 3;

/// How much an entry is worth keeping: the stage counts first, then when it was last seen; 0 where there is none.
#[inline(always)]
fn worth(word: u64, now: u32, timeouts: &Timeouts) -> u64 {
    let taken = opaque(0u64.wrapping_sub(opaque(word | word >> 1) >> STAGE_SHIFT & 1));
    let idle = u64::from(now.wrapping_sub((word >> SEEN_SHIFT) as u32) & SEEN);
    let idle = idle & !below(u64::from(AHEAD), idle);
    // The longest of the timeouts, whichever protocol it is.
    let over = below(u64::from(timeouts.tcp), idle);
    let stage = (word >> STAGE_SHIFT & 3) & !over | Stage::Opening as u64 & over;
    ((stage << SEEN_BITS) | (u64::from(SEEN) - idle)) & taken
}

/// All bits where `a` is less than `b`, of two numbers below 2^63; else none.
#[inline(always)]
fn below(a: u64, b: u64) -> u64 {
    opaque(0u64.wrapping_sub(opaque(a.wrapping_sub(b)) >> 63))
}

#[inline(always)]
fn way(line: *mut FlowLine, index: usize) -> Word {
    // SAFETY: callers pass an index below WAYS; the words are aligned, and every access to them is atomic.
    unsafe { Word::new(line.cast::<u64>().add(index & (FlowLine::WAYS - 1))) }
}

#[cfg(test)]
mod tests;
