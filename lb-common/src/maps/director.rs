//! What holds for the whole director.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Filter;

/// Value of `director`, a map of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Director {
    /// Mixed into every flow's hash; directors that share services share it.
    pub hash_seed: u64,
    /// The two tables of services.
    pub tables: [Table; 2],
    /// Which of them is in force: 0 or 1.
    pub table: u32,
    /// [`Director::ANY_PORT`] and its neighbours.
    pub flags: u32,
    /// Lines of `flows`.
    pub flow_lines: u32,
    /// A tick, the flow table's unit of time, is two to this power of the kernel's jiffies: about a second.
    pub tick_shift: u32,
    /// How long the table remembers what.
    pub timeouts: Timeouts,
    /// VIPs that have a service, as a Bloom filter with one bit for each.
    pub vips: Filter,
    /// MAC addresses of reals, likewise.
    pub reals: Filter,
}

impl Director {
    /// There are any-port services.
    pub const ANY_PORT: u32 = 1;
    /// The program observes alone: what the maps say becomes of no frame. The agent's word to whoever reads the maps; the program
    /// that observes is another one.
    pub const OBSERVES: u32 = 2;
}

/// A table of services: a part of `services`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Table {
    /// Mixed into its keys' hashes, so that each finds a place.
    pub seed: u64,
    /// Its first entry.
    pub start: u32,
    /// Its number of entries less one; a power of two less one.
    pub mask: u32,
}

/// Idle times in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Timeouts {
    /// Of an open TCP connection.
    pub tcp: u32,
    /// Of a session over UDP.
    pub udp: u32,
    /// Of a connection that nothing followed the first packet of.
    pub opening: u32,
    /// Of a connection whose client sent a FIN or RST.
    pub closing: u32,
}
