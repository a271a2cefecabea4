//! What surrounds a frame: the maps, the clock, and the room in front of it.

use crate::maps::{
    Bucket, Director, Port, Real, ReturnKey, Service, ServiceKey, Vip, VipKey, VirtualMac, VirtualMacKey,
};
use crate::packet::Packet;
use crate::rewrite;
use crate::verdict::Verdict;

/// The maps and the frame's surroundings: BPF maps in the kernel, ordinary tables in host tests.
pub trait Environment {
    /// The entry of `ports` for the interface that the frame came in by.
    fn port(&self) -> Option<&Port>;
    /// The entry of `director`.
    fn director(&self) -> Option<&Director>;
    /// An entry of `services`.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// An entry of `vips`.
    fn vip(&self, key: &VipKey) -> Option<Vip>;
    /// Entry `index` of ring `service`.
    fn slot(&self, service: u32, index: u32) -> Option<u32>;
    /// An entry of `reals`.
    fn real(&self, index: u32) -> Option<&Real>;
    /// Whether `returns` has this key.
    fn returns(&self, key: &ReturnKey) -> bool;
    /// An entry of `virtual_macs`.
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac>;
    /// Whether an entry of `gates` is closed.
    fn gate_is_closed(&self, gate: u32) -> bool;
    /// A bucket of `flows`, shared with other CPUs.
    fn bucket(&self, index: u32) -> Option<*mut Bucket>;
    /// Takes the next number of `turns` for this service.
    fn take_turn(&self, service: u32) -> Option<u64>;
    /// Seconds of the boot clock.
    fn now(&self) -> u32;
    /// Adds to `service_stats` and `real_stats`.
    fn count(&self, service: u32, real: u32, packets: u32, bytes: u64, connection: bool);
    /// How many packets of the wire the frame holds, whose headers `payload` bytes follow. More than one where the
    /// kernel has merged them.
    #[inline(always)]
    fn packets(&self, _payload: u32) -> u32 {
        1
    }
    /// Control field of the frame's outermost VLAN tag, where the kernel has taken it out of the frame's bytes.
    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        None
    }
    /// Has the frame leave by the interface of `real`, which is another one than it came in by.
    ///
    /// # Errors
    /// [`Verdict::NoDevice`]: it isn't there.
    fn redirect(&self, real: &Real) -> Result<(), Verdict>;
    /// Moves a frame of so many tags to a VLAN; 0 takes its tags off.
    ///
    /// # Errors
    /// [`Verdict::NoRoom`] when a tag can't be pushed.
    #[inline(always)]
    fn retag<'a>(&self, packet: Packet<'a>, tags: u8, vlan: u16) -> Result<Packet<'a>, Verdict>
    where
        Self: Sized,
    {
        rewrite::retag(packet, self, tags, vlan)
    }
    /// Writes the addresses of the way to `real`.
    ///
    /// # Errors
    /// [`Verdict::Truncated`] for a frame that has none.
    #[inline(always)]
    fn address(&self, packet: Packet<'_>, real: &Real) -> Result<(), Verdict> {
        rewrite::address(packet, real)
    }
    /// Moves the frame's start by `bytes` (less than zero makes room) and takes its Ethernet addresses
    /// along or leaves them undefined. `None` when there is no room.
    fn move_start<'a>(&self, packet: Packet<'a>, bytes: i32) -> Option<Packet<'a>>;
}
