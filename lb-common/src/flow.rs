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
use crate::balance::{Choice, Environment, ring_real, unserved, usable};
use crate::hash::Hash;
use crate::maps::{Address, Bucket, Director, Flow, FlowState, Service};
use crate::parse::Opens;
use crate::verdict::Verdict;

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

/// The real of a tracked service's packet: remembered, or the next turn's for a new connection, or the
/// ring's for a connection that is unknown (its director died, or the table was full).
#[inline(always)]
pub(crate) fn choose<E: Environment>(
    environment: &E,
    director: &Director,
    service: &Service,
    key: &Key,
    hash: Hash,
    opens: Opens,
) -> Result<Choice, Verdict> {
    let bucket = environment.bucket(hash as u32 & director.flow_mask).ok_or(Verdict::NoReal)?;
    let tag = (hash >> 24) as u8;
    let now = environment.now();
    let found = find(bucket, key, tag);
    if let Some((way, state)) = found
        && !starts_anew(state, opens, now)
        && let Some(real) = usable(environment, u32::from(state.real))
    {
        let next = FlowState { seen: now, stage: stage_after(state.stage, opens), ..state };
        if next != state {
            // Lost to another CPU's update of the same flow: as good as ours.
            let _ = swap(way, state, next);
        }
        return Ok(Choice { real, connection: false });
    }
    let connection = matches!(opens, Opens::Yes | Opens::Unknown);
    let real = if connection { next_turn(environment, service) } else { ring_real(environment, service, hash) }
        .ok_or_else(|| unserved(opens))?;
    let state = FlowState { seen: now, real: real as u16, stage: first_stage(opens), tag };
    match found {
        Some((way, old)) => {
            let _ = swap(way, old, state);
        }
        // The last packets of an unknown connection are not worth an entry.
        None if opens != Opens::Ends => insert(bucket, key, state),
        None => {}
    }
    Ok(Choice { real, connection })
}

/// The real whose turn it is. The agent takes a real out of the turns before it marks it unusable.
#[inline(always)]
fn next_turn<E: Environment>(environment: &E, service: &Service) -> Option<u32> {
    let count = environment.slot(service.id, service.ring_size)?;
    if count == 0 {
        return None;
    }
    let turn = (environment.take_turn(service.id)? % u64::from(count)) as u32;
    usable(environment, environment.slot(service.id, service.ring_size + 1 + turn)?)
}

#[inline(always)]
fn starts_anew(state: FlowState, opens: Opens, now: u32) -> bool {
    let idle = now.wrapping_sub(state.seen);
    match opens {
        Opens::Yes => state.stage == FlowState::CLOSING || idle > TCP_IDLE,
        Opens::Unknown => idle > UDP_IDLE,
        Opens::No | Opens::Ends => false,
    }
}

#[inline(always)]
fn first_stage(opens: Opens) -> u8 {
    if opens == Opens::Yes { FlowState::OPENING } else { FlowState::OPEN }
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

#[inline(always)]
fn find(bucket: *mut Bucket, key: &Key, tag: u8) -> Option<(*mut Flow, FlowState)> {
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
            return Some((way, state));
        }
    }
    None
}

/// Writes a flow over the entry that is worth least. When another CPU takes that one first, the flow stays
/// unknown, and its next packet tries again.
#[inline(always)]
fn insert(bucket: *mut Bucket, key: &Key, state: FlowState) {
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
