//! Keys and values of the pinned maps. `bpftool map dump` shows them by these names.
//!
//! Addresses are 16 bytes in network order; an IPv4 address stands in its IPv4-mapped form
//! (RFC 4291 §2.5.5.2). Ports and MAC addresses are in network order, all other integers in the
//! machine's. A change of any layout here changes the pin directory's name by itself; a field that changes its meaning
//! gets another name, since the next version reads what the last one pinned by names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::header::Mac;
use crate::ip::Ip;

/// An address as the maps hold it.
pub type Address = [u8; 16];

/// Most interfaces that frames can be received on or sent out of.
pub const PORTS: u32 = 1024;
/// How many places of `ports` an interface may stand in, from its index on.
pub const PORT_PROBES: u32 = 4;
/// Most interfaces that frames can be redirected to: the size of `tx_ports`.
pub const TX_PORTS: u32 = 64;
/// Most reals that the 16 bits of a remembered flow can name.
pub const MAX_REALS: u32 = 65535;

/// The index of a real that a slot or a turn holds where it names none.
pub const NOBODY: u32 = 0;

/// An IPv4 address as the maps hold it.
pub const fn mapped(address: [u8; 4]) -> Address {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Key of `services`.
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

/// Value of `services`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Service {
    /// Its index in `rings`, `service_stats` and `turns`.
    pub id: u32,
    /// Slots of its ring. The ring's map holds them first, then the number of turns, then the turns.
    pub ring_size: u32,
    /// [`Service::TRACKED`] and its neighbours.
    pub flags: u16,
    /// Which scheduler it is, for people: the flags are what counts. 0 `mh`, 1 `sh`, 2 `rr`, 3 `wrr`.
    pub scheduler: u16,
    /// Index in `gates` of the virtual router that owns the VIP; 0 when the VIP is forwarded in every state.
    pub gate: u32,
}

impl Service {
    /// `rr`, `wrr`: a new connection takes the next turn, and the flow table remembers it.
    pub const TRACKED: u16 = 1;
    /// `sh`: the ring is asked by the client's address alone.
    pub const BY_SOURCE: u16 = 2;
    /// It has no usable real, and of some of its reals nothing is known yet: see `Verdict::NoReal`.
    pub const UNDECIDED: u16 = 4;
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

/// Value of a ring's map: two entries of the ring, since the kernel rounds an array's values up to 8 bytes. No struct:
/// up to Linux 6.1 the kernel takes a ring that was made without BTF only where the map's own BTF names none.
pub type SlotPair = [u32; 2];

/// Value of `reals`: one real server of one service. Index 0 is never used: a slot of 0 names no real.
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
    /// Id of its service.
    pub service: u32,
    /// Its VLAN id, 0 for untagged frames, [`Real::KEEP_VLAN`] for the tags that a frame came with.
    pub vlan: u16,
    /// [`Real::USABLE`] and its neighbours.
    pub flags: u16,
    /// Its weight in the config, for people; rings are what counts.
    pub weight: u32,
}

impl Real {
    /// Its health is up and its MAC is known: frames may be sent to it.
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

/// A set of VLAN ids, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Vlans {
    /// The bits, those of the lowest ids first.
    pub words: [u32; Vlans::WORDS],
}

impl Vlans {
    /// Length in words of 32 bits: an id has 12 (IEEE 802.1Q §9.6).
    pub const WORDS: usize = 128;
    /// No VLAN: what an access port carries.
    pub const NONE: Self = Self { words: [0; Self::WORDS] };
    /// Every VLAN.
    pub const ALL: Self = Self { words: [u32::MAX; Self::WORDS] };

    /// Whether this VLAN is one of them.
    #[inline(always)]
    pub fn holds(&self, id: u16) -> bool {
        // The compiler knows that a tag's id has 12 bits, and would leave out the mask in `word`; older verifiers (Linux
        // 6.12 is one) forget it over the change of byte order.
        let id = core::hint::black_box(id);
        self.words.get(Self::word(id)).is_some_and(|word| word & Self::bit(id) != 0)
    }

    /// Puts in a VLAN; of an id only the low 12 bits count.
    pub fn insert(&mut self, id: u16) {
        if let Some(word) = self.words.get_mut(Self::word(id)) {
            *word |= Self::bit(id);
        }
    }

    #[inline(always)]
    fn word(id: u16) -> usize {
        usize::from(id >> 5) & (Self::WORDS - 1)
    }

    #[inline(always)]
    fn bit(id: u16) -> u32 {
        1 << (id & 31)
    }
}

impl Extend<u16> for Vlans {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, ids: I) {
        ids.into_iter().for_each(|id| self.insert(id));
    }
}

impl FromIterator<u16> for Vlans {
    fn from_iter<I: IntoIterator<Item = u16>>(ids: I) -> Self {
        let mut vlans = Self::NONE;
        vlans.extend(ids);
        vlans
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

/// Value of `director`, a map of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Director {
    /// Mixed into every hash; directors that share services share it.
    pub hash_seed: u64,
    /// Number of buckets of `flows` less one; a power of two less one.
    pub flow_mask: u32,
    /// [`Director::ANY_PORT`] and its neighbours.
    pub flags: u32,
    /// VIPs that have a service, as a Bloom filter with one bit for each.
    pub vips: Filter,
    /// MAC addresses of reals, likewise.
    pub reals: Filter,
}

impl Director {
    /// There are any-port services.
    pub const ANY_PORT: u32 = 1;
    /// This machine's CPUs may read words in another order than the program does: see `flow.rs`. One object serves
    /// every machine, so that it is told.
    pub const WEAKLY_ORDERED: u32 = 2;
}

/// Key of `returns`: a frame for this service from this MAC is not sent on (see `Verdict::Returned`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ReturnKey {
    /// Id of the service.
    pub service: u32,
    /// MAC of one of its reals.
    pub mac: Mac,
    /// Zero.
    pub reserved: [u8; 2],
}

/// A set that may say yes wrongly, but never no: one bit for each member (Bloom, 1970, with one hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Filter {
    /// The bits.
    pub words: [u64; Filter::WORDS],
}

impl Filter {
    /// Length in words of 64 bits.
    pub const WORDS: usize = 64;

    /// The set without members.
    pub const EMPTY: Self = Self { words: [0; Self::WORDS] };

    /// Whether a member with this fingerprint may be in the set.
    #[inline(always)]
    pub fn may_hold(&self, fingerprint: u64) -> bool {
        let (word, bit) = Self::place(fingerprint);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts in a member.
    pub fn insert(&mut self, fingerprint: u64) {
        let (word, bit) = Self::place(fingerprint);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline(always)]
    fn place(fingerprint: u64) -> (usize, u64) {
        let spread = fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        ((spread as usize >> 6) & (Self::WORDS - 1), 1 << (spread & 63))
    }

    /// A VIP's fingerprint.
    #[inline(always)]
    pub fn of_address(address: Ip) -> u64 {
        address.start.rotate_left(17) ^ address.end
    }

    /// A MAC address's fingerprint.
    #[inline(always)]
    pub fn of_mac(mac: Mac) -> u64 {
        let [a, b, c, d, e, f] = mac;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// Value of `service_stats` and `real_stats`, one for each CPU.
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

/// Value of `flows`: a bucket of four remembered flows, two cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Bucket {
    /// The flows, in no order.
    pub ways: [Flow; Bucket::WAYS],
}

impl Bucket {
    /// Flows in a bucket.
    pub const WAYS: usize = 4;
}

/// A remembered flow of a tracked service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Flow {
    /// What changes, read and written as one 64-bit word.
    pub state: FlowState,
    /// The client's address.
    pub client: Address,
    /// The client's port, then the VIP's, in network order.
    pub ports: [u8; 4],
    /// Id of the service.
    pub service: u32,
}

/// The word of a [`Flow`] that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowState {
    /// When a packet of it was last seen, in seconds of the boot clock.
    pub seen: u32,
    /// Index of its real.
    pub real: u16,
    /// [`FlowState::FREE`] and its neighbours.
    pub stage: u8,
    /// Bits of the flow's hash, so that most other flows are told apart by this word alone.
    pub tag: u8,
}

impl FlowState {
    /// Nothing here.
    pub const FREE: u8 = 0;
    /// Being written by a CPU.
    pub const BUSY: u8 = 1;
    /// A SYN was seen, nothing after it.
    pub const OPENING: u8 = 2;
    /// Packets go through.
    pub const OPEN: u8 = 3;
    /// The client sent a FIN or RST.
    pub const CLOSING: u8 = 4;
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
        ServiceKey,
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
        Bucket,
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
        assert_eq!(size_of::<Service>(), 16);
        assert_eq!(size_of::<Real>(), 48);
        assert_eq!(size_of::<VipKey>(), 20);
        assert_eq!(size_of::<Port>(), 524);
        assert_eq!(size_of::<Director>(), 1040);
        assert_eq!(size_of::<ReturnKey>(), 12);
        assert_eq!(size_of::<Flow>(), 32);
        assert_eq!(size_of::<Bucket>(), 128);
        assert_eq!(size_of::<Stats>(), 24);
    }

    #[test]
    fn vlans_are_told_apart() {
        let vlans: Vlans = [1, 31, 32, 4094].into_iter().collect();
        let held: alloc::vec::Vec<u16> = (0..4096).filter(|id| vlans.holds(*id)).collect();
        assert_eq!(held, [1, 31, 32, 4094]);
        assert!((0..4096).all(|id| Vlans::ALL.holds(id) && !Vlans::NONE.holds(id)));
    }

    #[test]
    fn a_filter_never_loses_a_member() {
        let mut filter = Filter::EMPTY;
        let vip = |n: u8| Filter::of_address(Ip::v4([172, 28, 128, n]));
        for n in 0..100 {
            filter.insert(vip(n));
        }
        assert!((0..100).all(|n| filter.may_hold(vip(n))));
        let wrong = (100..=255).filter(|n| filter.may_hold(vip(*n))).count();
        assert!(wrong < 20, "{wrong} of 156 strangers pass");
    }
}
