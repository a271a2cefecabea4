//! Headers as they stand on the wire. Multi-byte fields are in network order.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// IP protocol numbers (IANA), and IPv6's extension headers among them.
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header (RFC 8200 §4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DESTINATION: u8 = 60;
}

/// A MAC address.
pub type Mac = [u8; 6];

/// Ethernet II.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// EtherType.
    pub ethertype: U16,
}

/// Both addresses of a frame, in the two words that they are read and written in: of six bytes the compiler makes as many
/// registers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Macs {
    /// The destination, and the source's first two bytes.
    pub start: U64,
    /// The other four.
    pub end: U32,
}

impl Macs {
    /// The destination in one word, its first byte lowest.
    #[inline(always)]
    pub fn destination(&self) -> u64 {
        self.start.get() << 16 >> 16
    }

    /// The source, likewise.
    #[inline(always)]
    pub fn source(&self) -> u64 {
        self.start.get() >> 48 | u64::from(self.end.get()) << 16
    }
}

/// The address of such a word.
#[inline(always)]
pub fn mac_of(word: u64) -> Mac {
    let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
    [a, b, c, d, e, f]
}

/// What follows an EtherType of [`ethertype::VLAN`] or [`ethertype::SERVICE_VLAN`] (IEEE 802.1Q §9.6).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Vlan {
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub control: U16,
    /// EtherType of what follows.
    pub ethertype: U16,
}

impl Vlan {
    /// The bits of the VLAN id.
    pub const ID: u16 = 0x0fff;
}

/// IPv4 without its options (RFC 791 §3.1).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_length: u8,
    /// DSCP and ECN.
    pub service: u8,
    /// Length in bytes, this header included.
    pub total_length: U16,
    /// Identification.
    pub id: U16,
    /// Flags (3 bits: reserved, don't fragment, more fragments) and offset in units of 8 bytes.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// The offset's bits of `fragment`.
    pub const OFFSET: u16 = 0x1fff;
}

/// IPv6's fixed header (RFC 8200 §3).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class, flow label.
    pub version_class_label: [u8; 4],
    /// Length in bytes of what follows this header.
    pub payload_length: U16,
    /// Protocol of the next header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

/// The start that hop-by-hop, routing and destination headers share (RFC 6564 §4).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// Protocol of the next header.
    pub next_header: u8,
    /// Length in units of 8 bytes, the first 8 not counted.
    pub length: u8,
}

/// IPv6 fragment header (RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fragment {
    /// Protocol of the next header.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in units of 8 bytes (13 bits), reserved (2 bits), more fragments (1 bit).
    pub offset_more: U16,
    /// Identification.
    pub id: [u8; 4],
}

impl Fragment {
    /// The offset's bits of `offset_more`.
    pub const OFFSET: u16 = 0xfff8;
}

/// UDP (RFC 768).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port, then destination port, in network order.
    pub ports: [u8; 4],
    /// Length in bytes, this header included.
    pub length: U16,
    /// Checksum; 0 over IPv4 if there is none.
    pub checksum: U16,
}

/// The start of a QUIC packet with a long header (RFC 9000 §17.2).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Quic {
    /// Long header and fixed bit, two bits of type, four that are protected or belong to the type.
    pub kind: u8,
    /// Version.
    pub version: [u8; 4],
}

impl Quic {
    /// The bits of `kind` that tell it.
    pub const KIND: u8 = 0xf0;

    /// What those bits are in the packet that opens a connection, by the version; 0, which no long header has, for
    /// versions that aren't known.
    #[inline(always)]
    pub fn initial(&self) -> u8 {
        match u32::from_be_bytes(self.version) {
            1 => 0xc0,
            0x6b33_43cf => 0xd0,
            _ => 0,
        }
    }
}

/// TCP from its ports to its flags (RFC 9293 §3.1).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port, then destination port, in network order.
    pub ports: [u8; 4],
    /// Sequence number.
    pub sequence: [u8; 4],
    /// Acknowledgement number.
    pub acknowledgement: [u8; 4],
    /// Header length in 32-bit words (4 bits), reserved.
    pub offset: u8,
    /// The flags of [`Tcp::FIN`] and its neighbours.
    pub flags: u8,
    /// Window, checksum and urgent pointer: a TCP header has at least 20 bytes.
    pub rest: [u8; 6],
}

impl Tcp {
    /// The sender is done.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// All of those.
    pub const TELLING: u8 = Self::FIN | Self::SYN | Self::RST | Self::ACK;
}

/// ICMP and ICMPv6. In the errors that are followed, the packet that they are about starts behind eight bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: U16,
}
