//! What the thread does when it is commanded.

use std::collections::HashMap;

use super::command::{Error, Request};
use super::slot::Slot;
use super::state::{Owner, Runner, UNREADY};
use crate::vrrp::protocol::holding::Losses;
use crate::vrrp::protocol::machine::{Action, Event, Time};
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::protocol::status::Status;
use crate::vrrp::protocol::weights::Standing;

impl<O: Owner> Runner<O> {
    pub(super) fn insert(&mut self, settings: Settings) -> usize {
        let slot = Slot {
            instance: None,
            obstacle: None,
            interface: None,
            told: None,
            losses: Losses::default(),
            barred: None,
            wanted: true,
            tracked: None,
            why: None,
            released: self.released.contains(&settings.name),
            leaving: false,
            settings,
        };
        let index = self.next_slot;
        self.slots.insert(index, slot);
        self.next_slot += 1;
        index
    }

    pub(super) fn obey_commands(&mut self) {
        while let Some((request, reply)) = self.inbox.next() {
            reply.send(self.obey(request));
        }
    }

    fn obey(&mut self, request: Request) -> Result<Vec<Status>, Error> {
        match request {
            Request::Status => return Ok(self.status()),
            Request::Event { instance, event } => {
                let index = self.find(&instance).ok_or(Error::Unknown(instance))?;
                for index in self.group_of(index) {
                    self.ask(index, event);
                }
                self.note_released();
            }
            Request::Stand { instance, standing, why } => {
                let index = self.find(&instance).ok_or(Error::Unknown(instance))?;
                self.stand(index, standing, why);
            }
            Request::Answered(instance) => {
                let index = self.find(&instance).ok_or(Error::Unknown(instance))?;
                self.handle(index, Event::Answered);
            }
            Request::Await(awaited) => self.set_awaited(awaited),
            Request::Reload(settings) => self.reload(settings)?,
            Request::ShutDown => {
                self.shutting_down = true;
                let indices: Vec<usize> = self.slots.keys().copied().collect();
                for index in indices {
                    self.handle(index, Event::Shutdown);
                }
            }
        }
        Ok(Vec::new())
    }

    /// See [`super::Handle::await_before_preemption`].
    pub fn set_awaited(&mut self, awaited: Option<String>) {
        let was_awaited = std::mem::replace(&mut self.awaited, awaited).is_some();
        if was_awaited && self.awaited.is_some() {
            return;
        }
        let (now, until) = (self.now(), self.unready_until());
        let instances = self.slots.values_mut().filter_map(|slot| slot.instance.as_mut());
        instances.for_each(|instance| instance.defer_preemption(now, until));
    }

    /// Until when an instance lets a master of lower priority be, from now on.
    pub(super) fn unready_until(&self) -> Option<Time> {
        self.awaited.as_ref().map(|_| self.now().saturating_add(UNREADY))
    }

    /// What an operator asks of an instance, whose interface may not be there yet.
    fn ask(&mut self, index: usize, event: Event) {
        if let Some(slot) = self.slots.get_mut(&index) {
            slot.released = event == Event::Release;
        }
        self.handle(index, event);
    }

    fn stand(&mut self, index: usize, standing: Standing, why: String) {
        let Some(slot) = self.slots.get_mut(&index).filter(|_| !self.shutting_down) else {
            return;
        };
        slot.why = Some(why);
        slot.wanted = standing != Standing::Out;
        let is_idle = slot.is_idle();
        let is_ready = slot.obstacle.is_none();
        match standing {
            Standing::Out => {
                self.handle(index, Event::Stop);
                self.synchronize_all();
            }
            Standing::Priority(priority) => {
                slot.tracked = Some(priority);
                self.handle(index, Event::Priority(priority));
                if self.group_of(index).len() > 1 {
                    self.synchronize_all();
                } else if is_idle && is_ready {
                    self.start(index);
                } else if !is_idle {
                    // Takes a hand-over back that nobody has followed yet.
                    self.handle(index, Event::Start { holds_addresses: true });
                }
            }
        }
    }

    /// An instance is who it is by its interface, family and router id: under another name, with other
    /// addresses or another priority it keeps its state.
    fn reload(&mut self, settings: Vec<Settings>) -> Result<(), Error> {
        check_all(&settings)?;
        self.reloading = true;
        let result = self.replace(settings);
        self.reloading = false;
        self.refresh();
        self.note_released();
        result
    }

    fn replace(&mut self, settings: Vec<Settings>) -> Result<(), Error> {
        let mut staying = Vec::new();
        for settings in settings {
            let mut slots = self.slots.iter();
            let found = slots.find(|(_, slot)| slot.settings.is_same_router(&settings));
            let kind = |settings: &Settings| (settings.version, settings.virtual_mac);
            let index = match found.map(|(&index, slot)| (index, kind(&slot.settings))) {
                Some((index, held)) if held == kind(&settings) => {
                    self.adapt(index, settings)?;
                    index
                }
                replaced => {
                    // Another version is another protocol, and another MAC another place for the VIPs: there is no
                    // keeping of its state.
                    if let Some((index, _)) = replaced {
                        self.handle(index, Event::Fault);
                        if let Some(slot) = self.slots.remove(&index) {
                            self.forget(&slot);
                        }
                    }
                    self.insert(settings)
                }
            };
            staying.push(index);
        }
        let gone = self.slots.keys().filter(|index| !staying.contains(index));
        for index in gone.copied().collect::<Vec<_>>() {
            self.handle(index, Event::Stop);
            if let Some(slot) = self.slots.get_mut(&index) {
                slot.leaving = true;
            }
        }
        Ok(())
    }

    /// Gives changed settings to an instance that stays, and to the host what follows from other addresses.
    fn adapt(&mut self, index: usize, settings: Settings) -> Result<(), Error> {
        let Some(slot) = self.slots.get_mut(&index) else {
            return Ok(());
        };
        if let Some(instance) = &mut slot.instance {
            let own = instance.own();
            let result = instance.reconfigure(settings.clone(), own);
            result.map_err(|error| Error::Settings(error.to_string()))?;
        }
        let old = std::mem::replace(&mut slot.settings, settings.clone());
        let (holds, is_master) = (slot.holds_addresses(), slot.is_master());
        let was_tracked = slot.tracked.is_some();
        if old.name != settings.name {
            // Tracking speaks of names: what it said of the old one, it takes back from nobody.
            (slot.wanted, slot.tracked, slot.why) = (true, None, None);
        }
        let is_tracked = slot.tracked.is_some();
        if std::mem::take(&mut slot.leaving) {
            self.handle(index, Event::Start { holds_addresses: holds });
        }
        if (was_tracked || old.priority != settings.priority) && !is_tracked {
            self.handle(index, Event::Priority(settings.priority));
        }
        // Whether its backups forward may have changed.
        self.perform(index, &mut vec![Action::Gate(holds)]);
        if holds && (&old.addresses, &old.elsewhere) != (&settings.addresses, &settings.elsewhere) {
            let mut actions = if is_master { vec![Action::AddAddresses, Action::Announce] } else { Vec::new() };
            self.perform(index, &mut actions);
            self.disown_addresses(index, true);
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        let mut slots = self.slots.iter();
        slots.find(|(_, slot)| slot.settings.name == name && !slot.leaving).map(|(&index, _)| index)
    }

    fn status(&self) -> Vec<Status> {
        let now = self.now();
        let strangers = |slot: &Slot| {
            let port = self.ports.get(&slot.settings.port());
            port.map_or(0, |port| port.refused.total())
        };
        let awaits = |slot: &Slot| {
            let waits = slot.instance.as_ref().is_some_and(|instance| instance.machine().defers_preemption(now));
            self.awaited.clone().filter(|_| waits)
        };
        let status = |slot| Status { strangers: strangers(slot), awaits: awaits(slot), ..slot.status(now) };
        self.slots.values().map(status).collect()
    }
}

/// Checks each of the settings, and that no two are the same router.
pub(super) fn check_all(settings: &[Settings]) -> Result<(), Error> {
    let mut routers = HashMap::new();
    for one in settings {
        let wrong = |what: String| Error::Settings(format!("vrrp.{}: {what}", one.name));
        one.acceptance().map_err(|error| wrong(error.to_string()))?;
        if let Some(other) = routers.insert((one.port(), one.router), &one.name) {
            let (id, interface) = (one.router, &one.interface);
            return Err(wrong(format!("id {id} on {interface} is vrrp.{other}'s already: choose another")));
        }
    }
    Ok(())
}
