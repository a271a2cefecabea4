//! What the tests of the machine share; then what takes more than one event to show: elections.

use super::*;

use Action::{AddAddresses, Advertise, Announce, Entered, Gate, KeepAddresses, RemoveAddresses, Silence};
use State::{Backup, Initialize, Master, Releasing};

mod asks;
mod found;
mod hand_over;
mod table;
mod wire;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
/// When the row's event happens.
const AT: Time = Duration::from_millis(500);
/// (256 − 100) · 1 s / 256.
const SKEW: Duration = Duration::from_micros(609_375);
/// 3 · 1 s + skew.
const DOWN: Duration = Duration::from_micros(3_609_375);
/// The same for the 2 s that the others advertise at.
const THEIR_DOWN: Duration = Duration::from_micros(7_218_750);
/// 3 · 1 s + (256 − 120) · 1 s / 256.
const DOWN_120: Duration = Duration::from_micros(3_531_250);

/// 1 s and a quarter.
const LISTEN: Duration = Duration::from_millis(1250);

const TAKE_OVER: [Action; 4] = [Gate(true), AddAddresses, Advertise(100), Announce];
const GIVE_UP: [Action; 3] = [Gate(false), Silence, RemoveAddresses];

/// The last action of a change of state, after those that all such changes share.
const fn then<const N: usize, const M: usize>(first: [Action; N], state: State, cause: Cause) -> [Action; M] {
    let mut actions = [Entered(state, cause); M];
    let mut index = 0;
    while index < N {
        actions[index] = first[index];
        index += 1;
    }
    actions
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn config() -> Config {
    Config {
        grouped: false,
        version: Version::V3,
        priority: 100,
        interval: S,
        preempt: true,
        preempt_delay: Duration::ZERO,
        asks: false,
        handover: default_handover(S),
        address: address(2),
    }
}

/// In this state since 0 s, and nobody was heard.
fn in_state(state: State, config: Config) -> Machine {
    let mut machine = Machine::new(config, Time::ZERO);
    // The owner alone is master at once.
    let start = Event::Start { holds_addresses: false };
    let master = [Event::Priority(OWNER), start, Event::Priority(config.priority)];
    let events: &[Event] = match state {
        Initialize => &[],
        Backup => &[start],
        Master => &master,
        Releasing => &[&master[..], &[Event::Release]].concat(),
    };
    for &event in events {
        machine.handle(Time::ZERO, event, &mut Vec::new());
    }
    assert_eq!(machine.state(), state);
    machine
}

/// A backup since 0 s that keeps the VIPs that it found.
fn keeping(config: Config) -> Machine {
    let mut machine = Machine::new(config, Time::ZERO);
    machine.handle(Time::ZERO, Event::Start { holds_addresses: true }, &mut Vec::new());
    assert_eq!((machine.state(), machine.holds_addresses()), (Backup, true));
    machine
}

fn advert(priority: u8, last: u8) -> Event {
    Event::Advert(Heard { source: address(last), priority, interval: 2 * S })
}

fn handle(machine: &mut Machine, now: Time, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    machine.handle(now, event, &mut actions);
    actions
}

#[test]
fn the_owner_is_master_at_once() {
    let mut machine = Machine::new(Config { priority: OWNER, ..config() }, Time::ZERO);
    let start = Event::Start { holds_addresses: false };
    let actions = handle(&mut machine, AT, start);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Owner)), "6.4.1");
}

#[test]
fn an_owner_that_is_not_ready_is_a_backup_until_it_is() {
    let owner = Config { priority: OWNER, preempt: false, preempt_delay: 60 * S, ..config() };
    let unready = |holds_addresses| {
        let mut machine = Machine::new(owner, Time::ZERO);
        machine.defer_preemption(Time::ZERO, Some(5 * S));
        handle(&mut machine, Time::ZERO, Event::Start { holds_addresses });
        assert_eq!((machine.state(), machine.holds_addresses()), (Backup, holds_addresses));
        machine
    };
    for holds_addresses in [false, true] {
        let mut ready = unready(holds_addresses);
        handle(&mut ready, AT, advert(100, 1));
        assert_eq!(ready.deadline().map(|due| due > AT + 3 * S), Some(true), "the other is let be");
        ready.defer_preemption(AT + S, None);
        assert_eq!(ready.deadline(), Some(AT + S));
        let actions = handle(&mut ready, AT + S, Event::Timer);
        assert_eq!(actions.last(), Some(&Entered(Master, Cause::Owner)));

        // Nobody else is there, and it is not ready in time.
        let mut alone = unready(holds_addresses);
        let due = alone.deadline().unwrap();
        assert_eq!(due, LISTEN);
        handle(&mut alone, due, Event::Timer);
        assert_eq!(alone.state(), Master);

        // Not for ever: then as any owner, whatever is said of preemption.
        let mut late = unready(holds_addresses);
        handle(&mut late, 4 * S, advert(100, 1));
        let due = late.deadline();
        handle(&mut late, 6 * S, advert(100, 1));
        assert_eq!(late.deadline(), due, "the timer runs on");
    }
}

#[test]
fn skew_follows_the_version_and_the_priority() {
    let skew = |version, priority, interval| {
        let config = Config { version, priority, interval, ..config() };
        Machine::new(config, Time::ZERO).skew()
    };
    assert_eq!(skew(Version::V2, 1, 10 * S), S * 255 / 256);
    assert_eq!(skew(Version::V2, 255, 10 * S), S / 256);
    assert_eq!(skew(Version::V3, 1, 10 * S), 10 * S * 255 / 256);
    assert_eq!(skew(Version::V3, 254, 10 * MS), 10 * MS * 2 / 256);
}

#[test]
fn version_2_does_not_learn_an_interval() {
    let mut machine = in_state(Backup, Config { version: Version::V2, ..config() });
    handle(&mut machine, AT, advert(200, 1));
    assert_eq!(machine.deadline(), Some(AT + DOWN));
}

#[test]
fn a_new_master_advertises_at_its_own_interval_again() {
    let mut machine = in_state(Backup, config());
    handle(&mut machine, AT, advert(200, 1));
    handle(&mut machine, AT + THEIR_DOWN, Event::Timer);
    assert_eq!(machine.state(), Master);
    assert_eq!(machine.deadline(), Some(AT + THEIR_DOWN + S));
    assert_eq!(machine.skew(), SKEW);
}

#[test]
fn without_preemption_a_lower_master_is_obeyed() {
    let mut machine = in_state(Backup, Config { preempt: false, ..config() });
    handle(&mut machine, AT, advert(1, 1));
    assert_eq!(machine.deadline(), Some(AT + THEIR_DOWN));
    assert_eq!(machine.master(), Some(address(1)));
}

#[test]
fn a_lower_master_is_displaced_when_the_preempt_delay_is_over() {
    let delay = 60 * S;
    let mut machine = in_state(Backup, Config { preempt_delay: delay, ..config() });
    let mut now = AT;
    while machine.deadline() != Some(AT + delay) {
        assert!(handle(&mut machine, now, advert(50, 1)).is_empty());
        now += 2 * S;
        assert!(now < AT + delay);
    }
    let actions = handle(&mut machine, AT + delay, Event::Timer);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Preempted)));
}

#[test]
fn a_preempt_delay_ends_with_its_reason() {
    let delayed = Config { preempt_delay: 5 * S, ..config() };
    let mut outranked = in_state(Backup, delayed);
    handle(&mut outranked, AT, advert(50, 1));
    handle(&mut outranked, AT + S, advert(200, 3));
    assert_eq!(outranked.deadline(), Some(AT + S + THEIR_DOWN));

    let mut demoted = in_state(Backup, delayed);
    handle(&mut demoted, AT, advert(50, 1));
    handle(&mut demoted, AT, Event::Priority(40));
    assert!(demoted.deadline() > Some(AT + THEIR_DOWN));

    let mut dead = in_state(Backup, Config { preempt_delay: 60 * S, ..config() });
    handle(&mut dead, AT, advert(50, 1));
    assert_eq!(dead.deadline(), Some(AT + THEIR_DOWN), "a dead master is not waited for");
}

#[test]
fn a_router_that_is_not_ready_lets_a_lower_master_be_but_follows_a_dead_one() {
    let unready = || {
        let mut machine = in_state(Backup, config());
        machine.defer_preemption(Time::ZERO, Some(AT + 5 * S));
        handle(&mut machine, AT, advert(50, 1));
        assert_eq!(machine.deadline(), Some(AT + THEIR_DOWN), "the timer starts anew");
        machine
    };
    let mut ready = unready();
    ready.defer_preemption(AT, None);
    handle(&mut ready, AT + S, advert(50, 1));
    assert_eq!(ready.deadline(), Some(AT + THEIR_DOWN), "the timer was let run");

    let mut late = unready();
    handle(&mut late, AT + 5 * S, advert(50, 1));
    assert_eq!(late.deadline(), Some(AT + THEIR_DOWN), "it has waited long enough");

    let actions = handle(&mut unready(), AT + THEIR_DOWN, Event::Timer);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::MasterDown)));

    // It was about to displace the other when it ceased to be ready.
    let mut about_to = in_state(Backup, config());
    handle(&mut about_to, AT, advert(50, 1));
    let due = about_to.deadline().unwrap();
    assert!(due < AT + THEIR_DOWN, "the timer runs on");
    about_to.defer_preemption(AT + MS, Some(AT + 5 * S));
    assert_eq!(handle(&mut about_to, due, Event::Timer), [], "the other is let be");
    handle(&mut about_to, due, advert(50, 1));
    assert_eq!(about_to.deadline(), Some(due + THEIR_DOWN));
    let mut resigned = unready();
    handle(&mut resigned, AT, advert(0, 1));
    assert_eq!(resigned.deadline(), Some(AT + 2 * SKEW), "their interval is 2 s");
}

#[test]
fn a_flood_of_losing_adverts_is_answered_at_a_bounded_rate_and_does_not_silence_the_master() {
    let mut machine = in_state(Master, config());
    let mut adverts = Vec::new();
    let mut announcements = 0;
    for step in 0..10_000 {
        let now = step * MS;
        for action in handle(&mut machine, now, advert(1, 1)) {
            match action {
                Advertise(_) => adverts.push(now),
                Announce => announcements += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(adverts.len(), 80, "eight an interval");
    assert_eq!(announcements, 10, "one a second");
    assert!(adverts.windows(2).all(|pair| pair[1] - pair[0] <= S));
}

#[test]
fn a_backup_that_overslept_listens_once_more() {
    let mut machine = in_state(Backup, config());
    let woken = DOWN + 10 * S;
    assert!(handle(&mut machine, woken, Event::Timer).is_empty());
    assert_eq!(machine.deadline(), Some(woken + S), "an interval at most");
    let mut lucky = machine.clone();
    handle(&mut lucky, woken + MS, advert(200, 1));
    assert_eq!(lucky.deadline(), Some(woken + MS + THEIR_DOWN));
    // Once: it may be always late.
    handle(&mut machine, woken + 5 * S, Event::Timer);
    assert_eq!(machine.state(), Master);

    let mut punctual = in_state(Backup, config());
    handle(&mut punctual, DOWN + S / 8, Event::Timer);
    assert_eq!(punctual.state(), Master);
}

#[test]
fn a_reload_keeps_the_state_and_its_deadline() {
    for state in [Backup, Master, Releasing] {
        let mut machine = in_state(state, config());
        let deadline = machine.deadline();
        machine.reconfigure(Config { interval: 2 * S, preempt: false, ..config() });
        assert_eq!((machine.state(), machine.deadline()), (state, deadline));
    }
}

#[test]
fn a_member_of_a_sync_group_takes_over_only_with_it() {
    let grouped = || Config { grouped: true, ..config() };
    let mut machine = in_state(Backup, grouped());
    assert!(handle(&mut machine, AT, Event::TakeOver).is_empty(), "its time has not come");
    assert!(handle(&mut machine, DOWN, Event::Timer).is_empty());
    assert!(machine.standing().held);
    assert_eq!(machine.deadline(), Some(DOWN + S), "it doesn't spin");
    let mut heard = machine.clone();
    handle(&mut heard, DOWN + MS, advert(200, 1));
    assert!(!heard.standing().held);
    assert!(handle(&mut heard, DOWN + MS, Event::TakeOver).is_empty());
    assert!(handle(&mut machine, DOWN + S, Event::Timer).is_empty());
    let actions = handle(&mut machine, DOWN + S, Event::TakeOver);
    assert_eq!(actions, then::<4, 5>(TAKE_OVER, Master, Cause::MasterDown));
    assert!(!machine.standing().held);

    // A master of lower priority, let be for a while, doesn't make a held member spin either.
    let mut patient = in_state(Backup, Config { preempt_delay: S, ..grouped() });
    handle(&mut patient, Time::ZERO, advert(50, 1));
    handle(&mut patient, S, Event::Timer);
    assert!(patient.standing().held);
    assert_eq!(patient.deadline(), Some(S + 2 * S), "the master's interval later");
}
