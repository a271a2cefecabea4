//! Who takes a packet: its slot's real, or whoever the flow table says.

use crate::environment::{Environment, Tables};
use crate::hash::{Hash, flow_hash, scale, source_hash};
use crate::ip::{Ip, Ports};
use crate::maps::{Director, NOBODY, Real, Service};
use crate::parse::{Network, Opens, Parsed};
use crate::recall::{Answer, Query, settle};
use crate::schedule::next_turn;
use crate::slot::Slot;
use crate::trace::Step;
use crate::verdict::Verdict;

/// A packet's real, and whether the packet counts as a new connection.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'e> {
    /// Its index in `real_stats`.
    pub(crate) counter: u32,
    /// Its entry, looked up once.
    pub(crate) real: &'e Real,
    pub(crate) connection: bool,
}

/// The real of a packet, whose service has this index in `services`.
#[inline(always)]
pub(crate) fn choose<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    (index, service): (u32, &Service),
    parsed: &Parsed,
) -> Result<Choice<'e>, Verdict> {
    let tables = environment.tables();
    let Network { client, vip, protocol, .. } = parsed.network;
    let flow = (client, vip, parsed.ports, protocol);
    let (slot, hash) = slot_of(tables, director, service, flow).ok_or_else(|| Verdict::NoReal.aside())?;
    tables.step(Step::Slot, [scale(hash, service.ring_size).into(), slot.word().into(), hash, 0]);
    let tracked = service.flags & Service::TRACKED != 0;
    // By itself, and so with the fewest comparisons: it is the way of most packets.
    if !tracked && slot.is_settled() && !is_sampled(hash) {
        let answer = Answer { number: slot.current, connection: parsed.is_opener() };
        return reach(tables, service, answer).ok_or_else(|| Verdict::NoReal.aside());
    }
    let (ports, opens) = (parsed.ports, parsed.opens());
    let alone = service.flags & Service::QUERY != 0 && opens == Opens::Unknown;
    let Answer { number, connection } = if !tracked && alone {
        Answer { number: slot.current, connection: false }
    } else if alone {
        Answer { number: next_turn(tables, service), connection: true }
    } else {
        let hash = own_hash(director, service, flow, hash);
        let query = Query::new((hash, client, ports), index, slot, opens).words();
        let answer = environment.recall(query);
        tables.step(Step::Answer, [answer.number.into(), answer.connection.into(), 0, 0]);
        if let Some(choice) = reach(tables, service, answer) {
            return Ok(choice);
        }
        let answer = settle(environment, query, answer);
        tables.step(Step::Answer, [answer.number.into(), answer.connection.into(), 0, 0]);
        answer
    };
    if number == NOBODY {
        return Err(unserved(service));
    }
    reach(tables, service, Answer { number, connection }).ok_or_else(|| Verdict::NoReal.aside())
}

/// The real of this answer, where frames may be sent to it.
#[inline(always)]
pub(crate) fn reach<'e, T: Tables>(tables: &'e T, service: &Service, answer: Answer) -> Option<Choice<'e>> {
    let number = u32::from(answer.number);
    let real = tables.real(service.reals.wrapping_add(number))?;
    let usable = real.flags & Real::USABLE != 0 && number < service.room && answer.number != NOBODY;
    let counter = service.counters.wrapping_add(number);
    tables.step(Step::Real, [service.reals.wrapping_add(number).into(), usable.into(), number.into(), 0]);
    usable.then_some(Choice { counter, real, connection: answer.connection })
}

/// A flow whose real is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The client's address.
    pub client: Ip,
    /// The client's port and the VIP's.
    pub ports: Ports,
    /// Index of the service in `services`.
    pub service: u32,
    /// What the packet says of its connection.
    pub opens: Opens,
}

impl Asked {
    /// As words.
    #[inline(always)]
    pub fn words(self) -> [u64; 4] {
        let ports_and_service = u64::from(self.ports.0) << 32 | u64::from(self.service);
        [self.client.start, self.client.end, ports_and_service, self.opens as u64]
    }

    /// From those.
    #[inline(always)]
    pub fn of([start, end, ports_and_service, opens]: [u64; 4]) -> Self {
        Self {
            client: Ip { start, end },
            ports: Ports((ports_and_service >> 32) as u32),
            service: ports_and_service as u32,
            opens: Opens::of(opens as u8),
        }
    }
}

/// The real of a flow, apart from the path of most packets; `recall` asks the flow table. Nobody's where there is no such service.
#[inline(always)]
pub(crate) fn owner<T: Tables>(tables: &T, asked: Asked, recall: impl FnOnce(Query) -> Answer) -> Answer {
    let nobody = Answer { number: NOBODY, connection: false };
    let (Some(director), Some(service)) = (tables.director(), tables.service(asked.service)) else { return nobody };
    let to = (Ip::from(service.key.address), service.key.protocol);
    answer(tables, director, service, to, asked, recall).unwrap_or(nobody)
}

/// The number of a flow's real; `None` where its ring has no such slot.
#[inline(always)]
fn answer<T: Tables>(
    tables: &T,
    director: &Director,
    service: &Service,
    (vip, protocol): (Ip, u8),
    Asked { client, ports, service: index, opens }: Asked,
    recall: impl FnOnce(Query) -> Answer,
) -> Option<Answer> {
    let flow = (client, vip, ports, protocol);
    let (slot, hash) = slot_of(tables, director, service, flow)?;
    let tracked = service.flags & Service::TRACKED != 0;
    let alone = service.flags & Service::QUERY != 0 && matches!(opens, Opens::Unknown | Opens::About);
    Some(if !tracked && (slot.is_settled() && !is_sampled(hash) || alone) {
        Answer { number: slot.current, connection: opens == Opens::Yes }
    } else if alone {
        Answer { number: next_turn(tables, service), connection: true }
    } else {
        let hash = own_hash(director, service, flow, hash);
        recall(Query::new((hash, client, ports), index, slot, opens))
    })
}

/// One flow of so many is remembered, though its slot says whose it is: so stateless services' connections are estimated.
pub const SAMPLE: u64 = 256;

/// Whether a stateless service's flow is one of those, by the hash that chose its slot (under `sh` all of a client's are).
#[inline(always)]
#[must_use]
pub const fn is_sampled(hash: Hash) -> bool {
    hash.is_multiple_of(SAMPLE)
}

/// The client, the VIP, the ports and the protocol.
type Flow = (Ip, Ip, Ports, u8);

/// A flow's slot, and the hash that chose it.
#[inline(always)]
pub(crate) fn slot_of<T: Tables>(
    tables: &T,
    director: &Director,
    service: &Service,
    flow: Flow,
) -> Option<(Slot, Hash)> {
    let (client, vip, ports, protocol) = flow;
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, client)
    } else {
        flow_hash(director.hash_seed, client, vip, ports, protocol)
    };
    let place = service.ring.wrapping_add(scale(hash, service.ring_size));
    Some((Slot::of(tables.slot(place)?), hash))
}

/// The flow's own hash, where `chosen` chose its slot.
#[inline(always)]
pub(crate) fn own_hash(
    director: &Director,
    service: &Service,
    (client, vip, ports, protocol): Flow,
    chosen: Hash,
) -> Hash {
    if service.flags & Service::BY_SOURCE == 0 {
        return chosen;
    }
    flow_hash(director.hash_seed, client, vip, ports, protocol)
}

/// The verdict of a packet whose service has nobody to take it. It is the same for every packet of a connection:
/// whoever answers the first has to see the others.
#[inline(always)]
pub(crate) fn unserved(service: &Service) -> Verdict {
    if service.flags & Service::UNDECIDED != 0 { Verdict::NoReal } else { Verdict::Refused }
}
