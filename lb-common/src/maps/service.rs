//! Services by VIP, protocol and port, and VIPs by themselves.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;
use crate::hash::service_hash;
use crate::ip::Ip;

/// What tells one service from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceKey {
    /// The VIP.
    pub address: Address,
    /// The port in network order; 0 for an any-port service.
    pub port: [u8; 2],
    /// IP protocol, 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

impl ServiceKey {
    /// Port, protocol and the reserved byte in one word, as they lie in memory.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        let [a, b] = self.port;
        u32::from_le_bytes([a, b, self.protocol, self.reserved])
    }

    /// The two places of a table of `mask + 1` entries where it may stand.
    #[inline(always)]
    pub fn places(seed: u64, vip: Ip, tail: u32, mask: u32) -> [u32; 2] {
        let hash = service_hash(seed, vip, tail);
        [hash as u32 & mask, (hash >> 32) as u32 & mask]
    }
}

/// An entry of `services`, one cache line.
///
/// The map is two tables of equal size, of which [`Director::tables`](super::Director) says one is in force. A service
/// stands in one of two places of its table ([`ServiceKey::places`]): whoever fills a table finds places for all, or
/// takes another seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Service {
    /// Whose entry it is; a protocol of 0 is nobody's.
    pub key: ServiceKey,
    /// Its index in `turns`.
    pub id: u32,
    /// Its ring's first slot in `slots`.
    pub ring: u32,
    /// Slots of its ring.
    pub ring_size: u32,
    /// Number 0 of its reals, which is nobody, in `reals`. Services of one pool share their ring and their reals.
    pub reals: u32,
    /// Number 0 of its reals in `real_stats` and `loads`; what reals that are gone have counted is there.
    pub counters: u32,
    /// How many numbers of reals there are, from those two on.
    pub room: u32,
    /// Where its list starts in `slots`: how many entries it has, then a word for each, a real's number below its weight.
    /// See [`crate::Scheduler`].
    pub turns: u32,
    /// [`Service::TRACKED`] and its neighbours.
    pub flags: u16,
    /// Which scheduler it is: the number of a [`crate::Scheduler`].
    pub scheduler: u16,
    /// Index in `gates` of the virtual router that owns the VIP; 0 when the VIP is forwarded in every state.
    pub gate: u32,
    /// What a client's template is told from others' by: one of several services of a VIP, or the service's own. See [`crate::persist`].
    pub group: u32,
    /// For how long a client stays on its real, and which clients are one: [`Service::persistent`].
    pub persistence: u32,
}

impl Service {
    /// A new connection takes the real that the scheduler chooses, and the flow table remembers it.
    pub const TRACKED: u16 = 1;
    /// `sh`: the ring is asked by the client's address alone.
    pub const BY_SOURCE: u16 = 2;
    /// It has no usable real, and of some of its reals nothing is known yet: see `Verdict::NoReal`.
    pub const UNDECIDED: u16 = 4;
    /// `udp = "query"`: each datagram is a question of its own, and none is remembered.
    pub const QUERY: u16 = 8;
    /// `udp = "quic"`: an Initial packet opens a connection.
    pub const QUIC: u16 = 16;
    /// `lc`, `wlc`, `sed`, `nq`: the scheduler goes by `loads`. Only with [`Self::TRACKED`].
    pub const COUNTED: u16 = 32;

    /// A client's new connections go where its last ones went. Only with [`Self::TRACKED`].
    pub const PERSISTENT: u16 = 64;

    /// Of `persistence`: the bits of its time.
    const PERSISTENCE_BITS: u32 = 24;

    /// For so many ticks at most 2^24 - 1, clients whose first `prefix` bits of 128 are the same (an IPv4 address in its mapped form).
    #[must_use]
    pub const fn persistent(ticks: u32, prefix: u32) -> u32 {
        prefix << Self::PERSISTENCE_BITS | ticks & ((1 << Self::PERSISTENCE_BITS) - 1)
    }

    /// How long a client stays on its real without a connection, in ticks.
    #[inline(always)]
    #[must_use]
    pub const fn persistence_ticks(&self) -> u32 {
        self.persistence & ((1 << Self::PERSISTENCE_BITS) - 1)
    }

    /// How many bits of clients' addresses of 128 tell them apart.
    #[inline(always)]
    #[must_use]
    pub const fn persistence_prefix(&self) -> u32 {
        self.persistence >> Self::PERSISTENCE_BITS
    }

    /// An entry that is nobody's.
    pub const FREE: Self = Self {
        key: ServiceKey { address: [0; 16], port: [0; 2], protocol: 0, reserved: 0 },
        id: 0,
        ring: 0,
        ring_size: 0,
        reals: 0,
        counters: 0,
        room: 0,
        turns: 0,
        flags: 0,
        scheduler: 0,
        gate: 0,
        group: 0,
        persistence: 0,
    };
}

/// Key of `vips`: a VIP that has services of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VipKey {
    /// The VIP.
    pub address: Address,
    /// IP protocol, 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Value of `vips`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Vip {
    /// As in [`Service`].
    pub gate: u32,
}
