//! Slow starts, quorum and panic, row by row.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Real;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn member(last: u8, weight: u32, seat: Seat) -> Member {
    let healthy = match seat {
        Seat::Takes | Seat::Out => Some(true),
        Seat::Undecided => None,
        Seat::Fails | Seat::Lost => Some(false),
    };
    Member { address: address(last), weight, seat, healthy }
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
    seats.chars().zip(1..).map(|(mark, last)| member(last, 1, seat(mark))).collect()
}

fn sorry() -> Real {
    Real { address: address(99), weight: 1, mac: None, interface: None, vlan: None, checks: None }
}

fn weights(fleet: &Fleet, rules: &config::Fleet, members: &[Member]) -> Vec<u32> {
    members.iter().map(|member| fleet.share(rules, member, member.seat == Seat::Takes).weight).collect()
}

#[test]
fn a_real_that_comes_back_gets_its_weight_by_tenths() {
    let rules = config::Fleet { slow_start: Some(Duration::from_secs(100)), ..config::Fleet::default() };
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    // (second, seats, weights, when it goes on)
    #[rustfmt::skip]
    let rows: [(u64, &str, &[u32], Option<u64>); 17] = [
        // Those that an agent finds begin whole, also where they are decided later.
        (0,   "+?",   &[1, 0], None),
        (1,   "++",   &[1, 1], None),
        (2,   "+-",   &[1, 0], None),
        (3,   "++",   &[10, 1], Some(13)),
        (12,  "++",   &[10, 1], Some(13)),
        (13,  "++",   &[10, 2], Some(23)),
        (52,  "++",   &[10, 5], Some(53)),
        // A flap begins anew, a new one begins too.
        (53,  "+-",   &[1, 0], None),
        (54,  "+++",  &[10, 1, 1], Some(64)),
        (64,  "+++",  &[10, 2, 2], Some(74)),
        (153, "+++",  &[10, 10, 10], Some(154)),
        (154, "+++",  &[1, 1, 1], None),
        // A weight of 0 or a drain that ends is a beginning.
        (160, "+o+",  &[1, 0, 1], None),
        (161, "+++",  &[10, 1, 10], Some(171)),
        (900, "+++",  &[1, 1, 1], None),
        // One of whom nothing is known any more is no one that was found.
        (901, "++?",  &[1, 1, 0], None),
        (902, "+++",  &[10, 10, 1], Some(912)),
    ];
    let mut fleet = Fleet::default();
    for (second, seats, expected, due) in rows {
        fleet.follow(&rules, &members(seats), at(second));
        assert_eq!(weights(&fleet, &rules, &members(seats)), expected, "second {second}: {seats}");
        assert_eq!(fleet.due(), due.map(at), "second {second}: {seats}");
    }
    // Without the key nothing begins slowly, and what does ends.
    assert_eq!(fleet.ramp(address(3)), Some(10));
    let plain = config::Fleet::default();
    fleet.follow(&plain, &members("+++"), at(903));
    assert_eq!((weights(&fleet, &plain, &members("+++")), fleet.ramp(address(3))), (vec![1, 1, 1], None));
}

#[test]
fn heavy_weights_are_parted_as_they_are() {
    let rules = config::Fleet { slow_start: Some(Duration::from_secs(10)), ..config::Fleet::default() };
    let start = Instant::now();
    let heavy = |seat| vec![member(1, 65_535, Seat::Takes), member(2, 7, seat), member(3, 7, Seat::Takes)];
    let mut fleet = Fleet::default();
    fleet.follow(&rules, &heavy(Seat::Fails), start);
    fleet.follow(&rules, &heavy(Seat::Takes), start);
    assert_eq!(weights(&fleet, &rules, &heavy(Seat::Takes)), [65_535, 1, 7], "16 bits in the maps, and never 0");
}

#[test]
fn the_quorum_is_lost_and_back_with_its_hysteresis() {
    let rules = config::Fleet { quorum: 3, hysteresis: 1, sorry: Some(sorry()), ..config::Fleet::default() };
    let quorum = |met, weight| Some(Event::Quorum { met, weight, needed: 3 });
    // (seats, what is told, whether the sorry server takes all)
    let rows = [
        ("??++-", None, false),
        ("?+++-", None, false),
        ("-+++-", None, false),
        ("--++-", None, false),
        ("---+-", quorum(false, 1), true),
        ("--++-", None, true),
        ("-+++-", None, true),
        ("-++++", quorum(true, 4), false),
        ("-+++x", None, false),
        ("ooooo", quorum(false, 0), true),
        ("?????", None, true),
        ("+++++", quorum(true, 5), false),
    ];
    let mut fleet = Fleet::default();
    let stands_in = member(99, 1, Seat::Takes);
    for (seats, told, lost) in rows {
        let events = fleet.follow(&rules, &members(seats), Instant::now());
        let of_quorum: Vec<Event> = events.into_iter().filter(|event| matches!(event, Event::Quorum { .. })).collect();
        assert_eq!(of_quorum, told.into_iter().collect::<Vec<_>>(), "{seats}");
        assert_eq!(fleet.share(&rules, &stands_in, true), Share { usable: true, weight: u32::from(lost) }, "{seats}");
        for member in members(seats).iter().filter(|member| member.seat == Seat::Takes) {
            // Those that live keep what they have.
            assert_eq!(fleet.share(&rules, member, true), Share { usable: true, weight: u32::from(!lost) }, "{seats}");
        }
    }
    // Without a sorry server its loss is told, and moves nothing.
    let rules = config::Fleet { sorry: None, ..rules };
    let mut fleet = Fleet::default();
    assert_eq!(fleet.follow(&rules, &members("+----"), Instant::now()).last().copied(), quorum(false, 1));
    assert_eq!(weights(&fleet, &rules, &members("+----")), [1, 0, 0, 0, 0]);
    // A sorry server alone stands in for the last real.
    let rules = config::Fleet { sorry: Some(sorry()), ..config::Fleet::default() };
    let mut fleet = Fleet::default();
    for (seats, lost) in [("??", false), ("-?", false), ("--", true), ("-+", false), ("-x", true)] {
        fleet.follow(&rules, &members(seats), Instant::now());
        assert_eq!(fleet.is_lost(), lost, "{seats}");
    }
    assert!(!fleet.share(&rules, &member(99, 1, Seat::Lost), false).usable, "it must be there itself");
}

#[test]
fn where_too_few_are_healthy_all_are_in() {
    let rules = config::Fleet { panic_below: 50, ..config::Fleet::default() };
    let told = |begins, healthy, of| Some(Event::Panic { begins, healthy, of });
    // (seats, what is told, weights)
    #[rustfmt::skip]
    let rows: [(&str, Option<Event>, &[u32]); 10] = [
        ("????", None, &[0, 0, 0, 0]),
        ("?---", None, &[0, 0, 0, 0]),
        ("++--", None, &[1, 1, 0, 0]),
        ("+---", told(true, 1, 4), &[1, 1, 1, 1]),
        ("----", None, &[1, 1, 1, 1]),
        // What can't be reached or was taken out isn't in; the latter doesn't count.
        ("-x-o", None, &[1, 0, 1, 0]),
        ("++--", told(false, 2, 4), &[1, 1, 0, 0]),
        ("oo+-", None, &[0, 0, 1, 0]),
        ("oo--", told(true, 0, 2), &[0, 0, 1, 1]),
        ("oooo", told(false, 0, 0), &[0, 0, 0, 0]),
    ];
    let mut fleet = Fleet::default();
    for (seats, told, expected) in rows {
        let events = fleet.follow(&rules, &members(seats), Instant::now());
        let of_panic: Vec<Event> = events.into_iter().filter(|event| matches!(event, Event::Panic { .. })).collect();
        assert_eq!(of_panic, told.into_iter().collect::<Vec<_>>(), "{seats}");
        assert_eq!(weights(&fleet, &rules, &members(seats)), expected, "{seats}");
    }
}

#[test]
fn each_change_of_a_real_is_told_once() {
    let rules = config::Fleet::default();
    let real = |last, up| Event::Real { address: address(last), up };
    let rows: [(&str, &[Event]); 7] = [
        ("+?-", &[real(3, false)]),
        ("++-", &[]),
        ("+--", &[real(2, false)]),
        ("?--", &[]),
        ("+++", &[real(2, true), real(3, true)]),
        ("+o+", &[]),
        ("x++", &[real(1, false)]),
    ];
    let mut fleet = Fleet::default();
    for (seats, expected) in rows {
        assert_eq!(fleet.follow(&rules, &members(seats), Instant::now()), expected, "{seats}");
    }
}

proptest! {
    /// Whatever happens: nobody out of reach gets a connection, nobody healthy loses what it has, and where somebody takes
    /// connections somebody gets them.
    #[test]
    fn no_history_leaves_clients_without_a_real_that_lives(
        quorum in 0u32..6, hysteresis in 0u32..3, panic_below in 0u8..=100, slow in any::<bool>(), has_sorry in any::<bool>(),
        history in prop::collection::vec(("[+?xo-]{5}", 0u64..30), 1..40),
    ) {
        let rules = config::Fleet {
            slow_start: slow.then_some(Duration::from_secs(60)),
            quorum,
            hysteresis: hysteresis.min(quorum.saturating_sub(1)),
            panic_below: if has_sorry { 0 } else { panic_below },
            sorry: has_sorry.then(sorry),
            ..config::Fleet::default()
        };
        let (mut fleet, mut now) = (Fleet::default(), Instant::now());
        let stands_in = member(99, 1, Seat::Takes);
        for (seats, seconds) in history {
            now += Duration::from_secs(seconds);
            let members = members(&seats);
            fleet.follow(&rules, &members, now);
            let mut taken = 0;
            for member in &members {
                let lives = member.seat == Seat::Takes;
                let share = fleet.share(&rules, member, lives);
                prop_assert!(share.usable || !lives);
                prop_assert!(share.weight == 0 || matches!(member.seat, Seat::Takes | Seat::Fails));
                prop_assert!(share.weight <= member.weight * 10);
                taken += share.weight;
            }
            if has_sorry {
                taken += fleet.share(&rules, &stands_in, true).weight;
            }
            prop_assert!(taken > 0 || !members.iter().any(|member| member.seat == Seat::Takes));
            prop_assert!(fleet.due().is_none_or(|due| due > now));
        }
    }
}
