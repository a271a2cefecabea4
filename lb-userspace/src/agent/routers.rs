//! The virtual routers of this director: the thread that speaks VRRP, and what it does to this host.
//!
//! The thread (one, from [`Routers::spawn`]) ends after [`Routers::shut_down`], when every VIP is handed over or nobody
//! took it. An agent that is killed leaves the VIPs where they are; the next one adopts them.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::config::Config;
use crate::dataplane::{Gates, Pins};
use crate::vrrp::protocol::holding::Placed;
use crate::vrrp::thread::place::Places;
use crate::vrrp::{Handle, Owner, Runner, Settings, Status};

use super::noted;
use super::owned::{self, Owned};
use crate::planner::gates::{GateNumbers, settings_of};
use crate::pulse::Heart;

/// Whose the traffic of a virtual router's VIPs is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// The router's name.
    pub router: String,
    /// This director's.
    pub here: bool,
}

/// What the virtual routers say to the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Whose the traffic of one's VIPs is.
    Duty(Duty),
    /// This one is about to displace a master: the peers are to be asked for what they know, and then it is told
    /// ([`Handle::answered`]).
    Asks(String),
}

/// What is waited for until the controller says more.
pub const AWAITED: &str = "the first checks of the reals";
/// The virtual routers that are released, by their names.
const RELEASED: &str = "released.json";

/// The running virtual routers.
pub struct Routers {
    handle: Handle,
    gates: Arc<Mutex<GateNumbers>>,
    thread: thread::JoinHandle<()>,
}

impl Routers {
    /// Starts the thread with the configuration's virtual routers. Their changes of state go to `entered`, and what
    /// the controller has to know goes to `words`.
    ///
    /// # Errors
    /// The settings are wrong, or the system refuses a socket.
    pub fn spawn(
        config: &Config,
        gates: &GateNumbers,
        pins: &Pins,
        entered: mpsc::UnboundedSender<Status>,
        words: mpsc::UnboundedSender<Word>,
        heart: Heart,
    ) -> Result<Self> {
        let gates = Arc::new(Mutex::new(gates.clone()));
        let mut host = Host {
            maps: Gates::open(pins)?,
            places: Places::open().context("no netlink socket for the VIPs")?,
            gates: gates.clone(),
            owned: owned::read(),
            entered,
            words,
        };
        let settings = settings_of(config);
        forget_old_macs(&mut host.maps, &settings)?;
        observe_macs(&mut host.maps, config)?;
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("vrrp".to_owned()).spawn(move || {
            // Dropped with the thread, by a panic too.
            let _heart = heart;
            // The runner's sockets are this thread's, so it is made here.
            match Runner::new(host, settings) {
                Ok((mut runner, handle)) => {
                    // Until the controller has seen every real.
                    runner.set_awaited(Some(AWAITED.to_owned()));
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
    pub fn reload(&self, config: &Config, gates: &GateNumbers) -> Result<()> {
        let before = std::mem::replace(&mut *lock(&self.gates), gates.clone());
        if let Err(error) = self.handle.reload(settings_of(config)) {
            *lock(&self.gates) = before;
            return Err(error.into());
        }
        Ok(())
    }

    /// Hands every VIP over, or leaves it where nobody takes it, and waits for the thread's end. Whether it ended.
    pub async fn shut_down(self) -> bool {
        let Self { handle, thread, .. } = self;
        let ended = tokio::task::spawn_blocking(move || handle.shut_down().is_ok() && thread.join().is_ok());
        // The longest hand-over is 30 s by default; a longer one was asked for.
        match tokio::time::timeout(Duration::from_secs(300), ended).await {
            Ok(ended) => ended.unwrap_or(false),
            Err(_) => {
                warn!("VRRP did not end");
                false
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets the virtual MACs that this configuration doesn't have. Those that it has stay as an agent that was killed
/// left them, until their virtual router takes part.
fn forget_old_macs(maps: &mut Gates, settings: &[Settings]) -> Result<(), crate::dataplane::Error> {
    let index = |settings: &Settings| if_nametoindex(settings.interface.as_str()).ok();
    let kept: Vec<_> = settings.iter().filter_map(|settings| Some((index(settings)?, settings.mac()?))).collect();
    maps.keep_virtual_macs(|ifindex, mac| kept.contains(&(ifindex, mac)))
}

/// Has frames looked at that are for the virtual MACs of routers which another program of this host takes part in.
///
/// # Errors
/// The map can't be written.
pub fn observe_macs(maps: &mut Gates, config: &Config) -> Result<(), crate::dataplane::Error> {
    let Some(observed) = &config.observed else { return Ok(()) };
    let macs: Vec<_> = settings_of(&Config { vrrp: observed.clone(), ..config.clone() })
        .iter()
        .filter_map(|settings| Some((if_nametoindex(settings.interface.as_str()).ok()?, settings.mac()?)))
        .collect();
    maps.keep_virtual_macs(|ifindex, mac| macs.contains(&(ifindex, mac)))?;
    macs.iter().try_for_each(|&(ifindex, mac)| maps.set_virtual_mac(ifindex, mac, true))
}

/// What the virtual routers do to this host.
struct Host {
    maps: Gates,
    places: Places,
    /// The gate of each virtual router whose backup doesn't forward, by the router's name.
    gates: Arc<Mutex<GateNumbers>>,
    owned: Vec<Owned>,
    entered: mpsc::UnboundedSender<Status>,
    words: mpsc::UnboundedSender<Word>,
}

impl Host {
    fn set_virtual_mac(&mut self, settings: &Settings, interface: Option<u32>, master: bool) {
        if let Some((mac, interface)) = settings.mac().zip(interface)
            && let Err(error) = self.maps.set_virtual_mac(interface, mac, master)
        {
            error!("vrrp.{}: its virtual MAC can't be set: {error}", settings.name);
        }
    }
}

impl Owner for Host {
    fn prepare(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        self.places.prepare(settings, interface)
    }

    fn gate(&mut self, settings: &Settings, interface: Option<u32>, open: bool) {
        let gate = lock(&self.gates).get(&settings.name).copied();
        if let Some(gate) = gate
            && let Err(error) = self.maps.set(gate, !open)
        {
            error!("vrrp.{}: its gate can't be set: {error}", settings.name);
        }
        self.set_virtual_mac(settings, interface, open);
        // Who has gone needs no word.
        let _ = self.words.send(Word::Duty(Duty { router: settings.name.clone(), here: open }));
    }

    fn places(&self, settings: &Settings, interface: u32) -> io::Result<Vec<Placed>> {
        self.places.of(settings, interface)
    }

    fn switch(&mut self, settings: &Settings, interface: u32, on: bool) -> io::Result<()> {
        self.places.switch(settings, interface, on)
    }

    fn put(&mut self, placed: Placed) -> io::Result<bool> {
        self.places.put(placed)
    }

    fn take(&mut self, placed: Placed) -> io::Result<()> {
        self.places.take(placed)
    }

    fn noted(&self) -> Vec<Placed> {
        self.owned.iter().map(|&Owned { ifindex, address }| Placed { ifindex, address }).collect()
    }

    fn note(&mut self, placed: &[Placed]) {
        let owned: Vec<Owned> = placed.iter().map(|&Placed { ifindex, address }| Owned { ifindex, address }).collect();
        if owned == self.owned {
            return;
        }
        self.owned = owned;
        if let Err(error) = owned::write(&self.owned) {
            warn!("{}: {error}; `lb detach` won't know of every VIP", owned::list().display());
        }
    }

    fn released(&self) -> BTreeSet<String> {
        noted::read(RELEASED).unwrap_or_default()
    }

    fn note_released(&mut self, names: &BTreeSet<String>) {
        let noted = if names.is_empty() { noted::forget(RELEASED) } else { noted::write(RELEASED, names) };
        if let Err(error) = noted {
            warn!("{}: {error}; the next agent won't know of the release", noted::path(RELEASED).display());
        }
    }

    fn forget(&mut self, settings: &Settings, interface: u32) {
        if let Some(mac) = settings.mac()
            && let Err(error) = self.maps.keep_virtual_macs(|ifindex, held| (ifindex, held) != (interface, mac))
        {
            warn!("vrrp.{}: its virtual MAC can't be forgotten: {error}", settings.name);
        }
        if let Err(error) = self.places.forget(settings, interface) {
            warn!("vrrp.{}: its macvlan can't be removed: {error}", settings.name);
        }
    }

    fn ask(&mut self, settings: &Settings) {
        let _ = self.words.send(Word::Asks(settings.name.clone()));
    }

    fn entered(&mut self, status: &Status) {
        // The notifier may have ended already.
        let _ = self.entered.send(status.clone());
    }
}
