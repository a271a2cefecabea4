//! What a valid configuration says, in the terms of LVS. Values of these types were checked by the
//! reader in this folder; the rest of the agent never sees the file's text.

mod vrrp;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use vrrp::{Announce, Backup, Checksum, Condition, Script, Track, Vrrp};

/// A whole configuration file that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// `[director]`.
    pub director: Director,
    /// `[limits]`.
    pub limits: Limits,
    /// `[vrrp.NAME]`, in the order of their names.
    pub vrrp: Vec<Vrrp>,
    /// `[service.NAME]`, in the order of their names.
    pub services: Vec<Service>,
}

/// `[director]`: this machine's part.
#[derive(Debug, Clone, PartialEq)]
pub struct Director {
    /// The interfaces that the XDP program is attached to; at least one, none twice.
    pub interfaces: Vec<String>,
    /// How the program is attached.
    pub mode: Mode,
    /// Mixed into every flow hash and ring. Directors that share services must share it.
    pub hash_seed: u64,
    /// What becomes of the VIPs while no agent runs.
    pub when_agent_dies: WhenAgentDies,
}

/// What becomes of the VIPs of a director whose agent was killed and stays away. Its pinned program forwards in
/// either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAgentDies {
    /// They stay, for the agent to find again. A backup takes them over too, so that two hosts answer ARP.
    #[default]
    Forward,
    /// They are removed.
    Release {
        /// So long after the agent's end.
        after: Duration,
    },
}

/// Where the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Native, but generic with a warning where the driver has no XDP.
    Auto,
    /// Native, or refuse to start.
    Native,
    /// Behind the kernel's socket buffers (tc).
    Generic,
}

/// `[limits]`: sizes of the pinned maps, fixed when they are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Services at most.
    pub services: u32,
    /// Reals at most, counted once per service that names them; no more than 65535.
    pub reals: u32,
    /// Flows remembered at most, for tracked services (a multiple of 4 and a power of two).
    pub flows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 4096, reals: 32768, flows: 1 << 20 }
    }
}

/// `[service.NAME]`: a virtual service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// NAME.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// The port, `None` for any port.
    pub port: Option<u16>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How a new connection finds its real.
    pub scheduler: Scheduler,
    /// Slots of the service's ring, a prime.
    pub ring_size: u32,
    /// How its reals are checked; `None` takes each real as healthy.
    pub check: Option<Check>,
    /// Its reals, in the file's order; no address twice.
    pub reals: Vec<Real>,
}

/// A service's transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
}

impl Protocol {
    /// `TCP` or `UDP`, as ipvsadm lists it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// How a new connection finds its real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// Weighted Maglev over the flow (client, port, VIP, port, protocol): no state.
    Mh,
    /// Weighted Maglev over the client's address alone: no state.
    Sh,
    /// Round robin, tracked.
    Rr,
    /// Weighted round robin (smooth), tracked.
    Wrr,
}

impl Scheduler {
    /// Its word in the file and in lists.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Mh => "mh",
            Self::Sh => "sh",
            Self::Rr => "rr",
            Self::Wrr => "wrr",
        }
    }

    /// Whether the flow table is authoritative for its connections.
    #[must_use]
    pub fn is_tracked(self) -> bool {
        matches!(self, Self::Rr | Self::Wrr)
    }
}

/// `[[service.NAME.reals]]`: a real server of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Real {
    /// Its own address, of the VIP's family, on a segment of this director.
    pub address: IpAddr,
    /// 0 quiesces: old connections go on, new ones go elsewhere. At most 65535.
    pub weight: u32,
    /// A MAC address that replaces neighbour discovery.
    pub mac: Option<[u8; 6]>,
    /// The interface that it is reached by; else the kernel's route says.
    pub interface: Option<String>,
    /// Its VLAN: `None` keeps the frame's tags, 0 is untagged.
    pub vlan: Option<u16>,
}

/// How a real is checked. `Eq` and `Hash`, since one probe serves every service that asks the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// The port that is asked; the service's own where the file says none.
    pub port: u16,
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// Good answers in a row that bring a real up.
    pub rise: u32,
    /// Bad ones in a row that take it down.
    pub fall: u32,
    /// Each wait is lengthened by a random part of up to this percentage (0 to 50), so that checks spread out.
    pub jitter: u8,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A TCP connection that is accepted.
    Tcp,
    /// An HTTP/1.1 response of an expected status.
    Http {
        /// `GET`, `HEAD`, ….
        method: String,
        /// Path and query.
        path: String,
        /// The `Host` header; else the real's address.
        host: Option<String>,
        /// Inclusive ranges of good status codes.
        status: Vec<(u16, u16)>,
    },
}
