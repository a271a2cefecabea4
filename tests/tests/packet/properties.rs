//! What holds for any frame.

use std::cell::RefCell;

use anyhow::{Result, anyhow};
use lb_common::Verdict;
use lb_common::maps::{Real, Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{CLIENT, DIRECTOR, Segment, error4, error6, ip4, ip6, tcp4, tcp6, udp4, udp6};
use lb_tests::host::Host;
use lb_tests::scenario::{SIZES, judge, sides};
use lb_tests::shape::{Extra, Shape};
use lb_tests::side::Side;
use lb_userspace::dataplane::{Desired, Sizes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::world::{CLIENT6, SERVICE_TAG, TAG, TCP, UDP, VIP, VIP6, lab_with, reals, service, tracked};

/// A flow table that never fills up here: which flow gives way depends on the second in which it was seen, and the
/// two sides don't see a frame at the same moment.
const ROOMY: Sizes = Sizes { flows: 1 << 16, ..SIZES };

/// The clients of all properties.
const CLIENTS: u8 = 4;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// A frame for a service of [`mixed`] or of the lab, without tags.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let segments = vec![Segment::Syn, Segment::SynAck, Segment::Ack, Segment::Fin, Segment::Rst];
    (0..CLIENTS, 2000u16..2016, select(vec![80u16, 53, 8080, 443]), select(segments), any::<bool>(), any::<bool>())
        .prop_map(|(client, from, port, segment, tcp, ipv4)| {
            let client4 = [10, 0, 0, client];
            let mut client6 = CLIENT6;
            client6[15] = client;
            match (ipv4, tcp) {
                (true, true) => tcp4(client4, from, VIP, port, segment),
                (true, false) => udp4(client4, from, VIP, port),
                (false, true) => tcp6(client6, from, VIP6, port, segment),
                (false, false) => udp6(client6, from, VIP6, port),
            }
        })
}

fn extra() -> impl Strategy<Value = Extra> {
    prop_oneof![
        (0u8..4).prop_map(Extra::Routing),
        (0u8..4).prop_map(Extra::Destination),
        Just(Extra::Fragment(0, false)),
    ]
}

fn tag() -> impl Strategy<Value = (u16, u16)> {
    (select(vec![TAG, SERVICE_TAG]), any::<u16>())
}

fn tags() -> impl Strategy<Value = Vec<(u16, u16)>> {
    vec(tag(), 0..=2)
}

/// With options, extension headers and padding.
fn dressed() -> impl Strategy<Value = Vec<u8>> {
    (plain(), 0u8..=10, any::<bool>(), vec(extra(), 0..=6), 0usize..80).prop_map(|(frame, words, hop, extras, pad)| {
        let ipv4 = frame.get(14).is_some_and(|first| first >> 4 == 4);
        let mut chain = if hop { vec![Extra::HopByHop(words % 3)] } else { Vec::new() };
        chain.extend(extras);
        let frame = if ipv4 { frame.with_options(words) } else { frame.with_extras(&chain) };
        let length = frame.len() + pad;
        frame.padded(length)
    })
}

fn wrapped(frame: Vec<u8>, tags: &[(u16, u16)]) -> Vec<u8> {
    tags.iter().rev().fold(frame, |frame, (kind, control)| frame.tagged(*kind, *control))
}

/// Errors about what a service's real, or somebody else, has sent.
fn errors() -> impl Strategy<Value = Vec<u8>> {
    let sent = (dressed(), any::<bool>()).prop_map(|(mut frame, from_real)| {
        let (addresses, length, ports) = match frame.get(14).map(|first| (first >> 4, usize::from(first & 0x0f) * 4)) {
            Some((4, length)) => (26, 4, 14 + length),
            _ => (22, 16, 54),
        };
        for (place, length) in [(addresses, length), (ports, 2)] {
            if let Some(both) = frame.get_mut(place..place + 2 * length).filter(|_| from_real) {
                both.rotate_left(length);
            }
        }
        frame
    });
    (sent, prop_oneof![8 => 1u8..=4, 2 => 11u8..=12, 1 => any::<u8>()], 0u8..=2).prop_map(|(sent, kind, words)| {
        match sent.get(14).map(|first| first >> 4) {
            Some(4) => error4([192, 0, 2, 1], VIP, kind, &sent).with_options(words),
            _ => error6(CLIENT6, VIP6, kind, &sent).with_extras(&vec![Extra::HopByHop(0); usize::from(words)]),
        }
    })
}

/// A valid frame with some of its bytes changed, and its end cut off at times.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let fragments = (any::<u16>(), any::<bool>()).prop_map(|(offset, more)| Extra::Fragment(offset & 0x1fff, more));
    let protocols = prop_oneof![Just(1), Just(58), any::<u8>()];
    let payload = (0u8..140, vec(any::<u8>(), 0..40)).prop_map(|(kind, rest)| [vec![kind], rest].concat());
    let others = (0..CLIENTS, protocols, payload, any::<bool>(), vec(fragments, 0..=1));
    let others = others.prop_map(|(client, protocol, payload, ipv4, fragments)| {
        if ipv4 {
            ip4([10, 0, 0, client], VIP, 1, &payload).with_ip_byte(9, protocol).repaired()
        } else {
            ip6(CLIENT6, VIP6, 59, &payload).with_ip_byte(6, protocol).with_extras(&fragments)
        }
    });
    let offsets = prop_oneof![3 => Just(0), 3 => 1..4u16, 1 => 0..0x2000u16];
    let parts = (dressed(), offsets, any::<bool>()).prop_map(|(frame, offset, more)| {
        let ipv4 = frame.get(14).is_some_and(|first| first >> 4 == 4);
        if ipv4 { frame.fragment(offset, more) } else { frame.with_extras(&[Extra::Fragment(offset, more)]) }
    });
    let base = prop_oneof![8 => dressed(), 2 => others, 2 => parts, 2 => errors()];
    // Mostly in the headers, and few enough that most frames stay for a service.
    let changes = vec((12usize..110, any::<u8>()), 0..=2);
    let mac = prop_oneof![20 => Just(DIRECTOR), 1 => any::<[u8; 6]>()];
    let source = prop_oneof![8 => Just(CLIENT), 1 => (40u8..60).prop_map(|number| RealSpec::new(number).mac)];
    (
        base,
        prop_oneof![12 => tags(), 1 => vec(tag(), 3)],
        changes,
        mac,
        source,
        prop::option::weighted(0.2, 14usize..120),
    )
        .prop_map(|(frame, tags, changes, mac, source, cut)| {
            let mut frame = wrapped(frame, &tags).addressed_to(mac).sent_by(source);
            for (offset, value) in changes {
                if let Some(byte) = frame.get_mut(offset) {
                    *byte = value;
                }
            }
            match cut {
                Some(length) => frame.cut(length),
                None => frame,
            }
        })
}

/// Every kind of service: stateless, by source, tracked, any-port; with reals that push, pop, keep and change tags,
/// are redirected to, or are down.
fn mixed() -> Desired {
    let in_vlan = |number, vlan| RealSpec { vlan, ..RealSpec::new(number) };
    let there = RealSpec { ifindex: 2, ..RealSpec::new(47) };
    let down = RealSpec { usable: false, ..RealSpec::new(48) };
    let stateless = [in_vlan(40, 7), in_vlan(41, 0), RealSpec::new(42), there, down];
    let flagged = |flags, spec| ServiceSpec { flags, ..spec };
    let mut maps = desired(&[
        service(mapped(VIP), 80, TCP, &stateless),
        service(VIP6, 80, TCP, &stateless),
        flagged(Service::TRACKED, service(mapped(VIP), 53, UDP, &reals([43, 44]))),
        flagged(Service::TRACKED, service(VIP6, 53, UDP, &reals([43, 44, 45]))),
        flagged(Service::BY_SOURCE, service(mapped(VIP), 443, UDP, &stateless)),
        tracked_on(8080),
        flagged(Service::TRACKED, service(VIP6, 8080, TCP, &stateless)),
        flagged(Service::BY_SOURCE, service(VIP6, 0, UDP, &reals([46]))),
        service(mapped(VIP), 0, TCP, &reals([49])),
        service(VIP6, 443, TCP, &[]),
    ]);
    // Half of the VLANs are ours.
    maps.ports.iter_mut().for_each(|port| port.vlans = (0..4096).step_by(2).collect());
    // A ring names a real that went down a moment ago.
    if let Some(real) = maps.pools.get_mut(&0).and_then(|pool| pool.reals.get_mut(&1)) {
        real.flags = Real::IN_USE;
    }
    maps
}

fn tracked_on(port: u16) -> ServiceSpec {
    ServiceSpec { port, ..tracked(&reals([50, 51, 52])) }
}

/// Both sides' word on one frame after another, which must be the same; what the last of them says.
fn agree(sides: &mut [Box<dyn Side>], frame: &[u8]) -> Result<(), TestCaseError> {
    let failed = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
    let mut words = Vec::new();
    for side in sides {
        let before = side.counts().map_err(failed)?;
        let outcome = side.send(frame).map_err(failed)?;
        words.push((outcome, side.counts().map_err(failed)?.since(&before)));
    }
    for (one, other) in words.iter().zip(words.iter().skip(1)) {
        prop_assert_eq!(one, other);
    }
    Ok(())
}

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) -> Result<()> {
    runner(cases).run(&strategy, test).map_err(|error| anyhow!("{error}"))
}

#[test]
fn host_and_kernel_agree_on_frames_with_flaws() -> Result<()> {
    let mut sides = sides(ROOMY)?;
    for side in &mut sides {
        side.apply(&mixed())?;
    }
    let sides = RefCell::new(sides);
    run(10_000, mutated(), |frame| agree(&mut sides.borrow_mut(), &frame))?;
    let counts = sides.borrow().first().map(|side| side.counts()).transpose()?.unwrap_or_default();
    let met = counts.verdicts.iter().filter(|packets| **packets > 0).count();
    // All but no-room, no-device, not-master and standby, which need another director.
    assert!(met >= Verdict::COUNT - 4, "the frames met {met} verdicts: {:?}", counts.verdicts);
    Ok(())
}

#[test]
fn host_and_kernel_agree_on_any_bytes() -> Result<()> {
    let mut sides = sides(ROOMY)?;
    for side in &mut sides {
        side.apply(&mixed())?;
    }
    let sides = RefCell::new(sides);
    let kinds = select(vec![0x0800u16, 0x86dd, TAG, SERVICE_TAG]);
    let frames = (kinds, vec(any::<u8>(), 2..300)).prop_map(|(kind, bytes)| {
        let head = [0; 12].into_iter().chain(kind.to_be_bytes());
        head.chain(bytes).collect::<Vec<u8>>().addressed_to(DIRECTOR)
    });
    run(2000, frames, |frame| agree(&mut sides.borrow_mut(), &frame))
}

/// Behind each frame is a page that faults, so that a byte read there ends the test.
#[test]
fn no_bytes_make_the_logic_panic_or_look_behind_a_frame() -> Result<()> {
    let mut host = Host::new(ROOMY)?;
    host.apply(&mixed())?;
    let host = RefCell::new(host);
    let any_bytes = vec(any::<u8>(), 0..400).prop_map(|frame| frame.addressed_to(DIRECTOR));
    run(50_000, prop_oneof![mutated(), any_bytes], |frame| {
        let (verdict, out) =
            host.borrow_mut().balance(&frame).map_err(|error| TestCaseError::fail(error.to_string()))?;
        if !matches!(verdict, Verdict::Forwarded | Verdict::Redirected) {
            prop_assert_eq!(out, frame, "{} changes nothing", verdict.name());
        }
        Ok(())
    })
}

/// What a real in this VLAN must get, bytes of the MAC addresses aside.
fn retagged(mut tags: Vec<(u16, u16)>, vlan: u16) -> Vec<(u16, u16)> {
    match (vlan, tags.first_mut()) {
        (Real::KEEP_VLAN, _) => {}
        (0, _) => tags.clear(),
        (_, Some((_, control))) => *control = *control & 0xf000 | vlan,
        (_, None) => tags.push((TAG, vlan)),
    }
    tags
}

#[test]
fn forwarding_changes_the_addresses_and_the_tags_alone() -> Result<()> {
    for vlan in [Real::KEEP_VLAN, 0, 1, 7, 4094] {
        let mut sides = sides(ROOMY)?;
        let maps = lab_with(|real| RealSpec { vlan, ..real });
        for side in &mut sides {
            side.apply(&maps)?;
        }
        let sides = RefCell::new(sides);
        run(600, (dressed(), tags()), |(bare, tags)| {
            let frame = wrapped(bare.clone(), &tags);
            let expected = wrapped(bare, &retagged(tags, vlan));
            for side in sides.borrow_mut().iter_mut() {
                let failed = |error: anyhow::Error| TestCaseError::fail(format!("{error:#}"));
                let outcome = side.send(&frame).map_err(failed)?;
                if outcome.action != 3 {
                    prop_assert_eq!(outcome.action, 2, "forwarded or passed");
                    prop_assert_eq!(&outcome.frame, &frame);
                    continue;
                }
                let (addresses, rest) = outcome.frame.split_at(12);
                prop_assert_eq!(rest, &expected[12..]);
                prop_assert!(maps.reals().any(|(_, real)| addresses == [real.mac, real.source_mac].concat()));
                judge(&outcome.frame).map_err(failed)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_frame_without_room_for_a_tag_goes_nowhere() -> Result<()> {
    let mut host = Host::new(SIZES)?;
    host.apply(&lab_with(|real| RealSpec { vlan: 7, ..real }))?;
    let frame = tcp4([10, 0, 0, 1], 2000, VIP, 80, Segment::Ack);
    host.leave_headroom(3);
    assert_eq!(host.balance(&frame)?.0, Verdict::NoRoom);
    let counts = host.counts()?;
    assert!(counts.services.values().all(|counted| counted.packets == 0), "and counts for nobody");
    host.leave_headroom(4);
    assert_eq!(host.balance(&frame)?.0, Verdict::Forwarded);
    Ok(())
}
