//! What the VRRP thread holds, and what it asks of this host.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use super::command::Inbox;
use super::port::{Port, PortKey};
use super::slot::Slot;
use super::socket::{Changes, Interface};
use crate::vrrp::protocol::instance::Status;
use crate::vrrp::protocol::machine::Time;
use crate::vrrp::protocol::settings::Settings;

/// The longest time that an instance which has started leaves a master of lower priority alone because this host
/// isn't ready: one real that stays down must not keep a director out.
pub const UNREADY: Duration = Duration::from_secs(5);

/// Does on this host what a change of state demands. Called in the VRRP thread: must not block on anything
/// but the kernel.
pub trait Owner: Send {
    /// Makes what the instance needs on the interface of this index before it takes part.
    ///
    /// # Errors
    /// What the system says; the instance takes no part until it can be made.
    fn prepare(&mut self, _settings: &Settings, _interface: u32) -> io::Result<()> {
        Ok(())
    }

    /// Sets the data plane's gate for the instance's VIPs, open for their master. The interface's index is `None`
    /// when it is gone.
    fn gate(&mut self, settings: &Settings, interface: Option<u32>, open: bool);

    /// Puts the VIPs on the interface of this index; some may be there.
    ///
    /// # Errors
    /// What the system says; the instance is master nevertheless, and the error is logged.
    fn add_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()>;

    /// Takes these VIPs off the interface of this index; some may be gone. `last`: the instance has no others there.
    ///
    /// # Errors
    /// As [`Self::add_addresses`].
    fn remove_addresses(&mut self, settings: &Settings, interface: u32, last: bool) -> io::Result<()>;

    /// The instance is gone, and this host has none of its VIPs: undoes [`Self::prepare`].
    fn forget(&mut self, _settings: &Settings, _interface: u32) {}

    /// The instance has entered another state, after everything else was done.
    fn entered(&mut self, _status: &Status) {}
}

/// The state of the VRRP thread.
pub struct Runner<O> {
    pub(super) owner: O,
    pub(super) epoch: Instant,
    pub(super) inbox: Inbox,
    pub(super) changes: Changes,
    pub(super) interfaces: HashMap<String, Interface>,
    pub(super) ports: BTreeMap<PortKey, Port>,
    pub(super) slots: BTreeMap<usize, Slot>,
    pub(super) next_slot: usize,
    /// When the interfaces are looked at again, and when they were.
    pub(super) look: Option<Time>,
    pub(super) looked: Time,
    pub(super) shutting_down: bool,
    pub(super) ready: bool,
}
