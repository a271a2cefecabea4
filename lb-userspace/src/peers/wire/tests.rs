use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::flow::{Entry, Records};
use super::*;
use crate::peers::state::{Stage, State};

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, last).into()
}

/// One of each kind and family, in an order that a peer may send them in.
pub fn samples() -> Vec<Message> {
    let web = ServiceId { vip: [192, 0, 2, 1].into(), protocol: Protocol::Tcp, port: Some(80) };
    let dns = ServiceId { vip: v6(1), protocol: Protocol::Udp, port: None };
    let mut four = Records::new(false);
    let mut six = Records::new(true);
    for (n, stage) in [(1, Stage::Open), (2, Stage::Closed), (3, Stage::Gone)] {
        let entry = Entry {
            service: 0,
            client: (Ipv4Addr::new(198, 51, 100, 7).into(), 40_000 + n),
            port: 80,
            real: Ipv4Addr::new(192, 0, 2, 40).into(),
            stage,
            age: n.into(),
        };
        assert!(four.push(&entry) && !six.push(&entry));
        let entry = Entry { service: 300, client: (v6(7), n), real: v6(40), ..entry };
        assert!(six.push(&entry) && !four.push(&entry));
        assert!(!six.push(&Entry { real: [192, 0, 2, 40].into(), ..entry }));
    }
    let member = Member { real: v6(40), weight: u32::MAX, state: State::Quiesced, drained: true };
    vec![
        Message::Begin,
        Message::Services(vec![
            Service::new(0, web, Kind::Stateless, true, u64::MAX),
            Service::new(300, dns, Kind::Tracked, true, 0),
            Service::new(301, ServiceId { port: Some(53), ..dns }, Kind::Tracked, true, 0),
        ]),
        Message::Members { services: vec![300], more: true, members: vec![member] },
        Message::Members { services: vec![300], more: false, members: vec![Member { state: State::Up, ..member }] },
        Message::Slots(Slots {
            services: vec![300, 301],
            ring_size: 65537,
            whole: true,
            reals: vec![v6(40), v6(50)],
            words: vec![(65536, 1, 2), (0, 0, 0)],
        }),
        Message::Flows(four),
        Message::Flows(six),
        Message::Ping(1),
        Message::End(Counts { services: 3, members: 1, slots: 2, flows: 6 }),
        Message::Gone(300),
        Message::Ask(u64::MAX),
        Message::Answer(7),
        Message::Ping(u64::MAX),
    ]
}

#[test]
fn messages_are_read_as_they_were_written() {
    for message in samples().into_iter().chain([Message::Pong(u64::MAX), Message::Gone(u16::MAX)]) {
        let bytes = message.encode();
        assert_eq!(Message::parse(&bytes), Ok(message.clone()));
        // No part of one is a message, but for whole records.
        for cut in 0..bytes.len() {
            let part = Message::parse(&bytes[..cut]);
            assert!(part.is_err() || matches!(part, Ok(Message::Flows(_))), "{message:?} {cut}: {part:?}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Message::parse(&longer), Err(Garbage), "{message:?}");
    }
}

#[test]
fn the_fullest_messages_fit_in_a_frame() {
    let service = Service::new(
        u16::MAX,
        ServiceId { vip: v6(u16::MAX), protocol: Protocol::Udp, port: Some(u16::MAX) },
        Kind::Tracked,
        true,
        u64::MAX,
    );
    let member = Member { real: v6(u16::MAX), weight: u32::MAX, state: State::Down, drained: true };
    let full = [
        Message::Services(vec![service; SERVICES]),
        Message::Members { services: vec![u16::MAX; NAMED], more: true, members: vec![member; MEMBERS] },
        Message::Slots(Slots {
            services: vec![u16::MAX; NAMED],
            ring_size: u32::MAX,
            whole: true,
            reals: vec![v6(u16::MAX); WORD_REALS],
            words: vec![(u32::MAX, u16::MAX, u16::MAX); WORDS],
        }),
    ];
    for message in full {
        assert!(message.encode().len() <= MOST, "{}", message.encode().len());
    }
    for (ipv6, most) in [(false, 3275), (true, 1489)] {
        let address = if ipv6 { v6(1) } else { [192, 0, 2, 1].into() };
        let mut records = Records::new(ipv6);
        while !records.is_full() {
            let entry = Entry { service: 0, client: (address, 1), port: 80, real: address, stage: Stage::Open, age: 0 };
            assert!(records.push(&entry));
        }
        assert_eq!(records.len(), most);
        let bytes = Message::Flows(records).encode();
        assert!(bytes.len() <= MOST);
        assert!(Message::parse(&bytes).is_ok());
    }
}

#[test]
fn a_greeting_of_a_later_version_is_understood() {
    let greeting = Greeting { newest: 900, ..Greeting::new(7, 9) };
    let mut bytes = greeting.encode();
    assert_eq!(Greeting::parse(&bytes), Ok(greeting));
    bytes.extend(b"more");
    assert_eq!(Greeting::parse(&bytes), Ok(greeting));
    bytes[0] = b'x';
    assert_eq!(Greeting::parse(&bytes), Err(Garbage));
    assert_eq!(Greeting::parse(b""), Err(Garbage));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Greeting::parse(&bytes);
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn changed_messages_are_read_or_refused(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }
}
