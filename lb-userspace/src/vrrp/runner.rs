//! The VRRP thread: all instances, their sockets and their timers, and nothing else. No health check, API
//! call or reload can make an advert late.
//!
//! It owns no task. [`Runner::run`] blocks its thread until [`Handle::shut_down`], which hands every VIP over
//! first; a runner that is dropped or killed leaves the VIPs where they are, to be adopted by the next one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tracing::{error, info, warn};

use super::announce::{self, Pacer};
use super::instance::{Instance, Status};
use super::machine::{Action, Event, State, Time};
use super::packet::Advert;
use super::refusal::{Refusal, Refusals};
use super::settings::Settings;
use super::socket::{Changes, FrameSender, Interface, Receiver, Sender, interfaces};
use super::syscall;

mod command;
#[cfg(test)]
mod lab;

pub use command::{Error, Handle};
use command::{Inbox, Request};

/// Packets read from one socket before the timers are looked at again: adverts that waited while the thread
/// was not scheduled count before the timer that they should have restarted, and a flood is bounded.
const BATCH: usize = 256;
/// How often an interface that is missing is looked for, besides the kernel's notices.
const RETRY: Duration = Duration::from_secs(1);
/// The kernel's notices make the interfaces be looked at no more often than this.
const SETTLE: Duration = Duration::from_millis(50);
/// Announcements a second on one interface.
const PACE: u32 = 10_000;

/// Does on this host what a change of state demands. Called in the VRRP thread: must not block on anything
/// but the kernel.
pub trait Owner: Send {
    /// Sets the data plane's gate for the instance's VIPs: open for their master.
    fn gate(&mut self, settings: &Settings, open: bool);

    /// Puts the VIPs on the interface of this index; some may be there.
    ///
    /// # Errors
    /// What the system says; the instance is master nevertheless, and the error is logged.
    fn add_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()>;

    /// Takes the VIPs off the interface of this index; some may be gone.
    ///
    /// # Errors
    /// As [`Self::add_addresses`].
    fn remove_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()>;

    /// The instance has entered another state, after everything else was done.
    fn entered(&mut self, _status: &Status) {}
}

/// The state of the VRRP thread.
pub struct Runner<O> {
    owner: O,
    epoch: Instant,
    inbox: Inbox,
    changes: Changes,
    interfaces: HashMap<String, Interface>,
    ports: BTreeMap<PortKey, Port>,
    slots: BTreeMap<usize, Slot>,
    next_slot: usize,
    /// When the interfaces are looked at again, and when they were.
    look: Option<Time>,
    looked: Time,
    shutting_down: bool,
}

/// An interface and whether it is the one for IPv6.
type PortKey = (String, bool);

/// One family's sockets on one interface.
struct Port {
    interface: u32,
    receiver: Receiver,
    senders: HashMap<IpAddr, Sender>,
    frames: FrameSender,
    pacer: Pacer<usize>,
    /// Which instance has which virtual router id.
    routers: HashMap<u8, usize>,
    /// What was refused before it found an instance.
    refused: Refusals,
}

struct Slot {
    settings: Settings,
    /// Absent until its interface was seen for the first time.
    instance: Option<Instance>,
    obstacle: Option<String>,
    /// It may take part: not stopped by a condition.
    wanted: bool,
    /// It was removed from the configuration and goes when it has handed over.
    leaving: bool,
}

impl<O: Owner> Runner<O> {
    /// A runner for the network namespace of the calling thread, and the handle to command it by.
    ///
    /// # Errors
    /// What is wrong with one of the settings, or what the system says.
    pub fn new(owner: O, settings: Vec<Settings>) -> anyhow::Result<(Self, Handle)> {
        let (handle, inbox) = command::channel()?;
        let mut runner = Self {
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
        };
        check_all(&settings)?;
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
            self.wait()?;
            self.receive();
            if self.changes.drain() {
                self.look_at(self.looked + SETTLE);
            }
            if self.look.is_some_and(|look| look <= self.now()) {
                self.refresh();
            }
            self.obey_commands();
            self.fire_timers();
            self.announce();
        }
        Ok(())
    }

    fn now(&self) -> Time {
        self.epoch.elapsed()
    }

    fn look_at(&mut self, time: Time) {
        self.look = Some(self.look.map_or(time, |look| look.min(time)));
    }

    fn is_over(&self) -> bool {
        self.shutting_down && self.slots.values().all(Slot::is_idle)
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadlines = self
            .slots
            .values()
            .filter_map(|slot| slot.instance.as_ref()?.machine().deadline())
            .chain(self.ports.values().filter_map(|port| port.pacer.deadline()))
            .chain(self.look);
        let timeout = deadlines
            .min()
            .map(|deadline| deadline.saturating_sub(self.now()));
        let mut sources = vec![
            PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
        ];
        for port in self.ports.values() {
            sources.push(PollFd::new(port.receiver.as_fd(), PollFlags::POLLIN));
        }
        match ppoll(&mut sources, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what has arrived, up to a batch from each socket.
    fn receive(&mut self) {
        let keys: Vec<PortKey> = self.ports.keys().cloned().collect();
        let mut actions = Vec::new();
        for key in keys {
            for _ in 0..BATCH {
                let now = self.epoch.elapsed();
                let Some(port) = self.ports.get_mut(&key) else {
                    break;
                };
                let received = match port.receiver.receive() {
                    Ok(Some(received)) => received,
                    Ok(None) => break,
                    Err(error) => {
                        warn!("VRRP can't receive on {}: {error}", key.0);
                        break;
                    }
                };
                let router = Advert::router_of(received.payload);
                let index = router.and_then(|router| port.routers.get(&router)).copied();
                let Some((index, slot)) = index.and_then(|i| Some((i, self.slots.get_mut(&i)?)))
                else {
                    port.refused.count(Refusal::Router);
                    continue;
                };
                let Some(instance) = &mut slot.instance else {
                    continue;
                };
                let verdict = instance.receive(now, &received, &mut actions);
                if let Err(refusal) = verdict
                    && instance.counters_mut().refused.of(refusal) == 1
                {
                    warn!(
                        "vrrp.{}: an advert from {} is refused: {refusal}; more of its kind are only counted",
                        slot.settings.name, received.source
                    );
                }
                self.perform(index, &mut actions);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
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
            self.handle(index, Event::Timer);
        }
        self.slots
            .retain(|_, slot| !(slot.leaving && slot.is_idle()));
    }

    fn announce(&mut self) {
        let now = self.now();
        for ((name, _), port) in &mut self.ports {
            let Some(mac) = self.interfaces.get(name).map(|interface| interface.mac) else {
                continue;
            };
            while let Some((_, address)) = port.pacer.next(now) {
                if let Err(error) = port.frames.send(&announce::frame(address, mac)) {
                    warn!("{address} could not be announced on {name}: {error}");
                }
            }
        }
    }

    /// Hands an event to an instance and does what it demands.
    fn handle(&mut self, index: usize, event: Event) {
        let now = self.now();
        let mut actions = Vec::new();
        if let Some(instance) = self
            .slots
            .get_mut(&index)
            .and_then(|slot| slot.instance.as_mut())
        {
            instance.handle(now, event, &mut actions);
        }
        self.perform(index, &mut actions);
    }

    fn perform(&mut self, index: usize, actions: &mut Vec<Action>) {
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
            let interface = self.interfaces.get(&settings.interface).map(|i| i.index);
            match action {
                Action::Gate(open) => self.owner.gate(settings, open),
                Action::AddAddresses => {
                    if let Some(interface) = interface
                        && let Err(error) = self.owner.add_addresses(settings, interface)
                    {
                        error!(
                            "vrrp.{}: its addresses can't be added: {error}",
                            settings.name
                        );
                    }
                }
                Action::RemoveAddresses => {
                    if let Some(interface) = interface
                        && let Err(error) = self.owner.remove_addresses(settings, interface)
                    {
                        error!(
                            "vrrp.{}: its addresses can't be removed: {error}",
                            settings.name
                        );
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
                Action::Entered(state, cause) => {
                    info!("vrrp.{}: {state}: {cause}", settings.name);
                    self.owner.entered(&instance.status(now));
                }
            }
        }
    }

    /// Looks at the interfaces anew: opens what has appeared, and tells instances whose interface is gone.
    fn refresh(&mut self) {
        self.looked = self.now();
        self.look = None;
        match interfaces() {
            Ok(interfaces) => self.interfaces = interfaces,
            Err(error) => {
                error!("the interfaces can't be listed: {error}");
                self.look_at(self.looked + RETRY);
                return;
            }
        }
        let vips = self
            .slots
            .values()
            .flat_map(|slot| &slot.settings.addresses);
        let vips: HashSet<IpAddr> = vips.map(IpNet::addr).collect();
        let is_own = |address: &IpAddr| !vips.contains(address);
        for interface in self.interfaces.values_mut() {
            interface.own = interface.addresses.iter().copied().filter(is_own).collect();
        }
        let current = &self.interfaces;
        self.ports.retain(|(name, _), port| {
            current
                .get(name)
                .is_some_and(|interface| interface.index == port.interface)
        });
        let indices: Vec<usize> = self.slots.keys().copied().collect();
        for index in indices {
            let obstacle = self.prepare(index).err();
            if obstacle.is_some() {
                self.look_at(self.looked + RETRY);
            }
            let Some(slot) = self.slots.get_mut(&index) else {
                continue;
            };
            let is_news = slot.obstacle != obstacle;
            slot.obstacle = obstacle;
            match &slot.obstacle {
                Some(obstacle) => {
                    if is_news {
                        warn!("vrrp.{} takes no part: {obstacle}", slot.settings.name);
                    }
                    if !slot.is_idle() {
                        self.handle(index, Event::Fault);
                    }
                }
                None => self.start(index),
            }
        }
    }

    /// Makes an instance's sockets; what stands in the way.
    fn prepare(&mut self, index: usize) -> Result<(), String> {
        let Some(settings) = self.slots.get(&index).map(|slot| slot.settings.clone()) else {
            return Ok(());
        };
        let name = &settings.interface;
        let interface = self
            .interfaces
            .get(name)
            .ok_or_else(|| format!("there is no interface {name:?}; it is waited for"))?;
        if !interface.running {
            return Err(format!("{name} is down or has no carrier"));
        }
        let own = own_address(&settings, interface).ok_or_else(|| {
            let family = if settings.is_ipv6() { "IPv6" } else { "IPv4" };
            format!("{name} has no {family} address of its own to send adverts from: add one")
        })?;
        let key = settings.port();
        if !self.ports.contains_key(&key) {
            let port = Port::open(name, interface, key.1)
                .map_err(|error| format!("no VRRP socket on {name}: {error}"))?;
            self.ports.insert(key.clone(), port);
        }
        let now = self.epoch.elapsed();
        let Some((port, slot)) = self.ports.get_mut(&key).zip(self.slots.get_mut(&index)) else {
            return Ok(());
        };
        if let Entry::Vacant(vacant) = port.senders.entry(own) {
            let sender = Sender::open(name, interface, own)
                .map_err(|error| format!("no VRRP socket for {own} on {name}: {error}"))?;
            vacant.insert(sender);
        }
        port.routers.insert(settings.router, index);
        match &mut slot.instance {
            None => {
                let instance = Instance::new(settings, own, now).map_err(|e| e.to_string())?;
                slot.instance = Some(instance);
            }
            Some(instance) if instance.own() != own => {
                instance
                    .reconfigure(settings, own)
                    .map_err(|e| e.to_string())?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, index: usize) {
        let Some(slot) = self.slots.get(&index) else {
            return;
        };
        if !slot.is_idle() || !slot.wanted || slot.leaving || self.shutting_down {
            return;
        }
        let present = self
            .interfaces
            .get(&slot.settings.interface)
            .map(|i| &i.addresses);
        let holds_addresses = present.is_some_and(|present| {
            slot.settings
                .addresses
                .iter()
                .any(|vip| present.contains(&vip.addr()))
        });
        self.handle(index, Event::Start { holds_addresses });
    }

    fn insert(&mut self, settings: Settings) {
        let slot = Slot {
            settings,
            instance: None,
            obstacle: None,
            wanted: true,
            leaving: false,
        };
        self.slots.insert(self.next_slot, slot);
        self.next_slot += 1;
    }

    fn obey_commands(&mut self) {
        while let Some((request, reply)) = self.inbox.next() {
            reply.send(self.obey(request));
        }
    }

    fn obey(&mut self, request: Request) -> Result<Vec<Status>, Error> {
        match request {
            Request::Status => return Ok(self.status()),
            Request::Event { instance, event } => {
                let index = self.find(&instance).ok_or(Error::Unknown(instance))?;
                if let Some(slot) = self.slots.get_mut(&index) {
                    match event {
                        Event::Stop => slot.wanted = false,
                        Event::Start { .. } => slot.wanted = true,
                        _ => {}
                    }
                    if let (Event::Start { .. }, None) = (event, &slot.obstacle)
                        && slot.is_idle()
                    {
                        self.start(index);
                        return Ok(Vec::new());
                    }
                }
                self.handle(index, event);
            }
            Request::Reload(settings) => self.reload(settings)?,
            Request::ShutDown => {
                self.shutting_down = true;
                let indices: Vec<usize> = self.slots.keys().copied().collect();
                for index in indices {
                    self.handle(index, Event::Stop);
                }
            }
        }
        Ok(Vec::new())
    }

    fn reload(&mut self, settings: Vec<Settings>) -> Result<(), Error> {
        check_all(&settings).map_err(|error| Error::Settings(error.to_string()))?;
        let mut staying = Vec::new();
        for settings in settings {
            let found = self.find(&settings.name);
            let slot = found.and_then(|index| Some((index, self.slots.get_mut(&index)?)));
            match slot {
                Some((index, slot)) if slot.can_become(&settings) => {
                    staying.push(index);
                    slot.settings = settings.clone();
                    if let Some(instance) = &mut slot.instance {
                        let own = instance.own();
                        instance
                            .reconfigure(settings.clone(), own)
                            .map_err(|error| Error::Settings(error.to_string()))?;
                    }
                    self.handle(index, Event::Priority(settings.priority));
                }
                _ => {
                    // Another router, or other addresses: there is no keeping of what it holds.
                    if let Some(index) = found {
                        self.handle(index, Event::Fault);
                        self.slots.remove(&index);
                    }
                    staying.push(self.next_slot);
                    self.insert(settings);
                }
            }
        }
        let gone: Vec<usize> = self
            .slots
            .keys()
            .copied()
            .filter(|index| !staying.contains(index))
            .collect();
        for index in gone {
            self.handle(index, Event::Stop);
            if let Some(slot) = self.slots.get_mut(&index) {
                slot.leaving = true;
            }
        }
        self.refresh();
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        let mut slots = self.slots.iter();
        slots
            .find(|(_, slot)| slot.settings.name == name && !slot.leaving)
            .map(|(&index, _)| index)
    }

    fn status(&self) -> Vec<Status> {
        let now = self.now();
        self.slots.values().map(|slot| slot.status(now)).collect()
    }
}

impl Port {
    fn open(name: &str, interface: &Interface, ipv6: bool) -> io::Result<Self> {
        Ok(Self {
            interface: interface.index,
            receiver: Receiver::open(name, interface, ipv6)?,
            senders: HashMap::new(),
            frames: FrameSender::open(interface)?,
            pacer: Pacer::new(PACE),
            routers: HashMap::new(),
            refused: Refusals::default(),
        })
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.instance
            .as_ref()
            .is_none_or(|i| i.machine().state() == State::Initialize)
    }

    fn can_become(&self, settings: &Settings) -> bool {
        self.instance
            .as_ref()
            .is_some_and(|instance| instance.can_become(settings))
    }

    fn status(&self, now: Time) -> Status {
        let mut status = match &self.instance {
            Some(instance) => instance.status(now),
            None => Status::waiting(&self.settings),
        };
        status.obstacle.clone_from(&self.obstacle);
        status
    }
}

/// The interface's first address that is no VIP: for IPv6 by multicast the link-local one, with peers
/// one of their kind.
fn own_address(settings: &Settings, interface: &Interface) -> Option<IpAddr> {
    let is_local = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let local = settings.peers.first().is_none_or(|&peer| is_local(peer));
    interface
        .own
        .iter()
        .copied()
        .find(|&address| address.is_ipv6() == settings.is_ipv6() && is_local(address) == local)
}

fn advertise(instance: &mut Instance, priority: u8, port: Option<&Port>) {
    let own = instance.own();
    let Some(sender) = port.and_then(|port| port.senders.get(&own)) else {
        return;
    };
    let adverts = match instance.adverts(priority) {
        Ok(adverts) => adverts,
        Err(error) => {
            error!("vrrp.{}: {error}", instance.settings().name);
            return;
        }
    };
    for (to, payload) in adverts {
        let result = sender.send(to, &payload);
        let counters = instance.counters_mut();
        match result {
            Ok(()) => counters.sent += 1,
            Err(error) => {
                counters.unsent += 1;
                if counters.unsent == 1 {
                    let name = &instance.settings().name;
                    error!("vrrp.{name}: an advert to {to} can't be sent: {error}");
                }
            }
        }
    }
}

/// Checks each of the settings and that no two are the same router.
fn check_all(settings: &[Settings]) -> anyhow::Result<()> {
    let mut routers = HashMap::new();
    for one in settings {
        one.acceptance()
            .map_err(|error| anyhow::anyhow!("vrrp.{}: {error}", one.name))?;
        if let Some(other) = routers.insert((one.port(), one.router), &one.name) {
            anyhow::bail!(
                "vrrp.{}: id {} on {} is vrrp.{other}'s already: choose another",
                one.name,
                one.router,
                one.interface
            );
        }
    }
    Ok(())
}
