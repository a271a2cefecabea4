//! Who else has a VIP of this director's: while it is the master it asks the segment, as a client would, and hears who answers
//! beside itself. That is a real which doesn't keep silent, or another director that takes itself for the master.
//!
//! [`machine`] decides when to ask and what to make of answers, without socket or clock; [`wire`] has the questions and answers
//! in bytes; [`Watch`] is the task that asks, by packet sockets, from an address of this director's own, so that nobody's
//! entry for the VIP changes by the question.

mod machine;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use watch::{Watch, ask};
pub use wire::Mac;

/// The VIPs that are asked for, each with the interface that it is on.
pub type Vips = BTreeMap<IpAddr, String>;

/// A station that answers for a VIP beside this director.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The VIP.
    pub vip: IpAddr,
    /// The station's MAC address.
    pub mac: Mac,
    /// Addresses that the kernel knows to be at that MAC.
    pub addresses: Vec<IpAddr>,
}
