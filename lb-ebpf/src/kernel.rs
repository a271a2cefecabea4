//! The kernel's side of a frame's surroundings: the maps, which all programs share, and what differs with the place
//! that a program runs in.

use aya_ebpf::helpers::bpf_jiffies64;
use lb_common::maps::{
    Director, FlowLine, FragmentEntry, FragmentKey, NOBODY, PORT_PROBES, PORTS, Port, Real, ReturnKey, Service, Vip,
    VipKey, VirtualMac, VirtualMacKey,
};
use lb_common::trace::Step;
use lb_common::{Answer, Change, Environment, Ip, Load, Owner, Packet, Ports, Stray, Tables, Verdict, Word, settle};

use crate::recall::{lb_choose, lb_count_live, lb_persist, lb_recall};
use crate::stray::{ASK, lb_conclude, lb_is_final, lb_query, lb_service};
use crate::{log, maps};

/// Where a program runs: how it reaches a frame, and how the frame leaves.
pub trait Hook {
    /// Address of the frame's first byte.
    fn start(&self) -> usize;
    /// Address behind its last linear byte.
    fn end(&self) -> usize;
    /// Index of the interface that it came in by.
    fn ifindex(&self) -> u32;
    /// As [`Environment::packets`].
    fn packets(&self, payload: u32) -> u32;
    /// As [`Environment::merged`].
    fn merged(&self) -> u32;
    /// As [`Environment::tag_beside`].
    fn tag_beside(&self) -> Option<u16>;
    /// As [`Environment::stray`], by its words.
    fn stray(&self, which: u64) -> u64;
    /// As [`Environment::redirect`].
    fn redirect(&self, real: &Real) -> Result<(), Verdict>;
    /// Moves the frame's start; whether there is room.
    fn move_start(&self, bytes: i32) -> bool;
    /// As [`Environment::retag`], where that isn't done in the frame's bytes.
    fn retag(&self, tags: u8, vlan: u16) -> Option<Result<(), Verdict>>;
    /// As [`Environment::address`], where that isn't done in the frame's bytes.
    fn address(&self, real: &Real) -> Option<Result<(), Verdict>>;
}

/// One run of a program, which leaves all frames as they are where it observes alone.
pub struct Kernel<'a, H, const OBSERVES: bool = false> {
    hook: &'a H,
}

impl<'a, H: Hook, const OBSERVES: bool> Kernel<'a, H, OBSERVES> {
    #[inline(always)]
    pub fn new(hook: &'a H) -> Self {
        Self { hook }
    }

    /// The frame as it is now.
    #[inline(always)]
    pub fn packet<'p>(&self) -> Packet<'p> {
        // SAFETY: the kernel gives the bytes between the two pointers to this run of the program alone. Callers
        // drop a packet before they take the next one.
        unsafe { Packet::from_pointers(self.hook.start(), self.hook.end()) }
    }

    #[inline(always)]
    pub fn count_verdict(&self, verdict: Verdict, packets: u32) {
        log::step(Step::Verdict, [verdict as u64, 0, 0, 0]);
        if !log::RECORDS {
            return;
        }
        if let Some(stats) = maps::verdicts.get_ptr_mut(verdict as u32) {
            // SAFETY: the entry is this CPU's own.
            unsafe { (*stats).packets += u64::from(packets) };
        }
    }
}

/// The maps of this object.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn director(&self) -> Option<&Director> {
        maps::director.get(0)
    }

    #[inline(always)]
    fn service(&self, index: u32) -> Option<&Service> {
        maps::services.get(index)
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
    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        log::copy_line(maps::flows.get_ptr_mut(index)?)
    }

    #[inline(always)]
    fn note_key(&self, line: u32, way: usize, key: [u64; 3]) {
        if !log::RECORDS {
            // Arguments of a global function that nothing uses would be dropped, and the verifier wants them.
            core::hint::black_box(key);
            return;
        }
        if let Some(keys) = maps::flow_keys.get_ptr_mut(line) {
            let place = keys.cast::<[u64; 3]>();
            // SAFETY: a line has this many keys, of three words each; whoever reads them holds them against the flow's word.
            unsafe { place.add(way & (FlowLine::WAYS - 1)).write(key) };
        }
    }

    #[inline(always)]
    fn fragment(&self, key: [u64; 5]) -> Option<FragmentEntry> {
        let key = FragmentKey::from(key);
        // SAFETY: an entry that gives way to another while it is read may be read as a mixture of both: one fragment then
        // goes to a wrong real, which drops it.
        unsafe { maps::fragments.get(key) }.copied()
    }

    #[inline(always)]
    fn note_fragment(&self, key: [u64; 5], entry: [u64; 2]) {
        if !log::RECORDS {
            return;
        }
        let (key, entry) = (FragmentKey::from(key), FragmentEntry::from(entry));
        // Without it the other fragments are dropped.
        let _ = maps::fragments.insert(key, entry, 0);
    }

    #[inline(always)]
    fn take_turn(&self, service: u32) -> Option<u64> {
        let turn = maps::turns.get_ptr_mut(service)?;
        // SAFETY: every access to this field is atomic, on all CPUs; it is 8 bytes long and aligned.
        let next = unsafe { Word::new(&raw mut (*turn).next) };
        Some(if log::RECORDS { next.increment() } else { next.load() })
    }

    #[inline(always)]
    fn load(&self, counter: u32) -> Option<Load> {
        let load = log::copy_load(maps::loads.get_ptr_mut(counter)?)?;
        // SAFETY: every access to these fields is atomic, on all CPUs and in the agent; they are 8 bytes long and aligned.
        unsafe {
            Some(Load { active: Word::new(&raw mut (*load).active), inactive: Word::new(&raw mut (*load).inactive) })
        }
    }

    #[inline(always)]
    fn choose(&self, service: u32) -> u16 {
        let chosen = lb_choose(u64::from(service)) as u16;
        log::step(Step::Chosen, [chosen.into(), 0, 0, 0]);
        chosen
    }

    #[inline(always)]
    fn step(&self, step: Step, words: [u64; 4]) {
        log::step(step, words);
    }

    #[inline(always)]
    fn count_live(&self, service: u32, number: u16, change: Change) {
        if log::RECORDS {
            lb_count_live(u64::from(service), u64::from(number), change.word());
        }
    }

    #[inline(always)]
    fn ticks(&self, shift: u32) -> u32 {
        // SAFETY: a helper without arguments.
        (unsafe { bpf_jiffies64() } >> (shift & 31)) as u32
    }
}

impl<H: Hook, const OBSERVES: bool> Environment for Kernel<'_, H, OBSERVES> {
    type Tables = Maps;
    const OBSERVES: bool = OBSERVES;

    #[inline(always)]
    fn tables(&self) -> &Maps {
        &Maps
    }

    #[inline(always)]
    fn recall(&self, [hash, start, end, ports_and_service, slot_and_opens]: [u64; 5]) -> Answer {
        Answer::of(lb_recall(hash, start, end, ports_and_service, slot_and_opens))
    }

    #[inline(always)]
    fn persist(&self, [start, end, ports_and_service, slot_and_opens]: [u64; 4]) -> u16 {
        lb_persist(start, end, ports_and_service, slot_and_opens) as u16
    }

    #[inline(always)]
    fn stray(&self, _: &Packet<'_>, which: Stray) -> Result<Owner, Verdict> {
        let found = Owner::of(self.hook.stray(which.word()))?;
        if found.number != NOBODY {
            return Ok(found);
        }
        let asked = lb_query();
        let answer = if asked & ASK == 0 {
            Answer::of(asked)
        } else {
            let pending = maps::pending.get_ptr(0).ok_or(Verdict::NoReal)?;
            // SAFETY: the entry is this CPU's own.
            let query = unsafe { (*pending).query };
            let answer = self.recall(query);
            if lb_is_final(answer.word()) != 0 { answer } else { settle(self, query, answer) }
        };
        Owner::of(lb_conclude(answer.word()))
    }

    #[inline(always)]
    fn service_apart(&self, vip: Ip, protocol: u8, ports: Ports) -> Option<u32> {
        let found = lb_service(vip.start, vip.end, u64::from(ports.0) << 8 | u64::from(protocol));
        (found >> 32 != 0).then_some(found as u32)
    }

    #[inline(always)]
    fn port(&self) -> Option<&Port> {
        let ifindex = log::ifindex(self.hook.ifindex());
        for probe in 0..PORT_PROBES {
            let port = maps::ports.get(ifindex.wrapping_add(probe) & (PORTS - 1))?;
            if port.ifindex == ifindex {
                return Some(port);
            }
        }
        None
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<Vip> {
        // SAFETY: values of a hash map are replaced, not written to, and a reader that meets a replaced one sees
        // the old bytes until its run ends.
        unsafe { maps::vips.get(key) }.copied()
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
    fn count(&self, counter: u32, packets: u32, bytes: u64, connection: bool) {
        if log::RECORDS
            && let Some(stats) = maps::real_stats.get_ptr_mut(counter)
        {
            // SAFETY: the entry is this CPU's own.
            unsafe {
                (*stats).connections += u64::from(connection);
                (*stats).packets += u64::from(packets);
                (*stats).bytes += bytes;
            }
        }
    }

    #[inline(always)]
    fn packets(&self, payload: u32) -> u32 {
        self.hook.packets(payload)
    }

    #[inline(always)]
    fn merged(&self) -> u32 {
        self.hook.merged()
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        self.hook.tag_beside()
    }

    #[inline(always)]
    fn redirect(&self, real: &Real) -> Result<(), Verdict> {
        self.hook.redirect(real)
    }

    #[inline(always)]
    fn retag<'p>(&self, packet: Packet<'p>, tags: u8, vlan: u16) -> Result<Packet<'p>, Verdict> {
        match self.hook.retag(tags, vlan) {
            Some(done) => done.map(|()| self.packet()),
            None => lb_common::retag(packet, self, tags, vlan),
        }
    }

    #[inline(always)]
    fn address(&self, packet: Packet<'_>, real: &Real) -> Result<(), Verdict> {
        self.hook.address(real).unwrap_or_else(|| lb_common::address(packet, real))
    }

    #[inline(always)]
    fn move_start<'p>(&self, _: Packet<'p>, bytes: i32) -> Option<Packet<'p>> {
        // The old packet was given up by the caller.
        self.hook.move_start(bytes).then(|| self.packet())
    }
}
