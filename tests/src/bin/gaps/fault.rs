//! What befalls a director.

use serde::Serialize;

/// Something that befalls the master, director A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Its agent, or keepalived's VRRP process, is killed (SIGKILL).
    Killed,
    /// The agent is started again after that. (keepalived has started another process by itself.)
    Restarted,
    /// As [`Self::Killed`], and the client has forgotten the VIP's MAC address.
    KilledWithoutArp,
    /// It is stopped in order (SIGTERM).
    Stopped,
    /// It returns from that, and takes the VIP back.
    Returned,
    /// Its cable is pulled.
    Unplugged,
    /// Its cable is plugged in again.
    Replugged,
    /// Its power is lost: the link and the programs at once.
    PowerLost,
    /// It boots after that.
    Booted,
    /// Its interface goes down and up.
    Flapped,
}

impl Fault {
    /// In the order in which they are measured: each return follows its loss.
    pub(crate) const ALL: [Self; 10] = [
        Self::Killed,
        Self::Restarted,
        Self::KilledWithoutArp,
        Self::Stopped,
        Self::Returned,
        Self::Unplugged,
        Self::Replugged,
        Self::PowerLost,
        Self::Booted,
        Self::Flapped,
    ];

    /// Whether A comes back by it.
    pub(crate) fn is_return(self) -> bool {
        matches!(self, Self::Restarted | Self::Returned | Self::Replugged | Self::Booted)
    }

    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Killed => "agent killed -9",
            Self::Restarted => "return after that",
            Self::KilledWithoutArp => "the same, no ARP entry",
            Self::Stopped => "agent stopped",
            Self::Returned => "preempting return",
            Self::Unplugged => "link cut",
            Self::Replugged => "return of the link",
            Self::PowerLost => "power cut",
            Self::Booted => "boot after that",
            Self::Flapped => "interface flap",
        }
    }
}
