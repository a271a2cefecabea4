//! First fragments, whose packets' other fragments have no ports.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, NOBODY};
use crate::ip::{Ip, Ports};

/// Key of `fragments`: what the fragments of a packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FragmentKey {
    /// The client's address.
    pub client: Address,
    /// The VIP.
    pub vip: Address,
    /// The packet's identification.
    pub id: u32,
    /// IP protocol over IPv4; that of the fragment header over IPv6, where it tells nothing.
    pub protocol: u32,
}

impl FragmentKey {
    /// A key as it lies in memory, like [`FlowKey::words`](super::FlowKey::words).
    #[inline(always)]
    pub fn words(client: Ip, vip: Ip, id: u32, protocol: u8) -> [u64; 5] {
        let tail = two(id, u32::from(protocol));
        [client.start.to_le(), client.end.to_le(), vip.start.to_le(), vip.end.to_le(), tail]
    }
}

impl From<[u64; 5]> for FragmentKey {
    #[inline(always)]
    fn from(words: [u64; 5]) -> Self {
        zerocopy::transmute!(words)
    }
}

impl From<[u64; 2]> for FragmentEntry {
    #[inline(always)]
    fn from(words: [u64; 2]) -> Self {
        zerocopy::transmute!(words)
    }
}

/// Value of `fragments`: where a first fragment went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentFlow {
    /// The packet's ports.
    pub ports: Ports,
    /// Its service's pool, as in [`Real`](super::Real).
    pub pool: u32,
    /// The number of its real.
    pub number: u16,
    /// What the packet carries.
    pub protocol: u8,
    /// When the first fragment came, in ticks.
    pub seen: u32,
}

/// The same as the map has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FragmentEntry {
    /// Source port and destination port, in network order.
    pub ports: [u8; 4],
    /// As in [`FragmentFlow`].
    pub pool: u32,
    /// Number of the real, and the protocol above it.
    pub number_protocol: u32,
    /// As in [`FragmentFlow`].
    pub seen: u32,
}

impl FragmentFlow {
    /// None: its protocol is nobody's.
    pub const NONE: Self = Self { ports: Ports(0), pool: 0, number: NOBODY, protocol: 0, seen: 0 };

    /// As an entry lies in memory.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        let ports = if cfg!(target_endian = "little") { self.ports.0 } else { self.ports.0.swap_bytes() };
        [two(ports, self.pool), two(u32::from(self.protocol) << 16 | u32::from(self.number), self.seen)]
    }

    /// Of an entry.
    #[inline(always)]
    pub fn of(entry: FragmentEntry) -> Self {
        Self {
            ports: Ports::of(entry.ports),
            pool: entry.pool,
            number: entry.number_protocol as u16,
            protocol: (entry.number_protocol >> 16) as u8,
            seen: entry.seen,
        }
    }
}

/// Value of `pending`, one for each CPU: what the functions that find a fragment's or an ICMP error's real tell each other. It
/// means nothing beyond a frame's run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Pending {
    /// The words of an [`Asked`](crate::Asked): whose real is asked for.
    pub asked: [u64; 4],
    /// The words of a [`Query`](crate::Query): what the flow table is asked for that.
    pub query: [u64; 5],
    /// The key in `fragments` of a first fragment.
    pub key: [u64; 5],
    /// What is to be noted there; zeros where it is none.
    pub note: [u64; 2],
}

/// Two words of 32 bits, one behind the other.
#[inline(always)]
fn two(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        u64::from(second) << 32 | u64::from(first)
    } else {
        u64::from(first) << 32 | u64::from(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_bytes_of_the_map() {
        let (client, vip) = ([0xfd; 16], [2; 16]);
        let key: FragmentKey = zerocopy::transmute!(FragmentKey::words(Ip::from(client), Ip::from(vip), 7, 17));
        assert_eq!(key, FragmentKey { client, vip, id: 7, protocol: 17 });
        let flow = FragmentFlow {
            ports: Ports::of([0x9c, 0x40, 0, 53]),
            pool: 1 << 31,
            number: u16::MAX,
            protocol: 17,
            seen: 9,
        };
        let entry: FragmentEntry = zerocopy::transmute!(flow.words());
        assert_eq!(FragmentFlow::of(entry), flow);
        assert_eq!(entry.ports, [0x9c, 0x40, 0, 53]);
    }
}
