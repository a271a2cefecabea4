use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::phase::Phase;
use super::*;
use crate::config::{CheckKind, Damping, Tcp};

/// Within what the first checks of a few targets start.
const FEW: Duration = Duration::from_millis(100);

fn check(rise: u32, fall: u32) -> Check {
    Check {
        kind: CheckKind::Tcp(Tcp),
        port: 80,
        interval: Duration::from_secs(2),
        fast: Duration::from_secs(2),
        timeout: Duration::from_millis(100),
        rise,
        fall,
        jitter: 10,
        via: crate::config::Via::Real,
        address: None,
        source: None,
        damping: None,
    }
}

fn at(start: Instant, millis: u64) -> Now {
    Now { monotonic: start + Duration::from_millis(millis), wall: UNIX_EPOCH + Duration::from_millis(millis) }
}

fn up(millis: u64) -> Health {
    Health::Up { since: at(Instant::now(), millis).wall }
}

fn down(millis: u64, reason: &str) -> Health {
    Health::Down { since: at(Instant::now(), millis).wall, failure: Failure::Unreachable, reason: reason.to_owned() }
}

fn bad(reason: &str) -> Outcome {
    Outcome::Bad(Failure::Unreachable, reason.to_owned())
}

/// Runs one check that starts when it is due and ends at once.
fn once(machine: &mut Machine, start: Instant, millis: u64, outcome: Outcome) -> Option<Health> {
    let Step::Start(ticket) = machine.tick(at(start, millis), 0) else {
        panic!("no check was due at {millis} ms: {machine:?}");
    };
    machine.finish(ticket, outcome, at(start, millis))
}

/// Every health before, with every count against it that can stand, and every outcome.
#[test]
fn each_state_and_result() {
    let (rise, fall) = (2, 3);
    let void = || Outcome::Void("no free socket".to_owned());
    // (health before, count against it, outcome, health after, count after, reported)
    #[rustfmt::skip]
    let table = [
        (Health::Unknown, 0, Outcome::Good, up(9), 0, true),
        (Health::Unknown, 0, bad("a"),      down(9, "a"), 0, true),
        (Health::Unknown, 0, void(),        Health::Unknown, 0, false),
        (up(1), 0, Outcome::Good, up(1), 0, false),
        (up(1), 1, Outcome::Good, up(1), 0, false),
        (up(1), 2, Outcome::Good, up(1), 0, false),
        (up(1), 0, bad("a"), up(1), 1, false),
        (up(1), 1, bad("a"), up(1), 2, false),
        (up(1), 2, bad("a"), down(9, "a"), 0, true),
        (up(1), 0, void(), up(1), 0, false),
        (up(1), 2, void(), up(1), 2, false),
        (down(1, "a"), 0, Outcome::Good, down(1, "a"), 1, false),
        (down(1, "a"), 1, Outcome::Good, up(9), 0, true),
        (down(1, "a"), 0, bad("a"), down(1, "a"), 0, false),
        (down(1, "a"), 1, bad("a"), down(1, "a"), 0, false),
        (down(1, "a"), 0, bad("b"), down(1, "b"), 0, true),
        (down(1, "a"), 1, bad("b"), down(1, "b"), 0, true),
        (down(1, "a"), 0, void(), down(1, "a"), 0, false),
        (down(1, "a"), 1, void(), down(1, "a"), 1, false),
    ];
    for (before, against, outcome, after, against_after, reported) in table {
        let start = Instant::now();
        let mut machine = Machine::new(&check(rise, fall), Some(before.clone()), FEW, start, 0);
        machine.against = against;
        machine.reported = true;
        let case = format!("{before:?} with {against} against, {outcome:?}");
        let report = once(&mut machine, start, 9, outcome);
        assert_eq!(machine.health, after, "{case}");
        assert_eq!(machine.against, against_after, "{case}");
        assert_eq!(report, reported.then_some(after), "{case}");
        assert!(machine.running.is_none(), "{case}");
    }
}

/// Idle and running, each against a tick and a result, early and late.
#[test]
fn each_phase_and_event() {
    let start = Instant::now();
    let idle = Machine::new(&check(1, 1), None, FEW, start, u64::MAX / 2);
    assert_eq!(idle.deadline().duration_since(start).as_millis(), 49);

    let mut machine = idle.clone();
    assert_eq!(machine.tick(at(start, 49), 0), Step::Wait, "idle, early");
    assert_eq!(machine.finish(Ticket(1), Outcome::Good, at(start, 49)), None, "idle, a result that nobody asked for");
    assert_eq!(machine.health, Health::Unknown);
    assert_eq!(machine.tick(at(start, 50), u64::MAX), Step::Start(Ticket(1)), "idle, due");

    let running = machine;
    let mut machine = running.clone();
    assert_eq!(machine.deadline(), at(start, 50).monotonic + Duration::from_millis(100) + GRACE);
    assert_eq!(machine.tick(at(start, 300), 0), Step::Wait, "running, within its time");
    assert_eq!(
        machine.tick(at(start, 400), 0),
        Step::GiveUp(Ticket(1), bad("timed out after 100ms"), Some(down(400, "timed out after 100ms"))),
        "running, overran"
    );
    assert_eq!(machine.finish(Ticket(1), Outcome::Good, at(start, 401)), None, "a late result is ignored");
    assert_eq!(machine.health, down(400, "timed out after 100ms"));

    let mut machine = running.clone();
    assert_eq!(machine.finish(Ticket(2), Outcome::Good, at(start, 60)), None, "running, another's result");
    assert!(machine.running.is_some());
    assert_eq!(machine.finish(Ticket(1), Outcome::Good, at(start, 60)), Some(up(60)), "running, its result");
}

#[test]
fn a_slow_check_delays_the_next_and_missed_beats_are_not_made_up() {
    let start = Instant::now();
    let slow = Check { timeout: Duration::from_secs(9), jitter: 0, ..check(1, 1) };
    let mut machine = Machine::new(&slow, None, FEW, start, 0);
    let Step::Start(first) = machine.tick(at(start, 0), u64::MAX) else {
        panic!("due at once");
    };
    assert_eq!(machine.tick(at(start, 2_500), 0), Step::Wait, "due, but one is running");
    machine.finish(first, Outcome::Good, at(start, 7_000));
    assert!(machine.deadline() <= at(start, 7_000).monotonic);
    let Step::Start(second) = machine.tick(at(start, 7_000), 0) else {
        panic!("the delayed one starts at once");
    };
    machine.finish(second, Outcome::Good, at(start, 7_001));
    assert_eq!(machine.deadline(), at(start, 9_000).monotonic, "one interval after its start");
}

/// What holds, the results that follow, and how long after its start the next check of each is due. Down at first, with
/// `rise` 2 and `fall` 3.
#[test]
fn while_in_doubt_the_next_check_follows_sooner() {
    let (slow, fast) = (2_000, 200);
    let void = || Outcome::Void("no free socket".to_owned());
    let rows = [
        ("down and bad again", bad("a"), slow),
        ("rising", Outcome::Good, fast),
        ("rising, nothing said", void(), fast),
        ("up", Outcome::Good, slow),
        ("up, nothing said", void(), slow),
        ("falling", bad("a"), fast),
        ("falling further", bad("a"), fast),
        ("not after all", Outcome::Good, slow),
        ("falling once more", bad("a"), fast),
        ("further", bad("a"), fast),
        ("down", bad("a"), slow),
        ("another reason", bad("b"), slow),
        ("rising once more", Outcome::Good, fast),
        ("not after all", bad("b"), slow),
    ];
    let start = Instant::now();
    let check = Check { fast: Duration::from_millis(fast), jitter: 0, ..check(2, 3) };
    let mut machine = Machine::new(&check, Some(down(0, "a")), FEW, start, 0);
    // The second start is somewhere in the first interval.
    once(&mut machine, start, 0, bad("a"));
    for (name, outcome, wait) in rows {
        let began = machine.deadline();
        once(&mut machine, start, began.duration_since(start).as_millis() as u64, outcome);
        assert_eq!(machine.deadline() - began, Duration::from_millis(wait), "{name}");
    }
}

/// A check that is given up counts as bad, so the one after it comes sooner too; one that took longer than `fast` is
/// followed at once.
#[test]
fn a_check_that_was_given_up_is_in_doubt_too() {
    let start = Instant::now();
    let check = Check { fast: Duration::from_millis(200), jitter: 0, ..check(1, 2) };
    let mut machine = Machine::new(&check, Some(up(0)), FEW, start, 0);
    assert!(matches!(machine.tick(at(start, 0), u64::MAX), Step::Start(_)));
    assert!(matches!(machine.tick(at(start, 350), 0), Step::GiveUp(_, _, Some(Health::Up { .. }))));
    assert_eq!(machine.deadline(), at(start, 200).monotonic, "past: at once");
    assert!(matches!(machine.tick(at(start, 350), 0), Step::Start(_)));
}

#[test]
fn what_is_carried_over_is_confirmed_by_the_first_result_and_counts_as_usual() {
    let start = Instant::now();
    let mut machine = Machine::new(&check(1, 2), Some(up(1)), FEW, start, 0);
    assert_eq!(once(&mut machine, start, 5_000, bad("a")), Some(up(1)), "first result, still up");
    assert_eq!(once(&mut machine, start, 10_000, bad("a")), Some(down(10_000, "a")));
}

#[test]
fn a_void_first_check_leaves_the_first_word_to_the_next() {
    let start = Instant::now();
    let mut machine = Machine::new(&check(3, 3), None, FEW, start, 0);
    let void = Outcome::Void("no free socket".to_owned());
    assert_eq!(once(&mut machine, start, 5_000, void), None);
    assert_eq!(once(&mut machine, start, 10_000, Outcome::Good), Some(up(10_000)));
}

/// What is told at each result of one that is held down after its second time down in a minute, until it was good for ten
/// seconds. `rise` 2, `fall` 1.
#[test]
fn one_that_flaps_is_held_down_until_it_is_good_for_a_while() {
    let seconds = Duration::from_secs;
    let held = "went down 2 times within 1m: held down until it was good for 10s";
    let damping = Some(Damping { after: 2, within: seconds(60), good_for: seconds(10) });
    let first = |second: u64| Some(down(second * 1000, "a"));
    let again = |since: u64, reason| Some(down(since * 1000, reason));
    let is_up = |second: u64| Some(up(second * 1000));
    type Row<'a> = (u64, Outcome, Option<Health>, Phase);
    #[rustfmt::skip]
    let rows: [Row<'_>; 21] = [
        // (second, result, what is told, what it is doing)
        (2,   bad("a"),      first(2),           Phase::Down),
        (4,   Outcome::Good, None,               Phase::Rising(1, 2)),
        (6,   Outcome::Good, is_up(6),           Phase::Up),
        (8,   bad("a"),      first(8),           Phase::Held(seconds(0), seconds(10))),
        (10,  Outcome::Good, None,               Phase::Held(seconds(0), seconds(10))),
        (12,  Outcome::Good, again(8, held),     Phase::Held(seconds(2), seconds(10))),
        (14,  Outcome::Good, None,               Phase::Held(seconds(4), seconds(10))),
        (16,  Outcome::Void(String::new()), None, Phase::Held(seconds(6), seconds(10))),
        (18,  bad("b"),      again(8, "b"),      Phase::Held(seconds(0), seconds(10))),
        (20,  Outcome::Good, None,               Phase::Held(seconds(0), seconds(10))),
        (24,  Outcome::Good, again(8, held),     Phase::Held(seconds(4), seconds(10))),
        (30,  Outcome::Good, is_up(30),          Phase::Up),
        // Its last two times down are a minute apart: not too often.
        (90,  bad("a"),      first(90),          Phase::Down),
        (92,  Outcome::Good, None,               Phase::Rising(1, 2)),
        (94,  Outcome::Good, is_up(94),          Phase::Up),
        // And these aren't.
        (96,  bad("a"),      first(96),          Phase::Held(seconds(0), seconds(10))),
        (98,  bad("a"),      None,               Phase::Held(seconds(0), seconds(10))),
        (100, Outcome::Good, None,               Phase::Held(seconds(0), seconds(10))),
        // Good for long enough, and twice: the first bad one after that is the first again.
        (115, Outcome::Good, is_up(115),         Phase::Up),
        (170, bad("a"),      first(170),         Phase::Down),
        (172, Outcome::Good, None,               Phase::Rising(1, 2)),
    ];
    let start = Instant::now();
    let mut machine = Machine::new(&Check { jitter: 0, damping, ..check(2, 1) }, Some(up(0)), FEW, start, 0);
    machine.reported = true;
    for (second, outcome, told, phase) in rows {
        let millis = second * 1000;
        let case = format!("second {second}, {outcome:?}");
        assert_eq!(once(&mut machine, start, millis, outcome), told, "{case}");
        assert_eq!(machine.phase(at(start, millis).monotonic), phase, "{case}");
    }
}

#[test]
fn without_damping_one_may_flap_for_ever() {
    let start = Instant::now();
    let mut machine = Machine::new(&check(1, 1), Some(up(0)), FEW, start, 0);
    for n in 0..200 {
        let (millis, good) = ((n + 1) * 3000, n % 2 == 1);
        let expected = if good { up(millis) } else { down(millis, "a") };
        let outcome = if good { Outcome::Good } else { bad("a") };
        assert_eq!(once(&mut machine, start, millis, outcome), Some(expected));
    }
}

/// What holds and what counts against it stay over another pace; the limits are the new ones.
#[test]
fn another_pace_forgets_nothing() {
    let start = Instant::now();
    let slow = Check { interval: Duration::from_secs(60), fast: Duration::from_secs(60), ..check(1, 5) };
    let quick = Check { interval: Duration::from_secs(1), fast: Duration::from_secs(1), jitter: 0, ..check(1, 3) };
    let mut machine = Machine::new(&slow, Some(up(0)), FEW, start, 0);
    once(&mut machine, start, 0, bad("a"));
    once(&mut machine, start, 60_000, bad("a"));
    assert_eq!(machine.phase(start), Phase::Falling(2, 5));
    machine.set_pace(&quick, at(start, 60_100).monotonic, u64::MAX);
    assert_eq!(machine.phase(start), Phase::Falling(2, 3));
    assert!(machine.deadline() <= at(start, 61_100).monotonic, "not only after a minute");
    assert_eq!(once(&mut machine, start, 61_100, bad("a")), Some(down(61_100, "a")));

    // A check that runs goes on, and its result counts.
    let Step::Start(ticket) = machine.tick(at(start, 70_000), 0) else { panic!("due") };
    machine.set_pace(&slow, at(start, 70_001).monotonic, 0);
    assert_eq!(machine.finish(ticket, Outcome::Good, at(start, 70_002)), Some(up(70_002)));
}

proptest! {
    /// However it flaps, it isn't up while it is held, and nobody is held longer than its rule says.
    #[test]
    fn damping_only_ever_delays(
        after in 2u32..5, within in 1u64..200, good_for in 1u64..30,
        results in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let start = Instant::now();
        let damping = Damping { after, within: Duration::from_secs(within), good_for: Duration::from_secs(good_for) };
        let plain = Check { jitter: 0, ..check(1, 1) };
        let mut free = Machine::new(&plain, Some(up(0)), FEW, start, 0);
        let mut damped = Machine::new(&Check { damping: Some(damping), ..plain }, Some(up(0)), FEW, start, 0);
        let mut good_since = None;
        for (n, good) in results.into_iter().enumerate() {
            let millis = (n as u64 + 1) * 2000;
            let outcome = || if good { Outcome::Good } else { bad("x") };
            once(&mut free, start, millis, outcome());
            once(&mut damped, start, millis, outcome());
            good_since = if good { good_since.or(Some(millis)) } else { None };
            let is_up = |machine: &Machine| matches!(machine.health(), Health::Up { .. });
            prop_assert!(!is_up(&damped) || is_up(&free));
            if good_since.is_some_and(|since| millis - since >= good_for * 1000) {
                prop_assert!(is_up(&damped));
            }
        }
    }

    /// Against a model that keeps the whole history of results and reads rise and fall off it.
    #[test]
    fn health_is_what_the_history_says(
        rise in 1u32..5, fall in 1u32..5,
        results in prop::collection::vec(any::<bool>(), 1..60),
    ) {
        let start = Instant::now();
        let mut machine = Machine::new(&check(rise, fall), None, FEW, start, 7);
        let mut is_up = None;
        for (n, good) in results.iter().enumerate() {
            let outcome = if *good { Outcome::Good } else { bad("x") };
            let report = once(&mut machine, start, (n as u64 + 1) * 10_000, outcome);
            let need = if *good { rise } else { fall } as usize;
            let row = results[..=n].iter().rev().take_while(|r| *r == good).count();
            let expected = match is_up {
                None => *good,
                Some(was) if was != *good && row >= need => *good,
                Some(was) => was,
            };
            prop_assert_eq!(matches!(machine.health(), Health::Up { .. }), expected);
            prop_assert_eq!(report.is_some(), is_up != Some(expected));
            is_up = Some(expected);
        }
    }

    /// Starts are never closer than the interval (after the second) nor further than interval + jitter, and
    /// the first is within its bound.
    #[test]
    fn starts_keep_their_distance(
        interval in 1u64..100_000, jitter in 0u8..=50, randoms in prop::collection::vec(any::<u64>(), 3..40),
    ) {
        let start = Instant::now();
        let check = Check { interval: Duration::from_millis(interval), jitter, ..check(1, 1) };
        let check = Check { fast: check.interval, ..check };
        let mut machine = Machine::new(&check, None, FEW, start, randoms[0]);
        prop_assert!(machine.deadline() - start <= FEW.min(check.interval));
        let mut starts = Vec::new();
        for random in randoms {
            let now = Now { monotonic: machine.deadline(), wall: UNIX_EPOCH };
            let Step::Start(ticket) = machine.tick(now, random) else { panic!("due at its deadline") };
            machine.finish(ticket, Outcome::Good, now);
            starts.push(now.monotonic);
        }
        prop_assert!(starts[1] - starts[0] <= check.interval);
        for pair in starts[1..].windows(2) {
            let wait = pair[1] - pair[0];
            prop_assert!(wait >= check.interval);
            prop_assert!(wait <= check.interval + check.interval * u32::from(jitter) / 100);
        }
    }

    /// Whatever comes in whatever order: no panic, and at most one check runs.
    #[test]
    fn any_order_of_events_is_survived(
        events in prop::collection::vec((0u64..4_000, 0u8..4, 0u64..6, any::<u64>()), 0..200),
    ) {
        let start = Instant::now();
        let mut machine = Machine::new(&check(2, 2), None, FEW, start, 0);
        let mut running: Option<Ticket> = None;
        let mut time = 0;
        for (step, event, ticket, random) in events {
            time += step;
            let now = at(start, time);
            match event {
                0 => match machine.tick(now, random) {
                    Step::Start(ticket) => {
                        prop_assert!(running.is_none());
                        running = Some(ticket);
                    }
                    Step::GiveUp(ticket, ..) => {
                        prop_assert_eq!(running, Some(ticket));
                        running = None;
                    }
                    Step::Wait => prop_assert!(machine.deadline() > now.monotonic),
                },
                1 => { machine.finish(Ticket(ticket), Outcome::Good, now); }
                2 => { machine.finish(Ticket(ticket), bad("x"), now); }
                _ => { machine.finish(Ticket(ticket), Outcome::Void(String::new()), now); }
            }
            running = running.filter(|ticket| machine.running.is_some_and(|r| r.ticket == *ticket));
            prop_assert_eq!(running.is_some(), machine.running.is_some());
        }
    }
}

#[test]
fn the_more_targets_are_new_the_longer_their_first_checks_are_spread() {
    let rows = [(0, 100), (1, 100), (100, 100), (250, 250), (1000, 1000), (100_000, 1000), (usize::MAX, 1000)];
    for (targets, millis) in rows {
        assert_eq!(first_within(targets), Duration::from_millis(millis), "{targets}");
    }
}

#[test]
fn what_is_kept_goes_on_where_it_was_and_counts_for_a_while() {
    let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let at =
        |seconds| Now { monotonic: start + Duration::from_secs(seconds), wall: wall + Duration::from_secs(seconds) };
    let damping = Some(Damping { after: 2, within: Duration::from_secs(60), good_for: Duration::from_secs(30) });
    let check = Check { jitter: 0, damping, ..check(1, 1) };
    let mut machine = Machine::new(&check, Some(up(0)), FEW, start, 0);
    assert_eq!(machine.kept(at(0)), None, "no result yet");
    let refused = || Outcome::Bad(Failure::Unreachable, "refused".to_owned());
    let mut now = 0;
    for outcome in [refused(), Outcome::Good, refused(), Outcome::Good] {
        now += 5;
        let Step::Start(ticket) = machine.tick(at(now), 0) else { panic!("due") };
        machine.finish(ticket, outcome, at(now));
    }
    // Twice down: held since then, and good since 20.
    let kept = machine.kept(at(20)).unwrap();
    assert_eq!((kept.heard, kept.held.is_held), (at(20).wall, true));
    // The machine was away for eight seconds, and its monotonic clock is another one.
    let other = |seconds| Now { monotonic: start + Duration::from_secs(5000 + seconds), ..at(seconds) };
    let mut after = Machine::resume(&check, &kept, FEW, other(28), 0);
    assert!(after.is_reported());
    assert_eq!(after.phase(other(28).monotonic), Phase::Held(Duration::from_secs(8), Duration::from_secs(30)));
    assert_eq!(after.kept(other(28)).unwrap(), kept);
    let Step::Start(ticket) = after.tick(other(51), 0) else { panic!("due") };
    let healed = after.finish(ticket, Outcome::Good, other(51));
    assert_eq!(healed, Some(Health::Up { since: at(51).wall }), "good for 31 s");

    // A minute at least, or as long as the checks take to turn it.
    let slow = Check { interval: Duration::from_secs(60), timeout: Duration::from_secs(10), fall: 3, ..check.clone() };
    let counts = |check: &Check, age: u64| kept.counts(check, kept.heard + Duration::from_secs(age));
    assert!(counts(&check, 60) && !counts(&check, 61) && counts(&slow, 190) && !counts(&slow, 191));
    assert!(!kept.counts(&check, kept.heard - Duration::from_secs(1)), "a clock that was put back");
}

#[test]
fn a_weight_is_news_of_one_that_is_up_and_stays_until_another_is_asked_for() {
    let start = Instant::now();
    let mut machine = Machine::new(&Check { jitter: 0, ..check(2, 1) }, None, FEW, start, 0);
    // (when, outcome, whether it is told, weight)
    let rows = [
        (100, Outcome::Weighed(50), true, Some(50)),
        (2100, Outcome::Weighed(50), false, Some(50)),
        (4100, Outcome::Good, false, Some(50)),
        (6100, Outcome::Weighed(0), true, Some(0)),
        (8100, bad("exit status: 1"), true, Some(0)),
        (10_100, Outcome::Weighed(7), false, Some(7)),
        (12_100, Outcome::Weighed(7), true, Some(7)),
    ];
    for (millis, outcome, told, weight) in rows {
        assert_eq!(once(&mut machine, start, millis, outcome).is_some(), told, "{millis}");
        assert_eq!(machine.weight(), weight, "{millis}");
    }
    assert_eq!(machine.kept(at(start, 13_000)).unwrap().weight, Some(7));
}

#[test]
fn a_suspect_is_asked_at_once_and_then_as_often_as_in_doubt() {
    let start = Instant::now();
    let slow = Check { interval: Duration::from_secs(60), fast: Duration::from_secs(1), jitter: 0, ..check(1, 2) };
    let mut machine = Machine::new(&slow, Some(up(0)), FEW, start, 0);
    once(&mut machine, start, 0, Outcome::Good);
    let next = |machine: &Machine| machine.next_start().duration_since(start).as_millis();
    // The second is anywhere in the interval.
    let second = u64::try_from(next(&machine)).unwrap();
    once(&mut machine, start, second, Outcome::Good);
    let began = u64::try_from(next(&machine)).unwrap() - 60_000;
    machine.hurry(at(start, began + 300).monotonic, false);
    assert_eq!(next(&machine), u128::from(began + 1000), "not sooner than `fast`");
    machine.hurry(at(start, began + 400).monotonic, true);
    assert_eq!(next(&machine), u128::from(began + 400));
    let Step::Start(ticket) = machine.tick(at(start, began + 400), 0) else { panic!("due") };
    machine.hurry(at(start, began + 401).monotonic, true);
    assert_eq!(machine.finish(ticket, bad("timed out"), at(start, began + 500)), None, "its check decides");
    assert_eq!(machine.phase(start), Phase::Falling(1, 2));
    assert_eq!(next(&machine), u128::from(began + 1400), "as always when in doubt");
    assert!(once(&mut machine, start, began + 1400, bad("timed out")).is_some());
    let due = next(&machine);
    machine.hurry(at(start, began + 2000).monotonic, true);
    assert_eq!(next(&machine), due, "a real that is down is left to its pace");
}
