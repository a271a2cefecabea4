//! A table in memory that is mapped as the kernel's is.

use std::collections::HashMap;

use lb_common::maps::{NOBODY, mapped};

use super::*;

const LINES: u32 = 16;

fn array<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy>(entries: u32) -> Arc<Mapped<T>> {
    Arc::new(Mapped::apart("array", entries).unwrap())
}

pub(in crate::dataplane) fn service(id: u32, flags: u16) -> Service {
    let key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
    Service { key, id, reals: 8, room: 8, ring_size: 251, flags, ..Service::FREE }
}

pub(in crate::dataplane) fn table() -> Remembered {
    table_of(Service::TRACKED)
}

fn table_of(flags: u16) -> Remembered {
    Remembered {
        reader: KeyReader { services: Arc::new(HashMap::from([(3, service(3, flags))])), seed: 7, lines: LINES },
        timeouts: Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 },
        arrays: Arrays { lines: array(LINES), keys: array(LINES), slots: array(256) },
    }
}

pub(in crate::dataplane) fn key(port: u16) -> FlowKey {
    let [a, b] = port.to_be_bytes();
    FlowKey { client: mapped([10, 0, 0, 1]), ports: [a, b, 0, 80], service: 3 }
}

fn all(table: &Remembered) -> Vec<(At, u64)> {
    let line =
        |line| table.words(line).unwrap().into_iter().enumerate().map(move |(way, word)| (At { line, way }, word));
    (0..LINES).flat_map(line).filter(|(_, word)| *word != 0).collect()
}

#[test]
fn what_is_put_is_known_by_its_key() {
    let table = table();
    let service = service(3, Service::TRACKED);
    for port in 0..20 {
        assert!(table.put(&key(port), &service, 5, Stage::Open, 100));
    }
    let held = all(&table);
    assert_eq!(held.len(), 20);
    for (at, word) in held {
        let flow = Flow::of(word).unwrap();
        let (held, service) = table.known(at, flow).expect("its key");
        assert_eq!((held.client, service.id, flow.real, flow.stage), (mapped([10, 0, 0, 1]), 3, 5, Stage::Open));
        let other = Flow { tag: flow.tag ^ 1, ..flow };
        assert!(table.known(at, other).is_none(), "the word is another flow's");
    }
    assert!(table.put(&key(4), &service, 6, Stage::Closing, 101), "it moves");
    assert_eq!(all(&table).len(), 20);
    table.remove(&key(4), &service);
    assert_eq!(all(&table).len(), 19);
}

#[test]
fn news_is_what_changed_since_it_was_told() {
    let table = table();
    let mut watch = Watch::new(&table);
    let service = service(3, Service::TRACKED);
    let mut look = |now| heard(&mut watch, &table, now, Hears::Others);
    table.put(&key(1), &service, 5, Stage::Opening, 100);
    assert!(look(100).is_empty(), "nothing followed it yet");
    table.put(&key(1), &service, 5, Stage::Open, 101);
    table.put(&key(2), &service, 6, Stage::Open, 90);
    let news: Vec<_> =
        look(101).into_iter().map(|news| (news.key.ports[1], news.real, news.stage, news.idle)).collect();
    assert_eq!(news.len(), 2);
    assert!(news.contains(&(1, 5, Some(Stage::Open), 0)) && news.contains(&(2, 6, Some(Stage::Open), 11)));
    table.put(&key(1), &service, 5, Stage::Open, 150);
    assert!(look(150).is_empty(), "it lives, as it was told");
    table.put(&key(1), &service, 5, Stage::Open, 176);
    assert_eq!(look(176).len(), 1, "it lives on, which others don't see: datagrams are over after 300");
    table.put(&key(1), &service, 7, Stage::Open, 300);
    assert_eq!(look(300).first().map(|news| news.real), Some(7), "it moved");
    table.put(&key(1), &service, 7, Stage::Closing, 301);
    assert_eq!(look(301).first().and_then(|news| news.stage), Some(Stage::Closing));
    table.remove(&key(1), &service);
    assert_eq!(look(302).first().map(|news| news.stage), Some(None), "it is forgotten");
    assert!(look(303).is_empty());
}

#[test]
fn what_nothing_followed_is_told_when_its_slot_names_its_real_no_more() {
    let table = table_of(0);
    let mut watch = Watch::new(&table);
    let service = service(3, 0);
    let mut slots = table.arrays.slots.clone();
    let mut all = |slot: Slot| (0..251).for_each(|index| slots.put(index, slot.word()));
    let mut look = |changed| {
        let mut news = Vec::new();
        watch.look(&table, 100, changed, |one| {
            news.push((one.real, one.stage));
            Hears::Others
        });
        news
    };
    all(Slot { current: 6, base: 5 });
    table.put(&key(3), &service, 5, Stage::Opening, 100);
    assert!(look(true).is_empty(), "its slot tells of it");
    all(Slot { current: 6, base: NOBODY });
    assert!(look(false).is_empty(), "it was looked at");
    assert_eq!(look(true), [(5, Some(Stage::Open))], "the slot told of it until now");
    all(Slot { current: 5, base: 6 });
    assert!(look(true).is_empty(), "it is told on");
    table.put(&key(3), &service, 5, Stage::Open, 100);
    assert!(look(false).is_empty(), "as it was told");
    table.remove(&key(3), &service);
    assert_eq!(look(false), [(5, None)]);
}

fn heard(watch: &mut Watch, table: &Remembered, now: u32, by: Hears) -> Vec<News> {
    let mut news = Vec::new();
    watch.look(table, now, false, |one| {
        news.push(one);
        by
    });
    news
}

#[test]
fn what_nobody_hears_is_asked_once_and_what_cant_be_told_yet_again() {
    let table = table();
    let mut watch = Watch::new(&table);
    table.put(&key(1), &service(3, Service::TRACKED), 5, Stage::Open, 100);
    assert_eq!(heard(&mut watch, &table, 100, Hears::Later).len(), 1);
    assert_eq!(heard(&mut watch, &table, 100, Hears::Nobody).len(), 1, "it is news still");
    assert!(heard(&mut watch, &table, 100, Hears::Others).is_empty());
    let mut late = Watch::new(&table);
    assert!(heard(&mut late, &table, 100, Hears::Others).is_empty(), "whoever is met reads it whole");
}

#[test]
fn more_news_than_are_found_at_once() {
    let table = table();
    let mut watch = Watch::new(&table);
    watch.found = vec![0; 3].into();
    let service = service(3, Service::TRACKED);
    (0..40).for_each(|port| assert!(table.put(&key(port), &service, 5, Stage::Open, 100)));
    assert_eq!(heard(&mut watch, &table, 100, Hears::Others).len(), 40);
    assert!(heard(&mut watch, &table, 100, Hears::Others).is_empty());
}

#[test]
fn a_client_s_template_is_made_and_renewed_by_its_connections() {
    let mut table = table();
    let flags = Service::TRACKED | Service::PERSISTENT;
    let service = Service { persistence: Service::persistent(300, 120), group: 80, ..service(3, flags) };
    table.reader.services = Arc::new(HashMap::from([(3, service)]));
    let templates = |table: &Remembered| -> Vec<(FlowKey, Flow)> {
        let known = |(at, word)| {
            let flow = Flow::of(word)?;
            let (key, service) = table.known(at, flow)?;
            is_template(&key, service).then_some((key, flow))
        };
        all(table).into_iter().filter_map(known).collect()
    };
    table.renew(&key(4), &service, 5, 100);
    let [(template, first)] = templates(&table)[..] else { panic!("{:?}", templates(&table)) };
    assert_eq!((template.client, template.ports), (mapped([10, 0, 0, 0]), [0, 0, 0, 80]));
    assert_eq!((first.real, first.stage, first.seen), (5, Stage::Open, 100));
    // Another connection of the network, on another real: the client stays where it is. An older one makes it no older.
    let neighbour = FlowKey { client: mapped([10, 0, 0, 9]), ..key(5) };
    table.renew(&neighbour, &service, 6, 130);
    table.renew(&key(4), &service, 5, 110);
    let [(_, second)] = templates(&table)[..] else { panic!("{:?}", templates(&table)) };
    assert_eq!((second.real, second.seen), (5, 130));

    // Who breaks the rules with port 0 passes for nobody else.
    let hostile = key(0);
    let flow = Flow { tag: Place::of(table.reader.own_hash(&hostile, &service), LINES).tag, ..first };
    let line = Place::of(table.reader.own_hash(&hostile, &service), LINES).lines[0];
    assert!(table.reader.known(line, hostile, flow).is_some());
    assert_ne!(flow.tag, first.tag);
}
