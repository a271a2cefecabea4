//! What the agent tells of itself: the JSON of `GET /v1/status` and of `lb list --json`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::estimate::Estimate;
use crate::dataplane::{Counters, Hook};
use crate::rates::Rates;

/// Everything that `lb list` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent, or of the command line where no agent answers.
    pub version: String,
    /// An agent answered. Without one the rest is what the pinned maps hold.
    pub agent: bool,
    /// The program observes alone (`lb run --observe`): every frame passes, and counters and rates are of what it would have done.
    #[serde(default)]
    pub observe: bool,
    /// Where the program runs, or shall.
    pub interfaces: Vec<InterfaceStatus>,
    /// The services, in the order of their addresses.
    pub services: Vec<ServiceStatus>,
    /// Frames that the kernel dropped behind the program, by interface; those without any are left out.
    #[serde(default)]
    pub drops: Vec<DropStatus>,
    /// Packets by verdict; those without any are left out.
    pub verdicts: Vec<VerdictStatus>,
    /// What keeps the maps from what they should hold, and why the last reload was refused; `None` when neither.
    pub fault: Option<String>,
    /// How the exchange with other directors goes; `None` without `[peers]`.
    #[serde(default)]
    pub peers: Option<crate::peers::Status>,
    /// Who else answers for VIPs of which this director is the master; none without an agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimStatus>,
    /// How the health checks get on; `None` without an agent.
    #[serde(default)]
    pub checks: Option<super::CheckPace>,
    /// Log lines that the agent had to drop, since nobody took them.
    #[serde(default)]
    pub log_dropped: u64,
    /// How full the maps are; none without an agent.
    #[serde(default)]
    pub maps: Vec<MapStatus>,
    /// The program that forwards; `None` without an agent.
    #[serde(default)]
    pub program: Option<ProgramStatus>,
    /// How far apart the two readings are that rates follow from, in seconds; `None` before the second, and without an agent.
    #[serde(default)]
    pub rates_over: Option<f64>,
}

/// A station of the segment that answers for a VIP beside this director, its master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimStatus {
    /// The VIP.
    pub vip: IpAddr,
    /// The station's MAC address.
    pub mac: String,
    /// The real that is at that MAC.
    pub real: Option<IpAddr>,
    /// The director of `[peers]` or `vrrp.*.peers` that is.
    pub director: Option<IpAddr>,
    /// All addresses that the kernel knows to be there.
    pub addresses: Vec<IpAddr>,
    /// Since when it is known, in seconds since 1970.
    pub since: u64,
}

impl ClaimStatus {
    /// Who it is.
    #[must_use]
    pub fn station(&self) -> String {
        match (self.real, self.director, self.addresses.first()) {
            (Some(real), ..) => format!("real {real} ({})", self.mac),
            (_, Some(director), _) => format!("director {director} ({})", self.mac),
            (_, _, Some(address)) => format!("{address} ({})", self.mac),
            (None, None, None) => self.mac.clone(),
        }
    }

    /// What ends it.
    #[must_use]
    pub fn mend(&self) -> String {
        let vip = self.vip;
        match (self.real, self.director) {
            (Some(_), _) => format!("`lb real-server check {vip}` on that real says what to set, `apply` sets it"),
            (None, Some(_)) => "both take themselves for the master: `lb vrrp` on each says whom it hears".to_owned(),
            (None, None) => format!("find that host by its MAC address, and take {vip} off it or end its VRRP"),
        }
    }
}

/// How full a map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStatus {
    /// Its name.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries that it has room for.
    pub size: u64,
}

impl MapStatus {
    /// How full it is.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.used.saturating_mul(100) / self.size.max(1)
    }
}

/// The loaded program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// The kernel's number of it, as in `bpftool prog show id`.
    pub id: u32,
    /// The kernel's digest of its instructions, likewise.
    pub tag: String,
    /// The digest of its maps' layout: the name of its directory under `/sys/fs/bpf/lb`.
    pub layout: String,
    /// When it was loaded, in seconds since 1970; `None` where the kernel doesn't say.
    pub loaded_at: Option<u64>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Where the program runs on it; `None` without an agent, and while it is waited for.
    pub mode: Option<Hook>,
    /// Why it is waited for; `None` where the program runs on it.
    #[serde(default)]
    pub awaited: Option<String>,
    /// Since when it is waited for, in seconds since 1970.
    #[serde(default)]
    pub since: Option<u64>,
}

/// Frames that the kernel could not do with what the program had decided. Their services have counted them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropStatus {
    /// The interface's name.
    pub interface: String,
    /// Of the frames that came in by it: those that could not be handed on.
    pub refused: u64,
    /// Of the frames that were to leave by it: those that its driver did not take.
    pub unsent: u64,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the configuration; `None` without an agent.
    pub name: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The VIP.
    pub address: IpAddr,
    /// The port; `None` for any.
    pub port: Option<u16>,
    /// Its word in the configuration, such as `mh`.
    pub scheduler: String,
    /// For how long and for which clients it is persistent, as the configuration's list has it; `None` where each connection goes its own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<String>,
    /// What it forwarded.
    #[serde(flatten)]
    pub counters: Counters,
    /// The virtual router that has its VIP; `None` where none does, or without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrrp: Option<VipOwner>,
    /// The pool that its reals are of; `None` where they are its own, or without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What it forwards now; `None` before it was read twice, or without an agent.
    #[serde(default)]
    pub rates: Option<Rates>,
    /// What its reals do together; `None` where the configuration says nothing of that, or without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetStatus>,
    /// Its reals, in the order of their addresses, its sorry server among them.
    pub reals: Vec<RealStatus>,
}

/// What the reals of a service or of its pool do together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// Its quorum; `None` where none is needed, or while it isn't decided.
    #[serde(default)]
    pub quorum: Option<QuorumStatus>,
    /// Whether the sorry server takes all new connections; `None` where there is none.
    #[serde(default)]
    pub sorry: Option<bool>,
    /// So few are healthy that all take new connections; `None` where that isn't so.
    #[serde(default)]
    pub panic: Option<PanicStatus>,
}

/// A quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    /// Whether there are enough.
    pub met: bool,
    /// The weights of the healthy reals, added up.
    pub weight: u64,
    /// What that should be, without hysteresis.
    pub needed: u32,
}

/// How many reals are healthy, of those that should take new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicStatus {
    /// So many.
    pub healthy: usize,
    /// Of so many.
    pub of: usize,
}

impl FleetStatus {
    /// What of it needs people, in words.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        if let Some(PanicStatus { healthy, of }) = self.panic {
            return Some(format!("panic: {healthy} of {of} healthy, all in"));
        }
        let QuorumStatus { weight, needed, .. } = self.quorum.filter(|quorum| !quorum.met)?;
        let then = match self.sorry {
            None => "",
            Some(true) => ", sorry server answers",
            Some(false) => ", and no sorry server can answer",
        };
        Some(format!("quorum lost: {weight} of {needed}{then}"))
    }
}

/// The virtual router of a VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipOwner {
    /// Its name.
    pub router: String,
    /// Its state: whether the VIP's traffic is this director's.
    pub state: crate::vrrp::State,
}

/// A real of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealStatus {
    /// Its address.
    pub address: IpAddr,
    /// The weight that is in force.
    pub weight: u32,
    /// The file's weight, where another one is in force.
    #[serde(default)]
    pub file_weight: Option<u32>,
    /// Something was set at run time: its weight, a drain, or that it is disabled.
    #[serde(default)]
    pub set_at_run_time: bool,
    /// The check that set its weight, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_of: Option<String>,
    /// It left the configuration.
    #[serde(default)]
    pub left: bool,
    /// What keeps it from traffic, or doesn't.
    pub state: State,
    /// Since when, in seconds since 1970; `None` where nobody knows.
    pub since: Option<u64>,
    /// It is the sorry server.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sorry: bool,
    /// The percentage of its share that it has, while it starts slowly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<u32>,
    /// It is down, and takes new connections all the same, since too few are healthy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub panic: bool,
    /// It is down, but its connections stay.
    #[serde(default)]
    pub quiesced: bool,
    /// When its drain's deadline is, in seconds since 1970.
    #[serde(default)]
    pub until: Option<u64>,
    /// ipvsadm's ActiveConn: its open connections. `None` where not every connection is remembered.
    #[serde(default)]
    pub active_connections: Option<u64>,
    /// ipvsadm's InActConn: those that are opening, or whose end was seen a moment ago.
    #[serde(default)]
    pub inactive_connections: Option<u64>,
    /// Where not every connection is remembered: what one of 256 tells of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_connections: Option<Estimate>,
    /// Connections of it that are remembered. It may have others where the scheduler keeps no state.
    #[serde(default)]
    pub remembered_connections: Option<u64>,
    /// Why it is down.
    pub why: Option<String>,
    /// What speaks against what holds: a few bad or good answers in a row.
    #[serde(default)]
    pub doubt: Option<String>,
    /// Clients open connections to it that nothing follows, so that it is asked at once: how many since something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<u64>,
    /// Why its checks can't be made: a fault of this director's own, which says nothing of the real.
    #[serde(default)]
    pub own_fault: Option<String>,
    /// Half of the last good answers to its slowest check came within this; microseconds.
    #[serde(default)]
    pub latency_us: Option<u64>,
    /// Its MAC address, if it is known.
    pub mac: Option<String>,
    /// What it was sent.
    #[serde(flatten)]
    pub counters: Counters,
    /// What it is sent now; `None` before it was read twice, or without an agent.
    #[serde(default)]
    pub rates: Option<Rates>,
}

impl RealStatus {
    /// A real of which no more is known than this: nothing was set at run time, nothing is counted.
    #[must_use]
    pub fn new(address: IpAddr, weight: u32, state: State) -> Self {
        Self {
            address,
            weight,
            file_weight: None,
            set_at_run_time: false,
            weight_of: None,
            left: false,
            state,
            since: None,
            sorry: false,
            slow_start: None,
            panic: false,
            quiesced: false,
            until: None,
            active_connections: None,
            inactive_connections: None,
            estimated_connections: None,
            remembered_connections: None,
            why: None,
            doubt: None,
            suspect: None,
            own_fault: None,
            latency_us: None,
            mac: None,
            counters: Counters::default(),
            rates: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Whether a real takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It takes its share.
    Up,
    /// Weight 0: no new connections.
    Quiesced,
    /// It is healthy, but new connections go elsewhere: to the sorry server, or it is that one itself and waits.
    Standby,
    /// No new connections, since it left the file or was told so.
    Draining,
    /// None, since its drain's deadline has come.
    Drained,
    /// None, since it was told so.
    Disabled,
    /// No check has ended yet.
    Checking,
    /// Its check fails, or it isn't reached: no new connections; living ones stay where `quiesced` says so.
    Down,
}

impl State {
    /// As people read it: what needs them is in capitals.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Quiesced => "quiesced",
            Self::Standby => "standby",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
            Self::Checking => "checking",
            Self::Down => "DOWN",
        }
    }
}

/// Packets that met one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// Its name.
    pub verdict: String,
    /// How many.
    pub packets: u64,
    /// How many a second now; `None` before they were read twice, or without an agent.
    #[serde(default)]
    pub per_second: Option<f64>,
}
