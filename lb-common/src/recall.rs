//! Who has a flow that its slot alone doesn't tell: the flow table is asked, and told what is new.
//!
//! It is apart from the rest of the path since in the kernel it is a function of its own (`lb-ebpf/src/recall.rs`), which the
//! verifier walks through once, not once for each way that leads to it. So all that goes in and out is words.

use crate::atomic::reread;
use crate::environment::Tables;
use crate::flow::{self, Flow, Inserted, Place, Seen, Stage};
use crate::hash::Hash;
use crate::ip::{Ip, Ports};
use crate::maps::{FlowKey, NOBODY, Real, Service};
use crate::parse::Opens;
use crate::schedule::{Change, next};
use crate::slot::{Slot, State};

/// What the flow table is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The flow's own hash, also where the client's address alone chooses the slot.
    pub hash: Hash,
    /// The client's address.
    pub client: Ip,
    /// The client's port and the VIP's.
    pub ports: Ports,
    /// Index of the service in `services`.
    pub service: u32,
    /// The flow's slot.
    pub slot: Slot,
    /// What the packet says of its connection.
    pub opens: Opens,
}

impl Query {
    /// As words.
    #[inline(always)]
    pub fn words(self) -> [u64; 5] {
        let ports_and_service = u64::from(self.ports.0) << 32 | u64::from(self.service);
        let slot_and_opens = u64::from(self.slot.word()) << 32 | self.opens as u64;
        [self.hash, self.client.start, self.client.end, ports_and_service, slot_and_opens]
    }

    /// From those.
    #[inline(always)]
    pub fn of(words: [u64; 5]) -> Self {
        let [hash, start, end, ports_and_service, slot_and_opens] = words;
        Self {
            hash,
            client: Ip { start, end },
            ports: Ports((ports_and_service >> 32) as u32),
            service: ports_and_service as u32,
            slot: Slot::of((slot_and_opens >> 32) as u32),
            opens: Opens::of(slot_and_opens as u8),
        }
    }
}

/// Who has the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The number of its real; nobody's, or one that no frames may be sent to, where there is none that could take it.
    pub number: u16,
    /// The packet counts as a new connection.
    pub connection: bool,
}

impl Answer {
    /// As a word.
    #[inline(always)]
    pub fn word(self) -> u64 {
        u64::from(self.connection) << 16 | u64::from(self.number)
    }

    /// From that.
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        Self { number: word as u16, connection: word >> 16 & 1 != 0 }
    }
}

/// The real of a packet whose flow the table may know.
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, query: Query) -> Answer {
    let Query { slot, opens, .. } = query;
    let nobody = Answer { number: NOBODY, connection: false };
    let (Some(director), Some(service)) = (tables.director(), tables.service(query.service)) else { return nobody };
    if service.flags & Service::QUERY != 0 && opens == Opens::Unknown {
        return Answer { number: next(tables, query.service, service), connection: true };
    }
    let place = Place::of(query.hash, director.flow_lines);
    let (Some(first), Some(second)) = (tables.flow_line(place.lines[0]), tables.flow_line(place.lines[1])) else {
        return nobody;
    };
    let now = tables.ticks(director.tick_shift);
    let found = flow::find(first, second, place.tag);
    let anew = found.is_some_and(|found| found.starts_anew(opens, now, &director.timeouts));
    let tracked = service.flags & Service::TRACKED != 0;
    let note_key = |at: Inserted| {
        let line = if at.second { place.lines[1] } else { place.lines[0] };
        tables.note_key(line, at.way, FlowKey::words(query.client, query.ports, service.id));
    };
    if let Some(found) = found
        && !anew
        && lives(tables, service, found.real())
    {
        match found.see(opens, now) {
            Seen::Opened if tracked => note_key(found.at()),
            Seen::Closed if counted(service) => tables.count_live(query.service, found.real(), Change::CLOSED),
            Seen::Opened | Seen::Closed | Seen::Same => {}
        }
        return Answer { number: found.real(), connection: false };
    }
    // A datagram of a session that isn't known may be in the midst of it: where the slot says whose it is, it is so.
    let opener = opens == Opens::Yes || anew || (opens == Opens::Unknown && tracked);
    let connection = opener && (tracked || opens == Opens::Yes);
    let moving = slot.state() == State::Moving;
    let chosen = if opener && tracked {
        next(tables, query.service, service)
    } else if opener || found.is_some() || !moving {
        slot.current
    } else {
        slot.base
    };
    if chosen != slot.current && !lives(tables, service, chosen) {
        // That real has died, and the agent hasn't said so yet: as if it weren't remembered.
        return Answer { number: slot.current, connection };
    }
    let flow = Flow { tag: place.tag, seen: now, stage: Stage::Opening, real: chosen };
    if let Some(found) = found {
        if lives(tables, service, chosen) && found.replace(flow) && counted(service) {
            tables.count_live(query.service, found.real(), found.gone(now));
            tables.count_live(query.service, chosen, Change::OPENED);
        }
        return Answer { number: chosen, connection };
    }
    // The last packets of an unknown connection are not worth an entry.
    if opens == Opens::Ends || !(moving || opener && tracked) || chosen == NOBODY {
        return Answer { number: chosen, connection };
    }
    match flow::insert(first, second, flow, &director.timeouts) {
        Some(at) => {
            // In a flood of connections that nothing follows, writing keys would cost as much as all the rest. Slots that
            // are to settle must know whose the flows are, and so must counts; nobody else asks before they are open.
            if !tracked || counted(service) {
                note_key(at);
            }
            if counted(service) {
                tables.count_live(query.service, chosen, Change::OPENED);
            }
            Answer { number: chosen, connection }
        }
        // Later packets will find nothing, and go by the slot: so must this one.
        None if opener => Answer { number: slot.owner(), connection },
        None => Answer { number: chosen, connection },
    }
}

/// Whether its live connections are counted. It is read anew each time, for the stack's sake.
#[inline(always)]
fn counted(service: &Service) -> bool {
    reread(service).flags & Service::COUNTED != 0
}

/// Whether frames may be sent to a real.
#[inline(always)]
fn lives<T: Tables>(tables: &T, service: &Service, number: u16) -> bool {
    number != NOBODY
        && u32::from(number) < service.room
        && tables.real(service.reals.wrapping_add(u32::from(number))).is_some_and(|real| real.flags & Real::USABLE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_all() {
        for opens in [Opens::Yes, Opens::No, Opens::Ends, Opens::Unknown] {
            let query = Query {
                hash: 0x0123_4567_89ab_cdef,
                client: Ip { start: 1 << 63, end: 5 },
                ports: Ports(0x9c40_0050),
                service: 0xfedc_ba98,
                slot: Slot { current: 0xffff, base: 3 },
                opens,
            };
            assert_eq!(Query::of(query.words()), query);
        }
        for connection in [false, true] {
            let answer = Answer { number: 0xfffe, connection };
            assert_eq!(Answer::of(answer.word()), answer);
        }
    }
}
