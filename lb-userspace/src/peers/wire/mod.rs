//! Messages between directors, in bytes: a tag, then postcard's encoding of the rest; connections are records of a
//! fixed size ([`flow`]). A message fills one frame at most.
//!
//! Services are numbered by the director that tells of them: [`Message::Services`] says which number is which service,
//! all other messages use it. Reals are named by their addresses.

pub mod flow;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::state::{Kind, Member, ServiceId};
use crate::config::Protocol;

/// Bytes of a message at most: a Noise message of 65535 bytes less its tag of 16.
pub const MOST: usize = 65519;

/// The versions of this protocol that are spoken here, oldest and newest.
pub const VERSIONS: (u16, u16) = (3, 3);

const MAGIC: [u8; 4] = *b"lb\r\n";

/// The first message each way. Every version begins it so; a later one may append to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    pub(in crate::peers) magic: [u8; 4],
    /// The oldest version that the director speaks.
    pub oldest: u16,
    /// The newest version that it speaks.
    pub newest: u16,
    /// A random number of the agent's run: another number is another run, which knows nothing of what was told.
    pub instance: u64,
    /// What it can do beyond the version, a bit each; none yet.
    pub features: u64,
    /// How it computes rings and hashes: a fingerprint of the algorithm and the seed. Slots have a meaning among
    /// directors of the same alone.
    pub rings: u64,
}

impl Greeting {
    /// Of this version, by an agent's run with rings of this kind.
    #[must_use]
    pub fn new(instance: u64, rings: u64) -> Self {
        let (oldest, newest) = VERSIONS;
        Self { magic: MAGIC, oldest, newest, instance, features: 0, rings }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads one, of whatever version.
    ///
    /// # Errors
    /// The bytes are no greeting.
    pub fn parse(bytes: &[u8]) -> Result<Self, Garbage> {
        let (greeting, _) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| Garbage)?;
        if greeting.magic == MAGIC { Ok(greeting) } else { Err(Garbage) }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no message")]
pub struct Garbage;

/// Every message after the greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// What follows until [`Message::End`] is everything, anew.
    Begin,
    /// Everything was told.
    End(Counts),
    /// Services that are new or changed, with their numbers.
    Services(Vec<Service>),
    /// A service left; its number may name another one later.
    Gone(u16),
    /// Reals of services. With `more` the next message has more of them.
    Members {
        /// The numbers of those that have them, in ascending order.
        services: Vec<u16>,
        /// The list goes on.
        more: bool,
        /// In the order of the ring.
        members: Vec<Member>,
    },
    /// Words of slots.
    Slots(Slots),
    /// To be answered at once, behind everything that came before it: microseconds of the sender's own clock.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// Connections, as [`flow`] packs them.
    Flows(#[serde(skip)] flow::Records),
    /// To be answered when all that changed until now was told.
    Ask(u64),
    /// The answer to such a number, to all.
    Answer(u64),
}

/// How much was told between begin and end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Services.
    pub services: u64,
    /// Lists of members.
    pub members: u64,
    /// Slots' words.
    pub slots: u64,
    /// Connections.
    pub flows: u64,
}

/// A service with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The sender's number for it.
    pub number: u16,
    vip: IpAddr,
    protocol: u8,
    /// 0 for any.
    port: u16,
    /// Its kind.
    pub kind: Kind,
    /// The sender serves it.
    pub serving: bool,
    /// Digest of its reals and weights by configuration.
    pub digest: u64,
}

impl Service {
    /// By this number.
    #[must_use]
    pub fn new(number: u16, service: ServiceId, kind: Kind, serving: bool, digest: u64) -> Self {
        let protocol = match service.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        Self { number, vip: service.vip, protocol, port: service.port.unwrap_or(0), kind, serving, digest }
    }

    /// Its name; `None` for a protocol that no service has.
    #[must_use]
    pub fn id(&self) -> Option<ServiceId> {
        let protocol = match self.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        Some(ServiceId { vip: self.vip, protocol, port: (self.port != 0).then_some(self.port) })
    }
}

/// Words of slots of one ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// The numbers of the services that have it, in ascending order.
    pub services: Vec<u16>,
    /// Slots of the ring.
    pub ring_size: u32,
    /// Slots that this and the following messages don't name are settled.
    pub whole: bool,
    /// The reals that the words name.
    pub reals: Vec<IpAddr>,
    /// A slot's number, and its current and its base real: their places in `reals` and one more, 0 for none.
    pub words: Vec<(u32, u16, u16)>,
}

/// Services in one message at most: each takes 37 bytes or less.
pub const SERVICES: usize = 1500;
/// Services that a message of members or of slots' words is about, at most: each takes 3 bytes or less.
pub const NAMED: usize = 1500;
/// Members in one message at most: each takes 24 bytes or less.
pub const MEMBERS: usize = 2500;
/// Words of slots in one message at most, and the reals that they name: a word takes 11 bytes or less, a real 17.
pub const WORDS: usize = 3000;
/// Reals that one message's words of slots name at most.
pub const WORD_REALS: usize = 1500;

/// The tag of [`Message::Flows`], whose records postcard doesn't touch. No variant of postcard's begins with it.
const FLOWS: u8 = 0xf1;

impl Message {
    /// Its bytes, [`MOST`] at most.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Flows(records) => records.encode(FLOWS),
            other => encode(other),
        }
    }

    /// Reads one. Takes no more memory than a few times the message's size.
    ///
    /// # Errors
    /// The bytes are no message, or there are some too many.
    pub fn parse(bytes: &[u8]) -> Result<Self, Garbage> {
        if let Some((&FLOWS, records)) = bytes.split_first() {
            return flow::Records::parse(records).map(Self::Flows).ok_or(Garbage);
        }
        match postcard::take_from_bytes(bytes) {
            // Postcard's own form of it has no records.
            Ok((Self::Flows(_), _)) => Err(Garbage),
            Ok((message, [])) => Ok(message),
            _ => Err(Garbage),
        }
    }
}

/// Postcard fails at types that it has no form for alone, of which there are none here; an empty message would be
/// garbage to its receiver.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::samples;
