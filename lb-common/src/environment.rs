//! What surrounds a frame: the maps, the clock, and the room in front of it.

use crate::ip::{Ip, Ports};
use crate::maps::{
    Director, FlowLine, FragmentEntry, NOBODY, Pending, Port, Real, ReturnKey, Service, Vip, VipKey, VirtualMac,
    VirtualMacKey,
};
use crate::packet::Packet;
use crate::persist::persist;
use crate::recall::{Answer, recall, settle};
use crate::rewrite;
use crate::schedule::{Change, Load, choose, count_live};
use crate::stray::{Owner, Stray, conclude, is_final, query, service, stray};
use crate::trace::Step;
use crate::verdict::Verdict;

/// The maps that say who takes a packet, and the clock.
pub trait Tables {
    /// The entry of `director`.
    fn director(&self) -> Option<&Director>;
    /// An entry of `services`, by its index.
    fn service(&self, index: u32) -> Option<&Service>;
    /// A word of `slots`.
    fn slot(&self, index: u32) -> Option<u32>;
    /// An entry of `reals`.
    fn real(&self, index: u32) -> Option<&Real>;
    /// A line of `flows`, shared with other CPUs.
    fn flow_line(&self, index: u32) -> Option<*mut FlowLine>;
    /// Writes the key of a flow of this line and word into `flow_keys`, as the words that it has in memory.
    fn note_key(&self, line: u32, way: usize, key: [u64; 3]);
    /// An entry of `fragments`, by the words of its key.
    fn fragment(&self, key: [u64; 5]) -> Option<FragmentEntry>;
    /// Writes an entry of `fragments`, likewise.
    fn note_fragment(&self, key: [u64; 5], entry: [u64; 2]);
    /// Takes the next number of `turns` for this service.
    fn take_turn(&self, service: u32) -> Option<u64>;
    /// An entry of `loads`, shared with other CPUs.
    fn load(&self, counter: u32) -> Option<Load>;
    /// [`choose`] with these tables.
    #[inline(always)]
    fn choose(&self, service: u32) -> u16
    where
        Self: Sized,
    {
        choose(self, service)
    }
    /// [`count_live`] with these tables.
    #[inline(always)]
    fn count_live(&self, service: u32, number: u16, change: Change)
    where
        Self: Sized,
    {
        count_live(self, service, number, change);
    }
    /// Tells a step of the frame's way, in a program that is made for that.
    #[inline(always)]
    fn step(&self, _step: Step, _words: [u64; 4]) {}
    /// The kernel's jiffies, divided by two to the power of `shift`. It never runs backwards.
    fn ticks(&self, shift: u32) -> u32;
}

/// The other maps, and the frame's surroundings: BPF maps in the kernel, ordinary tables in host tests.
pub trait Environment {
    /// The maps that say who takes a packet.
    type Tables: Tables;
    /// Frames stay as they are: it is told what would become of them, and counted.
    const OBSERVES: bool = false;
    /// Those.
    fn tables(&self) -> &Self::Tables;
    /// Asks the flow table with the words of a [`Query`](crate::Query): [`recall`] with these tables.
    #[inline(always)]
    fn recall(&self, query: [u64; 5]) -> Answer {
        recall(self.tables(), query)
    }
    /// Asks which real has a client: [`persist`] with these tables.
    #[inline(always)]
    fn persist(&self, asked: [u64; 4]) -> u16 {
        persist(self.tables(), asked)
    }
    /// Asks who takes a fragment or an ICMP error: [`stray`] and what follows it.
    ///
    /// # Errors
    /// The verdict of one that nobody takes.
    #[inline(always)]
    fn stray(&self, packet: &Packet<'_>, which: Stray) -> Result<Owner, Verdict>
    where
        Self: Sized,
    {
        let mut pending = Pending::default();
        let found = stray(packet, self, which, &mut pending)?;
        if found.number != NOBODY {
            return Ok(found);
        }
        let answer = query(self.tables(), &mut pending).unwrap_or_else(|| {
            let answer = self.recall(pending.query);
            if is_final(self.tables(), &pending, answer) { answer } else { settle(self, pending.query, answer) }
        });
        conclude(self.tables(), &pending, answer)
    }
    /// Asks which service a flow is of, apart from the path of most packets: [`service`] with these tables.
    #[inline(always)]
    fn service_apart(&self, vip: Ip, protocol: u8, ports: Ports) -> Option<u32> {
        service(self.tables(), vip, protocol, ports)
    }
    /// The entry of `ports` for the interface that the frame came in by.
    fn port(&self) -> Option<&Port>;
    /// An entry of `vips`.
    fn vip(&self, key: &VipKey) -> Option<Vip>;
    /// Whether `returns` has this key.
    fn returns(&self, key: &ReturnKey) -> bool;
    /// An entry of `virtual_macs`.
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac>;
    /// Whether an entry of `gates` is closed.
    fn gate_is_closed(&self, gate: u32) -> bool;
    /// Adds to an entry of `real_stats`.
    fn count(&self, counter: u32, packets: u32, bytes: u64, connection: bool);
    /// How many packets of the wire the frame holds, whose headers `payload` bytes follow. More than one where the
    /// kernel has merged them.
    #[inline(always)]
    fn packets(&self, _payload: u32) -> u32 {
        1
    }
    /// The frame's length in bytes, where the kernel has merged packets in it; 0 elsewhere. It counts where they are too long
    /// for the IP header to say so, and that says 0 (BIG TCP; Linux, `iph_totlen` in include/linux/ip.h).
    #[inline(always)]
    fn merged(&self) -> u32 {
        0
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
