//! Every (state, event) with what follows, the RFC's section beside each row; then what takes more than one
//! event to show.

use super::*;

use Action::{AddAddresses, Advertise, Announce, Entered, Gate, RemoveAddresses, Silence};
use State::{Backup, Initialize, Master, Releasing};

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

/// Ours have the priority 100 and the address .2.
#[derive(Debug, Clone, Copy, PartialEq)]
enum On {
    Start,
    StartHolding,
    Resign,
    Lower,
    EqualLowerAddress,
    EqualHigherAddress,
    Higher,
    EarlyTimer,
    DueTimer,
    Priority120,
    Release,
    Reclaim,
    Stop,
    Shutdown,
    Fault,
}

const EVENTS: [On; 15] = [
    On::Start,
    On::StartHolding,
    On::Resign,
    On::Lower,
    On::EqualLowerAddress,
    On::EqualHigherAddress,
    On::Higher,
    On::EarlyTimer,
    On::DueTimer,
    On::Priority120,
    On::Release,
    On::Reclaim,
    On::Stop,
    On::Shutdown,
    On::Fault,
];
const STATES: [State; 4] = [Initialize, Backup, Master, Releasing];

/// State, event, section of RFC 9568 (or what stands in for it), next state, actions, next deadline.
type Row = (State, On, &'static str, State, &'static [Action], Option<Time>);

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

const fn at(time: Duration) -> Option<Time> {
    Some(time)
}

const fn after(time: Duration) -> Option<Time> {
    AT.checked_add(time)
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (Initialize, On::Start,              "6.4.1", Backup,     &[Gate(false), Entered(Backup, Cause::Started)], after(DOWN)),
    (Initialize, On::StartHolding,       "adoption",    Master,     &then::<4, 5>(TAKE_OVER, Master, Cause::Adopted), after(S)),
    (Initialize, On::Resign,             "6.4.1",       Initialize, &[], None),
    (Initialize, On::Lower,              "6.4.1",       Initialize, &[], None),
    (Initialize, On::EqualLowerAddress,  "6.4.1",       Initialize, &[], None),
    (Initialize, On::EqualHigherAddress, "6.4.1",       Initialize, &[], None),
    (Initialize, On::Higher,             "6.4.1",       Initialize, &[], None),
    (Initialize, On::EarlyTimer,         "6.4.1",       Initialize, &[], None),
    (Initialize, On::DueTimer,           "6.4.1",       Initialize, &[], None),
    (Initialize, On::Priority120,        "tracking",    Initialize, &[], None),
    (Initialize, On::Release,            "release",     Initialize, &[], None),
    (Initialize, On::Reclaim,            "release",     Initialize, &[], None),
    (Initialize, On::Stop,               "6.4.1",       Initialize, &[], None),
    (Initialize, On::Shutdown,           "6.4.1",       Initialize, &[], None),
    (Initialize, On::Fault,              "6.4.1",       Initialize, &[], None),

    (Backup, On::Start,              "6.4.2", Backup,     &[], at(DOWN)),
    (Backup, On::StartHolding,       "6.4.2", Backup,     &[], at(DOWN)),
    (Backup, On::Resign,             "6.4.2", Backup, &[], after(SKEW)),
    (Backup, On::Lower,              "6.4.2", Backup, &[], at(DOWN)),
    (Backup, On::EqualLowerAddress,  "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (Backup, On::EqualHigherAddress, "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (Backup, On::Higher,             "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (Backup, On::EarlyTimer,         "6.4.2", Backup,     &[], at(DOWN)),
    (Backup, On::DueTimer,           "6.4.2", Master, &then::<4, 5>(TAKE_OVER, Master, Cause::MasterDown), DOWN.checked_add(S)),
    (Backup, On::Priority120,        "tracking", Backup,  &[], at(DOWN_120)),
    (Backup, On::Release,            "release", Backup,   &[], at(DOWN)),
    (Backup, On::Reclaim,            "release", Backup,   &[], at(DOWN)),
    (Backup, On::Stop,               "6.4.2", Initialize, &[Entered(Initialize, Cause::Stopped)], None),
    (Backup, On::Shutdown,           "6.4.2", Initialize, &[Entered(Initialize, Cause::Stopped)], None),
    (Backup, On::Fault,              "6.4.2", Initialize, &[Entered(Initialize, Cause::Faulted)], None),

    (Master, On::Start,              "6.4.3", Master,     &[], at(S)),
    (Master, On::StartHolding,       "6.4.3", Master,     &[], at(S)),
    (Master, On::Resign,             "6.4.3", Master, &[Advertise(100)], after(S)),
    (Master, On::Lower,              "6.4.3", Master, &[Advertise(100), Announce], after(S)),
    (Master, On::EqualLowerAddress,  "6.4.3", Master, &[Advertise(100), Announce], after(S)),
    (Master, On::EqualHigherAddress, "6.4.3", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(100), Entered(Backup, Cause::Outranked)], after(THEIR_DOWN)),
    (Master, On::Higher,             "6.4.3", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(100), Entered(Backup, Cause::Outranked)], after(THEIR_DOWN)),
    (Master, On::EarlyTimer,         "6.4.3", Master,     &[], at(S)),
    (Master, On::DueTimer,           "6.4.3", Master, &[Advertise(100)], S.checked_add(S)),
    (Master, On::Priority120,        "tracking", Master,  &[Advertise(120)], after(S)),
    (Master, On::Release,            "release", Releasing, &[Advertise(0), Entered(Releasing, Cause::Released)], at(Duration::from_millis(2000))),
    (Master, On::Reclaim,            "release", Master,   &[], at(S)),
    (Master, On::Stop,               "6.4.3, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (Master, On::Shutdown,           "6.4.3, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (Master, On::Fault,              "6.4.3", Initialize, &then::<3, 4>(GIVE_UP, Initialize, Cause::Faulted), None),

    (Releasing, On::Start,              "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::StartHolding,       "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Resign,             "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Lower,              "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (Releasing, On::EqualLowerAddress,  "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (Releasing, On::EqualHigherAddress, "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (Releasing, On::Higher,             "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (Releasing, On::EarlyTimer,         "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::DueTimer,           "release", Releasing, &[Advertise(0)], at(Duration::from_millis(3000))),
    (Releasing, On::Priority120,        "tracking", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Release,            "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Reclaim,            "release", Master,  &then::<4, 5>(TAKE_OVER, Master, Cause::Reclaimed), after(S)),
    (Releasing, On::Stop,               "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Shutdown,           "release", Releasing, &[], at(Duration::from_millis(1500))),
    (Releasing, On::Fault,              "6.4.3", Initialize, &then::<3, 4>(GIVE_UP, Initialize, Cause::Faulted), None),
];

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
        handover: default_handover(S),
        address: address(2),
    }
}

fn in_state(state: State, config: Config) -> Machine {
    let mut machine = Machine::new(config, Time::ZERO);
    let holding = Event::Start { holds_addresses: true };
    let events: &[Event] = match state {
        Initialize => &[],
        Backup => &[Event::Start { holds_addresses: false }],
        Master => &[holding],
        Releasing => &[holding, Event::Release],
    };
    for &event in events {
        machine.handle(Time::ZERO, event, &mut Vec::new());
    }
    assert_eq!(machine.state(), state);
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
fn every_event_in_every_state() {
    for state in STATES {
        for on in EVENTS {
            let rows: Vec<_> = TABLE.iter().filter(|row| (row.0, row.1) == (state, on)).collect();
            let [(_, _, section, next, actions, deadline)] = rows[..] else {
                panic!("{state} {on:?} has {} rows", rows.len());
            };
            let mut machine = in_state(state, config());
            let (now, event) = match on {
                On::Start => (AT, Event::Start { holds_addresses: false }),
                On::StartHolding => (AT, Event::Start { holds_addresses: true }),
                On::Resign => (AT, advert(0, 1)),
                On::Lower => (AT, advert(99, 3)),
                On::EqualLowerAddress => (AT, advert(100, 1)),
                On::EqualHigherAddress => (AT, advert(100, 3)),
                On::Higher => (AT, advert(101, 1)),
                On::EarlyTimer => (AT, Event::Timer),
                On::DueTimer => (machine.deadline().unwrap_or(AT), Event::Timer),
                On::Priority120 => (AT, Event::Priority(120)),
                On::Release => (AT, Event::Release),
                On::Reclaim => (AT, Event::Reclaim),
                On::Stop => (AT, Event::Stop),
                On::Shutdown => (AT, Event::Shutdown),
                On::Fault => (AT, Event::Fault),
            };
            let row = format!("{state}, {on:?} ({section})");
            let done = handle(&mut machine, now, event);
            assert_eq!(done, *actions, "{row}: actions");
            assert_eq!(machine.state(), *next, "{row}: state");
            assert_eq!(machine.deadline(), *deadline, "{row}: deadline");
        }
    }
    assert_eq!(TABLE.len(), STATES.len() * EVENTS.len());
}

#[test]
fn the_owner_is_master_at_once() {
    let mut machine = Machine::new(Config { priority: OWNER, ..config() }, Time::ZERO);
    let start = Event::Start { holds_addresses: false };
    let actions = handle(&mut machine, AT, start);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Owner)), "6.4.1");
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
        machine.defer_preemption(Some(AT + 5 * S));
        handle(&mut machine, AT, advert(50, 1));
        assert_eq!(machine.deadline(), Some(AT + THEIR_DOWN), "the timer starts anew");
        machine
    };
    let mut ready = unready();
    ready.defer_preemption(None);
    handle(&mut ready, AT + S, advert(50, 1));
    assert_eq!(ready.deadline(), Some(AT + THEIR_DOWN), "the timer was let run");

    let mut late = unready();
    handle(&mut late, AT + 5 * S, advert(50, 1));
    assert_eq!(late.deadline(), Some(AT + THEIR_DOWN), "it has waited long enough");

    let actions = handle(&mut unready(), AT + THEIR_DOWN, Event::Timer);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::MasterDown)));
    let mut resigned = unready();
    handle(&mut resigned, AT, advert(0, 1));
    assert_eq!(resigned.deadline(), Some(AT + 2 * SKEW), "their interval is 2 s");
}

#[test]
fn a_released_router_does_not_preempt_its_successor_but_replaces_a_dead_one() {
    let mut machine = in_state(Releasing, config());
    handle(&mut machine, AT, advert(50, 1));
    assert!(machine.yielded());
    handle(&mut machine, AT + S, advert(50, 1));
    assert_eq!(machine.deadline(), Some(AT + S + THEIR_DOWN));
    handle(&mut machine, AT + S + THEIR_DOWN, Event::Timer);
    assert_eq!((machine.state(), machine.yielded()), (Master, false));
}

#[test]
fn a_release_outlives_a_loss_of_its_interface() {
    let mut machine = in_state(Releasing, config());
    handle(&mut machine, AT, advert(50, 1));
    handle(&mut machine, AT, Event::Fault);
    handle(&mut machine, AT, Event::Start { holds_addresses: false });
    assert_eq!((machine.state(), machine.yielded()), (Backup, true));
    handle(&mut machine, AT, Event::Fault);
    handle(&mut machine, AT, Event::Reclaim);
    handle(&mut machine, AT, Event::Start { holds_addresses: false });
    assert_eq!((machine.state(), machine.yielded()), (Backup, false));
}

#[test]
fn a_hand_over_of_0_leaves_at_once() {
    for (event, state) in [(Event::Shutdown, Initialize), (Event::Stop, Initialize), (Event::Release, Backup)] {
        let mut machine = in_state(Master, Config { handover: Duration::ZERO, ..config() });
        let actions = handle(&mut machine, AT, event);
        assert_eq!(machine.state(), state);
        assert_eq!(actions[..4], [Advertise(0), Gate(false), Silence, RemoveAddresses]);
    }
}

#[test]
fn a_router_that_heard_nobody_waits_no_longer_than_a_backup_would() {
    let ends = |machine: &mut Machine| {
        handle(machine, AT, Event::Shutdown);
        let (end, _) = run_out(machine, Releasing);
        end - AT
    };
    assert_eq!(ends(&mut in_state(Master, config())), S * 5 / 4);
    let mut heard = in_state(Master, config());
    handle(&mut heard, AT, advert(50, 1));
    assert_eq!(ends(&mut heard), default_handover(S));
}

#[test]
fn a_reclaiming_router_preempts_again() {
    let mut machine = in_state(Releasing, config());
    handle(&mut machine, AT, advert(50, 1));
    handle(&mut machine, AT, Event::Reclaim);
    handle(&mut machine, AT + S, advert(50, 1));
    assert_eq!(machine.deadline(), Some(AT + THEIR_DOWN), "the timer was let run");
}

/// Fires the timer until `state` is left; when that was, and what was done then.
fn run_out(machine: &mut Machine, state: State) -> (Time, Vec<Action>) {
    loop {
        let now = machine.deadline().unwrap();
        let actions = handle(machine, now, Event::Timer);
        if machine.state() != state {
            return (now, actions);
        }
        assert_eq!(actions, [Advertise(0)]);
    }
}

#[test]
fn a_release_without_a_successor_keeps_the_addresses() {
    let mut machine = in_state(Releasing, config());
    let (when, actions) = run_out(&mut machine, Releasing);
    assert_eq!(when, 4 * S);
    assert_eq!(actions, then::<4, 5>(TAKE_OVER, Master, Cause::NoSuccessor));
}

#[test]
fn a_stop_without_a_successor_gives_the_addresses_up_in_the_end() {
    let mut machine = in_state(Master, config());
    handle(&mut machine, Time::ZERO, advert(50, 1));
    handle(&mut machine, Time::ZERO, Event::Stop);
    let (when, actions) = run_out(&mut machine, Releasing);
    assert_eq!(when, 4 * S);
    assert_eq!(actions, then::<3, 4>(GIVE_UP, Initialize, Cause::NoSuccessor));
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_shutdown_without_a_successor_leaves_the_addresses_where_they_are() {
    let mut machine = in_state(Master, config());
    handle(&mut machine, Time::ZERO, advert(50, 1));
    handle(&mut machine, Time::ZERO, Event::Shutdown);
    let (when, actions) = run_out(&mut machine, Releasing);
    assert_eq!(when, 4 * S);
    assert_eq!(actions, [Entered(Initialize, Cause::NoSuccessor)]);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_stop_ends_in_initialize_when_the_successor_is_heard() {
    let mut machine = in_state(Master, config());
    handle(&mut machine, Time::ZERO, Event::Stop);
    let actions = handle(&mut machine, AT, advert(1, 1));
    assert_eq!(actions, then::<3, 4>(GIVE_UP, Initialize, Cause::HandedOver));
}

#[test]
fn a_start_takes_a_stop_back_that_nobody_followed() {
    let mut machine = in_state(Master, config());
    handle(&mut machine, Time::ZERO, Event::Stop);
    let start = Event::Start { holds_addresses: true };
    let actions = handle(&mut machine, AT, start);
    assert_eq!(actions, then::<4, 5>(TAKE_OVER, Master, Cause::Started));
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

#[test]
fn a_member_whose_group_lost_its_addresses_hands_over_and_keeps_none() {
    let mut machine = in_state(Master, config());
    handle(&mut machine, Time::ZERO, Event::Yield);
    assert_eq!((machine.state(), machine.standing().stopping), (Releasing, false));
    let mut followed = machine.clone();
    let actions = handle(&mut followed, AT, advert(200, 1));
    assert_eq!(actions, then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver));
    let mut now = Time::ZERO;
    while machine.state() == Releasing {
        now = machine.deadline().unwrap();
        handle(&mut machine, now, Event::Timer);
    }
    assert_eq!((machine.state(), machine.cause()), (Backup, Cause::NoSuccessor));
    assert!(!machine.yielded() && machine.deadline() > Some(now));

    let mut released = in_state(Master, config());
    handle(&mut released, Time::ZERO, Event::Release);
    handle(&mut released, AT, Event::Yield);
    while released.state() == Releasing {
        let due = released.deadline().unwrap();
        handle(&mut released, due, Event::Timer);
    }
    assert_eq!(released.state(), Backup, "no longer master again without a successor");
}
