//! What surrounds a frame: the maps, the clock, and the room in front of it.

use crate::maps::{Director, FlowLine, Port, Real, ReturnKey, Service, Vip, VipKey, VirtualMac, VirtualMacKey};
use crate::packet::Packet;

/// The maps and the frame's surroundings: BPF maps in the kernel, ordinary tables in host tests.
pub trait Environment {
    /// The entry of `ports` for the interface that the frame came in by.
    fn port(&self) -> Option<&Port>;
    /// The entry of `director`.
    fn director(&self) -> Option<&Director>;
    /// An entry of `services`, by its index.
    fn service(&self, index: u32) -> Option<&Service>;
    /// An entry of `vips`.
    fn vip(&self, key: &VipKey) -> Option<Vip>;
    /// A word of `slots`.
    fn slot(&self, index: u32) -> Option<u32>;
    /// An entry of `reals`.
    fn real(&self, index: u32) -> Option<&Real>;
    /// Whether `returns` has this key.
    fn returns(&self, key: &ReturnKey) -> bool;
    /// An entry of `virtual_macs`.
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac>;
    /// Whether an entry of `gates` is closed.
    fn gate_is_closed(&self, gate: u32) -> bool;
    /// A line of `flows`, shared with other CPUs.
    fn flow_line(&self, index: u32) -> Option<*mut FlowLine>;
    /// Writes the key of a flow of this line and word into `flow_keys`, as the words that it has in memory.
    fn note_key(&self, line: u32, way: usize, key: [u64; 3]);
    /// Takes the next number of `turns` for this service.
    fn take_turn(&self, service: u32) -> Option<u64>;
    /// The kernel's jiffies, divided by two to the power of `shift`. It never runs backwards.
    fn ticks(&self, shift: u32) -> u32;
    /// Adds to an entry of `real_stats`.
    fn count(&self, counter: u32, bytes: u64, connection: bool);
    /// Moves the frame's start by `bytes` (less than zero makes room) and takes its Ethernet addresses
    /// along or leaves them undefined. `None` when there is no room.
    fn move_start<'a>(&self, packet: Packet<'a>, bytes: i32) -> Option<Packet<'a>>;
}
