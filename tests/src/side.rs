//! What the host's tables and the loaded program have in common, so that both can be asked the same.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::flow::Flow;
use lb_common::maps::{FlowLine, FragmentEntry, Service};
use lb_common::{Action, Verdict};
use lb_userspace::dataplane::{Counters, Desired};

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The action's number: see [`Side::number`].
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Every counter. Services and reals that never counted may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By verdict.
    pub verdicts: Vec<u64>,
    /// By service id.
    pub services: BTreeMap<u32, Counters>,
    /// By real.
    pub reals: BTreeMap<u32, Counters>,
}

impl Counts {
    /// What was counted since `before`; what didn't move is left out.
    pub fn since(&self, before: &Self) -> Moved {
        let verdicts = self.verdicts.iter().zip(Verdict::ALL).enumerate();
        let moved = verdicts.filter_map(|(index, (now, verdict))| {
            let then = before.verdicts.get(index).copied().unwrap_or_default();
            (*now != then).then(|| (verdict.name(), now.wrapping_sub(then)))
        });
        Moved {
            verdicts: moved.collect(),
            services: difference(&self.services, &before.services),
            reals: difference(&self.reals, &before.reals),
        }
    }
}

/// Counters that moved, and by how much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// By the verdict's name.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// By service id.
    pub services: BTreeMap<u32, Counters>,
    /// By real.
    pub reals: BTreeMap<u32, Counters>,
}

fn difference(now: &BTreeMap<u32, Counters>, before: &BTreeMap<u32, Counters>) -> BTreeMap<u32, Counters> {
    let moved = now.iter().map(|(index, now)| {
        let then = before.get(index).copied().unwrap_or_default();
        let moved = Counters {
            connections: now.connections.wrapping_sub(then.connections),
            packets: now.packets.wrapping_sub(then.packets),
            bytes: now.bytes.wrapping_sub(then.bytes),
        };
        (*index, moved)
    });
    moved.filter(|(_, moved)| *moved != Counters::default()).collect()
}

/// A director that frames are put through.
pub trait Side {
    /// The name that people see.
    fn name(&self) -> &'static str;

    /// The number that an action has here: enum xdp_action of linux/bpf.h.
    fn number(&self, action: Action) -> u32 {
        xdp_number(action)
    }

    /// Whether it is the tc program, a test run of which can't show everything.
    fn is_tc(&self) -> bool {
        false
    }

    /// Brings its maps to `desired`.
    ///
    /// # Errors
    /// What the agent would say.
    fn apply(&mut self, desired: &Desired) -> Result<()>;

    /// Closes or opens a gate.
    ///
    /// # Errors
    /// There is no such gate.
    fn gate(&mut self, gate: u32, closed: bool) -> Result<()>;

    /// Says whether this director is the master of a virtual MAC on interface 1; `None` forgets the MAC.
    ///
    /// # Errors
    /// The map can't be written.
    fn virtual_mac(&mut self, mac: [u8; 6], master: Option<bool>) -> Result<()>;

    /// Puts one frame through, as if it came in by interface 1.
    ///
    /// # Errors
    /// The frame is refused before any packet logic sees it.
    fn send(&mut self, frame: &[u8]) -> Result<Outcome>;

    /// Its counters.
    ///
    /// # Errors
    /// A map can't be read.
    fn counts(&self) -> Result<Counts>;

    /// Makes every remembered flow and first fragment older; less than zero makes it seen in the future, as by a CPU whose clock is ahead.
    ///
    /// # Errors
    /// A map can't be read or written.
    fn age(&mut self, seconds: i32) -> Result<()>;

    /// Forgets every remembered flow and first fragment, and starts from the first turn.
    ///
    /// # Errors
    /// A map can't be written.
    fn forget(&mut self) -> Result<()>;
}

/// As enum xdp_action of linux/bpf.h has it.
pub(crate) fn xdp_number(action: Action) -> u32 {
    match action {
        Action::Abort => 0,
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect => 4,
    }
}

/// Makes the flows of a line older, or younger, by so many ticks.
pub(crate) fn age(line: &mut FlowLine, ticks: i32) {
    for word in &mut line.words {
        if let Some(flow) = Flow::of(*word) {
            *word = Flow { seen: flow.seen.wrapping_add_signed(-ticks), ..flow }.word();
        }
    }
}

/// Makes a first fragment older, or younger, by so many ticks.
pub(crate) fn age_fragment(entry: &mut FragmentEntry, ticks: i32) {
    entry.seen = entry.seen.wrapping_add_signed(-ticks);
}

/// The counters of all that these services have, by what their entries in `real_stats` hold.
pub(crate) fn counts(
    verdicts: Vec<u64>,
    services: &BTreeMap<u32, Service>,
    held: impl Fn(u32) -> Result<Counters>,
) -> Result<Counts> {
    let mut counts = Counts { verdicts, ..Counts::default() };
    for (id, service) in services {
        let mut sum = Vec::new();
        for number in 1..service.room {
            let counters = held(service.counters + number)?;
            // Services of a pool share its reals.
            let real = counts.reals.entry(service.reals + number).or_default();
            *real = [*real, counters].into_iter().sum();
            sum.push(counters);
        }
        counts.services.insert(*id, sum.into_iter().sum());
    }
    Ok(counts)
}
