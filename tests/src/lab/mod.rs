//! The lab: the reference set-up of clients, a switch, directors and reals, each a network namespace.
//!
//! ```no_run
//! use lb_tests::{client::Client, lab::{Lab, VIP, nginx}};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::builder().directors(1).reals(2).build()?;
//! let reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>, _>>()?;
//! lab.director().own(VIP.into())?;
//! let agent = lab.director().spawn("/usr/bin/lb", ["run", "--config", "/etc/lb/lb.toml"])?;
//! let answer = Client::new(lab.client()).get((VIP, 80))?;
//! println!("{}", answer.real);
//! # Ok(())
//! # }
//! ```
//!
//! A lab's namespaces, processes and files go when it is dropped; when that is by a panic, its logs and captures are
//! first copied to `target/lab/TEST/`. [`cleanup`] does the same for a program that ends
//! otherwise, and the next lab on this machine removes what a killed one has left ([`sweep`]).

mod address;
mod bpf;
mod builder;
mod capture;
mod evidence;
mod host;
mod namespace;
pub mod nginx;
mod port;
mod preflight;
mod process;
mod remains;
mod scenario;
mod switch;
pub(crate) mod sys;
mod wait;

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Result;

pub use address::{Mac, Segment, VIP, VIP6};
pub use bpf::{crowd, occupy};
pub use builder::Builder;
pub(crate) use capture::open_socket as capture_socket;
pub use capture::{Capture, Frame};
pub use host::{Host, Nic, Role};
pub use port::Port;
pub use preflight::require;
pub use process::Process;
pub use remains::{cleanup, cleanup_on_signal, remove, sweep, sweep_kept};
pub use scenario::{available, scenario};
pub use wait::{DEADLINE, wait_for, wait_until};

use remains::Claim;

/// A running lab. Dropping it removes all of it.
pub struct Lab {
    /// Dropped first, while the hosts are still there.
    held: Mutex<Vec<Box<dyn Any + Send>>>,
    hosts: Vec<Host>,
    vips: Vec<IpAddr>,
    claim: Claim,
    open: bool,
}

impl Lab {
    /// A lab to be described and then built.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn empty(claim: Claim, vips: Vec<IpAddr>) -> Self {
        Self { held: Mutex::default(), hosts: Vec::new(), vips, claim, open: true }
    }

    /// What the names of its namespaces start with.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// A directory for its files, removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.claim.dir()
    }

    /// The addresses on its reals' `lo`.
    #[must_use]
    pub fn vips(&self) -> &[IpAddr] {
        &self.vips
    }

    /// All hosts, the switch first.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name, such as `director-b`.
    ///
    /// # Panics
    /// When the lab was built without it.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that asks for it is wrong")]
    pub fn host(&self, name: &str) -> &Host {
        match self.hosts.iter().find(|host| host.name() == name) {
            Some(host) => host,
            None => panic!("this lab was built without {name:?}"),
        }
    }

    /// The first client.
    ///
    /// # Panics
    /// As [`Lab::host`].
    #[must_use]
    pub fn client(&self) -> &Host {
        self.host("client")
    }

    /// Director A.
    ///
    /// # Panics
    /// As [`Lab::host`].
    #[must_use]
    pub fn director(&self) -> &Host {
        self.host("director-a")
    }

    /// Real `number`, from 1.
    ///
    /// # Panics
    /// As [`Lab::host`].
    #[must_use]
    pub fn real(&self, number: u8) -> &Host {
        self.host(&format!("real-{number}"))
    }

    /// The switch. Its interfaces are its ports, named after the hosts that are plugged in.
    ///
    /// # Panics
    /// Never: every lab has one.
    #[must_use]
    pub fn switch(&self) -> &Host {
        self.host("switch")
    }

    /// Prepares the switch's port of a director's interface that was made anew, and so has lost what the lab gave it:
    /// whole frames, and a program, without which a veth takes no frame that XDP sends to it.
    ///
    /// # Errors
    /// There is no such port.
    pub fn plug_again(&self, port: &str) -> Result<()> {
        switch::finish_again(self.switch(), port)
    }

    /// The directors in order.
    pub fn directors(&self) -> impl Iterator<Item = &Host> {
        self.with(Role::Director)
    }

    /// The reals in order.
    pub fn reals(&self) -> impl Iterator<Item = &Host> {
        self.with(Role::Real)
    }

    /// The clients in order.
    pub fn clients(&self) -> impl Iterator<Item = &Host> {
        self.with(Role::Client)
    }

    fn with(&self, role: Role) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| host.role() == role)
    }

    /// Takes an interface of `host` off the network or puts it back, at the switch's side: the host itself sees its
    /// carrier go.
    ///
    /// # Errors
    /// When the switch has no such port.
    pub fn cable(&self, host: &Host, plugged: bool) -> Result<()> {
        self.switch().link(&host.nic().port, plugged)
    }

    /// Keeps `thing` (a process, a responder) going until the lab is dropped, or for good if the lab is kept.
    pub fn hold(&self, thing: impl Any + Send) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(Box::new(thing));
    }

    /// Removes the lab: processes, namespaces, files.
    ///
    /// # Errors
    /// When something can't be removed; the next lab will try again once this process has ended.
    pub fn close(mut self) -> Result<()> {
        self.tear_down()
    }

    /// Leaves the lab standing when this process ends, and returns how to enter each host. Only [`remove`] or
    /// [`sweep_kept`] takes it away. What runs inside this process (threads, sockets) still ends with it.
    ///
    /// # Errors
    /// When the lab can't be marked as kept; it is removed then.
    pub fn keep(mut self) -> Result<Vec<(String, String)>> {
        self.claim.keep()?;
        self.open = false;
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        // A process that is dropped is killed.
        std::mem::forget(held);
        let enter = |host: &Host| (host.name().to_owned(), host.how_to_enter());
        Ok(self.hosts.iter().map(enter).collect())
    }

    fn namespace_of(&self, host: &str) -> String {
        format!("{}-{host}", self.name())
    }

    fn tear_down(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        self.held.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if thread::panicking()
            && let Err(error) = evidence::keep(self.dir())
        {
            eprintln!("the logs and captures of the lab are lost: {error:#}");
        }
        for host in &self.hosts {
            host.close();
        }
        self.claim.remove()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("lab {} is not all gone: {error:#}", self.name());
        }
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("name", &self.name()).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
