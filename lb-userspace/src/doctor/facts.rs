//! What is known of a director's machine and its segment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::host::links::Link;
use crate::segment::{Mac, Vips};

/// All that findings follow from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The configuration, or in one line why it can't be used.
    pub file: Result<Arc<Config>, String>,
    /// This machine's interfaces with their addresses.
    pub links: Vec<Link>,
    /// More of the director's interfaces and of the slaves of its bonds, by their names.
    pub nics: BTreeMap<String, Nic>,
    /// The kernel.
    pub kernel: Kernel,
    /// The rest of the machine.
    pub host: Host,
    /// What the segment said.
    pub heard: Heard,
}

/// An interface.
#[derive(Debug, Clone, Default)]
pub struct Nic {
    /// Its driver runs XDP; `None` where the kernel doesn't tell.
    pub native: Option<bool>,
    /// Somebody else's XDP program that is there, and how it is taken off.
    pub occupant: Option<(String, String)>,
    /// Received packets are merged in a way that can't be undone (LRO).
    pub lro: bool,
    /// VLAN tags are taken out of frames, and that can't be switched off.
    pub takes_tags: bool,
    /// Queues that frames come in by.
    pub queues: usize,
    /// A bond's mode, such as `802.3ad`.
    pub bond: Option<String>,
}

/// The kernel.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// What it lacks that the program can't be without, or why it couldn't be asked.
    pub lacks: Option<String>,
    /// XDP takes frames in fragments.
    pub frags: bool,
    /// A BPF filesystem is mounted.
    pub bpffs: bool,
    /// Programs are compiled.
    pub jit: bool,
}

/// The rest of the machine.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Its processors.
    pub processors: usize,
    /// Whether its clock is kept in step with others.
    pub synchronised: Option<bool>,
    /// Open files that a process may have.
    pub descriptors: u64,
    /// Memory that can be had, in bytes.
    pub available: Option<u64>,
    /// Memory that the configuration's maps take, in bytes.
    pub maps: u64,
    /// The maps are there already.
    pub runs: bool,
    /// Settings of the kernel by their paths below /proc/sys.
    pub sysctls: BTreeMap<String, u32>,
}

impl Host {
    /// What is in force on an interface: the larger one of `all` and its own.
    pub(super) fn larger(&self, interface: &str, name: &str) -> u32 {
        let of = |scope: &str| self.sysctls.get(&format!("net/ipv4/conf/{scope}/{name}"));
        of("all").max(of(interface)).copied().unwrap_or(0)
    }
}

/// What the segment said when it was asked.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The addresses that were asked for, each with the interface that it was asked for on.
    pub asked: Vips,
    /// Who answered for which.
    pub answers: BTreeSet<(IpAddr, Mac)>,
    /// Other directors that were heard.
    pub strangers: Vec<Stranger>,
    /// Why it couldn't be asked.
    pub fault: Option<String>,
}

/// An advert of another director's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Where it was heard.
    pub interface: String,
    /// Who sent it.
    pub source: IpAddr,
    /// VRRP's version.
    pub version: u8,
    /// Its virtual router id.
    pub router: u8,
    /// Its VIPs; `None` of one that can't be read.
    pub addresses: Option<Vec<IpAddr>>,
}
