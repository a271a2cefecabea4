//! What befalls a director.

use serde::Serialize;

/// Something that befalls the master, director A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Its agent, or keepalived's VRRP process, is killed (SIGKILL).
    Killed,
    /// As [`Self::Killed`], and the client has forgotten the VIP's MAC address.
    KilledWithoutArp,
    /// It is stopped in order (SIGTERM).
    Stopped,
    /// It returns from that, and takes the VIP back.
    Returned,
    /// Its cable is pulled.
    Unplugged,
    /// Its power is lost: the link and the programs at once.
    PowerLost,
    /// Its interface goes down and up.
    Flapped,
}

impl Fault {
    /// In the order in which they are measured: a return follows a stop.
    pub(crate) const ALL: [Self; 7] = [
        Self::Killed,
        Self::KilledWithoutArp,
        Self::Stopped,
        Self::Returned,
        Self::Unplugged,
        Self::PowerLost,
        Self::Flapped,
    ];

    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Killed => "agent killed -9",
            Self::KilledWithoutArp => "the same, no ARP entry",
            Self::Stopped => "agent stopped",
            Self::Returned => "preempting return",
            Self::Unplugged => "link cut",
            Self::PowerLost => "power cut",
            Self::Flapped => "interface flap",
        }
    }
}
