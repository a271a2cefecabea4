//! What the VRRP thread holds, and what it asks of this host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::{Duration, Instant};

use super::command::Inbox;
use super::port::{Port, PortKey};
use super::slot::Slot;
use super::socket::{Changes, Interface};
use crate::vrrp::protocol::holding::{Holdings, Placed};
use crate::vrrp::protocol::machine::Time;
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::protocol::status::Status;

/// The longest time that an instance leaves a master of lower priority alone because this host isn't ready: one real that
/// stays down must not keep a director out.
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

    /// Where the instance's VIPs belong, by its interface of this index.
    ///
    /// # Errors
    /// ENODEV: its macvlan is gone.
    fn places(&self, settings: &Settings, interface: u32) -> io::Result<Vec<Placed>>;

    /// Makes the instance's macvlan, if it has one, take frames or none.
    ///
    /// # Errors
    /// What the system says.
    fn switch(&mut self, settings: &Settings, interface: u32, on: bool) -> io::Result<()>;

    /// Puts a VIP there; `false` if it was there already.
    ///
    /// # Errors
    /// What the system says; it is tried again, and the instance gives its VIPs up if that doesn't help.
    fn put(&mut self, placed: Placed) -> io::Result<bool>;

    /// Takes a VIP away; it may be gone.
    ///
    /// # Errors
    /// What the system says; it is tried again.
    fn take(&mut self, placed: Placed) -> io::Result<()>;

    /// What an owner before this one has noted.
    fn noted(&self) -> Vec<Placed>;

    /// These are the VIPs that were put on this host's interfaces by [`Self::put`].
    fn note(&mut self, placed: &[Placed]);

    /// The names of the instances that an owner before this one noted as released.
    fn released(&self) -> BTreeSet<String>;

    /// These instances are released: they leave their VIPs to others until that is taken back.
    fn note_released(&mut self, names: &BTreeSet<String>);

    /// The instance is gone, and this host has none of its VIPs: undoes [`Self::prepare`].
    fn forget(&mut self, _settings: &Settings, _interface: u32) {}

    /// The other directors are to be asked for what they know of the instance's VIPs: it waits to displace their master until
    /// [`super::Handle::answered`], and not for long.
    fn ask(&mut self, _settings: &Settings) {}

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
    pub(super) holdings: Holdings,
    /// The instances that are noted as released.
    pub(super) released: BTreeSet<String>,
    /// When the interfaces are looked at again, and when they were.
    pub(super) look: Option<Time>,
    pub(super) looked: Time,
    pub(super) shutting_down: bool,
    /// Addresses may change their owners: none is taken off before all of them have.
    pub(super) reloading: bool,
    /// What this host waits for before it can serve what is behind the VIPs.
    pub(super) awaited: Option<String>,
}
