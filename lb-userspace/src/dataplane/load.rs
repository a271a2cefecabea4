//! The program and its maps are made, or adopted where they are pinned.

use std::collections::BTreeMap;
use std::io;

use aya::maps::MapData;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::Verdict;
use lb_common::maps::{
    Director, Drops, FlowKeys, FlowLine, FragmentEntry, FragmentKey, GATES, Gate, Loads, PORTS, Pending, Port, Real,
    ReturnKey, Service, SlotPair, Stats, TX_PORTS, Turn, VerdictStats, Vip, VipKey, VirtualMac, VirtualMacKey,
};
use tracing::{info, warn};

use crate::api::ProgramStatus;

use super::clock::{self, Clock};
use super::drops::Known;
use super::maps::{Adopted, Maps};
use super::predecessor::Predecessor;
use super::table::size_for;
use super::{Desired, Error, Features, FlowTimes, Gates, Pins, Pool, Slots};

/// What the program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To forward.
    Forward,
    /// To count what it would do, while every frame passes.
    Observe,
}

impl Purpose {
    /// The program's name in its object: with XDP over fragments, or without.
    pub(super) fn program(self, features: Features) -> &'static str {
        match (self, features.frags) {
            (Self::Forward, true) => "lb",
            (Self::Forward, false) => "lb_linear",
            (Self::Observe, true) => "lb_observe",
            (Self::Observe, false) => "lb_observe_lin",
        }
    }

    /// The same behind the socket buffers.
    pub(super) fn classifier(self) -> &'static str {
        match self {
            Self::Forward => "lb_tc",
            Self::Observe => "lb_tc_observe",
        }
    }
}

/// The BPF object that this binary carries.
///
/// # Errors
/// [`Error::NoObject`] when it was built without.
pub fn object() -> Result<&'static [u8], Error> {
    let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));
    if object.is_empty() { Err(Error::NoObject) } else { Ok(object) }
}

/// Sizes of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Services at most.
    pub services: u32,
    /// Reals at most; one index is never used.
    pub reals: u32,
    /// Slots of all rings, and turns, at most.
    pub slots: u32,
    /// Remembered flows at most.
    pub flows: u32,
}

impl Sizes {
    /// Entries of `reals` and of their counters: a pool takes a power of two of them, eight at least.
    fn real_entries(self) -> u32 {
        self.reals.saturating_add(self.services.saturating_mul(8))
    }

    /// Lines of `flows`: eleven words for eight flows, so that a table at four fifths of its size loses none.
    fn lines(self) -> u32 {
        (self.flows / FlowLine::WAYS as u32).saturating_mul(11).div_ceil(8).max(8)
    }

    /// Packets in fragments that are remembered at a time: few are, and each for half a minute at most.
    fn fragments(self) -> u32 {
        (self.flows / 64).clamp(1024, 1 << 18)
    }
}

/// A map, as `lb check` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRow {
    /// Its name, which is its pin's.
    pub name: &'static str,
    /// Entries at most.
    pub entries: u32,
    /// Size of a key.
    key: usize,
    /// Size of a value.
    value: usize,
    /// It has a value for each CPU.
    per_cpu: bool,
}

impl MapRow {
    /// Memory that the kernel takes for it, without its own bookkeeping. Hash maps keep a key and about 48 bytes
    /// more for an entry (kernel/bpf/hashtab.c).
    pub fn bytes(&self, cpus: usize) -> u64 {
        let overhead = if self.key > 4 { self.key + 48 } else { 0 };
        let copies = if self.per_cpu { cpus } else { 1 };
        u64::from(self.entries) * (self.value.next_multiple_of(8) * copies + overhead) as u64
    }
}

/// Every pinned map, for these sizes.
pub fn map_rows(sizes: Sizes) -> Vec<MapRow> {
    let row = |name, entries, key, value, per_cpu| MapRow { name, entries, key, value, per_cpu };
    let Sizes { services, reals, slots, .. } = sizes;
    vec![
        row("services", 2 * size_for(services), 4, size_of::<Service>(), false),
        row("vips", services, size_of::<VipKey>(), size_of::<Vip>(), false),
        row("slots", slots.div_ceil(2), 4, size_of::<SlotPair>(), false),
        row("reals", sizes.real_entries(), 4, size_of::<Real>(), false),
        row("ports", PORTS, 4, size_of::<Port>(), false),
        row("director", 1, 4, size_of::<Director>(), false),
        row("returns", reals, size_of::<ReturnKey>(), 4, false),
        row("flows", sizes.lines(), 4, size_of::<FlowLine>(), false),
        row("flow_keys", sizes.lines(), 4, size_of::<FlowKeys>(), false),
        row("fragments", sizes.fragments(), size_of::<FragmentKey>(), size_of::<FragmentEntry>(), false),
        row("pending", 1, 4, size_of::<Pending>(), true),
        row("turns", services, 4, size_of::<Turn>(), false),
        row("real_stats", sizes.real_entries(), 4, size_of::<Stats>(), true),
        row("loads", sizes.real_entries(), 4, size_of::<Loads>(), false),
        row("verdicts", Verdict::COUNT as u32, 4, size_of::<VerdictStats>(), true),
        row("drops", PORTS, 4, size_of::<Drops>(), true),
        row("gates", GATES, 4, size_of::<Gate>(), false),
        row("virtual_macs", GATES, size_of::<VirtualMacKey>(), size_of::<VirtualMac>(), false),
        row("tx_ports", TX_PORTS, 4, 8, false),
    ]
}

/// The loaded program with its maps.
pub struct Dataplane {
    pub(super) ebpf: Ebpf,
    pub(super) features: Features,
    pub(super) purpose: Purpose,
    pub(super) known: Known,
    pub(super) pins: Pins,
    pub(super) maps: Maps,
    /// What the writer put into the maps last.
    pub(super) applied: Desired,
    pub(super) applied_vips: BTreeMap<VipKey, Vip>,
    /// The seed and the times that `director` has, where it is as `applied` asks for.
    pub(super) told: Option<(u64, FlowTimes)>,
    /// By their index: what `reals` holds.
    pub(super) held_reals: BTreeMap<u32, Real>,
    pub(super) slots: Slots,
    pub(super) clock: Clock,
    pub(super) adopted: Adopted,
    /// Another version's program is still attached; it goes on until these maps serve.
    pub(super) predecessor: Option<Predecessor>,
}

impl Dataplane {
    /// Loads the program over the pinned maps, or over new ones that it pins. Nothing is attached yet, and
    /// whatever is attached goes on. Where a version with other layouts has pinned its maps, what they hold is adopted,
    /// and its links are taken over by [`Self::apply`].
    ///
    /// # Errors
    /// Nothing is left behind that was not there before.
    pub fn open(pins: Pins, sizes: Sizes, purpose: Purpose) -> Result<Self, Error> {
        Self::open_with(pins, sizes, purpose, Features::probe)
    }

    /// The same with these features of the kernel's and no others.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        pins: Pins,
        sizes: Sizes,
        purpose: Purpose,
        features: impl FnOnce() -> Result<Features, Error>,
    ) -> Result<Self, Error> {
        let object = object()?;
        let features = features()?;
        if !features.frags {
            info!(
                "this kernel has no XDP over frames in fragments (Linux 5.18): a driver that splits large ones refuses it"
            );
        }
        let predecessor = Predecessor::find(&pins);
        if predecessor.is_some() && pins.linked()?.is_empty() {
            // What a take-over that was cut short had made.
            pins.remove()?;
        }
        let fresh = !pins.exist();
        pins.prepare()?;
        let opened = Self::load(&pins, sizes, object, (features, purpose));
        let opened = opened.and_then(|dataplane| dataplane.follow(predecessor, fresh));
        if opened.is_err() && fresh {
            // The first error is the one to tell.
            let _ = pins.remove();
        }
        opened
    }

    fn load(pins: &Pins, sizes: Sizes, object: &[u8], (features, purpose): (Features, Purpose)) -> Result<Self, Error> {
        let known = Known::read();
        let mut loader = EbpfLoader::new();
        known.tell(&mut loader);
        for row in map_rows(sizes) {
            let entries = pinned_entries(pins, &row)?.unwrap_or(row.entries);
            loader.map_max_entries(row.name, entries).map_pin_path(row.name, pins.map(row.name));
        }
        let mut ebpf = loader.load(object).map_err(refused_object)?;
        program(&mut ebpf, features, purpose)?.load().map_err(refused_program)?;
        xdp(&mut ebpf, clock::PROGRAM)?.load().map_err(refused_program)?;
        let maps = Maps::open(pins)?;
        let adopted = maps.read()?;
        let pool = |(start, reals): (&u32, &BTreeMap<u16, Real>)| {
            let room = adopted.services.values().find(|service| service.reals == *start).map_or(0, |held| held.room);
            (*start, Pool { room, reals: reals.clone() })
        };
        let applied = Desired {
            hash_seed: adopted.hash_seed,
            services: adopted.services.clone(),
            pools: adopted.pools.iter().map(pool).collect(),
            returns: adopted.returns.clone(),
            ..Desired::default()
        };
        let mut slots = Slots::default();
        for service in adopted.services.values() {
            slots.adopt(&maps.slots, service.ring, service.ring_size, clock::now());
        }
        Ok(Self {
            ebpf,
            features,
            purpose,
            known,
            pins: pins.clone(),
            held_reals: applied.reals().map(|(index, real)| (index, *real)).collect(),
            applied_vips: adopted.vips.clone(),
            told: None,
            maps,
            applied,
            slots,
            clock: Clock::new()?,
            adopted,
            predecessor: None,
        })
    }

    /// Adopts what a predecessor's maps hold, where these are new.
    fn follow(mut self, predecessor: Option<Predecessor>, fresh: bool) -> Result<Self, Error> {
        if let Some(predecessor) = predecessor.as_ref().filter(|_| fresh) {
            let directory = predecessor.directory();
            match predecessor.read() {
                Ok(adopted) => {
                    info!(
                        "{} services and {} reals are taken over from {}, which has other layouts; remembered connections \
                         start anew, so that those of tracked services may go to another real",
                        adopted.services.len(),
                        adopted.pools.values().map(BTreeMap::len).sum::<usize>(),
                        directory.display()
                    );
                    self.adopted = adopted;
                }
                Err(error) => warn!(
                    "{} can't be read ({error}): services and reals start anew; its program goes on \
                     until a real is found usable",
                    directory.display()
                ),
            }
            if let Err(error) = Gates::open(&self.pins).and_then(|mut gates| predecessor.hand_gates(&mut gates)) {
                warn!("what its virtual routers decided can't be taken over: {error}");
            }
        }
        for idle in self.pins.others().into_iter().filter(|_| predecessor.is_none()) {
            // Maps without a link serve nobody.
            idle.remove()?;
        }
        self.predecessor = predecessor;
        Ok(self)
    }

    /// What the maps held when they were opened.
    pub fn adopted(&self) -> &Adopted {
        &self.adopted
    }

    /// The maps' handles.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The loaded program, as people find it again; `None` where the kernel doesn't tell.
    pub fn describe_program(&mut self) -> Option<ProgramStatus> {
        let layout = self.pins.directory().file_name()?.to_string_lossy().into_owned();
        let info = self.program().ok()?.info().ok()?;
        let loaded = info.loaded_at().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Some(ProgramStatus {
            id: info.id(),
            tag: format!("{:016x}", info.tag()),
            layout,
            loaded_at: loaded.map(|since| since.as_secs()),
        })
    }

    /// The loaded program, for test runs.
    ///
    /// # Errors
    /// It isn't in the object, which can't be.
    pub fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        self.program()
    }

    pub(super) fn program(&mut self) -> Result<&mut Xdp, Error> {
        program(&mut self.ebpf, self.features, self.purpose)
    }
}

fn program(ebpf: &mut Ebpf, features: Features, purpose: Purpose) -> Result<&mut Xdp, Error> {
    xdp(ebpf, purpose.program(features))
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let refuse = |error: String| Error::Refused { what: "the program".to_owned(), error };
    let program = ebpf.program_mut(name).ok_or_else(|| refuse("not in its object".to_owned()))?;
    program.try_into().map_err(|error: ProgramError| refuse(error.to_string()))
}

/// Entries of a map that is pinned already.
pub(super) fn pinned_entries(pins: &Pins, row: &MapRow) -> Result<Option<u32>, Error> {
    let path = pins.map(row.name);
    if !path.exists() {
        return Ok(None);
    }
    let info = MapData::from_pin(&path)
        .and_then(|data| data.info())
        .map_err(|error| Error::map(row.name, innermost(&error)))?;
    let found = (info.key_size() as usize, info.value_size() as usize);
    if found != (row.key, row.value) {
        let what = format!("keys and values of {found:?} bytes, not {:?}", (row.key, row.value));
        return Err(Error::Layout { path, what });
    }
    Ok(Some(info.max_entries()))
}

pub(super) fn refused_object(error: EbpfError) -> Error {
    if let Some(error) = permission(&error) {
        return Error::Privilege { call: "BPF_MAP_CREATE", error };
    }
    Error::Refused { what: "its maps".to_owned(), error: format!("{error}: {}", innermost(&error)) }
}

pub(super) fn refused_program(error: ProgramError) -> Error {
    // The verifier's refusal is an EACCES too, but it has words.
    let is_judged =
        matches!(&error, ProgramError::LoadError { verifier_log, .. } if !verifier_log.to_string().is_empty());
    if !is_judged && let Some(error) = permission(&error) {
        return Error::Privilege { call: "BPF_PROG_LOAD", error };
    }
    // The verifier's log is long; its last lines say what it stumbled over.
    let error = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            format!("{io_error}\n{}", lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n"))
        }
        error => error.to_string(),
    };
    Error::Refused { what: "the program".to_owned(), error }
}

/// The EPERM or EACCES at the bottom of an error.
pub(super) fn permission(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
            && (code == libc::EPERM || code == libc::EACCES)
        {
            return Some(io::Error::from_raw_os_error(code));
        }
        next = error.source();
    }
    None
}

/// The cause at the bottom of an error.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_want_of_privilege_is_told_as_that() {
        let refused = |code| {
            let io_error = io::Error::from_raw_os_error(code);
            ProgramError::SyscallError(aya::sys::SyscallError { call: "bpf_prog_load", io_error })
        };
        for code in [libc::EPERM, libc::EACCES] {
            assert!(matches!(refused_program(refused(code)), Error::Privilege { .. }), "{code}");
        }
        assert!(matches!(refused_program(refused(libc::EINVAL)), Error::Refused { .. }));
    }
}
