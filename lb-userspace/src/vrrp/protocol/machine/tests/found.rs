//! VIPs that an agent before this one left: whose they are, and that there is no time without them.

use super::*;

/// Another director has become master meanwhile, with this priority: what is done once it is heard, and when the
/// machine is due next.
fn on_hearing(machine: &mut Machine, priority: u8) -> (Vec<Action>, Option<Time>) {
    let actions = handle(machine, AT, advert(priority, 3));
    (actions, machine.deadline())
}

fn gives_up(last_word: u8) -> Vec<Action> {
    [&GIVE_UP[..], &[Advertise(last_word)]].concat()
}

#[test]
fn a_master_is_displaced_only_as_by_any_other_backup() {
    let mut preempting = keeping(config());
    assert_eq!(on_hearing(&mut preempting, 50), (vec![], Some(LISTEN)));
    let actions = handle(&mut preempting, LISTEN, Event::Timer);
    assert_eq!(actions, then::<4, 5>(TAKE_OVER, Master, Cause::Preempted), "the VIPs never left");

    let followed = (gives_up(49), Some(AT + THEIR_DOWN));
    let mut patient = keeping(Config { preempt: false, ..config() });
    assert_eq!(on_hearing(&mut patient, 50), followed);
    assert!(!patient.holds_addresses());

    let mut delayed = keeping(Config { preempt_delay: 3 * S, ..config() });
    assert_eq!(on_hearing(&mut delayed, 50), (gives_up(49), Some(AT + 3 * S)));

    let mut unready = keeping(config());
    unready.defer_preemption(Time::ZERO, Some(AT + S));
    assert_eq!(on_hearing(&mut unready, 50), followed);

    let mut released = keeping(config());
    handle(&mut released, Time::ZERO, Event::Release);
    assert_eq!(on_hearing(&mut released, 50), followed);
    assert!(released.yielded());
}

#[test]
fn a_released_router_is_released_still_when_it_starts() {
    let mut machine = Machine::new(Config { priority: OWNER, ..config() }, Time::ZERO);
    handle(&mut machine, Time::ZERO, Event::Release);
    let actions = handle(&mut machine, Time::ZERO, Event::Start { holds_addresses: true });
    assert_eq!(actions.last(), Some(&Entered(Backup, Cause::Found)), "the owner too");
    assert!(machine.yielded());
    let actions = handle(&mut machine, LISTEN, Event::Timer);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Adopted)), "nobody else has them");
    assert!(!machine.yielded());
}

#[test]
fn a_last_word_wins_no_election() {
    let mut lowest = keeping(Config { priority: 1, ..config() });
    assert_eq!(on_hearing(&mut lowest, 1).0, GIVE_UP, "no advert is below it");
    let mut outranked = keeping(config());
    assert_eq!(on_hearing(&mut outranked, 200).0, gives_up(100));
}

#[test]
fn a_master_that_resigns_meanwhile_is_followed() {
    let mut machine = keeping(config());
    assert_eq!(on_hearing(&mut machine, 0), (vec![], Some(AT + SKEW)));
    let actions = handle(&mut machine, AT + SKEW, Event::Timer);
    assert_eq!(actions, then::<4, 5>(TAKE_OVER, Master, Cause::MasterResigned));
}

#[test]
fn a_stop_meanwhile_is_a_hand_over() {
    for (event, after, left) in [(Event::Stop, &GIVE_UP[..], true), (Event::Shutdown, &[], false)] {
        let mut machine = keeping(config());
        handle(&mut machine, AT, Event::Release);
        handle(&mut machine, AT, event);
        assert_eq!((machine.state(), machine.yielded()), (Releasing, true));
        while machine.state() == Releasing {
            let due = machine.deadline().unwrap();
            let actions = handle(&mut machine, due, Event::Timer);
            if machine.state() != Releasing {
                assert_eq!(actions[..actions.len() - 1], *after, "given up: {left}");
            }
        }
        assert_eq!(machine.state(), Initialize);
    }
}

#[test]
fn a_member_of_a_sync_group_waits_for_it_and_goes_with_it() {
    let grouped = Config { grouped: true, ..config() };
    let mut machine = keeping(grouped);
    assert!(handle(&mut machine, LISTEN, Event::Timer).is_empty());
    assert!(machine.standing().held && machine.standing().keeps);
    let mut alone = machine.clone();
    assert_eq!(handle(&mut machine, LISTEN, Event::TakeOver), then::<4, 5>(TAKE_OVER, Master, Cause::Adopted));
    assert_eq!(handle(&mut alone, LISTEN, Event::Yield), GIVE_UP);
    assert_eq!((alone.state(), alone.holds_addresses()), (Backup, false));
}
