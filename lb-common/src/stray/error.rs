//! ICMP and ICMPv6 errors: they go where the packets go that the real answered with the one that they embed.

use super::{Outer, Owner, Stray, is_forwarded};
use crate::environment::{Environment, Tables as _};
use crate::header::{Icmp, Ipv4, Ipv6, protocol};
use crate::ip::{Ip, Ports};
use crate::maps::{Director, Filter, Pending, Service};
use crate::packet::Packet;
use crate::parse::{Opens, walk};
use crate::select::Asked;
use crate::verdict::Verdict;

/// Length of an error's own header (RFC 792, RFC 4443 §3).
const HEADER: usize = 8;

/// What an error embeds of a TCP segment or a datagram at least: the ports and four bytes more (RFC 792).
type Transport = [u8; 8];

/// The real that sent the packet that an error is about.
#[inline(always)]
pub(super) fn owner<E: Environment>(
    packet: &Packet<'_>,
    environment: &E,
    director: &Director,
    stray: Stray,
    outer: &Outer,
    pending: &mut Pending,
) -> Result<Owner, Verdict> {
    let embeds = match (stray.protocol, packet.at::<Icmp>(stray.payload)?.kind) {
        // Unreachable, source quench, time exceeded, parameter problem (RFC 792).
        (protocol::ICMP, 3 | 4 | 11 | 12) => outer.ipv4,
        // Unreachable, too big, time exceeded, parameter problem; errors are below 128 (RFC 4443 §2.1).
        (protocol::ICMPV6, kind @ 0..=127) => matches!(kind, 1..=4) && !outer.ipv4,
        _ => return Err(Verdict::OtherProtocol),
    };
    if !embeds || !director.vips.may_hold(Filter::of_address(outer.destination)) {
        return Err(Verdict::IcmpError);
    }
    // Whatever is wrong with the embedded packet, it is none of ours.
    let sent = Sent::read(packet, outer, stray.payload + HEADER).ok_or(Verdict::IcmpError)?;
    // An error goes to who sent what it embeds.
    if sent.source != outer.destination {
        return Err(Verdict::IcmpError);
    }
    let index = environment.service_apart(sent.source, sent.protocol, sent.ports).ok_or(Verdict::IcmpError)?;
    let service = environment.tables().service(index).ok_or(Verdict::IcmpError)?;
    is_forwarded(packet, environment, director, service)?;
    const EACH_BY_TURNS: u16 = Service::TRACKED | Service::QUERY;
    if service.flags & EACH_BY_TURNS == EACH_BY_TURNS {
        // Of datagrams that take turns one by one nobody remembers who answered.
        return Err(Verdict::IcmpError);
    }
    Ok(super::ask(pending, Asked { client: sent.destination, ports: sent.ports, service: index, opens: Opens::About }))
}

/// An embedded packet.
struct Sent {
    source: Ip,
    destination: Ip,
    protocol: u8,
    /// As the client's packets have them: its own port comes first.
    ports: Ports,
}

impl Sent {
    #[inline(always)]
    fn read(packet: &Packet<'_>, outer: &Outer, start: usize) -> Option<Self> {
        let (source, destination, protocol, transport) = if outer.ipv4 {
            let header = packet.at::<Ipv4>(start).ok()?;
            // Masked so that the verifier sees a bound: 5 words to 15.
            let length = usize::from(header.version_length & 0x0f) << 2;
            let whole = header.version_length >> 4 == 4 && length >= size_of::<Ipv4>();
            if !whole || header.fragment.get() & Ipv4::OFFSET != 0 {
                return None;
            }
            (Ip::v4(header.source), Ip::v4(header.destination), header.protocol, start + length)
        } else {
            let header = packet.at::<Ipv6>(start).ok()?;
            let [version, ..] = header.version_class_label;
            if version >> 4 != 6 {
                return None;
            }
            let (protocol, transport) = walk(packet, header.next_header, start + size_of::<Ipv6>()).ok()?;
            (Ip::from(header.source), Ip::from(header.destination), protocol, transport)
        };
        if !matches!(protocol, protocol::TCP | protocol::UDP) || !outer.holds::<Transport>(transport) {
            return None;
        }
        let [a, b, c, d, ..] = *packet.at::<Transport>(transport).ok()?;
        Some(Self { source, destination, protocol, ports: Ports::of([c, d, a, b]) })
    }
}
