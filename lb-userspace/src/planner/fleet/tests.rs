//! Slow starts, quorum and panic, row by row.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Real;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// Members 1, 2, … of weight 1: `+` takes, `?` is undecided, `-` fails, `x` is lost, `o` is out.
fn members(seats: &str) -> Vec<Member> {
    let seat = |mark| match mark {
        '+' => Seat::Takes,
        '?' => Seat::Undecided,
        '-' => Seat::Fails,
        'x' => Seat::Lost,
        _ => Seat::Out,
    };
    seats.chars().zip(1..).map(|(mark, last)| Member { address: address(last), weight: 1, seat: seat(mark) }).collect()
}

fn sorry() -> Real {
    Real { address: address(99), weight: 1, mac: None, interface: None, vlan: None, checks: None }
}

fn weights(fleet: &Fleet, members: &[Member]) -> Vec<u32> {
    members.iter().map(|member| fleet.part(member.weight, fleet.tenths(member.address, member.seat))).collect()
}

fn slow(seconds: u64) -> config::Fleet {
    config::Fleet { slow_start: Some(Duration::from_secs(seconds)), ..config::Fleet::default() }
}

#[test]
fn a_real_that_comes_back_gets_its_weight_by_tenths() {
    let rules = slow(100);
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    // (second, seats, weights in tenths, when it goes on)
    #[rustfmt::skip]
    let rows: [(u64, &str, &[u32], Option<u64>); 17] = [
        // Those that an agent finds begin whole, also where they are decided later.
        (0,   "+?",   &[10, 0], None),
        (1,   "++",   &[10, 10], None),
        (2,   "+-",   &[10, 0], None),
        (3,   "++",   &[10, 1], Some(13)),
        (12,  "++",   &[10, 1], Some(13)),
        (13,  "++",   &[10, 2], Some(23)),
        (52,  "++",   &[10, 5], Some(53)),
        // A flap begins anew, a new one begins too.
        (53,  "+-",   &[10, 0], None),
        (54,  "+++",  &[10, 1, 1], Some(64)),
        (64,  "+++",  &[10, 2, 2], Some(74)),
        (153, "+++",  &[10, 10, 10], Some(154)),
        (154, "+++",  &[10, 10, 10], None),
        // A weight of 0 or a drain that ends is a beginning.
        (160, "+o+",  &[10, 0, 10], None),
        (161, "+++",  &[10, 1, 10], Some(171)),
        (900, "+++",  &[10, 10, 10], None),
        // One of whom nothing is known any more is no one that was found.
        (901, "++?",  &[10, 10, 0], None),
        (902, "+++",  &[10, 10, 1], Some(912)),
    ];
    let mut fleet = Fleet::default();
    for (second, seats, expected, due) in rows {
        fleet.follow(&rules, &members(seats), None, at(second));
        assert_eq!(weights(&fleet, &members(seats)), expected, "second {second}: {seats}");
        assert_eq!(fleet.due(), due.map(at), "second {second}: {seats}");
    }
    // Without the key nothing begins slowly, and what does ends.
    fleet.follow(&config::Fleet::default(), &members("+++"), None, at(903));
    assert_eq!((weights(&fleet, &members("+++")), fleet.due()), (vec![1, 1, 1], None));
}

#[test]
fn steps_are_a_second_apart_at_least() {
    // (length, tenths at each second)
    let rows: [(u64, &[u32]); 4] = [
        (2, &[5, 10, 10]),
        (3, &[3, 6, 10, 10]),
        (10, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]),
        (30, &[1, 1, 1, 2, 2, 2, 3]),
    ];
    for (length, expected) in rows {
        let (mut fleet, start) = (Fleet::default(), Instant::now());
        let mut steps = 0;
        fleet.follow(&slow(length), &members("+-"), None, start);
        for tenth in 0..(expected.len() * 10) {
            let now = start + Duration::from_millis(100) * u32::try_from(tenth).unwrap();
            let before = fleet.tenths(address(2), Seat::Takes);
            fleet.follow(&slow(length), &members("++"), None, now);
            steps += u32::from(tenth > 0 && fleet.tenths(address(2), Seat::Takes) != before);
            assert_eq!(fleet.tenths(address(2), Seat::Takes), expected[tenth / 10], "{length} s: {tenth}");
        }
        assert!(u64::from(steps) < length.min(10), "{length} s: {steps}");
    }
}

#[test]
fn heavy_weights_are_parted_as_they_are() {
    let start = Instant::now();
    let heavy = |seat| {
        let member = |last, weight, seat| Member { address: address(last), weight, seat };
        vec![member(1, 65_535, Seat::Takes), member(2, 7, seat), member(3, 70, seat)]
    };
    let mut fleet = Fleet::default();
    fleet.follow(&slow(10), &heavy(Seat::Fails), None, start);
    fleet.follow(&slow(10), &heavy(Seat::Takes), None, start);
    assert_eq!(weights(&fleet, &heavy(Seat::Takes)), [65_535, 1, 7], "16 bits in the maps, and never 0");
}

#[test]
fn the_quorum_is_lost_and_back_with_its_hysteresis() {
    let rules = config::Fleet { quorum: 3, hysteresis: 1, sorry: Some(sorry()), ..config::Fleet::default() };
    // (seats, the sorry server's, the quorum, whether the sorry server takes all)
    let rows = [
        ("??++-", Seat::Takes, None, false),
        ("?+++-", Seat::Takes, Some((true, 3)), false),
        ("-+++-", Seat::Takes, Some((true, 3)), false),
        ("--++-", Seat::Takes, Some((true, 2)), false),
        ("---+-", Seat::Takes, Some((false, 1)), true),
        ("--++-", Seat::Takes, Some((false, 2)), true),
        ("-+++-", Seat::Takes, Some((false, 3)), true),
        // One that can't answer stands in for nobody.
        ("-+++-", Seat::Lost, Some((false, 3)), false),
        ("-+++-", Seat::Undecided, Some((false, 3)), false),
        ("-+++-", Seat::Takes, Some((false, 3)), true),
        ("-++++", Seat::Takes, Some((true, 4)), false),
        ("-+++x", Seat::Takes, Some((true, 3)), false),
        ("ooooo", Seat::Takes, Some((false, 0)), true),
        ("?????", Seat::Takes, Some((false, 0)), true),
        ("+++++", Seat::Takes, Some((true, 5)), false),
    ];
    let mut fleet = Fleet::default();
    for (seats, stands_by, quorum, stands_in) in rows {
        fleet.follow(&rules, &members(seats), Some(stands_by), Instant::now());
        let expected = quorum.map(|(met, weight)| Quorum { met, weight, needed: 3 });
        assert_eq!((fleet.quorum(), fleet.stands_in()), (expected, stands_in), "{seats}");
        for member in members(seats).iter().filter(|member| member.seat == Seat::Takes) {
            assert_eq!(fleet.tenths(member.address, member.seat) > 0, !stands_in, "{seats}");
        }
    }
    // Without a sorry server its loss is told, and moves nothing.
    let rules = config::Fleet { sorry: None, ..rules };
    let mut fleet = Fleet::default();
    fleet.follow(&rules, &members("+----"), None, Instant::now());
    assert_eq!(fleet.quorum(), Some(Quorum { met: false, weight: 1, needed: 3 }));
    assert_eq!(weights(&fleet, &members("+----")), [1, 0, 0, 0, 0]);
    // A sorry server alone stands in for the last real; over a restart of the agent too.
    let rules = config::Fleet { sorry: Some(sorry()), ..config::Fleet::default() };
    for (before, rows) in [
        (Fleet::default(), [("??", false), ("-?", false), ("--", true), ("-+", false), ("-x", true)]),
        (Fleet::lost(), [("??", true), ("-?", true), ("--", true), ("-+", false), ("??", true)]),
    ] {
        let mut fleet = before;
        for (seats, stands_in) in rows {
            fleet.follow(&rules, &members(seats), Some(Seat::Takes), Instant::now());
            assert_eq!(fleet.stands_in(), stands_in, "{seats}");
        }
    }
}

#[test]
fn slow_starts_wait_until_reals_take_connections_again() {
    let rules = config::Fleet { quorum: 2, sorry: Some(sorry()), ..slow(10) };
    let start = Instant::now();
    // (second, seats, weights in tenths, when it goes on)
    #[rustfmt::skip]
    let rows: [(u64, &str, &[u32], Option<u64>); 6] = [
        (0,   "+++", &[10, 10, 10], None),
        (10,  "+--", &[0, 0, 0], None),
        (20,  "--+", &[0, 0, 0], None),
        (90,  "--+", &[0, 0, 0], None),
        (100, "+-+", &[1, 0, 1], Some(101)),
        (105, "+++", &[6, 1, 6], Some(106)),
    ];
    let mut fleet = Fleet::default();
    for (second, seats, expected, due) in rows {
        let at = |second| start + Duration::from_secs(second);
        fleet.follow(&rules, &members(seats), Some(Seat::Takes), at(second));
        assert_eq!(weights(&fleet, &members(seats)), expected, "second {second}: {seats}");
        assert_eq!(fleet.due(), due.map(at), "second {second}: {seats}");
    }
    // Those that were healthy all the time aren't among those that begin.
    let mut fleet = Fleet::default();
    for seats in ["+++", "+--", "++-"] {
        fleet.follow(&rules, &members(seats), Some(Seat::Takes), start);
    }
    assert_eq!(weights(&fleet, &members("++-")), [10, 1, 0]);
}

/// Healthy, of how many.
type Counts = (usize, usize);

#[test]
fn where_too_few_are_healthy_all_are_in() {
    let rules = config::Fleet { panic_below: 50, ..slow(10) };
    // (seats, healthy of how many while it panics, weights in tenths)
    #[rustfmt::skip]
    let rows: [(&str, Option<Counts>, &[u32]); 11] = [
        ("????", None, &[0, 0, 0, 0]),
        ("?---", None, &[0, 0, 0, 0]),
        ("++--", None, &[10, 1, 0, 0]),
        ("+---", Some((1, 4)), &[10, 10, 10, 10]),
        ("----", Some((0, 4)), &[10, 10, 10, 10]),
        // What can't be reached or was taken out isn't in; the latter doesn't count.
        ("-x-o", Some((0, 3)), &[10, 0, 10, 0]),
        ("-?--", Some((0, 4)), &[10, 0, 10, 10]),
        // Those that took connections meanwhile need no slow start.
        ("-++-", None, &[0, 1, 10, 0]),
        ("oo+-", None, &[0, 0, 10, 0]),
        ("oo--", Some((0, 2)), &[0, 0, 10, 10]),
        ("oooo", None, &[0, 0, 0, 0]),
    ];
    let (mut fleet, now) = (Fleet::default(), Instant::now());
    for (seats, panic, expected) in rows {
        fleet.follow(&rules, &members(seats), None, now);
        assert_eq!(fleet.panic(), panic.map(|(healthy, of)| Healthy { healthy, of }), "{seats}");
        assert_eq!(weights(&fleet, &members(seats)), expected, "{seats}");
    }
}

proptest! {
    /// Whatever happens: nobody out of reach gets a connection, and where somebody can take connections somebody gets them.
    #[test]
    fn no_history_leaves_clients_without_a_real_that_lives(
        quorum in 0u32..6, hysteresis in 0u32..3, panic_below in 0u8..=100, starts in any::<bool>(), has_sorry in any::<bool>(),
        history in prop::collection::vec(("[+?xo-]{5}", "[+?xo-]", 0u64..30), 1..40),
    ) {
        let rules = config::Fleet {
            slow_start: starts.then_some(Duration::from_secs(60)),
            quorum,
            hysteresis: hysteresis.min(quorum.saturating_sub(1)),
            panic_below: if has_sorry { 0 } else { panic_below },
            sorry: has_sorry.then(sorry),
        };
        let (mut fleet, mut now) = (Fleet::default(), Instant::now());
        for (seats, stands_by, seconds) in history {
            now += Duration::from_secs(seconds);
            let members = members(&seats);
            let stands_by = self::members(&stands_by)[0].seat;
            fleet.follow(&rules, &members, has_sorry.then_some(stands_by), now);
            let weights = weights(&fleet, &members);
            for (member, weight) in members.iter().zip(&weights) {
                prop_assert!(*weight == 0 || matches!(member.seat, Seat::Takes | Seat::Fails));
                prop_assert!(*weight <= member.weight * WHOLE);
            }
            let lives = members.iter().any(|member| member.seat == Seat::Takes);
            let taken = weights.iter().sum::<u32>() > 0;
            prop_assert!(!fleet.stands_in() || has_sorry && stands_by == Seat::Takes && !taken);
            prop_assert!(taken || fleet.stands_in() || !lives);
            prop_assert!(fleet.due().is_none_or(|due| due > now));
        }
    }
}
