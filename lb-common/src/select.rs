//! Who takes a packet: the ring's real, or for tracked services the one that the flow table remembers or whose
//! turn it is.

use crate::environment::Environment;
use crate::flow::{self, Key};
use crate::hash::{Hash, flow_hash, scale, source_hash};
use crate::maps::{Director, NOBODY, Real, Service};
use crate::parse::{Network, Opens, Parsed};
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
    let Network { client, vip, protocol, .. } = parsed.network;
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, client)
    } else {
        flow_hash(director.hash_seed, client, vip, parsed.ports, protocol)
    };
    if service.flags & Service::TRACKED != 0 {
        let key = Key { client, ports: parsed.ports, service: service.id };
        return choose_tracked(environment, director, service, &key, hash, parsed.opens);
    }
    let (index, real) = ring_real(environment, service, hash)?;
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
    let found = flow::find(bucket, key, tag, director.flags & Director::WEAKLY_ORDERED != 0);
    if let Some(found) = found
        && !found.starts_anew(opens, now)
        && let Ok((index, real)) = usable(environment, service, found.real())
    {
        found.see(opens, now);
        return Ok(Choice { index, real, connection: false });
    }
    let connection = matches!(opens, Opens::Yes | Opens::Unknown);
    let (index, real) =
        if connection { next_turn(environment, service) } else { ring_real(environment, service, hash) }?;
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
fn next_turn<'e, E: Environment>(environment: &'e E, service: &Service) -> Result<(u32, &'e Real), Verdict> {
    let count = environment.slot(service.id, service.ring_size).ok_or(Verdict::NoReal)?;
    if count == 0 {
        return Err(unserved(service));
    }
    let turn = environment.take_turn(service.id).ok_or(Verdict::NoReal)?;
    let place = service.ring_size + 1 + (turn % u64::from(count)) as u32;
    usable(environment, service, environment.slot(service.id, place).ok_or(Verdict::NoReal)?)
}

/// The real that the ring names for this hash.
#[inline(always)]
fn ring_real<'e, E: Environment>(
    environment: &'e E,
    service: &Service,
    hash: Hash,
) -> Result<(u32, &'e Real), Verdict> {
    let place = scale(hash, service.ring_size);
    usable(environment, service, environment.slot(service.id, place).ok_or(Verdict::NoReal)?)
}

/// `index` and its entry, if frames may be sent to that real.
#[inline(always)]
fn usable<'e, E: Environment>(environment: &'e E, service: &Service, index: u32) -> Result<(u32, &'e Real), Verdict> {
    match environment.real(index) {
        Some(real) if real.flags & Real::USABLE != 0 => Ok((index, real)),
        _ if index == NOBODY => Err(unserved(service)),
        _ => Err(Verdict::NoReal),
    }
}

/// The verdict of a packet whose service has nobody to take it. It is the same for every packet of a connection:
/// whoever answers the first has to see the others.
#[inline(always)]
fn unserved(service: &Service) -> Verdict {
    if service.flags & Service::UNDECIDED != 0 { Verdict::NoReal } else { Verdict::Refused }
}
