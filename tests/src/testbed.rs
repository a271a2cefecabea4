//! The loaded program without a network: its maps filled through the agent's own writer, frames put through
//! it by BPF_PROG_TEST_RUN.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use lb_common::Action;
use lb_common::maps::{FlowLine, FragmentEntry, FragmentKey, Loads, Service, Turn};
use lb_userspace::dataplane::{Dataplane, Desired, Error, Features, Gates, Pins, Purpose, Sizes, StatsReader};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use zerocopy::{FromZeros, IntoBytes as _};

use crate::fixture::IFINDEX;
use crate::side::{Counts, Outcome, Side, age, counts, xdp_number};

/// Why the kernel's side can't be tested here; `None` where it can.
pub fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if capabilities() & CAPABILITIES != CAPABILITIES {
        return Some("needs the capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN".to_owned());
    }
    lb_userspace::dataplane::object().err().map(|error| error.to_string())
}

/// CAP_NET_ADMIN and CAP_SYS_ADMIN (linux/capability.h).
const CAPABILITIES: u64 = 1 << 12 | 1 << 21;

/// This process's effective capabilities.
fn capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Gives this thread its own mount namespace with its own bpffs, which goes when the thread ends.
///
/// # Errors
/// Not permitted.
pub fn private_bpffs() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare of the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).context("mount of bpffs")
}

/// A loaded program that is attached to nothing.
pub struct Testbed {
    /// The agent's side of it.
    pub dataplane: Dataplane,
    /// Its pins.
    pub pins: Pins,
    stats: StatsReader,
    gates: Gates,
    flows: Array<MapData, FlowLine>,
    turns: Array<MapData, Turn>,
    fragments: HashMap<MapData, FragmentKey, FragmentEntry>,
    loads: Array<MapData, Loads>,
    /// By id.
    services: BTreeMap<u32, Service>,
    /// Frames go through the tc program.
    is_tc: bool,
}

impl Testbed {
    /// Loads the program with these map sizes, in this thread's own bpffs.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn new(sizes: Sizes) -> Result<Self> {
        Self::with(sizes, Features::probe)
    }

    /// The same on a kernel that has these features and no others.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn with(sizes: Sizes, features: impl FnOnce() -> Result<Features, Error>) -> Result<Self> {
        Self::made(sizes, Purpose::Forward, features)
    }

    /// The same of a program that is for this.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn with_purpose(sizes: Sizes, purpose: Purpose) -> Result<Self> {
        Self::made(sizes, purpose, Features::probe)
    }

    fn made(sizes: Sizes, purpose: Purpose, features: impl FnOnce() -> Result<Features, Error>) -> Result<Self> {
        private_bpffs()?;
        let pins = Pins::under(Path::new("/sys/fs/bpf"));
        let dataplane = Dataplane::open_with(pins.clone(), sizes, purpose, features)?;
        let stats = StatsReader::open(&pins)?;
        let map = |name| Ok::<_, anyhow::Error>(Map::from_map_data(MapData::from_pin(pins.map(name))?)?);
        let flows = Array::try_from(map("flows")?)?;
        let turns = Array::try_from(map("turns")?)?;
        let fragments = HashMap::try_from(map("fragments")?)?;
        let loads = Array::try_from(map("loads")?)?;
        let gates = Gates::open(&pins)?;
        Ok(Self {
            dataplane,
            pins,
            stats,
            gates,
            flows,
            turns,
            fragments,
            loads,
            services: BTreeMap::new(),
            is_tc: false,
        })
    }

    /// Sends frames through the tc program from now on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn behind_the_socket_buffers(mut self) -> Result<Self> {
        self.dataplane.classifier()?;
        self.is_tc = true;
        Ok(self)
    }

    /// Fills the maps.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn apply(&mut self, desired: &Desired) -> Result<()> {
        self.services = desired.services.values().map(|service| (service.id, *service)).collect();
        Ok(self.dataplane.apply(desired)?)
    }

    /// What the program remembers: its flows, turns and counts of live connections, as bytes.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn memory(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for index in 0..self.flows.len() {
            all.extend_from_slice(self.flows.get(&index, 0)?.as_bytes());
        }
        for index in 0..self.turns.len() {
            all.extend_from_slice(self.turns.get(&index, 0)?.as_bytes());
        }
        for index in 0..self.loads.len() {
            all.extend_from_slice(self.loads.get(&index, 0)?.as_bytes());
        }
        Ok(all)
    }

    /// Puts one frame through the program, as if it came in by interface 1. What doesn't fit into a page follows
    /// in fragments, which the program can't look at.
    ///
    /// # Errors
    /// The kernel refuses the frame: it is shorter than an Ethernet header, or has too many fragments.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = if self.is_tc {
            self.dataplane.classifier()?.test_run(options)
        } else {
            self.dataplane.xdp()?.test_run(options)
        };
        let result = result.map_err(|error| anyhow!("{error:?}"))?;
        let length = result.data_size_out as usize;
        if length > out.len() {
            bail!("the frame grew to {length} bytes");
        }
        out.truncate(length);
        Ok(Outcome { action: result.return_value, frame: out })
    }
}

impl Side for Testbed {
    fn name(&self) -> &'static str {
        if self.is_tc { "tc" } else { "kernel" }
    }

    /// Linux/pkt_cls.h for tc, where the kernel tells one way out of an interface from another by itself.
    fn number(&self, action: Action) -> u32 {
        const UNSPEC: u32 = u32::MAX;
        const SHOT: u32 = 2;
        const REDIRECT: u32 = 7;
        match action {
            _ if !self.is_tc => xdp_number(action),
            Action::Pass => UNSPEC,
            Action::Drop | Action::Abort => SHOT,
            Action::Transmit | Action::Redirect => REDIRECT,
        }
    }

    fn is_tc(&self) -> bool {
        self.is_tc
    }

    fn apply(&mut self, desired: &Desired) -> Result<()> {
        Self::apply(self, desired)
    }

    fn gate(&mut self, gate: u32, closed: bool) -> Result<()> {
        Ok(self.gates.set(gate, closed)?)
    }

    fn virtual_mac(&mut self, mac: [u8; 6], master: Option<bool>) -> Result<()> {
        match master {
            Some(master) => Ok(self.gates.set_virtual_mac(IFINDEX, mac, master)?),
            None => Ok(self.gates.keep_virtual_macs(|_, held| held != mac)?),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run(frame)
    }

    fn counts(&self) -> Result<Counts> {
        let verdicts = self.stats.verdicts()?.into_iter().map(|(_, packets)| packets).collect();
        let held = |counter| Ok(self.stats.real(&Service { counters: counter, ..Service::FREE }, 0)?);
        counts(verdicts, &self.services, held)
    }

    fn age(&mut self, seconds: i32) -> Result<()> {
        let time = self.dataplane.in_ticks(Duration::from_secs(seconds.unsigned_abs().into()));
        let ticks = i32::try_from(time)? * seconds.signum();
        for index in 0..self.flows.len() {
            let mut line = self.flows.get(&index, 0)?;
            age(&mut line, ticks);
            self.flows.set(index, line, 0)?;
        }
        for (key, mut entry) in self.fragments.iter().collect::<Result<Vec<_>, _>>()? {
            crate::side::age_fragment(&mut entry, ticks);
            self.fragments.insert(key, entry, 0)?;
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        for index in 0..self.flows.len() {
            self.flows.set(index, FlowLine::new_zeroed(), 0)?;
        }
        for id in 0..self.turns.len() {
            self.turns.set(id, Turn::default(), 0)?;
        }
        for key in self.fragments.keys().collect::<Result<Vec<_>, _>>()? {
            self.fragments.remove(&key)?;
        }
        for index in 0..self.loads.len() {
            self.loads.set(index, Loads::default(), 0)?;
        }
        Ok(())
    }
}

/// Nanoseconds a frame of one run of `program` over `frame`, `repeat` times.
///
/// # Errors
/// The kernel refuses the run.
pub fn time(program: &Xdp, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = repeat;
    let result = program.test_run(options).map_err(|error| anyhow!("{error:?}"))?;
    Ok((result.return_value, result.duration.as_nanos() as f64))
}
