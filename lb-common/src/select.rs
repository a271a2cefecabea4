//! Who takes a packet: its slot's real, or whoever the flow table says.

use crate::environment::{Environment, Tables as _};
use crate::hash::{Hash, flow_hash, scale, source_hash};
use crate::maps::{Director, NOBODY, Real, Service};
use crate::parse::{Network, Opens, Parsed};
use crate::recall::{Answer, Query};
use crate::slot::Slot;
use crate::verdict::Verdict;

/// A packet's real, and whether the packet counts as a new connection.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'e> {
    /// Its index in `real_stats`.
    pub(crate) counter: u32,
    /// Its entry, looked up once.
    pub(crate) real: &'e Real,
    pub(crate) connection: bool,
}

/// The real of a packet, whose service has this index in `services`.
#[inline(always)]
pub(crate) fn choose<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    (index, service): (u32, &Service),
    parsed: &Parsed,
) -> Result<Choice<'e>, Verdict> {
    let tables = environment.tables();
    let Network { client, vip, protocol, .. } = parsed.network;
    let by_source = service.flags & Service::BY_SOURCE != 0;
    let hash = if by_source {
        source_hash(director.hash_seed, client)
    } else {
        flow_hash(director.hash_seed, client, vip, parsed.ports, protocol)
    };
    let place = service.ring.wrapping_add(scale(hash, service.ring_size));
    let slot = tables.slot(place).map(Slot::of).ok_or(Verdict::NoReal)?;
    let tracked = service.flags & Service::TRACKED != 0;
    let alone = service.flags & Service::QUERY != 0 && parsed.opens == Opens::Unknown;
    let Answer { number, connection } = if !tracked && (slot.is_settled() || alone) {
        Answer { number: slot.current, connection: parsed.opens == Opens::Yes }
    } else {
        let own: Hash =
            if by_source { flow_hash(director.hash_seed, client, vip, parsed.ports, protocol) } else { hash };
        let (ports, opens) = (parsed.ports, parsed.opens);
        environment.recall(Query { hash: own, client, ports, service: index, slot, opens })
    };
    if number == NOBODY {
        return Err(unserved(service));
    }
    match tables.real(service.reals.wrapping_add(u32::from(number))) {
        Some(real) if real.flags & Real::USABLE != 0 && u32::from(number) < service.room => {
            Ok(Choice { counter: service.counters.wrapping_add(u32::from(number)), real, connection })
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
