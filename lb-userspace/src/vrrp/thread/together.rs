//! Sync groups, and what goes with an instance that goes.

use tracing::info;

use super::slot::Slot;
use super::state::{Owner, Runner};
use crate::vrrp::protocol::group::{self, Command, Member};
use crate::vrrp::protocol::machine::{Event, Standing, State};

/// One that was never started.
const IDLE: Standing = Standing { state: State::Initialize, held: false, keeps: false, stopping: false };

impl<O: Owner> Runner<O> {
    /// The instances that change state together with this one, itself among them.
    pub(super) fn group_of(&self, index: usize) -> Vec<usize> {
        let group = self.slots.get(&index).and_then(|slot| slot.settings.sync_group.as_ref());
        let Some(group) = group else { return vec![index] };
        let is_member = |slot: &Slot| slot.settings.sync_group.as_ref() == Some(group) && !slot.leaving;
        self.slots.iter().filter(|(_, slot)| is_member(slot)).map(|(&index, _)| index).collect()
    }

    /// Whether the instance's sync group, if it has one, may take part.
    pub(super) fn is_group_able(&self, index: usize) -> bool {
        self.slots.get(&index).is_none_or(|slot| slot.settings.sync_group.is_none())
            || group::is_able(&self.members(&self.group_of(index)))
    }

    /// Lets the rest of its sync group follow an instance that stood so before it took an event, if that moved it.
    pub(super) fn follow(&mut self, index: usize, before: Standing) {
        let Some(instance) = self.slots.get(&index).and_then(|slot| slot.instance.as_ref()) else { return };
        let now = instance.machine().standing();
        if now.held && !before.held {
            info!("vrrp.{}: could take over, and waits for its sync group", instance.settings().name);
        }
        if now != before {
            self.synchronize(index, before.state);
        }
        if now.state != before.state {
            self.note_released();
        }
    }

    /// Writes down which instances are released, if that has changed.
    pub(super) fn note_released(&mut self) {
        let is_released = |slot: &&Slot| {
            let yielded = slot.instance.as_ref().map(|instance| instance.machine().yielded());
            yielded.unwrap_or(slot.released) && !slot.leaving
        };
        let released = self.slots.values().filter(is_released).map(|slot| slot.settings.name.clone()).collect();
        if released != self.released {
            self.owner.note_released(&released);
            self.released = released;
        }
    }

    /// Lets the rest of its sync group follow an instance that was in the state `before`.
    fn synchronize(&mut self, index: usize, before: State) {
        let is_grouped = self.slots.get(&index).is_some_and(|slot| slot.settings.sync_group.is_some());
        if !is_grouped || self.shutting_down {
            return;
        }
        let group = self.group_of(index);
        let Some(changed) = group.iter().position(|&member| member == index) else { return };
        for (position, command) in group::follow(&self.members(&group), changed, before) {
            let Some(&member) = group.get(position) else { continue };
            match command {
                Command::Start if self.slots.get(&member).is_some_and(Slot::is_idle) => self.start(member),
                Command::Start => self.handle(member, Event::Start { holds_addresses: true }),
                Command::Stop => self.handle(member, Event::Stop),
                Command::Yield => self.handle(member, Event::Yield),
                Command::TakeOver => self.handle(member, Event::TakeOver),
            }
        }
    }

    /// Looks at every sync group: what keeps its members from taking part may have changed.
    pub(super) fn synchronize_all(&mut self) {
        let indices: Vec<usize> = self.slots.keys().copied().collect();
        for index in indices {
            let state = self.slots.get(&index).and_then(|slot| Some(slot.instance.as_ref()?.machine().state()));
            self.synchronize(index, state.unwrap_or(State::Initialize));
        }
    }

    fn members(&self, group: &[usize]) -> Vec<Member> {
        let member = |slot: &Slot| {
            let standing = slot.instance.as_ref().map(|instance| instance.machine().standing());
            Member {
                standing: standing.unwrap_or(IDLE),
                able: standing.is_some() && slot.wanted && slot.obstacle.is_none(),
            }
        };
        group.iter().filter_map(|index| self.slots.get(index)).map(member).collect()
    }

    /// Leaves nothing of an instance behind that is gone.
    pub(super) fn forget(&mut self, slot: &Slot) {
        if let Some(interface) = slot.interface {
            self.owner.forget(&slot.settings, interface);
        }
    }

    /// At the end: the instances whose VIPs were not left here are forgotten.
    pub(super) fn forget_idle(&mut self) {
        for slot in std::mem::take(&mut self.slots).into_values() {
            if !slot.keeps_addresses() {
                self.forget(&slot);
            }
        }
    }
}
