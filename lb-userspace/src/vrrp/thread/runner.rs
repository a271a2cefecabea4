//! The VRRP thread: all instances, their sockets and their timers, and nothing else. No health check, API
//! call or reload can make an advert late.
//!
//! It owns no task. [`Runner::run`] blocks its thread until [`Handle::shut_down`], which hands every VIP over
//! first; a runner that is dropped or killed leaves the VIPs where they are, to be adopted by the next one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tracing::{info, warn};

use super::socket::{Changes, FrameSender};
use super::{obey, syscall};
use crate::vrrp::protocol::holding::Holdings;
use crate::vrrp::protocol::machine::{Action, Event, State, Time};
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::protocol::status::Mismatch;
use crate::vrrp::wire::announce;
use crate::vrrp::wire::packet::Advert;
use crate::vrrp::wire::refusal::Refusal;

use super::command::{self, Error, Handle};
use super::port::{PortKey, advertise};
use super::slot::Slot;
use super::state::{Owner, Runner};

/// Packets read from one socket before the timers are looked at again: adverts that waited while the thread
/// was not scheduled count before the timer that they should have restarted, and a flood is bounded.
const BATCH: usize = 256;

/// What is to be read without waiting.
struct Ready {
    changes: bool,
    /// In the order of the ports.
    ports: Vec<bool>,
    commands: bool,
}

impl<O: Owner> Runner<O> {
    /// A runner for the network namespace of the calling thread, and the handle to command it by.
    ///
    /// # Errors
    /// What is wrong with one of the settings, or what the system says.
    pub fn new(owner: O, settings: Vec<Settings>) -> Result<(Self, Handle), Error> {
        obey::check_all(&settings)?;
        let (handle, inbox) = command::channel()?;
        let mut runner = Self {
            holdings: Holdings::inherit(owner.noted()),
            released: owner.released(),
            reloading: false,
            owner,
            epoch: Instant::now(),
            inbox,
            changes: Changes::open()?,
            interfaces: HashMap::new(),
            ports: BTreeMap::new(),
            slots: BTreeMap::new(),
            next_slot: 0,
            look: None,
            looked: Time::ZERO,
            shutting_down: false,
            awaited: None,
        };
        for settings in settings {
            runner.insert(settings);
        }
        Ok((runner, handle))
    }

    /// Runs until it is shut down and every VIP is handed over.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub fn run(mut self) -> io::Result<()> {
        match syscall::be_realtime() {
            Ok(()) => info!("VRRP runs with real-time priority"),
            Err(error) => warn!(
                "VRRP runs without real-time priority ({error}): adverts may be late under load; grant \
                 CAP_SYS_NICE"
            ),
        }
        self.refresh();
        while !self.is_over() {
            let mut ready = self.wait()?;
            // The time is taken before the sockets are read: whatever had come by then counts before a timer
            // that is due, however long the thread is kept from running in between.
            let now = self.now();
            if self.is_backup_due(now) {
                ready.ports.fill(true);
            }
            self.receive(&ready.ports);
            self.watch(ready.changes);
            if ready.commands {
                self.obey_commands();
            }
            self.fire_timers(now);
            self.announce();
        }
        self.forget_idle();
        Ok(())
    }

    pub(super) fn now(&self) -> Time {
        self.epoch.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        self.shutting_down && self.slots.values().all(Slot::is_idle)
    }

    /// Waits for the next deadline or whatever comes before it.
    fn wait(&mut self) -> io::Result<Ready> {
        let now = self.now();
        let deadlines = self
            .slots
            .values()
            .filter_map(|slot| slot.instance.as_ref()?.machine().deadline())
            .chain(self.ports.values().filter_map(|port| port.pacer.deadline()))
            .chain(self.ports.values().map(|port| port.budget.resumes()).filter(|&at| at > now))
            .chain(self.look);
        let timeout = deadlines.min().map(|deadline| TimeSpec::from_duration(deadline.saturating_sub(now)));
        let read = |source| PollFd::new(source, PollFlags::POLLIN);
        let receivers = self.ports.values().map(|port| {
            let is_allowed = port.budget.allows(now);
            let flags = if is_allowed { PollFlags::POLLIN } else { PollFlags::empty() };
            PollFd::new(port.receiver.as_fd(), flags)
        });
        let mut sources: Vec<PollFd<'_>> =
            [read(self.changes.as_fd())].into_iter().chain(receivers).chain(self.inbox.source().map(read)).collect();
        match ppoll(&mut sources, timeout, None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut flags = sources.iter().map(|source| source.any().unwrap_or(true));
        let changes = flags.next().unwrap_or(true);
        let ports = flags.by_ref().take(self.ports.len()).collect();
        let commands = flags.next().unwrap_or(false);
        Ok(Ready { changes, ports, commands })
    }

    /// Reads what has arrived, up to a batch from each socket.
    fn receive(&mut self, ready: &[bool]) {
        let ports = self.ports.keys().zip(ready).filter(|&(_, &ready)| ready);
        let keys: Vec<PortKey> = ports.map(|(key, _)| key.clone()).collect();
        let mut actions = Vec::new();
        for key in keys {
            for _ in 0..BATCH {
                if !self.receive_one(&key, &mut actions) {
                    break;
                }
            }
        }
    }

    /// Whether there may be more.
    fn receive_one(&mut self, key: &PortKey, actions: &mut Vec<Action>) -> bool {
        let now = self.epoch.elapsed();
        let Some(port) = self.ports.get_mut(key) else {
            return false;
        };
        if !port.budget.allows(now) {
            return false;
        }
        port.budget.spend(now);
        let received = match port.receiver.receive() {
            Ok(Some(received)) => received,
            Ok(None) => return false,
            Err(error) => {
                warn!("VRRP can't receive on {}: {error}", key.0);
                return false;
            }
        };
        let router = Advert::router_of(received.payload);
        let index = router.and_then(|router| port.routers.get(&router)).copied();
        let Some((index, slot)) = index.and_then(|i| Some((i, self.slots.get_mut(&i)?))) else {
            port.refused.count(Refusal::Router);
            return true;
        };
        let Some(instance) = &mut slot.instance else {
            return true;
        };
        let plain_before = instance.counters().without_pseudo_header;
        let mismatch_before = instance.counters().mismatch.clone();
        let before = instance.machine().standing();
        let verdict = instance.receive(now, &received, actions);
        let (name, source) = (&slot.settings.name, received.source);
        match verdict {
            Err(refusal) if instance.counters().refused.of(refusal) == 1 => warn!(
                "vrrp.{name}: an advert from {source} is refused: {refusal}; more of its kind are only \
                 counted"
            ),
            Ok(()) if plain_before == 0 && instance.counters().without_pseudo_header == 1 => info!(
                "vrrp.{name}: {source} leaves the pseudo-header out of its checksum; if it refuses ours, set \
                 checksum = \"plain\""
            ),
            _ => {}
        }
        if let Some(Mismatch { addresses: theirs, .. }) = &instance.counters().mismatch
            && instance.counters().mismatch != mismatch_before
            && slot.told.as_ref() != Some(theirs)
        {
            let list: Vec<String> = theirs.iter().map(ToString::to_string).collect();
            warn!(
                "vrrp.{name}: {source} has other addresses than this director: {}; it counts in the election, but \
                 give every director the same list",
                list.join(", ")
            );
            slot.told = Some(theirs.clone());
        } else if instance.counters().mismatch.is_none() && slot.told.is_some() && verdict.is_ok() {
            info!("vrrp.{name}: {source} has the same addresses as this director again");
            slot.told = None;
        }
        self.perform(index, actions);
        self.follow(index, before);
        true
    }

    fn is_backup_due(&self, now: Time) -> bool {
        self.slots.values().filter_map(|slot| slot.instance.as_ref()).any(|instance| {
            let machine = instance.machine();
            machine.state() == State::Backup && machine.deadline().is_some_and(|due| due <= now)
        })
    }

    /// Fires the timers that were due at this time.
    fn fire_timers(&mut self, now: Time) {
        let due: Vec<usize> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                let deadline = slot.instance.as_ref().and_then(|i| i.machine().deadline());
                deadline.is_some_and(|deadline| deadline <= now)
            })
            .map(|(&index, _)| index)
            .collect();
        for index in due {
            self.handle_at(now, index, Event::Timer);
        }
        let gone: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| slot.leaving && slot.is_idle()).map(|(&index, _)| index).collect();
        for index in gone {
            if let Some(slot) = self.slots.remove(&index) {
                self.forget(&slot);
            }
        }
    }

    pub(super) fn announce(&mut self) {
        let now = self.now();
        for ((name, _), port) in &mut self.ports {
            let Some(mac) = self.interfaces.get(name).map(|interface| interface.mac) else {
                continue;
            };
            while let Some((index, address)) = port.pacer.next(now) {
                let settings = self.slots.get(&index).map(|slot| &slot.settings);
                let other = settings.and_then(|settings| settings.elsewhere.get(&address));
                let sent = match other {
                    None => {
                        let mac = settings.and_then(Settings::mac).unwrap_or(mac);
                        port.frames.send(&announce::frame(address, mac))
                    }
                    // Few frames, seldom: not worth a socket that is kept.
                    Some(other) => match self.interfaces.get(other) {
                        Some(interface) => FrameSender::open(interface)
                            .and_then(|frames| frames.send(&announce::frame(address, interface.mac))),
                        None => Err(io::ErrorKind::NotFound.into()),
                    },
                };
                if let Err(error) = sent {
                    warn!("{address} could not be announced on {}: {error}", other.unwrap_or(name));
                }
            }
        }
    }

    /// Hands an event to an instance and does what it demands.
    pub(super) fn handle(&mut self, index: usize, event: Event) {
        self.handle_at(self.now(), index, event);
    }

    pub(super) fn handle_at(&mut self, now: Time, index: usize, event: Event) {
        let mut actions = Vec::new();
        let Some(instance) = self.slots.get_mut(&index).and_then(|slot| slot.instance.as_mut()) else {
            return;
        };
        let before = instance.machine().standing();
        instance.handle(now, event, &mut actions);
        self.perform(index, &mut actions);
        self.follow(index, before);
    }

    pub(super) fn perform(&mut self, index: usize, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            let now = self.epoch.elapsed();
            let Some(slot) = self.slots.get_mut(&index) else {
                continue;
            };
            let Some(instance) = &mut slot.instance else {
                continue;
            };
            let settings = &slot.settings;
            let port = self.ports.get_mut(&settings.port());
            match action {
                Action::Gate(open) => self.owner.gate(settings, slot.interface, open),
                Action::AddAddresses => self.put_addresses(index),
                Action::KeepAddresses => self.keep_addresses(index),
                Action::RemoveAddresses => {
                    self.disown_addresses(index, false);
                    if !self.reloading {
                        self.sweep();
                    }
                }
                Action::Advertise(priority) => advertise(instance, priority, port.as_deref()),
                Action::Announce => {
                    if let Some(port) = port {
                        let addresses = instance.addresses().to_vec();
                        port.pacer.start(now, index, addresses, settings.announce);
                    }
                }
                Action::Silence => {
                    if let Some(port) = port {
                        port.pacer.stop(&index);
                    }
                }
                Action::Ask => self.owner.ask(settings),
                Action::Entered(state, cause) => {
                    info!("vrrp.{}: {state}: {cause}", settings.name);
                    self.owner.entered(&instance.status(now));
                }
            }
        }
    }
}
