//! `[flows]`: how long connections are remembered.

use std::time::Duration;

use crate::config::read::{Read, Time, key, keys};

/// `[flows]`: how long connections are remembered without a packet of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flows {
    /// An open TCP connection; and how long a slot that changed waits for one that nobody has seen since.
    pub tcp: Duration,
    /// A session over UDP.
    pub udp: Duration,
    /// A connection of which one packet was seen.
    pub opening: Duration,
    /// A connection whose client has sent FIN or RST.
    pub closing: Duration,
}

impl Flows {
    /// IPVS's (net/netfilter/ipvs/ip_vs_proto_tcp.c and ip_vs_proto_udp.c).
    const DEFAULT: Self = Self {
        tcp: Duration::from_secs(900),
        udp: Duration::from_secs(300),
        opening: Duration::from_secs(60),
        closing: Duration::from_secs(120),
    };
}

impl Default for Flows {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Longer ones can't be told from the future in the table's words.
const DAY: Duration = Duration::from_secs(24 * 3600);

fn time() -> Time {
    Time::of(Duration::from_secs(1)..=DAY)
}

keys! {
    #[derive(Debug)]
    pub struct FlowsKeys {
        /// a TCP connection that is open. A longer silence than this ends it; and it is how long a slot that changed waits
        /// for connections of its former real
        tcp: Duration = key(time()).or(Flows::DEFAULT.tcp);
        /// a session over UDP
        udp: Duration = key(time()).or(Flows::DEFAULT.udp);
        /// a connection of which one packet was seen
        opening: Duration = key(time()).or(Flows::DEFAULT.opening);
        /// a connection whose client has sent FIN or RST
        closing: Duration = key(time()).or(Flows::DEFAULT.closing);
    }
}

/// Its values; `None` when one was refused.
pub fn accept(read: Option<&Read<FlowsKeys>>) -> Option<Flows> {
    let Some(read) = read else { return Some(Flows::DEFAULT) };
    Some(Flows {
        tcp: read.tcp.copied()?,
        udp: read.udp.copied()?,
        opening: read.opening.copied()?,
        closing: read.closing.copied()?,
    })
}
