//! The schedulers: who takes a connection that nobody has yet.
//!
//! Hashes (`mh`, `sh`) ask a ring. All others are tracked: a new connection takes an entry of the service's list, which is its
//! number of entries and then a word for each, a real's number below its weight. Under `rr` and `wrr` the entries take turns.
//! Under `lc`, `wlc`, `sed` and `nq` the reals' live connections are held against each other, by IPVS's formulae
//! (net/netfilter/ipvs/ip_vs_lc.c, ip_vs_wlc.c, ip_vs_sed.c, ip_vs_nq.c): those of all reals, where they are at most
//! [`EXACT`], or else of as many that are drawn by their weights.

use crate::atomic::{Word, forget, opaque, reread};
use crate::environment::Tables;
use crate::hash::spread;
use crate::maps::{NOBODY, Service};
use crate::recall::Answer;

/// So many reals at most are all held against each other; of more, so many are drawn.
pub const EXACT: u32 = 32;

/// How a new connection finds its real. The numbers are those of `scheduler` in `services`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Scheduler {
    /// Weighted Maglev over the flow (client, port, VIP, port, protocol): no state.
    Mh = 0,
    /// Weighted Maglev over the client's address alone: no state.
    Sh = 1,
    /// Round robin.
    Rr = 2,
    /// Weighted round robin (smooth).
    Wrr = 3,
    /// Least connections: an active one counts as 256 inactive ones.
    Lc = 4,
    /// The same by weight.
    Wlc = 5,
    /// Shortest expected delay: the active connections with the new one, by weight.
    Sed = 6,
    /// Never queue: a real without active connections, or else as `sed`.
    Nq = 7,
}

impl Scheduler {
    /// All of them by their words.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("mh", Self::Mh),
        ("sh", Self::Sh),
        ("rr", Self::Rr),
        ("wrr", Self::Wrr),
        ("lc", Self::Lc),
        ("wlc", Self::Wlc),
        ("sed", Self::Sed),
        ("nq", Self::Nq),
    ];

    /// Its word in the file and in lists.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::WORDS.iter().find(|(_, scheduler)| *scheduler == self).map_or("?", |(word, _)| word)
    }

    /// By its number.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        Self::WORDS.iter().find(|(_, scheduler)| *scheduler as u16 == number).map(|(_, scheduler)| *scheduler)
    }

    /// What it asks of the packet path: flags of [`Service`].
    #[must_use]
    pub const fn flags(self) -> u16 {
        match self {
            Self::Mh => 0,
            Self::Sh => Service::BY_SOURCE,
            Self::Rr | Self::Wrr => Service::TRACKED,
            Self::Lc | Self::Wlc | Self::Sed | Self::Nq => Service::TRACKED | Service::COUNTED,
        }
    }

    /// Whether the flow table is authoritative for its connections.
    #[must_use]
    pub const fn is_tracked(self) -> bool {
        self.flags() & Service::TRACKED != 0
    }

    /// Whether a real's weight is no more than whether it takes part.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Rr | Self::Lc)
    }
}

/// Live connections of a real for a service, shared with other CPUs. A count may be wrong until the agent has looked at
/// the whole table again, and below zero meanwhile.
#[derive(Clone, Copy)]
pub struct Load {
    /// Connections that begin or are open.
    pub active: Word,
    /// Connections whose client said a moment ago that they end.
    pub inactive: Word,
}

/// What becomes of a real's live connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Added to the active ones.
    pub active: i32,
    /// Added to the inactive ones.
    pub inactive: i32,
}

impl Change {
    /// One more begins.
    pub const OPENED: Self = Self { active: 1, inactive: 0 };
    /// The client says that one ends.
    pub const CLOSED: Self = Self { active: -1, inactive: 1 };

    /// As a word.
    #[inline(always)]
    pub fn word(self) -> u64 {
        u64::from(self.active.cast_unsigned()) << 32 | u64::from(self.inactive.cast_unsigned())
    }

    /// From that.
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        Self { active: (word >> 32) as i32, inactive: word as i32 }
    }
}

/// Notes a change of the live connections of a real.
#[inline(always)]
pub fn count_live<T: Tables>(tables: &T, index: u32, number: u16, change: Change) {
    if let Some(service) = tables.service(index)
        && u32::from(number) < service.room
        && let Some(load) = tables.load(service.counters.wrapping_add(u32::from(number)))
    {
        load.active.add(i64::from(change.active).cast_unsigned());
        load.inactive.add(i64::from(change.inactive).cast_unsigned());
    }
}

/// The real that takes a new connection, where that takes no more than a look; else the number of
/// [`Answer::CHOOSE`](crate::Answer::CHOOSE). The agent takes a real out of the list before it marks it unusable.
#[inline(always)]
pub(crate) fn next<T: Tables>(tables: &T, service: &Service) -> u16 {
    if service.flags & (Service::COUNTED | Service::PERSISTENT) != 0 {
        return Answer::CHOOSE.number;
    }
    next_turn(tables, service)
}

/// The real whose turn it is.
#[inline(always)]
pub(crate) fn next_turn<T: Tables>(tables: &T, service: &Service) -> u16 {
    let Some(count) = tables.slot(service.turns).filter(|count| *count != 0) else { return NOBODY };
    let Some(turn) = tables.take_turn(service.id) else { return NOBODY };
    let place = service.turns.wrapping_add(1 + (turn % u64::from(count)) as u32);
    tables.slot(place).unwrap_or_default() as u16
}

/// The real that takes a new connection of the service with this index in `services`, where that isn't [`next`]'s to say.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, index: u32) -> u16 {
    let Some(service) = tables.service(index) else { return NOBODY };
    if service.flags & Service::COUNTED == 0 {
        return next_turn(tables, service);
    }
    let Some(turn) = tables.take_turn(service.id) else { return NOBODY };
    least_loaded(tables, index, turn)
}

/// The real with the least load of a least-connection service. `turn` says where the comparison begins: the first of equals
/// takes the connection, and which one that is changes from one connection to the next.
#[inline(always)]
fn least_loaded<T: Tables>(tables: &T, index: u32, turn: u64) -> u16 {
    let Some(service) = tables.service(index) else { return NOBODY };
    let Some(count) = tables.slot(service.turns).filter(|count| *count != 0) else { return NOBODY };
    let (place, step) = strides(turn, count);
    // Two in a word each, taken apart where they are wanted: functions that call one another share a stack of 512 bytes. The
    // step and the count; the entry of the least so far, its weight and its number, and the place of the next.
    let (mut pace, mut walk) = (step << 32 | u64::from(count), u64::from(NOBODY) << 32 | place);
    let mut least = 1;
    for look in 0..u64::from(EXACT) {
        (pace, walk) = (opaque(pace), opaque(walk));
        // 64 bits: of a counter of 32 that has to lie on the stack the verifier knows nothing.
        if look >= pace & 0xffff_ffff {
            break;
        }
        let service = reread(service);
        let Some(entry) = tables.slot(service.turns.wrapping_add(1).wrapping_add(walk as u32)) else { break };
        let number = entry & 0xffff;
        if number >= service.room {
            break;
        }
        let Some(load) = tables.load(service.counters.wrapping_add(number)) else { break };
        let (active, inactive) = (load.active.load(), load.inactive.load());
        let cost = cost(service.scheduler, clamp(active), clamp(inactive));
        let mut taken = walk >> 32;
        // Load by weight; a weight of 0 never is the least.
        if cost * (taken >> 16) < least * u64::from(entry >> 16) {
            (least, taken) = (cost, u64::from(entry));
        }
        let (step, count) = (pace >> 32, pace & 0xffff_ffff);
        let mut place = (walk & 0xffff_ffff) + step;
        if place >= count {
            place -= count;
        }
        // Which one it was is nothing that the verifier has to follow.
        (least, walk) = (forget(least, active), forget(taken << 32 | place, active));
    }
    (walk >> 32) as u16
}

/// Where in a list of `count` entries the comparison begins, and the step from one to the next.
#[inline(always)]
fn strides(turn: u64, count: u32) -> (u64, u64) {
    if count <= EXACT {
        return (turn % u64::from(count), 1);
    }
    let drawn = spread(turn);
    ((drawn >> 32) % u64::from(count), 1 + (drawn & 0xffff_ffff) % u64::from(count - 1))
}

/// A count that CPUs and the agent have added to in any order may be below zero for a moment.
#[inline(always)]
fn clamp(count: u64) -> u64 {
    count & !(count.cast_signed() >> 63).cast_unsigned() & 0xffff_ffff
}

/// What a real with these counts, each below 2^32, has to do already.
#[inline(always)]
fn cost(scheduler: u16, active: u64, inactive: u64) -> u64 {
    if scheduler == Scheduler::Nq as u16 && active == 0 {
        0
    } else if scheduler >= Scheduler::Sed as u16 {
        active + 1
    } else {
        active * 256 + inactive
    }
}

/// The words of a service's list behind their count, for those of its reals that take new connections.
#[cfg(any(test, feature = "host"))]
pub fn entries(scheduler: Scheduler, members: &[crate::ring::Member]) -> alloc::vec::Vec<u32> {
    use crate::ring::{Member, turns};
    let plain = |member: &Member| Member { weight: member.weight.min(1), ..*member };
    let members: alloc::vec::Vec<Member> =
        members.iter().map(|member| if scheduler.is_plain() { plain(member) } else { *member }).collect();
    let weights: alloc::collections::BTreeMap<u16, u32> =
        members.iter().map(|member| (member.real, member.weight.min(0xffff))).collect();
    let counted = scheduler.flags() & Service::COUNTED != 0;
    let few = weights.values().filter(|weight| **weight > 0).count() <= EXACT as usize;
    // Of many, each is drawn as often as its weight says.
    let order = if counted && few {
        turns(&members.iter().map(plain).collect::<alloc::vec::Vec<_>>())
    } else {
        turns(&members)
    };
    let weight = |number| weights.get(&number).copied().unwrap_or_default();
    order.into_iter().map(|number| weight(number) << 16 | u32::from(number)).collect()
}

#[cfg(test)]
mod tests;
