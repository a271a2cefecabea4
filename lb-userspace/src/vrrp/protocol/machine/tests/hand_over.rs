//! Releases, stops and shut-downs.

use super::*;

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
