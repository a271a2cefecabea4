//! Keys and values of the pinned maps. `bpftool map dump` shows them by these names.
//!
//! Addresses are 16 bytes in network order; an IPv4 address stands in its IPv4-mapped form
//! (RFC 4291 §2.5.5.2). Ports and MAC addresses are in network order, all other integers in the
//! machine's. A change of any layout here changes the pin directory's name by itself; a field that changes its meaning
//! gets another name, since the next version reads what the last one pinned by names.

mod director;
mod flow;
mod fragment;
mod service;
mod sets;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::header::Mac;

pub use director::{Director, Table, Timeouts};
pub use flow::{FlowKey, FlowKeys, FlowLine};
pub use fragment::{FragmentEntry, FragmentFlow, FragmentKey, Pending};
pub use service::{Service, ServiceKey, Vip, VipKey};
pub use sets::{Filter, Vlans};

#[cfg(feature = "aya")]
use crate::trace::Record;

/// An address as the maps hold it.
pub type Address = [u8; 16];

/// Most interfaces that frames can be received on or sent out of.
pub const PORTS: u32 = 1024;
/// How many places of `ports` an interface may stand in, from its index on.
pub const PORT_PROBES: u32 = 4;
/// Most interfaces that frames can be redirected to: the size of `tx_ports`.
pub const TX_PORTS: u32 = 64;
/// Most reals of a pool that the 16 bits of a slot, a turn or a remembered flow can name.
pub const MAX_REALS: u32 = 65535;

/// The number of a real that a slot or a turn holds where it names none. Numbers count from where their pool's entries
/// start in `reals`.
pub const NOBODY: u16 = 0;

/// An IPv4 address as the maps hold it.
pub const fn mapped(address: [u8; 4]) -> Address {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Value of `slots`: two words of rings or of turns, since the kernel rounds an array's values up to 8 bytes. A ring's word is
/// a [`Slot`](crate::slot::Slot)'s.
pub type SlotPair = [u32; 2];

/// Value of `reals`: one real server of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Real {
    /// Its own address.
    pub address: Address,
    /// Its MAC address: the forwarded frame's destination.
    pub mac: Mac,
    /// MAC address of the interface that sends to it: the forwarded frame's source.
    pub source_mac: Mac,
    /// Index of the interface that sends to it.
    pub ifindex: u32,
    /// The same interface's index in `tx_ports`.
    pub tx_port: u32,
    /// Number 0 of its pool's reals in `reals`, which tells its pool from others.
    pub pool: u32,
    /// Its VLAN id, 0 for untagged frames, [`Real::KEEP_VLAN`] for the tags that a frame came with.
    pub vlan: u16,
    /// [`Real::USABLE`] and its neighbours.
    pub flags: u16,
    /// Its weight, 0 where it takes no new connections: rings and lists are what counts, and this for clients whose last ones it has.
    pub weight: u32,
}

impl Real {
    /// Its MAC is known and it isn't given up: frames of its flows may be sent to it. Who gets new ones is the ring's business.
    pub const USABLE: u16 = 1;
    /// The entry is in use (a real that is down is in use, but not usable).
    pub const IN_USE: u16 = 2;
    /// `vlan` of a real that takes frames with the tags that they came with.
    pub const KEEP_VLAN: u16 = 0xffff;
}

/// Value of `ports`: an interface that the program runs on. It stands at its index modulo [`PORTS`], or up
/// to [`PORT_PROBES`] places behind where that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Port {
    /// The interface's index, 0 where the entry is free.
    pub ifindex: u32,
    /// Its MAC address: frames to others are not ours.
    pub mac: Mac,
    /// Zero.
    pub reserved: [u8; 2],
    /// The VLANs whose tagged frames are ours. Frames without a VLAN always are.
    pub vlans: Vlans,
}

impl Port {
    /// The MAC address in one word, as [`Macs`](crate::header::Macs) has a frame's.
    #[inline(always)]
    pub fn mac_word(&self) -> u64 {
        let ([a, b, c, d, e, f], [g, h]) = (self.mac, self.reserved);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Most virtual routers whose VIPs are gated: the size of `gates`. Index 0 is never used.
pub const GATES: u32 = 1024;

/// Value of `gates`: what a backup does with frames for its VIPs, where that isn't to forward them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Gate {
    /// 0: the frames are forwarded; 1: they are left to the director's own stack.
    pub closed: u32,
}

/// Key of `virtual_macs`: the virtual MAC of a virtual router (RFC 9568 §7.3) on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VirtualMacKey {
    /// Index of the interface.
    pub ifindex: u32,
    /// The MAC.
    pub mac: Mac,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Value of `virtual_macs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VirtualMac {
    /// 1: this director is the virtual router's master; 0: another one is.
    pub master: u32,
}

/// Key of `returns`: a frame for a service of this pool from this MAC is not sent on (see `Verdict::Returned`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ReturnKey {
    /// The pool, as in [`Real`].
    pub pool: u32,
    /// MAC of one of its reals.
    pub mac: Mac,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Value of `real_stats`, one for each CPU: what one real did for one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Stats {
    /// Connections so far: tracked ones, and the SYNs of stateless services.
    pub connections: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes, by the IP header's own count, as IPVS counts.
    pub bytes: u64,
}

/// Value of `verdicts`, one for each CPU; the index is the verdict's number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VerdictStats {
    /// Packets that met it.
    pub packets: u64,
}

/// Value of `drops`, one for each CPU; the key is an interface's index. Frames that the kernel could not do with what
/// the program had decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Drops {
    /// Of the frames that came in by it: those that could not be handed on.
    pub refused: u64,
    /// Of the frames that were to leave by it: those that its driver did not take.
    pub unsent: u64,
}

/// Value of `turns`: how many connections a tracked service has handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Turn {
    /// The next connection's number.
    pub next: u64,
}

/// Value of `loads`: live connections of a real for a service whose scheduler goes by them. Each is a signed number, and
/// may be below zero until the agent has looked at the whole flow table again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Loads {
    /// Connections that begin or are open.
    pub active: u64,
    /// Connections whose client said a moment ago that they end.
    pub inactive: u64,
}

#[cfg(feature = "aya")]
mod pod {
    #![expect(unsafe_code, reason = "aya asks for a marker that these types are plain bytes")]

    macro_rules! pods {
        ($($name:ident),+) => { $(
            // SAFETY: zerocopy's derives checked that the type is repr(C), without padding, and valid for
            // any bytes; it is Copy and holds no reference.
            unsafe impl aya::Pod for super::$name {}
        )+ };
    }
    pods!(
        Service,
        VipKey,
        Vip,
        Real,
        Port,
        Director,
        ReturnKey,
        Stats,
        Drops,
        VerdictStats,
        Turn,
        Loads,
        FlowLine,
        FlowKeys,
        FragmentKey,
        FragmentEntry,
        Pending,
        Record,
        Gate,
        VirtualMacKey,
        VirtualMac
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_part_of_the_layout() {
        assert_eq!(size_of::<ServiceKey>(), 20);
        assert_eq!(size_of::<Service>(), 64, "a cache line");
        assert_eq!(size_of::<Real>(), 48);
        assert_eq!(size_of::<VipKey>(), 20);
        assert_eq!(size_of::<Port>(), 524);
        assert_eq!(size_of::<ReturnKey>(), 12);
        assert_eq!(size_of::<FlowLine>(), 64, "a cache line");
        assert_eq!(size_of::<FlowKeys>(), 192);
        assert_eq!((size_of::<FragmentKey>(), size_of::<FragmentEntry>()), (40, 16));
        assert_eq!(size_of::<Stats>(), 24);
    }
}
