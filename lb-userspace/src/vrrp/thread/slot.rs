//! An instance's place in the thread, also while it can't take part.

use std::net::IpAddr;

use crate::vrrp::protocol::holding::Losses;
use crate::vrrp::protocol::instance::Instance;
use crate::vrrp::protocol::machine::{Cause, State, Time};
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::protocol::status::Status;

/// An instance as configured, and what became of it.
pub(super) struct Slot {
    pub(super) settings: Settings,
    /// Absent until its interface was seen for the first time.
    pub(super) instance: Option<Instance>,
    pub(super) obstacle: Option<String>,
    /// The index of its interface when that was last seen: one that is renamed keeps it.
    pub(super) interface: Option<u32>,
    /// The list of other addresses that was last logged.
    pub(super) told: Option<Vec<IpAddr>>,
    /// When its addresses were taken away.
    pub(super) losses: Losses,
    /// It takes no part until then, and why.
    pub(super) barred: Option<(Time, String)>,
    /// It may take part: not stopped by a condition.
    pub(super) wanted: bool,
    /// The priority that tracking has given it.
    pub(super) tracked: Option<u8>,
    /// How tracking explains its priority.
    pub(super) why: Option<String>,
    /// Somebody released it before it had an instance: an operator, before the agent that ran then ended.
    pub(super) released: bool,
    /// It was removed from the configuration and goes when it has handed over.
    pub(super) leaving: bool,
}

impl Slot {
    pub(super) fn is_idle(&self) -> bool {
        self.instance.as_ref().is_none_or(|i| i.machine().state() == State::Initialize)
    }

    /// Whether its VIPs are on this host now.
    pub(super) fn holds_addresses(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.machine().holds_addresses())
    }

    /// Whether they are so since it is their master, and not only as they were found.
    pub(super) fn is_master(&self) -> bool {
        let state = self.instance.as_ref().map(|instance| instance.machine().state());
        matches!(state, Some(State::Master | State::Releasing))
    }

    /// Whether its VIPs stayed on this host when it ended, for want of a successor.
    pub(super) fn keeps_addresses(&self) -> bool {
        let cause = self.instance.as_ref().map(|instance| instance.machine().cause());
        self.holds_addresses() || cause == Some(Cause::NoSuccessor)
    }

    pub(super) fn status(&self, now: Time) -> Status {
        let mut status = match &self.instance {
            Some(instance) => instance.status(now),
            None => Status::waiting(&self.settings),
        };
        status.obstacle.clone_from(&self.obstacle);
        status.why.clone_from(&self.why);
        status
    }
}
