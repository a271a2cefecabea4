//! Who has a flow that its slot alone doesn't tell: the flow table is asked, and told what is new.
//!
//! It is apart from the rest of the path since in the kernel it is a function of its own (`lb-ebpf/src/recall.rs`), which the
//! verifier walks through once, not once for each way that leads to it. So all that goes in and out is words.

use crate::atomic::{opaque, reread};
use crate::environment::{Environment, Tables};
use crate::flow::{self, Flow, Inserted, Place, Stage};
use crate::hash::Hash;
use crate::ip::{Ip, Ports};
use crate::maps::{FlowKey, NOBODY, Real, Service};
use crate::parse::Opens;
use crate::persist;
use crate::schedule::{Change, next};
use crate::slot::{Slot, State};
use crate::trace::Step;

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
    /// Asked again, since the remembered real turned out to be dead. Mostly it lives, and whoever asks looks it up anyway.
    pub again: bool,
    /// Who is to take a connection that nobody has yet: [`Query::UNCHOSEN`], or whoever was chosen after [`Answer::CHOOSE`].
    pub choice: u16,
}

/// Bit of a query's last word: `again`.
const AGAIN: u64 = 1 << 8;
/// Where `choice` starts in it.
const CHOICE: u32 = 16;
/// Bit of `opens` that `No` and `Unknown` have.
const GOES_ON: u8 = 1;
const _: () = assert!(Opens::No as u8 & Opens::Unknown as u8 & GOES_ON != 0);
const _: () = assert!((Opens::Yes as u8 | Opens::Ends as u8) & GOES_ON == 0);

impl Query {
    /// No number of a real.
    pub const UNCHOSEN: u16 = u16::MAX;

    /// Of a flow's hash, client and ports, when it is asked for first.
    #[inline(always)]
    pub fn new((hash, client, ports): (Hash, Ip, Ports), service: u32, slot: Slot, opens: Opens) -> Self {
        Self { hash, client, ports, service, slot, opens, again: false, choice: Self::UNCHOSEN }
    }

    /// The words of the same query, asked again.
    #[inline(always)]
    pub fn again(words: [u64; 5]) -> [u64; 5] {
        let [hash, start, end, ports_and_service, slot_and_opens] = words;
        [hash, start, end, ports_and_service, slot_and_opens | AGAIN]
    }

    /// The words of the same query with a choice. Another CPU may have remembered the flow since: then that is looked at again.
    #[inline(always)]
    pub fn chosen(words: [u64; 5], number: u16) -> [u64; 5] {
        let [hash, start, end, ports_and_service, slot_and_opens] = words;
        let others = slot_and_opens & !(u64::from(u16::MAX) << CHOICE);
        [hash, start, end, ports_and_service, others | AGAIN | u64::from(number) << CHOICE]
    }

    /// The index of the service that these words name.
    #[inline(always)]
    pub(crate) fn service([_, _, _, ports_and_service, _]: [u64; 5]) -> u32 {
        ports_and_service as u32
    }

    /// As words.
    #[inline(always)]
    pub fn words(self) -> [u64; 5] {
        let ports_and_service = u64::from(self.ports.0) << 32 | u64::from(self.service);
        let again = if self.again { AGAIN } else { 0 };
        let choice = u64::from(self.choice) << CHOICE;
        let slot_and_opens = u64::from(self.slot.word()) << 32 | choice | again | self.opens as u64;
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
            again: slot_and_opens & AGAIN != 0,
            choice: (slot_and_opens >> CHOICE) as u16,
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
    /// It is a new connection, and its service's scheduler is to be asked first who takes it: see [`settle`].
    pub const CHOOSE: Self = Self { number: u16::MAX, connection: true };

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

/// What is to be asked after an answer that no frame can go by: again where the real is dead, and the scheduler where it is to
/// choose. The caller asks it, not [`recall`]: functions that call one another share a stack of 512 bytes.
#[inline(always)]
pub fn settle<E: Environment>(environment: &E, words: [u64; 5], answer: Answer) -> Answer {
    // A new connection has had its turn.
    let answer = if answer.connection { answer } else { environment.recall(Query::again(words)) };
    if answer != Answer::CHOOSE {
        return answer;
    }
    environment.recall(Query::chosen(words, persist::choose(environment, words)))
}

/// The real of a packet whose flow the table may know, by the words of a [`Query`]. A remembered one may be dead, and a new one
/// may not be chosen yet: see [`settle`].
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, words: [u64; 5]) -> Answer {
    let [hash, start, end, ports_and_service, slot_and_opens] = words;
    let nobody = Answer { number: NOBODY, connection: false };
    let Some(director) = tables.director() else { return nobody };
    let place = Place::of(hash, director.flow_lines);
    let Some(first) = tables.flow_line(place.lines[0]) else { return nobody };
    let now = tables.ticks(director.tick_shift);
    let in_first = flow::find(first, place.tag, false);
    tables.step(Step::Table, [in_first.is_there().into(), in_first.real().into(), 0, 0]);
    // Most packets neither open nor end anything, and aren't the first of their tick.
    if slot_and_opens & (AGAIN | u64::from(GOES_ON)) == u64::from(GOES_ON) && in_first.is_steady(now) {
        return Answer { number: in_first.real(), connection: false };
    }
    // Nothing of the rest is computed before this.
    let query = Query::of([hash, start, end, ports_and_service, opaque(slot_and_opens)]);
    let Query { slot, opens, .. } = query;
    let (mut second, mut found) = (first, in_first);
    if !found.is_there() {
        let Some(line) = tables.flow_line(place.lines[1]) else { return nobody };
        (second, found) = (line, flow::find(line, place.tag, true));
        tables.step(Step::Table, [found.is_there().into(), found.real().into(), 0, 0]);
    }
    let anew = found.is_there() && found.starts_anew(opens, now, &director.timeouts);
    let note_key = |at: Inserted, service: &Service| {
        let line = if at.second { place.lines[1] } else { place.lines[0] };
        tables.note_key(line, at.way, FlowKey::words(query.client, query.ports, service.id));
    };
    if found.is_there() && !anew && !query.again {
        // Also where the service isn't tracked any more.
        if opens != Opens::About {
            let seen = found.see(opens, now);
            if (seen.followed || seen.closed)
                && let Some(service) = tables.service(query.service)
            {
                if seen.followed {
                    note_key(found.at(), service);
                }
                if seen.closed && counted(service) {
                    tables.count_live(query.service, found.real(), Change::CLOSED);
                }
            }
        }
        return Answer { number: found.real(), connection: false };
    }
    let Some(service) = tables.service(query.service) else { return nobody };
    if found.is_there() && !anew && lives(tables, service, found.real()) {
        return Answer { number: found.real(), connection: false };
    }
    let tracked = service.flags & Service::TRACKED != 0;
    // A datagram of a session that isn't known may be in the midst of it: where the slot says whose it is, it is so.
    let opener = opens == Opens::Yes || anew || (opens == Opens::Unknown && tracked);
    let connection = opener && (tracked || opens == Opens::Yes);
    let moving = slot.state() == State::Moving;
    let chosen = if opener && tracked {
        let chosen = if query.choice == Query::UNCHOSEN { next(tables, service) } else { query.choice };
        if chosen == Answer::CHOOSE.number {
            return Answer::CHOOSE;
        }
        chosen
    } else if opener || found.is_there() || !moving {
        slot.current
    } else {
        slot.base
    };
    if chosen != slot.current && !lives(tables, service, chosen) {
        // That real has died, and the agent hasn't said so yet: as if it weren't remembered.
        return Answer { number: slot.current, connection };
    }
    if opens == Opens::About {
        return Answer { number: chosen, connection };
    }
    let flow = Flow { tag: place.tag, seen: now, stage: Stage::Opening, real: chosen };
    if found.is_there() {
        if lives(tables, service, chosen) && found.replace(flow) && counted(service) {
            tables.count_live(query.service, found.real(), found.gone(now));
            tables.count_live(query.service, chosen, Change::OPENED);
        }
        return Answer { number: chosen, connection };
    }
    // One of a sample, in a slot that says whose it is: a flood of openers leaves no trace there.
    let sampled = !opener && !tracked && slot.is_settled();
    // The last packets of an unknown connection are not worth an entry.
    if opens == Opens::Ends || !(moving || sampled || opener && tracked) || chosen == NOBODY {
        return Answer { number: chosen, connection };
    }
    match flow::insert(first, second, flow, &director.timeouts) {
        Some(at) => {
            // In a flood of connections that nothing follows, writing keys would cost as much as all the rest. Slots that
            // are to settle must know whose the flows are, and one that has been open before isn't over soon; so must counts;
            // nobody else asks before they are open.
            if !(tracked && opener) || counted(service) {
                note_key(at, service);
            }
            if counted(service) {
                tables.count_live(query.service, chosen, Change::OPENED);
            }
            Answer { number: chosen, connection }
        }
        // Later packets will find nothing, and go by the slot: so must this one.
        None if opener && lives(tables, service, slot.owner()) => Answer { number: slot.owner(), connection },
        None if opener => Answer { number: slot.current, connection },
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
pub(crate) fn lives<T: Tables>(tables: &T, service: &Service, number: u16) -> bool {
    number != NOBODY
        && u32::from(number) < service.room
        && tables.real(service.reals.wrapping_add(u32::from(number))).is_some_and(|real| real.flags & Real::USABLE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_all() {
        for opens in [Opens::Yes, Opens::No, Opens::Ends, Opens::Unknown, Opens::About] {
            let query = Query {
                hash: 0x0123_4567_89ab_cdef,
                client: Ip { start: 1 << 63, end: 5 },
                ports: Ports(0x9c40_0050),
                service: 0xfedc_ba98,
                slot: Slot { current: 0xffff, base: 3 },
                opens,
                again: opens == Opens::No,
                choice: if opens == Opens::Yes { 7 } else { Query::UNCHOSEN },
            };
            assert_eq!(Query::of(query.words()), query);
            let chosen = Query { again: true, choice: 9, ..query };
            assert_eq!(Query::of(Query::chosen(query.words(), 9)), chosen);
        }
        for connection in [false, true] {
            let answer = Answer { number: 0xfffe, connection };
            assert_eq!(Answer::of(answer.word()), answer);
        }
    }
}
