//! Why a connection to a peer ends.

use std::time::Duration;

use crate::peers::wire::VERSIONS;

/// Why a session ends, in words that follow the peer's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It speaks other versions.
    #[error("speaks versions {oldest} to {newest} of the peers' protocol, this director {} to {}: upgrade the older lb", VERSIONS.0, VERSIONS.1)]
    Version {
        /// Its oldest.
        oldest: u16,
        /// Its newest.
        newest: u16,
    },
    /// It is this director.
    #[error("is this director itself: name the others alone in `addresses`")]
    Itself,
    /// Bytes that are no message, or a message that can't be true.
    #[error("sent {0}; its connection was cut")]
    Lie(&'static str),
    /// It tells, and comes to no end.
    #[error("has not told everything within {} min; its connection was cut", .0.as_secs() / 60)]
    Endless(Duration),
    /// Nothing was heard.
    #[error("was silent for {} s; its connection was cut", .0.as_secs())]
    Silent(Duration),
    /// It takes less than there is to tell.
    #[error("doesn't keep up ({0}); its connection was cut, and it will be told everything anew")]
    Behind(&'static str),
    /// The connection itself ended.
    #[error("{0}")]
    Connection(String),
    /// The peer has another connection by now.
    #[error("has another connection")]
    Replaced,
}

impl Fault {
    /// Whether it will happen again at once, so that the peer is let be for a while.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Itself | Self::Lie(_) | Self::Endless(_))
    }
}
