//! The virtual routers' addresses on this host: put there, taken off, and held against the kernel's own list.

use std::collections::BTreeSet;

use tracing::{error, warn};

use super::slot::Slot;
use super::state::{Owner, Runner};
use crate::vrrp::protocol::holding::{BAR, Placed};
use crate::vrrp::protocol::machine::{Action, Event, OWNER};

impl<O: Owner> Runner<O> {
    /// Where an instance's addresses belong: nowhere while its interface was never seen or its macvlan is gone.
    fn places(&self, slot: &Slot) -> Vec<Placed> {
        let Some(interface) = slot.interface else { return Vec::new() };
        self.owner.places(&slot.settings, interface).unwrap_or_default()
    }

    /// Whether an agent before this one left an instance's addresses, or some of them, on this host.
    pub(super) fn is_adopted(&self, slot: &Slot) -> bool {
        self.places(slot).iter().any(|placed| self.holdings.contains(placed))
    }

    /// Those of an instance's addresses that an agent before this one left here are this instance's.
    pub(super) fn keep_addresses(&mut self, index: usize) {
        let Some(slot) = self.slots.get(&index) else { return };
        for placed in self.places(slot) {
            if self.holdings.contains(&placed) {
                self.holdings.claim(placed, index);
            }
        }
    }

    /// Puts an instance's addresses where they belong. One that can't be put there is looked after by
    /// [`Self::mend`], which is due at once.
    pub(super) fn put_addresses(&mut self, index: usize) {
        let Some(slot) = self.slots.get(&index) else { return };
        let Some(interface) = slot.interface else { return };
        let settings = slot.settings.clone();
        let result =
            self.owner.switch(&settings, interface, true).and_then(|()| self.owner.places(&settings, interface));
        let mut failed = None;
        match result {
            Err(error) => failed = Some(error),
            Ok(places) => {
                self.note_intent(&places);
                for placed in places {
                    let is_ours = self.holdings.contains(&placed);
                    match self.owner.put(placed) {
                        Ok(is_new) if is_new || is_ours => self.holdings.claim(placed, index),
                        Ok(_) if settings.priority == OWNER => {}
                        Ok(_) => warn!(
                            "vrrp.{}: {} was on the interface before and is not the agent's: it stays there, whoever is \
                             master; remove it by hand",
                            settings.name, placed.address
                        ),
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        if let Some(error) = failed {
            error!("vrrp.{}: its addresses can't be added: {error}", settings.name);
            self.look_at(self.now());
        }
        self.note();
    }

    /// An instance's addresses are nobody's, but for those that it has and keeps.
    pub(super) fn disown_addresses(&mut self, index: usize, keeps: bool) {
        let Some(slot) = self.slots.get(&index) else { return };
        let kept = if keeps { self.places(slot).into_iter().collect() } else { BTreeSet::new() };
        self.holdings.disown(index, &kept);
        if !keeps && let Some(interface) = slot.interface {
            // Its macvlan first, so that nobody is answered for the addresses.
            if let Err(error) = self.owner.switch(&slot.settings, interface, false) {
                error!("vrrp.{}: its macvlan can't be set down: {error}", slot.settings.name);
            }
        }
    }

    /// Takes off what is nobody's.
    pub(super) fn sweep(&mut self) {
        for placed in self.holdings.orphans() {
            match self.owner.take(placed) {
                Ok(()) => self.holdings.forget(&placed),
                Err(error) => {
                    error!("{} can't be removed from interface {}: {error}", placed.address, placed.ifindex);
                    self.look_at(self.now() + super::watch::RETRY);
                }
            }
        }
        self.note();
    }

    /// Writes down what is about to be put, so that an agent which is killed in between leaves nothing that is nobody's.
    /// An address that is there before and isn't ours is not among it.
    fn note_intent(&mut self, places: &[Placed]) {
        let new = places.iter().copied().filter(|placed| !self.holdings.contains(placed) && !self.is_there(placed));
        let all: BTreeSet<Placed> = self.holdings.all().chain(new).collect();
        self.owner.note(&Vec::from_iter(all));
    }

    fn note(&mut self) {
        let all: Vec<Placed> = self.holdings.all().collect();
        self.owner.note(&all);
    }

    /// What the kernel doesn't have (any more) of what an agent before this one put there is forgotten.
    pub(super) fn forget_absent(&mut self) {
        for placed in self.holdings.orphans() {
            if !self.is_there(&placed) {
                self.holdings.forget(&placed);
            }
        }
    }

    fn is_there(&self, placed: &Placed) -> bool {
        let mut interfaces = self.interfaces.values();
        let interface = interfaces.find(|interface| interface.index == placed.ifindex);
        interface.is_some_and(|interface| interface.addresses.contains(&placed.address.addr()))
    }

    /// Puts back what an instance that is master has lost, or lets it give up: there is no master without its VIPs.
    pub(super) fn mend(&mut self, index: usize) {
        let Some(missing) = self.missing(index) else { return };
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&index) else { return };
        let name = slot.settings.name.clone();
        if !slot.losses.count(now) {
            let reason = format!(
                "{missing} is taken away again and again, by another program on this host (a network manager, a script, \
                 a second VRRP); keep it from that: {} is left to other directors for {}",
                name,
                humantime::format_duration(BAR)
            );
            slot.barred = Some((now + BAR, reason.clone()));
            warn!("vrrp.{name} takes no part: {reason}");
            slot.obstacle = Some(reason);
            self.handle(index, Event::Fault);
            self.look_at(now + BAR);
            return;
        }
        warn!(
            "vrrp.{name}: {missing} was taken away by another program on this host (a network manager?): it is put back"
        );
        self.perform(index, &mut vec![Action::AddAddresses, Action::Announce]);
        self.disown_addresses(index, true);
    }

    /// What a master lacks: an address, or what it is put on.
    fn missing(&self, index: usize) -> Option<String> {
        let slot = self.slots.get(&index).filter(|slot| slot.is_master())?;
        let interface = slot.interface?;
        let base = if slot.settings.virtual_mac { "its macvlan" } else { "the interface of its VIPs" };
        match self.owner.places(&slot.settings, interface) {
            Err(_) => Some(base.to_owned()),
            Ok(places) => {
                if let Some(lost) = places.iter().find(|placed| !self.is_there(placed)) {
                    return Some(lost.address.addr().to_string());
                }
                let is_up = |placed: &Placed| {
                    let mut interfaces = self.interfaces.values();
                    interfaces.any(|interface| interface.index == placed.ifindex && interface.up)
                };
                let is_down = slot.settings.tracks_link && places.iter().any(|placed| !is_up(placed));
                is_down.then(|| base.to_owned())
            }
        }
    }
}
