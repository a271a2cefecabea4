//! What goes into the machine and what comes out of it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The instance's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not taking part: not started, disabled, or stopped (RFC 9568 §6.4.1).
    Initialize,
    /// Another router is master, or will be unless this one's time comes (RFC 9568 §6.4.2).
    Backup,
    /// This router owns the VIPs (RFC 9568 §6.4.3).
    Master,
    /// Master, resigned, holding the VIPs until its successor is heard.
    Releasing,
}

impl State {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Initialize, Self::Backup, Self::Master, Self::Releasing];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Releasing => "releasing",
        })
    }
}

/// A state, with what the other members of a sync group have to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// Backup: its time to take over has come, and it waits for its group.
    pub held: bool,
    /// Backup: the VIPs are here, left by an agent that died.
    pub keeps: bool,
    /// Releasing: it takes no part any more after that.
    pub stopping: bool,
}

/// What happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The interface is there and the instance may take part.
    Start {
        /// The VIPs are on their interface already, left by an agent that died.
        holds_addresses: bool,
    },
    /// An advert of this virtual router that was accepted.
    Advert(Heard),
    /// [`super::Machine::deadline`] has passed. Harmless at any other time.
    Timer,
    /// The effective priority is now this one, 1 to 255.
    Priority(u8),
    /// Hand the VIPs over and don't ask for them back until [`Event::Reclaim`] or until nobody else has them.
    /// Without a successor they are kept.
    Release,
    /// Take part in the election again after a [`Event::Release`].
    Reclaim,
    /// Hand the VIPs over and take no part any more, until [`Event::Start`]: a shutdown, or a hard condition
    /// that fails.
    Stop,
    /// The agent ends: as [`Event::Stop`], but without a successor the VIPs stay where they are. Nobody else
    /// has them, and the data plane goes on forwarding.
    Shutdown,
    /// The interface is gone: give up at once what can't be handed over.
    Fault,
    /// The sync group lost its VIPs: hand these over too, and be a backup.
    Yield,
    /// The sync group takes over: for one that is held.
    TakeOver,
    /// The others have told what they know ([`Action::Ask`]).
    Answered,
}

/// What the machine reads of an advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub source: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// Its sender's interval, not zero.
    pub interval: Duration,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set the data plane's gate for the instance's VIPs: `true` for their master.
    Gate(bool),
    /// Put those VIPs on the interface that are not there.
    AddAddresses,
    /// Leave those VIPs where they are that an agent before this one left.
    KeepAddresses,
    /// Take the VIPs off the interface.
    RemoveAddresses,
    /// Send an advert of this priority.
    Advertise(u8),
    /// Announce the VIPs by gratuitous ARP or unsolicited neighbour advertisements, from the beginning.
    Announce,
    /// End the announcements that are under way.
    Silence,
    /// Ask the other directors for what they know of the VIPs' connections; [`Event::Answered`] is waited for, and not for long.
    Ask,
    /// The state changed, for scripts, logs and the controller.
    Entered(State, Cause),
}

/// Why the state is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was never started.
    Created,
    /// It was started.
    Started,
    /// It was started, found its VIPs on their interface, and listens for a master.
    Found,
    /// It found its VIPs on their interface, and heard no master.
    Adopted,
    /// It is the addresses' owner.
    Owner,
    /// No master was heard for the master-down interval.
    MasterDown,
    /// The master resigned.
    MasterResigned,
    /// The master has a lower priority.
    Preempted,
    /// A master of a higher priority, or of the same and a higher address, was heard.
    Outranked,
    /// A release was asked for.
    Released,
    /// A release was taken back.
    Reclaimed,
    /// A stop was asked for.
    Stopped,
    /// The successor was heard.
    HandedOver,
    /// No successor was heard in time.
    NoSuccessor,
    /// The interface is gone.
    Faulted,
    /// Another member of its sync group lost its VIPs.
    Synchronized,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 16] = [
        Self::Created,
        Self::Started,
        Self::Found,
        Self::Adopted,
        Self::Owner,
        Self::MasterDown,
        Self::MasterResigned,
        Self::Preempted,
        Self::Outranked,
        Self::Released,
        Self::Reclaimed,
        Self::Stopped,
        Self::HandedOver,
        Self::NoSuccessor,
        Self::Faulted,
        Self::Synchronized,
    ];

    /// In words; no two have the same.
    pub fn text(self) -> &'static str {
        match self {
            Self::Created => "not started yet",
            Self::Started => "started",
            Self::Found => "found its addresses on the interface, and listens for a master",
            Self::Adopted => "found its addresses on the interface, and no master was heard",
            Self::Owner => "owns the addresses (priority 255)",
            Self::MasterDown => "the master was not heard any more",
            Self::MasterResigned => "the master resigned",
            Self::Preempted => "the master had a lower priority",
            Self::Outranked => "a master of higher standing was heard",
            Self::Released => "released",
            Self::Reclaimed => "reclaimed",
            Self::Stopped => "stopped",
            Self::HandedOver => "its successor was heard",
            Self::NoSuccessor => "no successor was heard in time",
            Self::Faulted => "its interface is gone",
            Self::Synchronized => "its sync group lost its addresses",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let cause = Self::ALL.into_iter().find(|cause| cause.text() == text);
        cause.ok_or_else(|| de::Error::custom(format!("{text:?} is no cause of a state")))
    }
}
