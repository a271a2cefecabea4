//! Fragments: the first has the ports, and is remembered with its real; the others follow it there.

use super::{Outer, Owner, Stray, is_forwarded};
use crate::environment::{Environment, Tables as _};
use crate::header::{Fragment, Ipv4, Tcp, Udp, protocol};
use crate::ip::{Ip, Ports};
use crate::maps::{Director, Filter, FragmentFlow, FragmentKey, NOBODY, Pending, Service, Vip, VipKey};
use crate::packet::Packet;
use crate::parse::{Opens, walk};
use crate::select::{Asked, unserved};
use crate::verdict::Verdict;

/// For how long a first fragment is remembered, in ticks of about a second: as long as Linux waits for the others over IPv4.
const KEPT: u32 = 30;

/// The real of a fragment.
#[inline(always)]
pub(super) fn owner<E: Environment>(
    packet: &Packet<'_>,
    environment: &E,
    director: &Director,
    stray: Stray,
    outer: &Outer,
    pending: &mut Pending,
) -> Result<Owner, Verdict> {
    if !director.vips.may_hold(Filter::of_address(outer.destination)) {
        return Err(Verdict::Fragment);
    }
    let tables = environment.tables();
    let now = tables.ticks(director.tick_shift);
    let part = Part::read(packet, stray, outer)?;
    let key = FragmentKey::words(outer.source, outer.destination, part.id, part.protocol);
    // Not options: what the compiler leaves undefined in one that is none, the verifier doesn't let it move about.
    let mut held = tables.fragment(key).map_or(FragmentFlow::NONE, FragmentFlow::of);
    // Another CPU may have seen it later than now.
    if now.wrapping_sub(held.seen).cast_signed() > KEPT.cast_signed() {
        held = FragmentFlow::NONE;
    }
    let is_held = held.protocol != FragmentFlow::NONE.protocol;
    let told = if part.is_first {
        Told::read(packet, stray, outer)
    } else if is_held {
        Told { protocol: held.protocol, ports: held.ports, opens: Opens::No, whole: true }
    } else {
        Told::nothing(stray.protocol)
    };
    let vip = vip(environment, outer.destination, told.protocol).ok_or(Verdict::Fragment)?;
    if vip.gate != 0 && environment.gate_is_closed(vip.gate) {
        return Err(Verdict::Standby);
    }
    if !told.whole {
        return Err(Verdict::VipFragment);
    }
    let index = environment.service_apart(outer.destination, told.protocol, told.ports);
    let found = index.and_then(|index| Some((index, tables.service(index)?))).ok_or(Verdict::NotService);
    let found = found.and_then(|(index, service)| {
        is_forwarded(packet, environment, director, service)?;
        Ok((index, service))
    });
    let note = FragmentFlow { ports: told.ports, protocol: told.protocol, seen: now, ..FragmentFlow::NONE };
    let (index, service) = match found {
        Ok(found) => found,
        Err(verdict) => {
            // It is remembered all the same, so that of a packet that isn't forwarded no part is.
            if part.is_first {
                tables.note_fragment(key, note.words());
            }
            return Err(verdict);
        }
    };
    if is_held && held.ports == told.ports && held.pool == service.reals {
        let known = Owner { service: index, number: held.number, connection: false };
        match part.is_first {
            true if takes_turn_again(service, held) => return Ok(known),
            true => {}
            false if held.number == NOBODY => return Err(unserved(service)),
            false => return Ok(known),
        }
    }
    if !part.is_first {
        // The service has another pool now.
        return Err(Verdict::VipFragment);
    }
    pending.key = key;
    pending.note = FragmentFlow { pool: service.reals, ..note }.words();
    Ok(super::ask(pending, Asked { client: outer.source, ports: told.ports, service: index, opens: told.opens }))
}

/// Whether a first fragment that comes twice would take a turn of its own each time, as each datagram does.
#[inline(always)]
fn takes_turn_again(service: &Service, held: FragmentFlow) -> bool {
    const EACH_BY_TURNS: u16 = Service::TRACKED | Service::QUERY;
    service.flags & EACH_BY_TURNS == EACH_BY_TURNS && held.number != NOBODY
}

/// The entry of a VIP that has services of this protocol. Behind a later fragment's header of IPv6 may stand what was an
/// extension header in the whole packet: then it is of any.
#[inline(always)]
fn vip<E: Environment>(environment: &E, address: Ip, protocol: u8) -> Option<Vip> {
    let of = |protocol| environment.vip(&VipKey { address: address.address(), protocol, reserved: [0; 3] });
    match protocol {
        protocol::TCP | protocol::UDP => of(protocol),
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION | protocol::FRAGMENT => {
            of(protocol::TCP).or_else(|| of(protocol::UDP))
        }
        _ => None,
    }
}

/// Which part of which packet.
struct Part {
    is_first: bool,
    id: u32,
    /// What tells packets with the same id apart: over IPv4 the protocol (RFC 791 §3.2), over IPv6 nothing (RFC 8200 §4.5).
    protocol: u8,
}

impl Part {
    #[inline(always)]
    fn read(packet: &Packet<'_>, stray: Stray, outer: &Outer) -> Result<Self, Verdict> {
        if outer.ipv4 {
            let header = packet.at::<Ipv4>(stray.network)?;
            let is_first = header.fragment.get() & Ipv4::OFFSET == 0;
            return Ok(Self { is_first, id: u32::from(header.id.get()), protocol: stray.protocol });
        }
        let place = stray.payload.wrapping_sub(size_of::<Fragment>()) & super::PLACE;
        let header = packet.at::<Fragment>(place)?;
        let is_first = header.offset_more.get() & Fragment::OFFSET == 0;
        Ok(Self { is_first, id: u32::from_be_bytes(header.id), protocol: protocol::FRAGMENT })
    }
}

/// What is known of the packet.
#[derive(Clone, Copy)]
struct Told {
    protocol: u8,
    ports: Ports,
    opens: Opens,
    /// All of this is; else at most the protocol.
    whole: bool,
}

impl Told {
    #[inline(always)]
    fn nothing(protocol: u8) -> Self {
        Self { protocol, ports: Ports(0), opens: Opens::No, whole: false }
    }

    /// From a first fragment. One that hasn't the whole header with the ports says nothing (RFC 1858, RFC 7112).
    #[inline(always)]
    fn read(packet: &Packet<'_>, stray: Stray, outer: &Outer) -> Self {
        let Ok((protocol, place)) = walk(packet, stray.protocol, stray.payload) else {
            return Self::nothing(protocol::FRAGMENT);
        };
        let told = match protocol {
            protocol::TCP if outer.holds::<Tcp>(place) => {
                packet.at::<Tcp>(place).map(|header| (header.ports, Opens::of_segment(header)))
            }
            protocol::UDP if outer.holds::<Udp>(place) => {
                packet.at::<Udp>(place).map(|header| (header.ports, Opens::Unknown))
            }
            _ => Err(Verdict::VipFragment),
        };
        match told {
            Ok((ports, opens)) => Self { protocol, ports: Ports::of(ports), opens, whole: true },
            Err(_) => Self::nothing(protocol),
        }
    }
}
