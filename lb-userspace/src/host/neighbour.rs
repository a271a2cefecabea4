//! The MAC addresses of reals, kept resolved through the kernel's neighbour table.
//!
//! Frames that XDP forwards bypass the kernel's stack, so to the kernel a real looks unused: its entry would go stale and a
//! changed MAC stay unnoticed. [`machine`] therefore has the kernel confirm each entry every few seconds (a unicast ARP
//! request or neighbour solicitation) and says what follows from its answers; [`runner`] joins it
//! with netlink.

pub mod event;
pub mod machine;
pub mod runner;

mod egress;
mod kernel;
mod real;

use std::net::IpAddr;

pub use kernel::known;
pub use runner::{Addresses, Handle, Runner};

/// How frames reach a real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The real's MAC address: the frame's destination.
    pub mac: [u8; 6],
    /// The interface that the frame leaves by: what is below the VLAN device, bridge or bond that the route names.
    pub ifindex: u32,
    /// The MAC address of this host there, as the kernel would have it: the frame's source.
    pub source_mac: [u8; 6],
    /// The VLAN id of the VLAN device on the way; `None` if there is none.
    pub vlan: Option<u16>,
    /// The interface is a bridge, of which the port is not known: only frames in the kernel's hands can leave by it.
    pub by_kernel: bool,
}

/// A real's MAC address became known, changed or is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourEvent {
    /// The real.
    pub address: IpAddr,
    /// How it is reached; `None` if it can't be.
    pub state: Option<Resolved>,
    /// Why, for people: "resolved on eth1", "no answer to ARP requests on eth1", "eth1 has no carrier", ….
    pub why: String,
}
