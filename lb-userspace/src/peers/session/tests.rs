use std::time::Duration;

use super::model::{Table, flow, member, real, service};
use super::outgoing::BOUND;
use super::{ANSWER, BULK, FLUSH, Fault, PING, SILENCE, Session, State, Time};
use crate::peers::differences::{Difference, Differences};
use crate::peers::ours::Ours;
use crate::peers::state::{Change, Kind, Offer, ServiceId, Slot, Stage, Told};
use crate::peers::wire::flow::{Entry, Records};
use crate::peers::wire::{Counts, Greeting, Message, Service, Slots, VERSIONS};

struct Side {
    session: Session,
    ours: Ours,
    table: Table,
    differences: Differences,
}

impl Side {
    fn new(instance: u64) -> Self {
        Self {
            session: Session::new(Time::ZERO, Greeting::new(instance, 1), false),
            ours: Ours::default(),
            table: Table::default(),
            differences: Differences::default(),
        }
    }

    fn tell(&mut self, now: Time, change: &Change) {
        self.ours.apply(change);
        self.session.change(now, change, &self.ours, &mut self.differences);
    }

    fn hear(&mut self, now: Time, bytes: &[u8]) -> Result<Vec<Told>, Fault> {
        let mut told = Vec::new();
        self.session.receive(now, bytes, &self.ours, &mut self.differences, &mut told).map(|()| told)
    }

    fn says(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            while self.session.is_filling() {
                self.session.fill(&self.ours, &self.table);
            }
            match self.session.transmit() {
                Some(bytes) => all.push(Message::parse(&bytes).unwrap()),
                None => return all,
            }
        }
    }

    /// One that was greeted by a peer, and has said all.
    fn greeted() -> Self {
        let mut side = Self::new(1);
        side.tell(Time::ZERO, &offer(0, true, 1));
        side.session.transmit().unwrap();
        side.hear(Time::ZERO, &Greeting::new(2, 1).encode()).unwrap();
        side.says();
        side
    }
}

fn offer(n: usize, serving: bool, weight: u32) -> Change {
    let service = service(n);
    Change::Service(service, Offer { kind: Kind::Tracked, serving, configured: vec![(real(service, 1), weight)] })
}

fn named(number: u16, n: usize) -> Message {
    Message::Services(vec![Service::new(number, service(n), Kind::Tracked, true, 7)])
}

fn slots(slots: Slots) -> Message {
    Message::Slots(slots)
}

#[test]
fn bulk_has_everything_and_deltas_follow() {
    let mut side = Side::new(1);
    let web = service(0);
    side.tell(Time::ZERO, &offer(0, true, 1));
    side.tell(Time::ZERO, &offer(1, false, 1));
    side.tell(Time::ZERO, &Change::Members(vec![web], vec![member(web, 1, 1)]));
    side.tell(Time::ZERO, &Change::Members(vec![service(1)], vec![member(service(1), 1, 1)]));
    side.table.set(&flow(web, 1, 1, Stage::Open));
    side.table.set(&flow(service(1), 1, 1, Stage::Open));
    assert_eq!(side.session.state(), State::Greeting);
    assert!(Greeting::parse(&side.session.transmit().unwrap()).is_ok());
    assert!(side.says().is_empty(), "nothing goes to a peer that has not greeted");
    assert_eq!(side.hear(Time::ZERO, &Greeting::new(2, 1).encode()), Ok(vec![Told::Begin]));
    let said = side.says();
    let counts = Counts { services: 2, members: 1, slots: 0, flows: 1 };
    assert!(
        matches!(
            said.as_slice(),
            [Message::Begin, Message::Services(_), Message::Members { .. }, Message::Flows(_), Message::End(told)]
            if *told == counts
        ),
        "{said:?}"
    );
    assert_eq!(side.session.state(), State::Bulk);

    // Connections wait for others, everything else goes at once and not before them.
    let now = PING / 2;
    side.tell(now, &Change::Flows(vec![flow(web, 2, 1, Stage::Open), flow(service(1), 2, 1, Stage::Open)]));
    assert_eq!((side.says(), side.session.deadline()), (vec![], now + FLUSH));
    side.session.tick(now + FLUSH).unwrap();
    assert!(matches!(side.says().as_slice(), [Message::Flows(flows)] if flows.len() == 1));
    side.tell(now, &Change::Flows(vec![flow(web, 2, 1, Stage::Closed)]));
    side.tell(now, &Change::Members(vec![web], vec![]));
    assert!(matches!(side.says().as_slice(), [Message::Flows(_), Message::Members { .. }]));
    side.tell(now, &Change::Members(vec![service(1)], vec![]));
    assert_eq!(side.says(), [], "it isn't served here");

    // What begins to be served is told whole, what was served before isn't.
    side.tell(now, &offer(1, true, 1));
    assert!(matches!(
        side.says().as_slice(),
        [Message::Services(_), Message::Members { .. }, Message::Flows(flows)] if flows.len() == 1
    ));
    side.tell(now, &offer(1, true, 2));
    assert!(matches!(side.says().as_slice(), [Message::Services(_)]));

    // An answer comes behind all that was told before, and that is still to be read.
    side.tell(now, &Change::Flows(vec![flow(web, 2, 1, Stage::Open)]));
    side.tell(now, &Change::Answer(7));
    assert!(matches!(side.says().as_slice(), [Message::Flows(_), Message::Answer(7)]));
    side.tell(now, &offer(1, false, 2));
    side.tell(now, &offer(1, true, 2));
    side.tell(now, &Change::Answer(8));
    assert!(matches!(side.says().as_slice(), [.., Message::Flows(_), Message::Answer(8)]));
    side.tell(now, &Change::Gone(web));
    assert_eq!(side.says(), [Message::Gone(0)]);
}

#[test]
fn what_is_told_before_a_vip_is_given_up_goes_out() {
    let mut side = Side::greeted();
    let web = service(0);
    // The connection hears of both when this director has already given up.
    let flows = Change::Flows(vec![flow(web, 1, 1, Stage::Open)]);
    let end = offer(0, false, 1);
    side.ours.apply(&end);
    side.session.change(Time::ZERO, &flows, &side.ours, &mut side.differences);
    side.session.change(Time::ZERO, &end, &side.ours, &mut side.differences);
    side.session.change(Time::ZERO, &flows, &side.ours, &mut side.differences);
    side.session.tick(FLUSH).unwrap();
    assert!(matches!(side.says().as_slice(), [Message::Flows(flows), Message::Services(_)] if flows.len() == 1));
}

#[test]
fn who_cannot_be_talked_to() {
    let (_, newest) = VERSIONS;
    let good = Greeting::new(2, 1);
    let rows = [
        (Greeting { oldest: newest + 1, newest: newest + 3, ..good }, "speaks versions 4 to 6"),
        (Greeting { oldest: 0, newest: 0, ..good }, "speaks versions 0 to 0"),
        (Greeting::new(1, 1), "is this director itself"),
    ];
    for (greeting, expected) in rows {
        let fault = Side::new(1).hear(Time::ZERO, &greeting.encode()).unwrap_err();
        assert!(fault.to_string().contains(expected) && fault.is_lasting(), "{fault}");
    }
    assert_eq!(Side::new(1).hear(Time::ZERO, b"GET / HTTP/1.1\r\n"), Err(Fault::Lie("no greeting")));
    let later = Greeting { newest: newest + 9, ..good };
    assert!(Side::new(1).hear(Time::ZERO, &later.encode()).is_ok());
}

#[test]
fn lies_end_the_session() {
    let v4 = |last| [192, 0, 2, last].into();
    let v6 = real(service(1), 1);
    let words = |words: Vec<(u32, u16, u16)>| Slots {
        services: vec![0],
        ring_size: 7,
        whole: true,
        reals: vec![v4(40)],
        words,
    };
    let entry = Entry { service: 0, client: (v4(9), 1), port: 80, real: v4(40), stage: Stage::Open, age: 0 };
    let flows = |entry: Entry| {
        let mut records = Records::new(entry.real.is_ipv6());
        assert!(records.push(&entry));
        Message::Flows(records)
    };
    let idle = || Message::Services(vec![Service::new(0, service(0), Kind::Tracked, false, 7)]);
    let rows = [
        (vec![named(0, 0)], "something before its bulk"),
        (vec![Message::Begin, Message::Begin], "a second bulk"),
        (vec![Message::Begin, Message::Gone(0)], "the end of a service that it never named"),
        (vec![Message::Begin, Message::Gone(u16::MAX)], "the end of a service that it never named"),
        (vec![Message::Begin, Message::End(Counts { flows: 1, ..Counts::default() })], "other numbers"),
        (vec![Message::Begin, named(0, 0), Message::End(Counts::default())], "other numbers"),
        (vec![Message::Begin, Message::End(Counts::default()), Message::End(Counts::default())], "other numbers"),
        (vec![Message::Begin, named(0, 0), named(0, 1)], "a number for two services"),
        (vec![Message::Begin, flows(entry)], "a service that it never named"),
        (vec![Message::Begin, named(0, 0), Message::Gone(0), flows(entry)], "a service that it never named"),
        (vec![Message::Begin, named(0, 0), flows(Entry { client: (v6, 1), real: v6, ..entry })], "another family"),
        (vec![Message::Begin, named(0, 0), flows(Entry { port: 81, ..entry })], "a port that its service hasn't"),
        (vec![Message::Begin, named(0, 0), slots(words(vec![(7, 1, 1)]))], "a slot beyond its ring"),
        (vec![Message::Begin, named(0, 0), slots(words(vec![(6, 1, 2)]))], "a real that it never named"),
        (vec![Message::Begin, named(0, 0), slots(Slots { ring_size: 0, ..words(vec![]) })], "a ring of a size"),
        (vec![Message::Begin, named(0, 0), slots(Slots { ring_size: 1 << 21, ..words(vec![]) })], "a ring of a size"),
        (vec![Message::Begin, named(0, 0), slots(Slots { reals: vec![v6], ..words(vec![]) })], "another family"),
        (vec![Message::Begin, slots(words(vec![]))], "a service that it never named"),
        (
            vec![
                Message::Begin,
                named(0, 0),
                Message::Members { services: vec![0], more: false, members: vec![member(service(1), 1, 1)] },
            ],
            "another family",
        ),
        (
            vec![
                Message::Begin,
                named(0, 0),
                named(1, 2),
                Message::Members { services: vec![0], more: true, members: vec![] },
                Message::Members { services: vec![1], more: false, members: vec![] },
            ],
            "a list of reals without its end",
        ),
        (vec![Message::Begin, slots(Slots { services: vec![], ..words(vec![]) })], "of no services"),
        (vec![Message::Begin, named(0, 0), slots(Slots { services: vec![0, 0], ..words(vec![]) })], "of some twice"),
        (
            vec![Message::Begin, named(0, 0), named(1, 1), slots(Slots { services: vec![0, 1], ..words(vec![]) })],
            "another family",
        ),
        (vec![Message::Begin, Message::Pong(0)], "a ping that wasn't sent"),
        (vec![Message::Begin, named(0, 0), named(1, 0)], "two numbers for a service"),
        (vec![Message::Begin, named(0, 0), idle(), flows(entry)], "a service that it doesn't serve"),
        (vec![Message::Begin, idle(), slots(words(vec![]))], "a service that it doesn't serve"),
        (
            vec![Message::Begin, idle(), Message::Members { services: vec![0], more: false, members: vec![] }],
            "a service that it doesn't serve",
        ),
    ];
    for (messages, expected) in rows {
        let mut side = Side::greeted();
        let (last, first) = messages.split_last().unwrap();
        for message in first {
            side.hear(Time::ZERO, &message.encode()).unwrap();
        }
        let fault = side.hear(Time::ZERO, &last.encode()).unwrap_err();
        assert!(fault.to_string().contains(expected) && fault.is_lasting(), "{expected}: {fault}");
    }
    let fault = Side::greeted().hear(Time::ZERO, &[0x77; 9]).unwrap_err();
    assert_eq!(fault.to_string(), "sent bytes that are no message; its connection was cut");
}

#[test]
fn an_endless_list_of_reals_is_cut() {
    let mut side = Side::greeted();
    side.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    side.hear(Time::ZERO, &named(0, 0).encode()).unwrap();
    let part =
        Message::Members { services: vec![0], more: true, members: vec![member(service(0), 1, 1); 2000] }.encode();
    let taken = (0..100).take_while(|_| side.hear(Time::ZERO, &part).is_ok()).count();
    assert_eq!(taken, 32);
}

#[test]
fn bulk_without_end_is_cut() {
    let mut side = Side::greeted();
    side.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    side.hear(Time::ZERO, &named(0, 0).encode()).unwrap();
    let list = Message::Members { services: vec![0], more: false, members: vec![member(service(0), 1, 1)] }.encode();
    let mut now = Time::ZERO;
    let fault = loop {
        // It hears and answers, and goes on and on.
        for message in side.says() {
            if let Message::Ping(at) = message {
                side.hear(now, &Message::Pong(at).encode()).unwrap();
            }
        }
        side.hear(now, &list).unwrap();
        now = side.session.deadline().max(now + FLUSH);
        if let Err(fault) = side.session.tick(now) {
            break fault;
        }
    };
    assert_eq!((now, fault.is_lasting()), (BULK, true));
    assert_eq!(fault.to_string(), "has not told everything within 10 min; its connection was cut");
    // Whoever has told everything may go on for ever.
    let mut side = Side::greeted();
    side.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    side.hear(BULK, &Message::End(Counts::default()).encode()).unwrap();
    assert_eq!(side.session.tick(BULK), Ok(()));
}

#[test]
fn small_answers_that_nobody_takes_are_bounded_too() {
    let mut side = Side::greeted();
    let mut asked = 0;
    while side.session.tick(Time::ZERO).is_ok() {
        side.hear(Time::ZERO, &Message::Ping(1).encode()).unwrap();
        asked += 1;
    }
    // Each takes some memory beside its two bytes.
    assert!(asked * 64 < BOUND + 1000, "{asked}");
}

#[test]
fn long_lists_are_told_in_parts() {
    let mut side = Side::greeted();
    let mut other = Side::greeted();
    let web = service(0);
    let members: Vec<_> = (0..6001).map(|n| member(web, (n % 100) as u8, n)).collect();
    let words: Vec<_> = (0..8000)
        .map(|slot| Slot { slot, current: Some([10, 0, (slot >> 8) as u8, slot as u8].into()), base: None })
        .collect();
    other.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    other.hear(Time::ZERO, &named(0, 0).encode()).unwrap();
    side.tell(Time::ZERO, &Change::Members(vec![web], members.clone()));
    side.tell(Time::ZERO, &Change::Slots { services: vec![web], ring_size: 8009, whole: true, slots: words.clone() });
    let mut told = Vec::new();
    while let Some(bytes) = side.session.transmit() {
        told.extend(other.hear(Time::ZERO, &bytes).unwrap());
    }
    assert_eq!(told.remove(0), Told::Members(vec![web], members));
    let mut heard = Vec::new();
    for (n, told) in told.into_iter().enumerate() {
        let Told::Slots { ring_size: 8009, whole, slots, .. } = told else { panic!("{told:?}") };
        assert_eq!(whole, n == 0);
        heard.extend(slots);
    }
    assert_eq!(heard, words);
}

#[test]
fn what_services_have_in_common_is_told_once() {
    const SIZE: u32 = 65537;
    let id = |n: u32| ServiceId { vip: n.to_be_bytes().into(), ..service(0) };
    // Every other one is served here.
    let services: Vec<_> = (0..1000).map(id).collect();
    let mut side = Side::new(1);
    for (n, service) in services.iter().enumerate() {
        let offer = Offer { kind: Kind::Stateless, serving: n % 2 == 0, configured: vec![] };
        side.tell(Time::ZERO, &Change::Service(*service, offer));
    }
    let slots = |whole, slots: std::ops::Range<u32>, base| Change::Slots {
        services: services.clone(),
        ring_size: SIZE,
        whole,
        slots: slots.map(|slot| Slot { slot, current: Some([10, 0, 0, 1].into()), base }).collect(),
    };
    side.tell(Time::ZERO, &Change::Members(services.clone(), vec![member(id(0), 1, 1)]));
    side.tell(Time::ZERO, &slots(true, 0..SIZE, None));
    side.session.transmit().unwrap();
    side.hear(Time::ZERO, &Greeting::new(2, 1).encode()).unwrap();
    let about = |said: &[Message]| {
        let named = |message: &Message| match message {
            Message::Members { services, members, .. } => Some((services.len(), members.len())),
            Message::Slots(slots) => Some((slots.services.len(), slots.words.len())),
            _ => None,
        };
        let all: Vec<_> = said.iter().filter_map(named).collect();
        assert!(all.iter().all(|(services, _)| *services == 500), "{all:?}");
        all.iter().map(|(_, things)| *things).sum::<usize>()
    };
    assert_eq!(about(&side.says()), 1 + SIZE as usize, "bulk");
    // A change, and settled again; nothing of it is near the bound of what may wait.
    let before = side.session.traffic().0.bytes;
    side.tell(PING, &slots(false, 0..SIZE / 10, Some([10, 0, 0, 2].into())));
    side.tell(PING, &Change::Members(services.clone(), vec![]));
    assert_eq!(about(&side.says()), SIZE as usize / 10, "a change");
    assert!(side.session.traffic().0.bytes - before < BOUND as u64 / 100);
    side.session.tick(PING).unwrap();
}

#[test]
fn pings_measure_the_lag_and_silence_ends() {
    let mut side = Side::greeted();
    assert_eq!(side.session.deadline(), PING);
    side.session.tick(PING).unwrap();
    let [Message::Ping(at)] = side.says()[..] else { panic!("no ping") };
    let answer = PING + Duration::from_millis(12);
    side.hear(answer, &Message::Begin.encode()).unwrap();
    side.hear(answer, &Message::Ping(99).encode()).unwrap();
    assert_eq!(side.says(), [Message::Pong(99)]);
    side.hear(answer, &Message::Pong(at).encode()).unwrap();
    assert_eq!(side.session.lag(), Some(Duration::from_millis(12)));
    // It answers no more, though it speaks.
    let mut now = answer;
    let fault = loop {
        now = side.session.deadline().max(now);
        side.says();
        if let Err(fault) = side.session.tick(now) {
            break fault;
        }
        side.hear(now, &Message::Ping(1).encode()).unwrap();
    };
    assert!(matches!(fault, Fault::Behind(_)) && !fault.is_lasting());
    assert_eq!(now, PING * 2 + ANSWER);

    let mut side = Side::new(1);
    assert_eq!(side.session.tick(SILENCE), Err(Fault::Silent(SILENCE)));
    side.session.excuse(SILENCE);
    assert_eq!(side.session.tick(SILENCE), Ok(()));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_at_the_bound() {
    let mut side = Side::greeted();
    let flows: Vec<_> = (0..3000).map(|client| flow(service(0), client, 1, Stage::Open)).collect();
    let mut told = 0;
    while side.session.tick(Time::ZERO).is_ok() {
        side.tell(Time::ZERO, &Change::Flows(flows.clone()));
        told += 1;
    }
    assert!((BOUND / 60_000..=BOUND / 60_000 + 3).contains(&told), "{told}");
    // Bulk alone never comes near it.
    let mut side = Side::new(1);
    side.tell(Time::ZERO, &offer(0, true, 1));
    for client in 0..60_000 {
        side.table.set(&flow(service(0), client, 1, Stage::Open));
    }
    side.session.transmit().unwrap();
    side.hear(Time::ZERO, &Greeting::new(2, 1).encode()).unwrap();
    while side.session.is_filling() {
        side.session.fill(&side.ours, &side.table);
    }
    side.session.tick(Time::ZERO).unwrap();
    assert!(!side.session.is_filling());
}

#[test]
fn slots_of_another_kind_of_ring_are_not_taken() {
    let mut side = Side::new(1);
    side.hear(Time::ZERO, &Greeting::new(2, 99).encode()).unwrap();
    side.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    side.hear(Time::ZERO, &named(0, 0).encode()).unwrap();
    let words = Slots { services: vec![0], ring_size: 7, whole: true, reals: vec![], words: vec![] };
    assert_eq!(side.hear(Time::ZERO, &slots(words).encode()), Ok(vec![]));
    assert!(!side.session.has_same_rings());
}

#[test]
fn differences_are_told_with_their_age() {
    let mut side = Side::greeted();
    let found = |side: &Side| side.differences.iter().map(|(service, what, since)| (*service, what, since)).collect();
    let later = Duration::from_secs(60);
    side.hear(Time::ZERO, &Message::Begin.encode()).unwrap();
    side.hear(Time::ZERO, &named(3, 0).encode()).unwrap();
    side.hear(Time::ZERO, &named(1, 1).encode()).unwrap();
    let mut differences: Vec<_> = found(&side);
    assert_eq!(differences, [], "it has not said all");
    side.hear(PING, &Message::End(Counts { services: 2, ..Counts::default() }).encode()).unwrap();
    differences = found(&side);
    assert_eq!(differences, [(service(0), Difference::Members, PING), (service(1), Difference::OnlyThere, PING)]);
    side.tell(later, &offer(2, true, 1));
    side.hear(later, &Message::Gone(1).encode()).unwrap();
    side.hear(later, &Message::Services(vec![Service::new(3, service(0), Kind::Stateless, true, 7)]).encode()).unwrap();
    differences = found(&side);
    assert_eq!(differences, [(service(0), Difference::Kind, later), (service(2), Difference::OnlyHere, later)]);
}
