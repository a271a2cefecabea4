//! The virtual routers of this director: the thread that speaks VRRP, and what it does to this host.
//!
//! The thread (one, from [`Routers::spawn`]) ends after [`Routers::shut_down`], when every VIP is handed over or nobody
//! took it. An agent that is killed leaves the VIPs where they are; the next one adopts them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::config::Config;
use crate::dataplane::{Gates, Pins};
use crate::vrrp::address::Addresses;
use crate::vrrp::{Handle, Owner, Runner, Settings, Status};

use super::owned::{self, Owned};
use super::settings::{gate_of, settings_of};

/// The running virtual routers.
pub struct Routers {
    handle: Handle,
    gates: Arc<Mutex<HashMap<String, u32>>>,
    thread: thread::JoinHandle<()>,
}

impl Routers {
    /// Starts the thread with the configuration's virtual routers. Their changes of state go to `entered`.
    ///
    /// # Errors
    /// The settings are wrong, or the system refuses a socket.
    pub fn spawn(config: &Config, pins: &Pins, entered: mpsc::UnboundedSender<Status>) -> Result<Self> {
        let gates = Arc::new(Mutex::new(gate_of(config)));
        let host = Host {
            maps: Gates::open(pins)?,
            addresses: Addresses::open().context("no netlink socket for the VIPs")?,
            gates: gates.clone(),
            owned: owned::read(),
            entered,
        };
        let settings = settings_of(config);
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("vrrp".to_owned()).spawn(move || {
            // The runner's sockets are this thread's, so it is made here.
            match Runner::new(host, settings) {
                Ok((mut runner, handle)) => {
                    // Until the controller has seen every real.
                    runner.set_ready(false);
                    let _ = ready.send(Ok(handle));
                    if let Err(error) = runner.run() {
                        error!("VRRP ended: {error}");
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        let handle = started.recv().context("the VRRP thread ended at once")??;
        Ok(Self { handle, gates, thread })
    }

    /// Commands for the thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Takes another configuration's virtual routers.
    ///
    /// # Errors
    /// The settings are wrong; the running ones stay.
    pub fn reload(&self, config: &Config) -> Result<()> {
        let before = std::mem::replace(&mut *lock(&self.gates), gate_of(config));
        if let Err(error) = self.handle.reload(settings_of(config)) {
            *lock(&self.gates) = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Hands every VIP over, or leaves it where nobody takes it, and waits for the thread's end.
    pub async fn shut_down(self) {
        let Self { handle, thread, .. } = self;
        let ended = tokio::task::spawn_blocking(move || {
            if handle.shut_down().is_ok() {
                let _ = thread.join();
            }
        });
        // The longest hand-over is 30 s by default; a longer one was asked for.
        if tokio::time::timeout(Duration::from_secs(300), ended).await.is_err() {
            warn!("VRRP did not end");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the virtual routers do to this host.
struct Host {
    maps: Gates,
    addresses: Addresses,
    /// The gate of each virtual router whose backup doesn't forward, by the router's name.
    gates: Arc<Mutex<HashMap<String, u32>>>,
    owned: Vec<Owned>,
    entered: mpsc::UnboundedSender<Status>,
}

impl Host {
    /// Writes down whose VIPs this host has, for `lb detach`.
    fn note(&mut self, ifindex: u32, addresses: &[IpNet], held: bool) {
        let before = self.owned.clone();
        self.owned.retain(|owned| owned.ifindex != ifindex || !addresses.contains(&owned.address));
        if held {
            self.owned.extend(addresses.iter().map(|address| Owned { ifindex, address: *address }));
        }
        if self.owned != before
            && let Err(error) = owned::write(&self.owned)
        {
            warn!("{}: {error}; `lb detach` won't know of every VIP", owned::list().display());
        }
    }
}

/// Tries every address; the first error is told.
fn every(addresses: &[IpNet], mut change: impl FnMut(IpNet) -> io::Result<()>) -> io::Result<()> {
    let mut first = Ok(());
    for address in addresses {
        first = first.and(change(*address));
    }
    first
}

impl Owner for Host {
    fn gate(&mut self, settings: &Settings, open: bool) {
        let gate = lock(&self.gates).get(&settings.name).copied();
        if let Some(gate) = gate
            && let Err(error) = self.maps.set(gate, !open)
        {
            error!("vrrp.{}: its gate can't be set: {error}", settings.name);
        }
    }

    fn add_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        // Written down first: an address that is on the list and not there does no harm.
        self.note(interface, &settings.addresses, true);
        every(&settings.addresses, |address| self.addresses.add(interface, address))
    }

    fn remove_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        let result = every(&settings.addresses, |address| self.addresses.remove(interface, address));
        self.note(interface, &settings.addresses, false);
        result
    }

    fn entered(&mut self, status: &Status) {
        // The controller may have ended already.
        let _ = self.entered.send(status.clone());
    }
}
