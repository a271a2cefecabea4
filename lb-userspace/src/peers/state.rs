//! What directors tell each other of, in names that all of them share: services by VIP, protocol and port, reals by
//! their addresses. Numbers of services and reals are each director's own and never leave it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::Protocol;

/// A service, as every director names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId {
    /// The VIP.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port, `None` for any.
    pub port: Option<u16>,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.label();
        match (self.vip, self.port) {
            (vip, Some(port)) => write!(out, "{protocol} {}", SocketAddr::new(vip, port)),
            (IpAddr::V4(vip), None) => write!(out, "{protocol} {vip}:any"),
            (IpAddr::V6(vip), None) => write!(out, "{protocol} [{vip}]:any"),
        }
    }
}

/// What of a service's connections another director can't derive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A flow's slot says its real, but for the exceptions of slots that moved.
    Stateless,
    /// Every connection has its own entry.
    Tracked,
}

/// What a director says of a service that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its kind.
    pub kind: Kind,
    /// This director serves it: it is master of the VIP, and its slots and flows are those that count.
    pub serving: bool,
    /// Its reals with their weights as the configuration has them, in any order. Another director learns a digest of
    /// it, by which each sees where their configurations differ.
    pub configured: Vec<(IpAddr, u32)>,
}

/// One real of a service, as the director that serves it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its address, of the VIP's family.
    pub real: IpAddr,
    /// Its weight in force.
    pub weight: u32,
    /// Whether it takes traffic.
    pub state: State,
    /// It was drained at run time: no new connections, whatever its weight.
    pub drained: bool,
}

/// Whether a real takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No check has ended yet.
    Checking,
    /// It takes its share.
    Up,
    /// Its connections stay, new ones go elsewhere.
    Quiesced,
    /// None.
    Down,
}

/// One slot of a service's ring: who gets connections that open (`current`), and who has those that nobody remembers
/// (`base`). It is settled when both are the same, moving when they differ, and has exceptions when there is no base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its number, below the ring's size.
    pub slot: u32,
    /// The real of what opens; `None` where no real is usable.
    pub current: Option<IpAddr>,
    /// The real of what isn't remembered; `None` where that goes to `current` too.
    pub base: Option<IpAddr>,
}

impl Slot {
    /// Whether it needs no word to another director.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.current == self.base
    }
}

/// A remembered connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Its service.
    pub service: ServiceId,
    /// The client's address, of the VIP's family, and port.
    pub client: (IpAddr, u16),
    /// The VIP's port: the service's, where that has one.
    pub port: u16,
    /// Its real, of the VIP's family.
    pub real: IpAddr,
    /// What became of it.
    pub stage: Stage,
    /// Seconds since its last packet; receivers date it back by so much.
    pub age: u32,
}

/// What became of a connection. One that nothing followed (a SYN alone) is told only where its slot doesn't name its real any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It lives.
    Open,
    /// It was closed, and its last packets may follow.
    Closed,
    /// Nobody remembers it any more.
    Gone,
}

/// What this director tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A service is new, or something of its offer changed.
    Service(ServiceId, Offer),
    /// All reals of services that have the same, in the order that their rings are computed from. Others learn them while these are
    /// served here.
    Members(Vec<ServiceId>, Vec<Member>),
    /// Slots of a ring whose word changed, the settled ones too: those need no more word. Another `ring_size` than before, or
    /// `whole`, begins anew, with all slots settled.
    Slots {
        /// The services that have it.
        services: Vec<ServiceId>,
        /// Slots of the ring.
        ring_size: u32,
        /// Those that aren't named are settled.
        whole: bool,
        /// The new words.
        slots: Vec<Slot>,
    },
    /// Connections that became open, closed or gone, or that moved to another real. Those of services that aren't
    /// served here are not passed on.
    Flows(Vec<Flow>),
    /// A service left the configuration.
    Gone(ServiceId),
    /// The others are to tell what they haven't yet, and then to answer with this number.
    Ask(u64),
    /// All was told that was to be told when this number was asked.
    Answer(u64),
}

/// What a peer told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It was met, and tells everything anew.
    Begin,
    /// A service of its own.
    Service {
        /// Which.
        service: ServiceId,
        /// Its kind there.
        kind: Kind,
        /// The peer is master of its VIP.
        serving: bool,
    },
    /// All reals of services that it serves, in the order of their rings.
    Members(Vec<ServiceId>, Vec<Member>),
    /// Words of slots, as in [`Change::Slots`].
    Slots {
        /// The services that have this ring, no one twice.
        services: Vec<ServiceId>,
        /// Slots of the peer's ring.
        ring_size: u32,
        /// Those that aren't named are settled.
        whole: bool,
        /// The new words.
        slots: Vec<Slot>,
    },
    /// Connections of services that it serves.
    Flows(Vec<Flow>),
    /// A service left its configuration.
    Gone(ServiceId),
    /// It asks for what it wasn't told yet, and for the answer to this number.
    Asked(u64),
    /// An answer; whoever didn't ask it needs none.
    Answered(u64),
    /// All was told since [`Told::Begin`]; what wasn't is no more.
    Whole,
    /// The connection to it ended. What it told stays true for as long as nobody else says otherwise.
    Lost,
}

/// The flow table, as bulk is read from it.
pub trait Flows: Send + Sync {
    /// Appends the live connections of one part of the table (of the opening ones those alone that slots don't tell), and says where the next part
    /// begins; `None` after the last. Parts begin at 0; one has at most a few thousand connections, is read within a
    /// millisecond, and nothing is waited for. What [`Change::Flows`] has told must already stand in the table, so that
    /// a connection that moves while bulk is read is told rightly by the one or the other.
    fn read(&self, part: u64, flows: &mut Vec<Flow>) -> Option<u64>;
}
