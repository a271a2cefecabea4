//! From a frame to the flow that it belongs to.

use crate::atomic::forget;
use crate::header::{Ethernet, Extension, Fragment, Ipv4, Ipv6, Quic, Tcp, Udp, Vlan, ethertype, protocol};
use crate::ip::{Ip, Ports};
use crate::packet::Packet;
use crate::verdict::Verdict;

/// Most IPv6 headers that are looked at behind the fixed one: five extension headers, and what follows them. Of
/// the kinds that are followed, RFC 8200 §4.1 has at most one each, and two of the destination options.
const EXTENSIONS: usize = 6;
const ETHERNET: usize = size_of::<Ethernet>();
const TAG: usize = size_of::<Vlan>();

/// What a frame's link and network headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Source address.
    pub client: Ip,
    /// Destination address.
    pub vip: Ip,
    /// What the packet carries, behind IPv6's extension headers: 6, 17 or another.
    pub protocol: u8,
    /// VLAN tags in front of the IP header, 0 to 2.
    pub tags: u8,
    /// The VLAN, by the first tag that has an id (a tag without one has a priority alone); 0 for none.
    pub vlan: u16,
    /// Where it is a part of a packet, in whose first part alone are ports: its header's bits that say so; else 0.
    pub fragment: u16,
    /// Length of the IP packet by its own header, in bytes.
    pub length: u32,
    /// Where its payload starts in the frame.
    pub(crate) payload: usize,
    /// Bytes of the payload, by the packet's own length.
    rest: u32,
}

impl Network {
    /// The same packet, of which the verifier doesn't know any more which headers it has: it goes on with one packet, not
    /// with one for each way through the headers. `unknown` is any value that it doesn't know.
    #[inline(always)]
    pub(crate) fn forgotten(self, unknown: u64) -> Self {
        // Masked so that the verifier sees a bound; no headers that are read past are longer.
        let payload = forget(self.payload as u64, unknown) & (FARTHEST - 1);
        Self { payload: payload as usize, ..self }
    }

    /// What it carries, as the words of [`Step::Carries`](crate::trace::Step::Carries).
    #[inline(always)]
    pub(crate) fn words(&self, tags: u8, vlan: u16) -> [u64; 4] {
        let vlan = u64::from(tags) << 16 | u64::from(vlan);
        [self.protocol.into(), self.length.into(), vlan, self.fragment.into()]
    }

    /// Where the IP header starts in the frame.
    #[inline(always)]
    pub(crate) fn start(&self) -> usize {
        ETHERNET + TAG * usize::from(self.tags)
    }

    /// Whether its flow isn't told by ports of its own: see [`crate::stray`].
    #[inline(always)]
    pub fn is_stray(&self) -> bool {
        self.fragment != 0 || matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    /// Whether it has ports of its own.
    #[inline(always)]
    pub(crate) fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP) && self.fragment == 0
    }
}

/// No payload starts behind this: two tags, IPv6's header and five extensions are shorter.
const FARTHEST: u64 = 1 << 14;

/// A TCP or UDP packet: its flow, and what forwarding needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Where from and where to.
    pub network: Network,
    /// Source port, then destination port.
    pub ports: Ports,
    /// Those of TCP's flags that tell of the connection; [`Tcp::SYN`] of a datagram that opens one.
    pub(crate) flags: u8,
    /// How much of the packet are the IP header and what follows up to TCP's or UDP's payload, in bytes.
    pub headers: u32,
}

impl Parsed {
    /// Whether it is known to open a connection.
    #[inline(always)]
    pub fn is_opener(&self) -> bool {
        self.flags == Tcp::SYN
    }

    /// What the packet says of its connection.
    #[inline(always)]
    pub fn opens(&self) -> Opens {
        match self.network.protocol {
            protocol::UDP if !self.is_opener() => Opens::Unknown,
            _ => Opens::of_flags(self.flags),
        }
    }
}

/// What a packet says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opens {
    /// TCP, SYN without ACK: it opens one.
    Yes,
    /// TCP, anything else: it belongs to one.
    No,
    /// TCP, FIN or RST: it ends one.
    Ends,
    /// UDP: it can't be told, unless its service is QUIC's: see [`opens_quic`].
    Unknown,
    /// An ICMP error: it is about a connection, and no packet of it.
    About,
}

impl Opens {
    /// Of a TCP segment.
    #[inline(always)]
    pub(crate) fn of_segment(header: &Tcp) -> Self {
        Self::of_flags(header.flags & Tcp::TELLING)
    }

    #[inline(always)]
    fn of_flags(flags: u8) -> Self {
        match flags {
            Tcp::SYN => Self::Yes,
            flags if flags & (Tcp::FIN | Tcp::RST) != 0 => Self::Ends,
            _ => Self::No,
        }
    }

    /// From its number.
    #[inline(always)]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Yes,
            1 => Self::No,
            2 => Self::Ends,
            3 => Self::Unknown,
            _ => Self::About,
        }
    }
}

/// Reads a frame's headers up to the network's. `merged` is as [`crate::Environment::merged`] says.
///
/// # Errors
/// The verdict of a frame that can't be for a service.
#[inline(always)]
pub fn parse_network(packet: &Packet<'_>, merged: u32) -> Result<Network, Verdict> {
    let mut kind = packet.at::<Ethernet>(0)?.ethertype.get();
    let mut offset = ETHERNET;
    let (mut tags, mut vlan) = (0, 0);
    if is_tag(kind) {
        let tag = packet.at::<Vlan>(offset)?;
        kind = tag.ethertype.get();
        vlan = tag.control.get() & Vlan::ID;
        offset += TAG;
        tags = 1;
        if is_tag(kind) {
            let tag = packet.at::<Vlan>(offset)?;
            kind = tag.ethertype.get();
            if vlan == 0 {
                vlan = tag.control.get() & Vlan::ID;
            }
            offset += TAG;
            tags = 2;
        }
    }
    let network = match kind {
        ethertype::IPV4 => parse_ipv4(packet, offset, merged)?,
        ethertype::IPV6 => parse_ipv6(packet, offset, merged)?,
        _ => return Err(Verdict::NotIp.aside()),
    };
    Ok(Network { tags, vlan, ..network })
}

#[inline(always)]
fn is_tag(kind: u16) -> bool {
    kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN
}

#[inline(always)]
fn parse_ipv4(packet: &Packet<'_>, offset: usize, merged: u32) -> Result<Network, Verdict> {
    let header = packet.at::<Ipv4>(offset)?;
    // Masked so that the verifier sees a bound: 5 words to 15.
    let header_length = usize::from(header.version_length & 0x0f) << 2;
    let length = match u32::from(header.total_length.get()) {
        0 => merged.saturating_sub(offset as u32),
        length => length,
    };
    if header.version_length >> 4 != 4 || header_length < size_of::<Ipv4>() || (length as usize) < header_length {
        return Err(Verdict::Malformed.aside());
    }
    Ok(Network {
        client: Ip::v4(header.source),
        vip: Ip::v4(header.destination),
        protocol: header.protocol,
        tags: 0,
        vlan: 0,
        // More fragments, or an offset.
        fragment: header.fragment.get() & 0x3fff,
        length,
        payload: offset + header_length,
        rest: length - header_length as u32,
    })
}

#[inline(always)]
fn parse_ipv6(packet: &Packet<'_>, offset: usize, merged: u32) -> Result<Network, Verdict> {
    let header = packet.at::<Ipv6>(offset)?;
    let [version, ..] = header.version_class_label;
    if version >> 4 != 6 {
        return Err(Verdict::Malformed.aside());
    }
    let (client, vip) = (Ip::from(header.source), Ip::from(header.destination));
    // They stand for IPv4 inside a host, and for an IPv4 VIP in the maps; on the wire they are nobody's (RFC 4942 §2.2).
    if client.is_mapped() || vip.is_mapped() {
        return Err(Verdict::Malformed.aside());
    }
    let length = match u32::from(header.payload_length.get()) {
        0 if merged != 0 => merged.saturating_sub(offset as u32),
        length => length + size_of::<Ipv6>() as u32,
    };
    let mut next = header.next_header;
    let mut payload = offset + size_of::<Ipv6>();
    for _ in 0..EXTENSIONS {
        let mut fragment = 0;
        match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let extension = packet.at::<Extension>(payload)?;
                next = extension.next_header;
                payload += (usize::from(extension.length) << 3) + 8;
                continue;
            }
            protocol::FRAGMENT => {
                let header = packet.at::<Fragment>(payload)?;
                next = header.next_header;
                payload += size_of::<Fragment>();
                // A packet that is whole may carry the header all the same (RFC 6946).
                fragment = header.offset_more.get() & 0xfff9;
                if fragment == 0 {
                    continue;
                }
            }
            _ => {}
        }
        let rest = length.saturating_sub((payload - offset) as u32);
        return Ok(Network { client, vip, protocol: next, tags: 0, vlan: 0, fragment, length, payload, rest });
    }
    Err(Verdict::TooManyHeaders.aside())
}

/// What a packet carries behind these IPv6 extension headers, and where that starts in its frame. The first is of this kind
/// and starts there.
///
/// # Errors
/// [`Verdict::Fragment`] for a later fragment, which carries neither, [`Verdict::TooManyHeaders`], and [`Verdict::Truncated`].
#[inline(always)]
pub(crate) fn walk(packet: &Packet<'_>, mut next: u8, mut place: usize) -> Result<(u8, usize), Verdict> {
    for _ in 0..EXTENSIONS {
        match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let extension = packet.at::<Extension>(place)?;
                next = extension.next_header;
                place += (usize::from(extension.length) << 3) + 8;
            }
            protocol::FRAGMENT => {
                let header = packet.at::<Fragment>(place)?;
                if header.offset_more.get() & Fragment::OFFSET != 0 {
                    return Err(Verdict::Fragment.aside());
                }
                next = header.next_header;
                place += size_of::<Fragment>();
            }
            _ => return Ok((next, place)),
        }
    }
    Err(Verdict::TooManyHeaders.aside())
}

/// Reads the header behind the network's, of a packet that isn't [a stray](Network::is_stray).
///
/// # Errors
/// The verdict of a packet that can't be for a service.
#[inline(always)]
pub fn parse_transport(packet: &Packet<'_>, network: Network) -> Result<Parsed, Verdict> {
    let (ports, flags, transport) = match network.protocol {
        protocol::TCP => {
            let header = packet.at::<Tcp>(network.payload)?;
            within::<Tcp>(&network)?;
            (Ports::of(header.ports), header.flags & Tcp::TELLING, u32::from(header.offset >> 4) << 2)
        }
        protocol::UDP => {
            let header = packet.at::<Udp>(network.payload)?;
            within::<Udp>(&network)?;
            (Ports::of(header.ports), 0, size_of::<Udp>() as u32)
        }
        _ => return Err(Verdict::OtherProtocol),
    };
    let headers = network.length.saturating_sub(network.rest) + transport;
    Ok(Parsed { network, ports, flags, headers })
}

/// Whether a datagram opens a QUIC connection: a long header of the type Initial (RFC 9000 §17.2.2, RFC 9369 §3.2), of
/// those versions whose types are known.
#[inline(always)]
pub fn opens_quic(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    let start = parsed.network.payload + size_of::<Udp>();
    if parsed.network.protocol != protocol::UDP || (parsed.network.rest as usize) < size_of::<Udp>() + size_of::<Quic>()
    {
        return false;
    }
    packet.at::<Quic>(start).is_ok_and(|header| header.kind & Quic::KIND == header.initial())
}

/// What lies behind a packet in its frame (padding, or what somebody put there) is no header of it.
#[inline(always)]
fn within<T>(network: &Network) -> Result<(), Verdict> {
    if (network.rest as usize) < size_of::<T>() { Err(Verdict::Malformed.aside()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
