//! The packet logic over ordinary tables, made from the same [`Desired`] as the kernel's maps.
//!
//! Every frame lies right in front of a page that nobody may read or write: logic that looks behind a frame's
//! last byte stops the test with a fault.
#![expect(unsafe_code, reason = "frames lie in a mapping and are reached by address, as in the kernel")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use lb_common::maps::{
    Bucket, Director, Port, Real, ReturnKey, Service, ServiceKey, Vip, VipKey, VirtualMac, VirtualMacKey,
};
use lb_common::{Environment, Packet, Verdict, balance};
use lb_userspace::dataplane::{Counters, Desired, Sizes};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::time::{ClockId, clock_gettime};
use zerocopy::FromZeros;

use crate::fixture::IFINDEX;
use crate::side::{Counts, Outcome, Side};

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
        let buckets = (sizes.flows / Bucket::WAYS as u32).max(1);
        let desired = Desired::default();
        let flow_mask = (1 << buckets.ilog2()) - 1;
        let tables = Tables {
            director: desired.director(flow_mask),
            vips: desired.vips(),
            desired,
            flows: (0..buckets).map(|_| UnsafeCell::new(Bucket::new_zeroed())).collect(),
            rings: BTreeMap::new(),
            gates: BTreeMap::new(),
            virtual_macs: BTreeMap::new(),
            turns: RefCell::default(),
            services: RefCell::default(),
            reals: RefCell::default(),
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
        for (key, service) in &desired.services {
            if tables.desired.services.get(key).is_none_or(|held| held.id != service.id) {
                tables.turns.get_mut().remove(&service.id);
            }
        }
        tables.director = desired.director(tables.director.flow_mask);
        tables.rings = desired.rings.iter().map(|(id, ring)| (*id, ring.content())).collect();
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
        Ok(Counts {
            verdicts: self.verdicts.clone(),
            services: self.tables.services.borrow().clone(),
            reals: self.tables.reals.borrow().clone(),
        })
    }

    fn age(&mut self, seconds: i32) -> Result<()> {
        for bucket in &mut self.tables.flows {
            crate::side::age(bucket.get_mut(), seconds);
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        self.tables.flows.iter_mut().for_each(|bucket| *bucket.get_mut() = Bucket::new_zeroed());
        self.tables.turns.get_mut().clear();
        Ok(())
    }
}

/// Seconds of the clock that the kernel's side reads.
fn now() -> Result<u32> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("clock")?.tv_sec() as u32)
}

struct Tables {
    desired: Desired,
    director: Director,
    vips: BTreeMap<VipKey, Vip>,
    flows: Vec<UnsafeCell<Bucket>>,
    rings: BTreeMap<u32, Vec<u32>>,
    gates: BTreeMap<u32, bool>,
    virtual_macs: BTreeMap<[u8; 6], bool>,
    turns: RefCell<BTreeMap<u32, u64>>,
    services: RefCell<BTreeMap<u32, Counters>>,
    reals: RefCell<BTreeMap<u32, Counters>>,
    now: Cell<u32>,
}

/// One run over a frame, by the addresses of its room, its first byte and the byte behind its last.
struct Run<'a> {
    tables: &'a Tables,
    floor: usize,
    start: Cell<usize>,
    end: usize,
}

impl Environment for Run<'_> {
    fn port(&self) -> Option<&Port> {
        self.tables.desired.ports.iter().find(|port| port.ifindex == IFINDEX)
    }

    fn director(&self) -> Option<&Director> {
        Some(&self.tables.director)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.tables.desired.services.get(key)
    }

    fn vip(&self, key: &VipKey) -> Option<Vip> {
        self.tables.vips.get(key).copied()
    }

    fn slot(&self, service: u32, index: u32) -> Option<u32> {
        self.tables.rings.get(&service)?.get(index as usize).copied()
    }

    fn real(&self, index: u32) -> Option<&Real> {
        self.tables.desired.reals.get(&index)
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

    fn bucket(&self, index: u32) -> Option<*mut Bucket> {
        self.tables.flows.get(index as usize).map(UnsafeCell::get)
    }

    fn take_turn(&self, service: u32) -> Option<u64> {
        let mut turns = self.tables.turns.borrow_mut();
        let next = turns.entry(service).or_default();
        *next += 1;
        Some(*next - 1)
    }

    fn now(&self) -> u32 {
        self.tables.now.get()
    }

    fn count(&self, service: u32, real: u32, packets: u32, bytes: u64, connection: bool) {
        let add = |counters: &mut Counters| {
            counters.connections += u64::from(connection);
            counters.packets += u64::from(packets);
            counters.bytes += bytes;
        };
        add(self.tables.services.borrow_mut().entry(service).or_default());
        add(self.tables.reals.borrow_mut().entry(real).or_default());
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
