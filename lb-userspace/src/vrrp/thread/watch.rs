//! Interfaces come and go: what the thread does about it.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tracing::{error, warn};

use super::port::Port;
use super::state::{Owner, Runner};
use crate::vrrp::protocol::instance::Instance;
use crate::vrrp::protocol::machine::{Event, OWNER, Time};
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::thread::socket::{Interface, Sender, interfaces};

/// How often an interface that is missing is looked for, besides the kernel's notices.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// The kernel's notices make the interfaces be looked at no more often than this.
const SETTLE: Duration = Duration::from_millis(50);

impl<O: Owner> Runner<O> {
    /// Looks at the interfaces when it is time to. `notified`: the kernel has something to say.
    pub(super) fn watch(&mut self, notified: bool) {
        if notified && self.changes.drain() {
            self.look_at(self.looked + SETTLE);
        }
        if self.look.is_some_and(|look| look <= self.now()) {
            self.refresh();
        }
    }

    pub(super) fn look_at(&mut self, time: Time) {
        self.look = Some(self.look.map_or(time, |look| look.min(time)));
    }

    /// Looks at the interfaces anew: opens what has appeared, and tells instances whose interface is gone.
    pub(super) fn refresh(&mut self) {
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
        let vips = self.slots.values().flat_map(|slot| &slot.settings.addresses);
        let vips: HashSet<IpAddr> = vips.map(IpNet::addr).collect();
        let is_own = |address: &IpAddr| !vips.contains(address);
        for interface in self.interfaces.values_mut() {
            interface.own = interface.addresses.iter().copied().filter(is_own).collect();
        }
        let current = &self.interfaces;
        self.ports
            .retain(|(name, _), port| current.get(name).is_some_and(|interface| interface.index == port.interface));
        let indices: Vec<usize> = self.slots.keys().copied().collect();
        let mut ready = Vec::new();
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
                None => ready.push(index),
            }
        }
        for &index in &ready {
            self.mend(index);
        }
        self.forget_absent();
        // Only now is it known which sync groups are whole.
        for index in ready {
            self.start(index);
        }
        self.synchronize_all();
        self.sweep();
    }

    /// Makes an instance's sockets; what stands in the way.
    fn prepare(&mut self, index: usize) -> Result<(), String> {
        let Some(settings) = self.slots.get(&index).map(|slot| slot.settings.clone()) else {
            return Ok(());
        };
        let name = &settings.interface;
        let interface =
            self.interfaces.get(name).ok_or_else(|| format!("there is no interface {name:?}; it is waited for"))?;
        if !interface.running && settings.tracks_link {
            return Err(format!("{name} is down or has no carrier"));
        }
        let now = self.epoch.elapsed();
        if let Some(slot) = self.slots.get_mut(&index) {
            slot.interface = Some(interface.index);
            slot.barred.take_if(|(until, _)| *until <= now);
            if let Some((_, reason)) = &slot.barred {
                return Err(reason.clone());
            }
        }
        let own = own_address(&settings, interface).ok_or_else(|| {
            let family = if settings.is_ipv6() { "IPv6" } else { "IPv4" };
            format!("{name} has no {family} address of its own to send adverts from: add one")
        })?;
        let key = settings.port();
        if !self.ports.contains_key(&key) {
            let port = Port::open(name, interface, key.1, settings.announce.pace)
                .map_err(|error| format!("no VRRP socket on {name}: {error}"))?;
            self.ports.insert(key.clone(), port);
        }
        self.owner.prepare(&settings, interface.index).map_err(|error| match settings.virtual_mac {
            true => format!("{name} can't have a macvlan for the virtual MAC: {error}"),
            false => error.to_string(),
        })?;
        let Some((port, slot)) = self.ports.get_mut(&key).zip(self.slots.get_mut(&index)) else {
            return Ok(());
        };
        if let Entry::Vacant(vacant) = port.senders.entry(own) {
            let sender = Sender::open(name, interface, own)
                .map_err(|error| format!("no VRRP socket for {own} on {name}: {error}"))?;
            vacant.insert(sender);
        }
        port.routers.insert(settings.router, index);
        port.pacer.set_pace(settings.announce.pace);
        match &mut slot.instance {
            None => {
                let mut instance = Instance::new(settings, own, now).map_err(|e| e.to_string())?;
                if slot.released {
                    instance.handle(now, Event::Release, &mut Vec::new());
                }
                slot.instance = Some(instance);
            }
            Some(instance) if instance.own() != own => {
                instance.reconfigure(settings, own).map_err(|e| e.to_string())?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn start(&mut self, index: usize) {
        let Some(slot) = self.slots.get(&index) else {
            return;
        };
        if !slot.is_idle() || !slot.wanted || slot.leaving || self.shutting_down || !self.is_group_able(index) {
            return;
        }
        // What one member of a sync group has, its agent left as all of its members' master.
        let group = self.group_of(index);
        let holds_addresses = group.iter().filter_map(|index| self.slots.get(index)).any(|slot| self.is_adopted(slot));
        if let Some(priority) = slot.tracked {
            self.handle(index, Event::Priority(priority));
        }
        let now = self.now();
        let unready = self.unready_until();
        if let Some(instance) = self.slots.get_mut(&index).and_then(|slot| slot.instance.as_mut()) {
            instance.defer_preemption(now, unready);
        }
        self.handle(index, Event::Start { holds_addresses });
    }
}

/// The interface's first address that is no VIP: for IPv6 by multicast the link-local one, with peers
/// one of their kind. The addresses' owner may have none but its VIP.
fn own_address(settings: &Settings, interface: &Interface) -> Option<IpAddr> {
    let is_local = |address: IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let local = settings.peers.first().is_none_or(|&peer| is_local(peer));
    let owned: &[IpAddr] = if settings.priority == OWNER { &interface.addresses } else { &[] };
    let mut candidates = interface.own.iter().chain(owned).copied();
    candidates.find(|&address| address.is_ipv6() == settings.is_ipv6() && is_local(address) == local)
}
