//! Frames made from other frames: tagged, with options, cut up, addressed to others.
//!
//! Every step keeps lengths and the IPv4 header checksum right, except where its name says otherwise.

use lb_common::header::{Mac, ethertype, protocol};

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV6: usize = 40;

/// An IPv6 extension header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Hop-by-hop options of this many units of 8 bytes behind the first 8.
    HopByHop(u8),
    /// A routing header, likewise.
    Routing(u8),
    /// Destination options, likewise.
    Destination(u8),
    /// A fragment header: its offset in units of 8 bytes, and whether more follow.
    Fragment(u16, bool),
}

/// What can be done to a frame.
pub trait Shape: Sized {
    /// With this destination MAC.
    fn addressed_to(self, mac: Mac) -> Self;
    /// With this source MAC.
    fn sent_by(self, mac: Mac) -> Self;
    /// With a VLAN tag in front of all others: its EtherType, its priority and id.
    fn tagged(self, kind: u16, control: u16) -> Self;
    /// With another EtherType behind its MAC addresses.
    fn with_kind(self, kind: u16) -> Self;
    /// Without its first VLAN tag.
    fn untagged(self) -> Self;
    /// With this many 32-bit words of IPv4 options.
    fn with_options(self, words: u8) -> Self;
    /// With these IPv6 extension headers.
    fn with_extras(self, extras: &[Extra]) -> Self;
    /// As an IPv4 fragment: its offset in units of 8 bytes, and whether more follow.
    fn fragment(self, offset: u16, more: bool) -> Self;
    /// With zeros up to this length, as short frames have on the wire.
    fn padded(self, length: usize) -> Self;
    /// With an IPv4 packet that fills a frame of this length.
    fn stretched(self, length: usize) -> Self;
    /// Only its first bytes; the headers go on to speak of all of them.
    fn cut(self, length: usize) -> Self;
    /// With one byte of the IP header replaced, the checksum left wrong.
    fn with_ip_byte(self, offset: usize, value: u8) -> Self;
    /// With one byte of what follows the IP header (and its options) replaced.
    fn with_transport_byte(self, offset: usize, value: u8) -> Self;
    /// The right IPv4 header checksum.
    fn repaired(self) -> Self;
    /// Where its IP header starts.
    fn network(&self) -> usize;
}

impl Shape for Vec<u8> {
    fn addressed_to(mut self, mac: Mac) -> Self {
        put(&mut self, 0, &mac);
        self
    }

    fn sent_by(mut self, mac: Mac) -> Self {
        put(&mut self, 6, &mac);
        self
    }

    fn tagged(mut self, kind: u16, control: u16) -> Self {
        let [a, b] = kind.to_be_bytes();
        let [c, d] = control.to_be_bytes();
        self.splice(12..12, [a, b, c, d]);
        self
    }

    fn with_kind(mut self, kind: u16) -> Self {
        put(&mut self, 12, &kind.to_be_bytes());
        self
    }

    fn untagged(mut self) -> Self {
        self.drain(12..12 + TAG);
        self
    }

    fn with_options(mut self, words: u8) -> Self {
        let start = self.network();
        let bytes = usize::from(words) * 4;
        // No-operations, then the end of the options (RFC 791 §3.1).
        let options = (0..bytes).map(|n| u8::from(n + 1 < bytes));
        self.splice(start + 20..start + 20, options);
        let length = get16(&self, start + 2) + bytes as u16;
        put(&mut self, start, &[0x45 + words]);
        put(&mut self, start + 2, &length.to_be_bytes());
        self.repaired()
    }

    fn with_extras(mut self, extras: &[Extra]) -> Self {
        let start = self.network();
        let mut next = self.get(start + 6).copied().unwrap_or_default();
        let mut chain = Vec::new();
        for extra in extras.iter().rev() {
            let mut header = extra.bytes(next);
            header.append(&mut chain);
            chain = header;
            next = extra.protocol();
        }
        let length = get16(&self, start + 4) + chain.len() as u16;
        put(&mut self, start + 4, &length.to_be_bytes());
        put(&mut self, start + 6, &[next]);
        self.splice(start + IPV6..start + IPV6, chain);
        self
    }

    fn fragment(mut self, offset: u16, more: bool) -> Self {
        let start = self.network();
        let field = offset | if more { 0x2000 } else { 0 };
        put(&mut self, start + 6, &field.to_be_bytes());
        self.repaired()
    }

    fn padded(mut self, length: usize) -> Self {
        self.resize(length.max(self.len()), 0);
        self
    }

    fn stretched(self, length: usize) -> Self {
        let start = self.network();
        let mut frame = self.padded(length);
        let total = (frame.len() - start) as u16;
        put(&mut frame, start + 2, &total.to_be_bytes());
        frame.repaired()
    }

    fn cut(mut self, length: usize) -> Self {
        self.truncate(length);
        self
    }

    fn with_ip_byte(mut self, offset: usize, value: u8) -> Self {
        let start = self.network();
        put(&mut self, start + offset, &[value]);
        self
    }

    fn with_transport_byte(mut self, offset: usize, value: u8) -> Self {
        let start = self.network();
        let first = self.get(start).copied().unwrap_or_default();
        let length = if first >> 4 == 4 { usize::from(first & 0x0f) * 4 } else { IPV6 };
        put(&mut self, start + length + offset, &[value]);
        self
    }

    fn repaired(mut self) -> Self {
        let start = self.network();
        let length = self.get(start).map_or(0, |first| usize::from(first & 0x0f) * 4);
        put(&mut self, start + 10, &[0, 0]);
        let words = (start..start + length).step_by(2).map(|offset| u32::from(get16(&self, offset)));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        put(&mut self, start + 10, &(!(folded as u16)).to_be_bytes());
        self
    }

    fn network(&self) -> usize {
        let mut offset = ETHERNET;
        while matches!(get16(self, offset - 2), ethertype::VLAN | ethertype::SERVICE_VLAN) {
            offset += TAG;
        }
        offset
    }
}

impl Extra {
    fn protocol(self) -> u8 {
        match self {
            Self::HopByHop(_) => protocol::HOP_BY_HOP,
            Self::Routing(_) => protocol::ROUTING,
            Self::Destination(_) => protocol::DESTINATION,
            Self::Fragment(..) => protocol::FRAGMENT,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::Fragment(offset, more) => {
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 7]
            }
            // Type 253 is for experiments, and no segments are left (RFC 4727 §3.3).
            Self::Routing(units) => fill(vec![next, units, 253, 0], units),
            // One PadN over the rest (RFC 8200 §4.2).
            Self::HopByHop(units) | Self::Destination(units) => {
                fill(vec![next, units, 1, units.saturating_mul(8) + 4], units)
            }
        }
    }
}

fn fill(mut header: Vec<u8>, units: u8) -> Vec<u8> {
    header.resize(8 + usize::from(units) * 8, 0);
    header
}

fn get16(frame: &[u8], offset: usize) -> u16 {
    match frame.get(offset..offset + 2) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Writes over bytes that the frame has, and nothing behind its end.
fn put(frame: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(target) = frame.get_mut(offset..offset + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}
