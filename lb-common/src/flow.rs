//! The flow table of tracked services: an array of buckets, each of four flows.
//!
//! Any CPU may read a bucket while another writes it. A flow's real and tag change together, in one 64-bit
//! word; its key is written only by the CPU that claimed the entry by setting it to
//! [`FlowState::BUSY`] with a compare-and-exchange, and is published by storing the word again. A reader that
//! meets a half-written key sees another flow's key and misses. A full bucket gives up the entry that is worth
//! least: one that nothing followed a SYN of, then one that was closed, then the longest unseen. A flood of SYNs
//! so replaces its own kind and leaves open connections alone.
#![expect(unsafe_code, reason = "a bucket is shared with other CPUs and reached by pointer")]

use crate::atomic::Word;
use crate::maps::{Address, Bucket, Flow, FlowState};
use crate::parse::Opens;

/// Idle seconds after which a SYN or a datagram of a remembered flow counts as a new connection: IPVS's
/// defaults for TCP and for UDP (net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_udp.c).
const TCP_IDLE: u32 = 900;
const UDP_IDLE: u32 = 300;

/// What tells one flow from another inside its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The client's address.
    pub client: Address,
    /// The client's port, then the VIP's, in network order.
    pub ports: [u8; 4],
    /// Id of the service.
    pub service: u32,
}

/// A flow's entry, and what its word was when it was found.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    way: *mut Flow,
    state: FlowState,
}

impl Found {
    /// Index of the flow's real.
    #[inline(always)]
    pub(crate) fn real(&self) -> u32 {
        u32::from(self.state.real)
    }

    /// Whether a packet of this kind is the first of another connection: the old one is closed, or was idle for long.
    #[inline(always)]
    pub(crate) fn starts_anew(&self, opens: Opens, now: u32) -> bool {
        let idle = now.wrapping_sub(self.state.seen);
        match opens {
            Opens::Yes => self.state.stage == FlowState::CLOSING || idle > TCP_IDLE,
            Opens::Unknown => idle > UDP_IDLE,
            Opens::No | Opens::Ends => false,
        }
    }

    /// Notes a packet of the flow.
    #[inline(always)]
    pub(crate) fn see(&self, opens: Opens, now: u32) {
        let next = FlowState { seen: now, stage: stage_after(self.state.stage, opens), ..self.state };
        if next != self.state {
            self.replace(next);
        }
    }

    /// Gives the entry another state. When another CPU changed it first, that one's is as good as ours.
    #[inline(always)]
    pub(crate) fn replace(&self, state: FlowState) {
        let _ = swap(self.way, self.state, state);
    }
}

/// The state of a flow's first packet.
#[inline(always)]
pub(crate) fn first_state(real: u32, opens: Opens, now: u32, tag: u8) -> FlowState {
    let stage = if opens == Opens::Yes { FlowState::OPENING } else { FlowState::OPEN };
    FlowState { seen: now, real: real as u16, stage, tag }
}

#[inline(always)]
fn stage_after(stage: u8, opens: Opens) -> u8 {
    match opens {
        Opens::Yes => stage,
        Opens::Ends => FlowState::CLOSING,
        Opens::No | Opens::Unknown if stage == FlowState::OPENING => FlowState::OPEN,
        Opens::No | Opens::Unknown => stage,
    }
}

/// The entry of this flow in its bucket.
#[inline(always)]
pub(crate) fn find(bucket: *mut Bucket, key: &Key, tag: u8) -> Option<Found> {
    for index in 0..Bucket::WAYS {
        let way = way(bucket, index);
        let state = load(way);
        // SAFETY: the entry is inside the bucket; another CPU may be writing its key, and any bytes are a key.
        let (client, ports, service) = unsafe { ((*way).client, (*way).ports, (*way).service) };
        if state.tag == tag
            && state.stage >= FlowState::OPENING
            && ports == key.ports
            && service == key.service
            && client == key.client
            // Another CPU may have given the entry to another flow between the two reads.
            && load(way) == state
        {
            return Some(Found { way, state });
        }
    }
    None
}

/// Writes a flow over the entry that is worth least. When another CPU takes that one first, the flow stays
/// unknown, and its next packet tries again.
#[inline(always)]
pub(crate) fn insert(bucket: *mut Bucket, key: &Key, state: FlowState) {
    let mut victim = way(bucket, 0);
    let mut victim_state = load(victim);
    let mut victim_worth = worth(victim_state, state.seen);
    for index in 1..Bucket::WAYS {
        let candidate = way(bucket, index);
        let candidate_state = load(candidate);
        let candidate_worth = worth(candidate_state, state.seen);
        if candidate_worth < victim_worth {
            (victim, victim_state, victim_worth) = (candidate, candidate_state, candidate_worth);
        }
    }
    if victim_state.stage == FlowState::BUSY
        || !swap(victim, victim_state, FlowState { stage: FlowState::BUSY, ..state })
    {
        return;
    }
    // SAFETY: the entry is inside the bucket, and BUSY makes its key this CPU's alone to write.
    unsafe {
        (*victim).client = key.client;
        (*victim).ports = key.ports;
        (*victim).service = key.service;
    }
    word(victim).publish(pack(state));
}

/// How much an entry is worth keeping: the stage counts first, then when it was last seen.
#[inline(always)]
fn worth(state: FlowState, now: u32) -> u64 {
    let rank = match state.stage {
        FlowState::FREE => return 0,
        FlowState::OPENING => 1,
        FlowState::CLOSING => 2,
        FlowState::OPEN => 3,
        _ => 4,
    };
    let idle = now.wrapping_sub(state.seen);
    (rank << 32) | u64::from(u32::MAX - idle)
}

#[inline(always)]
fn way(bucket: *mut Bucket, index: usize) -> *mut Flow {
    // SAFETY: callers pass an index below WAYS.
    unsafe { bucket.cast::<Flow>().add(index) }
}

#[inline(always)]
fn word(way: *mut Flow) -> Word {
    // SAFETY: the state is the entry's first field, 8 bytes long and aligned, and every access to it is atomic.
    unsafe { Word::new(way.cast::<u64>()) }
}

#[inline(always)]
fn load(way: *mut Flow) -> FlowState {
    unpack(word(way).load())
}

#[inline(always)]
fn swap(way: *mut Flow, old: FlowState, new: FlowState) -> bool {
    word(way).replace(pack(old), pack(new))
}

#[inline(always)]
fn pack(state: FlowState) -> u64 {
    zerocopy::transmute!(state)
}

#[inline(always)]
fn unpack(word: u64) -> FlowState {
    zerocopy::transmute!(word)
}
