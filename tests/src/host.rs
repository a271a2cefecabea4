//! The packet logic over ordinary tables, made from the same [`Desired`] as the kernel's maps.
//!
//! Every frame lies right in front of a page that nobody may read or write: logic that looks behind a frame's
//! last byte stops the test with a fault.
#![expect(unsafe_code, reason = "frames lie in a mapping and are reached by address, as in the kernel")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::maps::{
    Director, Filter, FlowLine, FragmentEntry, FragmentKey, Port, Real, ReturnKey, Service, Table, Timeouts, Vip,
    VipKey, VirtualMac, VirtualMacKey,
};
use lb_common::{Environment, Load, Packet, Verdict, Word, balance};
use lb_userspace::dataplane::{Counters, Desired, Sizes, Slots, Words, map_rows, place, size_for};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::time::{ClockId, clock_gettime};
use zerocopy::FromZeros;

use crate::fixture::IFINDEX;
use crate::side::{Counts, Outcome, Side, counts};

/// Room in front of a frame, as the kernel's XDP_PACKET_HEADROOM.
pub const HEADROOM: usize = 256;
/// Most bytes of a frame with its room.
const CAPACITY: usize = 1 << 16;
const PAGE: usize = 4096;
const ETHERNET: usize = 14;

/// A director made of ordinary tables.
pub struct Host {
    memory: Memory,
    tables: Tables,
    verdicts: Vec<u64>,
    headroom: usize,
}

impl Host {
    /// A director without services, whose flow table has this size.
    ///
    /// # Errors
    /// No memory.
    pub fn new(sizes: Sizes) -> Result<Self> {
        let entries = |name| map_rows(sizes).iter().find(|row| row.name == name).map_or(0, |row| row.entries);
        let lines = entries("flows");
        let tables = Tables {
            director: director(&Desired::default(), Table::default(), lines),
            vips: BTreeMap::new(),
            desired: Desired::default(),
            services: Vec::new(),
            reals: BTreeMap::new(),
            flows: (0..lines).map(|_| UnsafeCell::new(FlowLine::new_zeroed())).collect(),
            words: vec![0; entries("slots") as usize * 2],
            slots: Slots::default(),
            gates: BTreeMap::new(),
            virtual_macs: BTreeMap::new(),
            fragments: RefCell::default(),
            turns: RefCell::default(),
            loads: (0..entries("loads")).map(|_| UnsafeCell::new([0; 2])).collect(),
            counters: RefCell::default(),
            now: Cell::new(0),
        };
        Ok(Self { memory: Memory::new()?, tables, verdicts: vec![0; Verdict::COUNT], headroom: HEADROOM })
    }

    /// Leaves this many bytes in front of the frames from now on.
    pub fn leave_headroom(&mut self, bytes: usize) {
        self.headroom = bytes;
    }

    /// The verdict on one frame, and the frame afterwards.
    ///
    /// # Errors
    /// The frame is longer than 65,280 bytes.
    pub fn balance(&mut self, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        self.tables.now.set(now()?);
        let start = self.memory.place(frame).context("a frame this long")?;
        let end = start + frame.len();
        let run = Run { tables: &self.tables, floor: start - self.headroom, start: Cell::new(start), end };
        // SAFETY: the frame was placed there, and until it is read below only this run reaches it.
        let packet = unsafe { Packet::from_pointers(start, end) };
        let verdict = balance(packet, &run);
        let start = run.start.get();
        if let Some(count) = self.verdicts.get_mut(verdict as usize) {
            *count += 1;
        }
        Ok((verdict, self.memory.take(start)))
    }
}

impl Side for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn apply(&mut self, desired: &Desired) -> Result<()> {
        let tables = &mut self.tables;
        let loosened = desired.loosened(&tables.desired.services);
        for (key, service) in &desired.services {
            if tables.desired.services.get(key).is_none_or(|held| held.id != service.id) {
                tables.turns.get_mut().remove(&service.id);
            }
        }
        let size = size_for(desired.services.len() as u32);
        let (seed, services) = place(desired.services.values(), size).context("a table of services")?;
        tables.services = services;
        tables.director = director(desired, Table { seed, start: 0, mask: size - 1 }, tables.director.flow_lines);
        tables.slots.write(&mut tables.words, desired, &loosened, Duration::from_secs(u64::from(tables.now.get())));
        for (start, turns) in &desired.turns {
            tables.words.put(*start, turns.entries().len() as u32);
            (start + 1..).zip(turns.entries()).for_each(|(index, entry)| tables.words.put(index, *entry));
        }
        tables.reals = desired.reals().map(|(index, real)| (index, *real)).collect();
        tables.vips = desired.vips();
        tables.desired = desired.clone();
        Ok(())
    }

    fn gate(&mut self, gate: u32, closed: bool) -> Result<()> {
        self.tables.gates.insert(gate, closed);
        Ok(())
    }

    fn virtual_mac(&mut self, mac: [u8; 6], master: Option<bool>) -> Result<()> {
        match master {
            Some(master) => self.tables.virtual_macs.insert(mac, master),
            None => self.tables.virtual_macs.remove(&mac),
        };
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<Outcome> {
        let (verdict, frame) = self.balance(frame)?;
        let action = self.number(verdict.action());
        Ok(Outcome { action, frame })
    }

    fn counts(&self) -> Result<Counts> {
        let services = self.tables.desired.services.values().map(|service| (service.id, *service)).collect();
        let held = |counter| Ok(self.tables.counters.borrow().get(&counter).copied().unwrap_or_default());
        counts(self.verdicts.clone(), &services, held)
    }

    fn age(&mut self, seconds: i32) -> Result<()> {
        for line in &mut self.tables.flows {
            crate::side::age(line.get_mut(), seconds);
        }
        self.tables.fragments.get_mut().values_mut().for_each(|entry| crate::side::age_fragment(entry, seconds));
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        self.tables.flows.iter_mut().for_each(|line| *line.get_mut() = FlowLine::new_zeroed());
        self.tables.turns.get_mut().clear();
        self.tables.fragments.get_mut().clear();
        self.tables.loads.iter_mut().for_each(|load| *load.get_mut() = [0; 2]);
        Ok(())
    }
}

/// Seconds of the clock that the kernel's side reads.
fn now() -> Result<u32> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("clock")?.tv_sec() as u32)
}

/// The entry of `director` for these services in this table.
fn director(desired: &Desired, table: Table, flow_lines: u32) -> Director {
    let timeouts = Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 };
    let mut director = Director {
        hash_seed: desired.hash_seed,
        tables: [table, Table::default()],
        table: 0,
        flags: 0,
        flow_lines,
        tick_shift: 0,
        timeouts,
        vips: Filter::EMPTY,
        reals: Filter::EMPTY,
    };
    desired.mark(&mut director);
    director
}

struct Tables {
    desired: Desired,
    director: Director,
    vips: BTreeMap<VipKey, Vip>,
    services: Vec<Service>,
    reals: BTreeMap<u32, Real>,
    flows: Vec<UnsafeCell<FlowLine>>,
    words: Vec<u32>,
    slots: Slots,
    gates: BTreeMap<u32, bool>,
    virtual_macs: BTreeMap<[u8; 6], bool>,
    fragments: RefCell<BTreeMap<FragmentKey, FragmentEntry>>,
    turns: RefCell<BTreeMap<u32, u64>>,
    loads: Vec<UnsafeCell<[u64; 2]>>,
    counters: RefCell<BTreeMap<u32, Counters>>,
    now: Cell<u32>,
}

/// One run over a frame, by the addresses of its room, its first byte and the byte behind its last.
struct Run<'a> {
    tables: &'a Tables,
    floor: usize,
    start: Cell<usize>,
    end: usize,
}

impl lb_common::Tables for Tables {
    fn director(&self) -> Option<&Director> {
        Some(&self.director)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.services.get(index as usize)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.words.get(index as usize).copied()
    }

    fn real(&self, index: u32) -> Option<&Real> {
        self.reals.get(&index)
    }

    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        self.flows.get(index as usize).map(UnsafeCell::get)
    }

    // Nobody lists these flows.
    fn note_key(&self, _: u32, _: usize, _: [u64; 3]) {}

    fn fragment(&self, key: [u64; 5]) -> Option<FragmentEntry> {
        self.fragments.borrow().get(&key.into()).copied()
    }

    fn note_fragment(&self, key: [u64; 5], entry: [u64; 2]) {
        self.fragments.borrow_mut().insert(key.into(), entry.into());
    }

    fn take_turn(&self, service: u32) -> Option<u64> {
        let mut turns = self.turns.borrow_mut();
        let next = turns.entry(service).or_default();
        *next += 1;
        Some(*next - 1)
    }

    fn load(&self, counter: u32) -> Option<Load> {
        let words = self.loads.get(counter as usize)?.get().cast::<u64>();
        // SAFETY: two words of this table, which nobody reaches but through these.
        unsafe { Some(Load { active: Word::new(words), inactive: Word::new(words.add(1)) }) }
    }

    fn ticks(&self, _: u32) -> u32 {
        self.now.get()
    }
}

impl Environment for Run<'_> {
    type Tables = Tables;

    fn tables(&self) -> &Tables {
        self.tables
    }

    fn port(&self) -> Option<&Port> {
        self.tables.desired.ports.iter().find(|port| port.ifindex == IFINDEX)
    }

    fn vip(&self, key: &VipKey) -> Option<Vip> {
        self.tables.vips.get(key).copied()
    }

    fn returns(&self, key: &ReturnKey) -> bool {
        self.tables.desired.returns.contains(key)
    }

    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac> {
        let held = self.tables.virtual_macs.get(&key.mac).filter(|_| key.ifindex == IFINDEX);
        held.map(|master| VirtualMac { master: u32::from(*master) })
    }

    fn gate_is_closed(&self, gate: u32) -> bool {
        self.tables.gates.get(&gate).copied().unwrap_or_default()
    }

    fn count(&self, counter: u32, packets: u32, bytes: u64, connection: bool) {
        let mut all = self.tables.counters.borrow_mut();
        let counters = all.entry(counter).or_default();
        counters.connections += u64::from(connection);
        counters.packets += u64::from(packets);
        counters.bytes += bytes;
    }

    fn redirect(&self, real: &Real) -> std::result::Result<(), Verdict> {
        let place = self.tables.desired.tx_ports.get(&real.tx_port);
        place.map(drop).ok_or(Verdict::NoDevice)
    }

    fn move_start<'a>(&self, _: Packet<'a>, bytes: i32) -> Option<Packet<'a>> {
        let start = self.start.get().checked_add_signed(bytes as isize)?;
        if start < self.floor || start + ETHERNET > self.end {
            return None;
        }
        self.start.set(start);
        // SAFETY: the caller gave the old packet away, and the new one lies between the room's start and the frame's end.
        Some(unsafe { Packet::from_pointers(start, self.end) })
    }
}

/// A mapping with a page behind it that faults.
struct Memory {
    start: NonNull<u8>,
}

// SAFETY: the mapping is this value's alone, and any thread may reach it.
unsafe impl Send for Memory {}

impl Memory {
    fn new() -> Result<Self> {
        let length = NonZeroUsize::new(CAPACITY + PAGE).context("length")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }.context("mmap for frames")?;
        let memory = Self { start: start.cast() };
        // SAFETY: the page is the last of the mapping above.
        unsafe { mprotect(memory.start.add(CAPACITY).cast(), PAGE, ProtFlags::PROT_NONE) }.context("guard page")?;
        Ok(memory)
    }

    /// Copies a frame to the mapping's end; its address.
    fn place(&mut self, frame: &[u8]) -> Option<usize> {
        let offset = CAPACITY.checked_sub(frame.len()).filter(|offset| *offset >= HEADROOM)?;
        // SAFETY: `offset + frame.len()` is CAPACITY, inside the mapping, and no reference to it lives.
        let target = unsafe { self.start.add(offset) };
        // SAFETY: as above; the frame is not in the mapping.
        unsafe { target.copy_from_nonoverlapping(NonNull::from_ref(frame).cast(), frame.len()) };
        self.start.as_ptr().expose_provenance();
        Some(target.addr().get())
    }

    /// The bytes from this address to the mapping's end.
    fn take(&mut self, start: usize) -> Vec<u8> {
        let offset = start - self.start.addr().get();
        // SAFETY: a run keeps `start` between the room's first byte and the mapping's end.
        unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), CAPACITY - offset) }.to_vec()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nothing borrows from it.
        let _ = unsafe { munmap(self.start.cast(), CAPACITY + PAGE) };
    }
}
