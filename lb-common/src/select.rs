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
pub(crate) struct Choice<'e> {
    /// Its index.
    pub(crate) index: u32,
    /// Its entry, looked up once.
    pub(crate) real: &'e Real,
    pub(crate) connection: bool,
}

/// The real of a packet.
#[inline(always)]
pub(crate) fn choose<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    service: &Service,
    parsed: &Parsed,
) -> Result<Choice<'e>, Verdict> {
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, parsed.client)
    } else {
        flow_hash(director.hash_seed, parsed.client, parsed.vip, parsed.ports, parsed.protocol)
    };
    if service.flags & Service::TRACKED != 0 {
        let key = Key { client: parsed.client, ports: parsed.ports, service: service.id };
        return choose_tracked(environment, director, service, &key, hash, parsed.opens);
    }
    let (index, real) = ring_real(environment, service, hash).ok_or_else(|| unserved(parsed.opens))?;
    Ok(Choice { index, real, connection: parsed.opens == Opens::Yes })
}

/// The real of a tracked service's packet: remembered, or the next turn's for a new connection, or the
/// ring's for a connection that is unknown (its director died, or the table was full).
#[inline(always)]
fn choose_tracked<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    service: &Service,
    key: &Key,
    hash: Hash,
    opens: Opens,
) -> Result<Choice<'e>, Verdict> {
    let bucket = environment.bucket(hash as u32 & director.flow_mask).ok_or(Verdict::NoReal)?;
    let tag = (hash >> 24) as u8;
    let now = environment.now();
    let found = flow::find(bucket, key, tag);
    if let Some(found) = found
        && !found.starts_anew(opens, now)
        && let Some((index, real)) = usable(environment, found.real())
    {
        found.see(opens, now);
        return Ok(Choice { index, real, connection: false });
    }
    let connection = matches!(opens, Opens::Yes | Opens::Unknown);
    let (index, real) = if connection { next_turn(environment, service) } else { ring_real(environment, service, hash) }
        .ok_or_else(|| unserved(opens))?;
    let state = flow::first_state(index, opens, now, tag);
    match found {
        Some(found) => found.replace(state),
        // The last packets of an unknown connection are not worth an entry.
        None if opens != Opens::Ends => flow::insert(bucket, key, state),
        None => {}
    }
    Ok(Choice { index, real, connection })
}

/// The real whose turn it is. The agent takes a real out of the turns before it marks it unusable.
#[inline(always)]
fn next_turn<'e, E: Environment>(environment: &'e E, service: &Service) -> Option<(u32, &'e Real)> {
    let count = environment.slot(service.id, service.ring_size)?;
    if count == 0 {
        return None;
    }
    let turn = (environment.take_turn(service.id)? % u64::from(count)) as u32;
    usable(environment, environment.slot(service.id, service.ring_size + 1 + turn)?)
}

/// The real that the ring names for this hash.
#[inline(always)]
fn ring_real<'e, E: Environment>(environment: &'e E, service: &Service, hash: u64) -> Option<(u32, &'e Real)> {
    usable(environment, environment.slot(service.id, scale(hash, service.ring_size))?)
}

/// `index` and its entry, if frames may be sent to that real.
#[inline(always)]
fn usable<E: Environment>(environment: &E, index: u32) -> Option<(u32, &Real)> {
    let real = environment.real(index)?;
    (real.flags & Real::USABLE != 0).then_some((index, real))
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
