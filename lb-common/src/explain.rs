//! Who would take a flow's packet, and what decides it: the packet path's own functions, for people who ask. It is the
//! tables' business that nothing changes by the question.

use crate::environment::{Environment, Tables};
use crate::flow::{self, Flow, Place};
use crate::hash::scale;
use crate::ip::Ip;
use crate::maps::{NOBODY, Port, Real, ReturnKey, Service, Vip, VipKey, VirtualMac, VirtualMacKey};
use crate::packet::Packet;
use crate::persist::{asked as asked_of, persist};
use crate::recall::{Query, recall, settle};
use crate::select::{Asked, is_sampled, own_hash, owner, reach, slot_of, unserved};
use crate::slot::Slot;
use crate::verdict::Verdict;

/// What decides where a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// Its slot, counted from its ring's first.
    pub place: u32,
    /// That slot's word.
    pub slot: Slot,
    /// What the flow table holds of it; of a service whose settled slots say it all, it isn't asked.
    pub remembered: Option<Flow>,
    /// Its client's last connections went to that real: a new one goes there, too.
    pub persistent: bool,
    /// The number of the real that takes its packet, or what becomes of one that nobody takes.
    pub real: Result<u16, Verdict>,
}

/// Explains where a packet of a flow goes; `None` where there is no such service.
#[must_use]
pub fn explain<T: Tables>(tables: &T, asked: Asked) -> Option<Explained> {
    let (director, service) = (tables.director()?, tables.service(asked.service)?);
    let flow = (asked.client, Ip::from(service.key.address), asked.ports, service.key.protocol);
    let (slot, hash) = slot_of(tables, director, service, flow)?;
    let place = scale(hash, service.ring_size);
    let tracked = service.flags & Service::TRACKED != 0;
    let remembered = if tracked || !slot.is_settled() || is_sampled(hash) {
        let held = Place::of(own_hash(director, service, flow, hash), director.flow_lines);
        held.lines.into_iter().find_map(|line| flow::held(tables.flow_line(line)?, held.tag))
    } else {
        None
    };
    let mut persistent = false;
    // As `select::choose` has it.
    let answer = owner(tables, asked, |query| {
        let words = query.words();
        persistent = service.flags & Service::PERSISTENT != 0 && persist(tables, asked_of(words)) != Query::UNCHOSEN;
        let answer = recall(tables, words);
        if reach(tables, service, answer).is_some() { answer } else { settle(&Alone(tables), words, answer) }
    });
    let real = match reach(tables, service, answer) {
        Some(_) => Ok(answer.number),
        None if answer.number == NOBODY => Err(unserved(service)),
        None => Err(Verdict::NoReal),
    };
    Some(Explained { place, slot, remembered, persistent, real })
}

/// An environment without a frame.
struct Alone<'t, T>(&'t T);

impl<T: Tables> Environment for Alone<'_, T> {
    type Tables = T;

    fn tables(&self) -> &T {
        self.0
    }

    fn port(&self) -> Option<&Port> {
        None
    }

    fn vip(&self, _: &VipKey) -> Option<Vip> {
        None
    }

    fn returns(&self, _: &ReturnKey) -> bool {
        false
    }

    fn virtual_mac(&self, _: &VirtualMacKey) -> Option<VirtualMac> {
        None
    }

    fn gate_is_closed(&self, _: u32) -> bool {
        false
    }

    fn count(&self, _: u32, _: u32, _: u64, _: bool) {}

    fn redirect(&self, _: &Real) -> Result<(), Verdict> {
        Err(Verdict::NoDevice)
    }

    fn move_start<'a>(&self, _: Packet<'a>, _: i32) -> Option<Packet<'a>> {
        None
    }
}
