//! The kernel's side of a frame's surroundings.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use lb_common::maps::{
    Director, FlowLine, PORT_PROBES, PORTS, Port, Real, ReturnKey, Service, Vip, VipKey, VirtualMac,
    VirtualMacKey,
};
use lb_common::{Environment, Packet, Verdict, Word};

use crate::maps;

/// One run of the program.
pub struct Kernel<'a> {
    context: &'a XdpContext,
}

impl<'a> Kernel<'a> {
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// The frame as it is now.
    #[inline(always)]
    pub fn packet<'p>(&self) -> Packet<'p> {
        // SAFETY: the kernel gives the bytes between the two pointers to this run of the program alone. Callers
        // drop a packet before they take the next one.
        unsafe { Packet::from_pointers(self.context.data(), self.context.data_end()) }
    }

    #[inline(always)]
    pub fn count_verdict(&self, verdict: Verdict) {
        if let Some(stats) = maps::verdicts.get_ptr_mut(verdict as u32) {
            // SAFETY: the entry is this CPU's own.
            unsafe { (*stats).packets += 1 };
        }
    }
}

impl Environment for Kernel<'_> {
    #[inline(always)]
    fn port(&self) -> Option<&Port> {
        let ifindex = self.context.ingress_ifindex() as u32;
        for probe in 0..PORT_PROBES {
            let port = maps::ports.get(ifindex.wrapping_add(probe) & (PORTS - 1))?;
            if port.ifindex == ifindex {
                return Some(port);
            }
        }
        None
    }

    #[inline(always)]
    fn director(&self) -> Option<&Director> {
        maps::director.get(0)
    }

    #[inline(always)]
    fn service(&self, index: u32) -> Option<&Service> {
        maps::services.get(index)
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<Vip> {
        // SAFETY: values of a hash map are replaced, not written to, and a reader that meets a replaced one sees
        // the old bytes until its run ends.
        unsafe { maps::vips.get(key) }.copied()
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        let pair = maps::slots.get_ptr_mut(index >> 1)?.cast::<u32>();
        // SAFETY: a pair has two words; the agent changes each with one store.
        Some(unsafe { pair.add((index & 1) as usize).read_volatile() })
    }

    #[inline(always)]
    fn real(&self, index: u32) -> Option<&Real> {
        maps::reals.get(index)
    }

    #[inline(always)]
    fn returns(&self, key: &ReturnKey) -> bool {
        // SAFETY: only the key's presence is asked.
        unsafe { maps::returns.get(key) }.is_some()
    }

    #[inline(always)]
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac> {
        // SAFETY: as in `vip`; the value is one word.
        unsafe { maps::virtual_macs.get(key) }.copied()
    }

    #[inline(always)]
    fn gate_is_closed(&self, gate: u32) -> bool {
        maps::gates.get(gate).is_some_and(|gate| gate.closed != 0)
    }

    #[inline(always)]
    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        maps::flows.get_ptr_mut(index)
    }

    #[inline(always)]
    fn note_key(&self, line: u32, way: usize, key: [u64; 3]) {
        if let Some(keys) = maps::flow_keys.get_ptr_mut(line) {
            let place = keys.cast::<[u64; 3]>();
            // SAFETY: a line has this many keys, of three words each; whoever reads them holds them against the flow's word.
            unsafe { place.add(way & (FlowLine::WAYS - 1)).write(key) };
        }
    }

    #[inline(always)]
    fn take_turn(&self, service: u32) -> Option<u64> {
        let turn = maps::turns.get_ptr_mut(service)?;
        // SAFETY: every access to this field is atomic, on all CPUs; it is 8 bytes long and aligned.
        let next = unsafe { Word::new(&raw mut (*turn).next) };
        Some(next.increment())
    }

    #[inline(always)]
    fn ticks(&self, shift: u32) -> u32 {
        // SAFETY: a helper without arguments.
        (unsafe { bpf_jiffies64() } >> (shift & 31)) as u32
    }

    #[inline(always)]
    fn count(&self, counter: u32, bytes: u64, connection: bool) {
        if let Some(stats) = maps::real_stats.get_ptr_mut(counter) {
            // SAFETY: the entry is this CPU's own.
            unsafe {
                (*stats).connections += u64::from(connection);
                (*stats).packets += 1;
                (*stats).bytes += bytes;
            }
        }
    }

    #[inline(always)]
    fn move_start<'p>(&self, _: Packet<'p>, bytes: i32) -> Option<Packet<'p>> {
        // SAFETY: the context is the kernel's own; the old packet was given up by the caller.
        let result = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), bytes) };
        (result == 0).then(|| self.packet())
    }
}
