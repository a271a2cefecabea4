//! What goes into the machine and what comes out of it.

use std::net::IpAddr;

use super::NeighbourEvent;
use crate::host::links::Link;
use crate::host::stations::Station;

/// A neighbour entry's state, as far as it matters here (RFC 4861 §7.3.2 and the kernel's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nud {
    /// Being resolved for the first time: no MAC address.
    Incomplete,
    /// Has a MAC address: REACHABLE, STALE or DELAY.
    Usable,
    /// Has one, and the kernel is confirming it.
    Probe,
    /// Has one that nobody needs to confirm: PERMANENT, NOARP.
    Fixed,
    /// Nobody answered.
    Failed,
}

/// What the kernel has for one address on one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The neighbour.
    pub address: IpAddr,
    /// On this interface.
    pub ifindex: u32,
    /// Its state.
    pub nud: Nud,
    /// Its MAC address, if it is a usable one.
    pub mac: Option<[u8; 6]>,
}

/// A route's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// On a segment of this interface.
    Segment(u32),
    /// By a gateway (told as text: it may be of the other family).
    Gateway(String),
    /// No way, in words: "no route to host", "is an address of this machine".
    None(String),
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// All links, neighbours and stations behind bridges there are: whatever was known and is not among them is gone.
    Dump(Vec<Link>, Vec<Neighbour>, Vec<Station>),
    /// A link is new or changed.
    Link(Link),
    /// A link is gone.
    LinkGone(u32),
    /// A neighbour entry is new or changed.
    Neighbour(Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone(IpAddr, u32),
    /// A bridge has learned a station, by a new port or for the first time.
    Station(Station),
    /// A bridge has forgotten a station.
    StationGone(Station),
    /// A route or an address of this machine changed.
    RoutesChanged,
    /// The answer to [`Action::LookUp`] of that number.
    Route(IpAddr, u64, Route),
    /// The kernel refused [`Action::Resolve`], for this reason.
    ResolveRefused(IpAddr, u32, String),
    /// The kernel refused [`Action::Confirm`]: the entry is no longer what it was.
    ConfirmRefused(IpAddr, u32),
    /// The machine's deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the kernel for all links and neighbours and bring them as [`Input::Dump`].
    Dump,
    /// Ask the kernel for the route and bring it as [`Input::Route`] with this number.
    LookUp(IpAddr, u64),
    /// Have the kernel resolve the address on the interface.
    Resolve(IpAddr, u32),
    /// Have the kernel, which is resolving it already, repeat its request now.
    Repeat(IpAddr, u32),
    /// Have the kernel probe the entry that it has.
    Confirm(IpAddr, u32),
    /// Tell the controller.
    Report(NeighbourEvent),
}
