//! From a frame to the flow that it belongs to.

use crate::header::{Ethernet, Extension, Fragment, Icmp, Ipv4, Ipv6, Ports, Tcp, Vlan, ethertype, protocol};
use crate::maps::{Address, mapped};
use crate::packet::Packet;
use crate::verdict::Verdict;

/// Most IPv6 headers that are looked at behind the fixed one: five extension headers, and what follows them. Of
/// the kinds that are followed, RFC 8200 §4.1 has at most one each, and two of the destination options.
const EXTENSIONS: usize = 6;
const ETHERNET: usize = size_of::<Ethernet>();
const TAG: usize = size_of::<Vlan>();

/// A TCP or UDP packet: its flow, and what forwarding needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Source address.
    pub client: Address,
    /// Destination address.
    pub vip: Address,
    /// Source port, then destination port, in network order.
    pub ports: [u8; 4],
    /// 6 or 17.
    pub protocol: u8,
    /// VLAN tags in front of the IP header, 0 to 2.
    pub tags: u8,
    /// What the packet says of its connection.
    pub opens: Opens,
    /// Length of the IP packet by its own header, in bytes.
    pub length: u32,
    /// How much of it are the IP header and what follows up to TCP's or UDP's payload, in bytes.
    pub headers: u32,
}

/// What a packet says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// TCP, SYN without ACK: it opens one.
    Yes,
    /// TCP, anything else: it belongs to one.
    No,
    /// TCP, FIN or RST: it ends one.
    Ends,
    /// UDP: it can't be told.
    Unknown,
}

/// What a network header says of its packet.
struct Network {
    client: Address,
    vip: Address,
    protocol: u8,
    length: u32,
    /// Where its payload starts in the frame.
    payload: usize,
}

/// Reads a frame's headers.
///
/// # Errors
/// The verdict of a frame that can't be for a service.
#[inline(always)]
pub fn parse(packet: &Packet<'_>) -> Result<Parsed, Verdict> {
    let mut kind = packet.at::<Ethernet>(0)?.ethertype.get();
    let mut offset = ETHERNET;
    let mut tags = 0;
    if is_tag(kind) {
        kind = packet.at::<Vlan>(offset)?.ethertype.get();
        offset += TAG;
        tags = 1;
        if is_tag(kind) {
            kind = packet.at::<Vlan>(offset)?.ethertype.get();
            offset += TAG;
            tags = 2;
        }
    }
    let network = match kind {
        ethertype::IPV4 => parse_ipv4(packet, offset)?,
        ethertype::IPV6 => parse_ipv6(packet, offset)?,
        _ => return Err(Verdict::NotIp),
    };
    let (ports, opens, transport) = parse_transport(packet, &network)?;
    let Network { client, vip, protocol, length, payload } = network;
    let headers = (payload - offset + transport) as u32;
    let ports = ports.to_ne_bytes();
    Ok(Parsed { client, vip, ports, protocol, tags, opens, length, headers })
}

#[inline(always)]
fn is_tag(kind: u16) -> bool {
    kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN
}

#[inline(always)]
fn parse_ipv4(packet: &Packet<'_>, offset: usize) -> Result<Network, Verdict> {
    let header = packet.at::<Ipv4>(offset)?;
    // Masked so that the verifier sees a bound: 5 words to 15.
    let header_length = usize::from(header.version_length & 0x0f) << 2;
    let length = u32::from(header.total_length.get());
    if header.version_length >> 4 != 4 || header_length < size_of::<Ipv4>() || (length as usize) < header_length {
        return Err(Verdict::Malformed);
    }
    // More fragments, or an offset.
    if header.fragment.get() & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    Ok(Network {
        client: mapped(header.source),
        vip: mapped(header.destination),
        protocol: header.protocol,
        length,
        payload: offset + header_length,
    })
}

#[inline(always)]
fn parse_ipv6(packet: &Packet<'_>, offset: usize) -> Result<Network, Verdict> {
    let header = packet.at::<Ipv6>(offset)?;
    let [version, ..] = header.version_class_label;
    if version >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    let mut next = header.next_header;
    let mut payload = offset + size_of::<Ipv6>();
    for _ in 0..EXTENSIONS {
        match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let extension = packet.at::<Extension>(payload)?;
                next = extension.next_header;
                payload += (usize::from(extension.length) << 3) + 8;
            }
            protocol::FRAGMENT => {
                let fragment = packet.at::<Fragment>(payload)?;
                // A packet that is whole may carry the header all the same (RFC 6946).
                if fragment.offset_more.get() & 0xfff9 != 0 {
                    return Err(Verdict::Fragment);
                }
                next = fragment.next_header;
                payload += size_of::<Fragment>();
            }
            _ => {
                return Ok(Network {
                    client: header.source,
                    vip: header.destination,
                    protocol: next,
                    length: u32::from(header.payload_length.get()) + size_of::<Ipv6>() as u32,
                    payload,
                });
            }
        }
    }
    Err(Verdict::TooManyHeaders)
}

/// The ports as a word, what the packet says of its connection, and the header's length in bytes.
#[inline(always)]
fn parse_transport(packet: &Packet<'_>, network: &Network) -> Result<(u32, Opens, usize), Verdict> {
    match network.protocol {
        protocol::TCP => {
            let header = packet.at::<Tcp>(network.payload)?;
            let opens = match header.flags & (Tcp::SYN | Tcp::ACK | Tcp::FIN | Tcp::RST) {
                Tcp::SYN => Opens::Yes,
                flags if flags & (Tcp::FIN | Tcp::RST) != 0 => Opens::Ends,
                _ => Opens::No,
            };
            Ok((u32::from_ne_bytes(header.ports), opens, usize::from(header.offset >> 4) << 2))
        }
        protocol::UDP => {
            Ok((u32::from_ne_bytes(packet.at::<Ports>(network.payload)?.both), Opens::Unknown, size_of::<Ports>()))
        }
        protocol::ICMP => match packet.at::<Icmp>(network.payload)?.kind {
            // Unreachable, source quench, time exceeded, parameter problem (RFC 792).
            3 | 4 | 11 | 12 => Err(Verdict::IcmpError),
            _ => Err(Verdict::OtherProtocol),
        },
        protocol::ICMPV6 => match packet.at::<Icmp>(network.payload)?.kind {
            // RFC 4443 §2.1: errors are below 128.
            0..=127 => Err(Verdict::IcmpError),
            _ => Err(Verdict::OtherProtocol),
        },
        _ => Err(Verdict::OtherProtocol),
    }
}

#[cfg(test)]
mod tests;
