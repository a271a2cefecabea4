//! Who takes a packet: the ring's real, or for tracked services the one that the flow table remembers or whose
//! turn it is.

use crate::environment::Environment;
use crate::flow::{self, Key};
use crate::hash::{Hash, flow_hash, scale, source_hash};
use crate::maps::{Director, Real, Service};
use crate::parse::{Opens, Parsed};
use crate::verdict::Verdict;

/// A packet's real, and whether the packet counts as a new connection.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) real: u32,
    pub(crate) connection: bool,
}

#[inline(always)]
pub(crate) fn choose<E: Environment>(
    environment: &E,
    director: &Director,
    service: &Service,
    parsed: &Parsed,
) -> Result<Choice, Verdict> {
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, &parsed.client)
    } else {
        flow_hash(director.hash_seed, &parsed.client, &parsed.vip, parsed.ports, parsed.protocol)
    };
    if service.flags & Service::TRACKED != 0 {
        let key = Key { client: parsed.client, ports: parsed.ports, service: service.id };
        return choose_tracked(environment, director, service, &key, hash, parsed.opens);
    }
    let real = ring_real(environment, service, hash).ok_or_else(|| unserved(parsed.opens))?;
    Ok(Choice { real, connection: parsed.opens == Opens::Yes })
}

/// The real of a tracked service's packet: remembered, or the next turn's for a new connection, or the
/// ring's for a connection that is unknown (its director died, or the table was full).
#[inline(always)]
fn choose_tracked<E: Environment>(
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
    let found = flow::find(bucket, key, tag);
    if let Some(found) = found
        && !found.starts_anew(opens, now)
        && let Some(real) = usable(environment, found.real())
    {
        found.see(opens, now);
        return Ok(Choice { real, connection: false });
    }
    let connection = matches!(opens, Opens::Yes | Opens::Unknown);
    let real = if connection { next_turn(environment, service) } else { ring_real(environment, service, hash) }
        .ok_or_else(|| unserved(opens))?;
    let state = flow::first_state(real, opens, now, tag);
    match found {
        Some(found) => found.replace(state),
        // The last packets of an unknown connection are not worth an entry.
        None if opens != Opens::Ends => flow::insert(bucket, key, state),
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

/// The real that the ring names for this hash.
#[inline(always)]
fn ring_real<E: Environment>(environment: &E, service: &Service, hash: u64) -> Option<u32> {
    usable(environment, environment.slot(service.id, scale(hash, service.ring_size))?)
}

/// `index`, if frames may be sent to that real.
#[inline(always)]
fn usable<E: Environment>(environment: &E, index: u32) -> Option<u32> {
    (environment.real(index)?.flags & Real::USABLE != 0).then_some(index)
}

/// The verdict of a packet that no real takes: who asks for a connection is told at once, by the
/// director's own stack; who has one tries again.
#[inline(always)]
fn unserved(opens: Opens) -> Verdict {
    match opens {
        Opens::Yes | Opens::Unknown => Verdict::Refused,
        Opens::No | Opens::Ends => Verdict::NoReal,
    }
}
