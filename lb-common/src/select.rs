//! Who takes a packet: the slot's real, or the one that the flow table remembers, or whose turn it is.

use crate::environment::Environment;
use crate::flow::{self, Flow, Place, Stage};
use crate::hash::{Hash, flow_hash, scale, source_hash};
use crate::maps::{Director, FlowKey, NOBODY, Real, Service};
use crate::parse::{Network, Opens, Parsed};
use crate::slot::{Slot, State};
use crate::verdict::Verdict;

/// A packet's real, and whether the packet counts as a new connection.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'e> {
    /// Its index in `real_stats`; wider than it needs to be, since the compiler would otherwise copy it together with its
    /// neighbour, at an odd place of the stack, which the verifier refuses.
    pub(crate) counter: u64,
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
    let hash = hash(director, service, parsed);
    let slot = slot(environment, service, hash)?;
    let tracked = service.flags & Service::TRACKED != 0;
    let alone = service.flags & Service::QUERY != 0 && parsed.opens == Opens::Unknown;
    if !tracked && (slot.is_settled() || alone) {
        return taken(environment, service, slot.current, parsed.opens == Opens::Yes);
    }
    if alone {
        let number = next_turn(environment, service)?;
        return taken(environment, service, number, true);
    }
    choose_remembered(environment, director, service, parsed, hash, slot)
}

/// The hash that a service's flows have.
#[inline(always)]
fn hash(director: &Director, service: &Service, parsed: &Parsed) -> Hash {
    let Network { client, vip, protocol, .. } = parsed.network;
    if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, client)
    } else {
        flow_hash(director.hash_seed, client, vip, parsed.ports, protocol)
    }
}

#[inline(always)]
fn slot<E: Environment>(environment: &E, service: &Service, hash: Hash) -> Result<Slot, Verdict> {
    let place = service.ring.wrapping_add(scale(hash, service.ring_size));
    environment.slot(place).map(Slot::of).ok_or(Verdict::NoReal)
}

/// The real of a packet whose flow the table may know.
#[inline(always)]
fn choose_remembered<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    service: &Service,
    parsed: &Parsed,
    hash: Hash,
    slot: Slot,
) -> Result<Choice<'e>, Verdict> {
    let opens = parsed.opens;
    let Network { client, vip, protocol, .. } = parsed.network;
    // Each flow has a place of its own, also where the client's address alone chooses the slot.
    let own = if service.flags & Service::BY_SOURCE != 0 {
        flow_hash(director.hash_seed, client, vip, parsed.ports, protocol)
    } else {
        hash
    };
    let place = Place::of(own, director.flow_lines);
    let [first, second] = place.lines;
    let lines = (environment.flow_line(first), environment.flow_line(second));
    let (Some(first), Some(second)) = lines else { return Err(Verdict::NoReal) };
    let now = environment.ticks(director.tick_shift);
    let found = flow::find(first, second, place.tag);
    let anew = found.is_some_and(|found| found.starts_anew(opens, now, &director.timeouts));
    if let Some(found) = found
        && !anew
        && let Ok(choice) = taken(environment, service, found.real(), false)
    {
        found.see(opens, now);
        return Ok(choice);
    }
    let tracked = service.flags & Service::TRACKED != 0;
    // A datagram of a session that isn't known may be in the midst of it: where the slot says whose it is, it is so.
    let opener = opens == Opens::Yes || anew || (opens == Opens::Unknown && tracked);
    let moving = slot.state() == State::Moving;
    let number = if opener && tracked {
        next_turn(environment, service)?
    } else if opener || found.is_some() || !moving {
        slot.current
    } else {
        slot.base
    };
    let connection = opener && (tracked || opens == Opens::Yes);
    let mut choice = match taken(environment, service, number, connection) {
        // That real has died, and the agent hasn't said so yet: as if it weren't remembered.
        Err(_) if number != slot.current => return taken(environment, service, slot.current, connection),
        choice => choice?,
    };
    let state = Flow { tag: place.tag, seen: now, stage: Stage::Opening, real: number };
    if let Some(found) = found {
        found.replace(state);
        return Ok(choice);
    }
    // The last packets of an unknown connection are not worth an entry.
    if opens == Opens::Ends || !(moving || opener && tracked) {
        return Ok(choice);
    }
    match flow::insert(first, second, state, &director.timeouts) {
        Some(at) => {
            let line = if at.line == 0 { place.lines[0] } else { place.lines[1] };
            environment.note_key(line, at.way, FlowKey::words(client, parsed.ports, service.id));
        }
        // Later packets will find nothing, and go by the slot: so must this one.
        None if opener => choice = taken(environment, service, slot.owner(), connection)?,
        None => {}
    }
    Ok(choice)
}

/// The real whose turn it is. The agent takes a real out of the turns before it marks it unusable.
#[inline(always)]
fn next_turn<E: Environment>(environment: &E, service: &Service) -> Result<u16, Verdict> {
    let count = environment.slot(service.turns).ok_or(Verdict::NoReal)?;
    if count == 0 {
        return Err(unserved(service));
    }
    let turn = environment.take_turn(service.id).ok_or(Verdict::NoReal)?;
    let place = service.turns.wrapping_add(1 + (turn % u64::from(count)) as u32);
    environment.slot(place).map(|number| number as u16).ok_or(Verdict::NoReal)
}

/// The choice of this real, if frames may be sent to it.
#[inline(always)]
fn taken<'e, E: Environment>(
    environment: &'e E,
    service: &Service,
    number: u16,
    connection: bool,
) -> Result<Choice<'e>, Verdict> {
    if number == NOBODY {
        return Err(unserved(service));
    }
    match environment.real(service.reals.wrapping_add(u32::from(number))) {
        Some(real) if real.flags & Real::USABLE != 0 && u32::from(number) < service.room => {
            Ok(Choice { counter: u64::from(service.counters.wrapping_add(u32::from(number))), real, connection })
        }
        _ => Err(Verdict::NoReal),
    }
}

/// The verdict of a packet whose service has nobody to take it. It is the same for every packet of a connection:
/// whoever answers the first has to see the others.
#[inline(always)]
fn unserved(service: &Service) -> Verdict {
    if service.flags & Service::UNDECIDED != 0 { Verdict::NoReal } else { Verdict::Refused }
}
