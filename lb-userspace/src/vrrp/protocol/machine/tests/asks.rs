//! Where directors share their connections: what the master knows is asked for before it is displaced.

use super::*;

fn asking() -> Config {
    Config { asks: true, ..config() }
}

/// A backup whose time to displace a master of lower priority has come, at this time.
fn about_to_displace(config: Config) -> (Machine, Time) {
    let mut machine = in_state(Backup, config);
    handle(&mut machine, AT, advert(50, 1));
    let due = machine.deadline().unwrap();
    assert_eq!(handle(&mut machine, due, Event::Timer), [Action::Ask]);
    assert_eq!((machine.state(), machine.deadline()), (Backup, Some(due + ANSWER)));
    (machine, due)
}

#[test]
fn a_master_that_lives_is_displaced_when_it_has_answered() {
    let (mut machine, due) = about_to_displace(asking());
    assert!(handle(&mut machine, due + MS, advert(50, 1)).is_empty(), "it is heard meanwhile");
    assert!(handle(&mut machine, due + 2 * MS, Event::Timer).is_empty(), "and waited for");
    let actions = handle(&mut machine, due + 3 * MS, Event::Answered);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Preempted)));
    assert!(handle(&mut machine, due + 4 * MS, Event::Answered).is_empty(), "once");
}

#[test]
fn or_when_it_has_not_answered_in_time() {
    let (mut machine, due) = about_to_displace(asking());
    let actions = handle(&mut machine, due + ANSWER, Event::Timer);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Preempted)));
}

#[test]
fn one_that_was_let_be_for_a_while_is_asked_once_too() {
    let (mut machine, due) = about_to_displace(Config { preempt_delay: 3 * S, ..asking() });
    assert!(handle(&mut machine, due + MS, advert(50, 1)).is_empty());
    assert!(machine.deadline() > Some(due + MS), "it doesn't spin");
    let actions = handle(&mut machine, due + 3 * MS, Event::Answered);
    assert_eq!(actions.last(), Some(&Entered(Master, Cause::Preempted)));
}

#[test]
fn nobody_is_asked_where_the_master_resigned_or_is_silent() {
    let mut silent = in_state(Backup, asking());
    assert_eq!(handle(&mut silent, DOWN, Event::Timer).last(), Some(&Entered(Master, Cause::MasterDown)));
    let (mut resigned, due) = about_to_displace(asking());
    assert!(handle(&mut resigned, due + MS, advert(RESIGN, 1)).is_empty());
    let skew = resigned.deadline().unwrap();
    assert_eq!(handle(&mut resigned, skew, Event::Timer).last(), Some(&Entered(Master, Cause::MasterResigned)));
}

#[test]
fn an_answer_is_nothing_to_one_that_gave_up_asking() {
    let (mut outranked, due) = about_to_displace(asking());
    handle(&mut outranked, due + MS, advert(200, 3));
    assert!(handle(&mut outranked, due + 2 * MS, Event::Answered).is_empty());
    assert_eq!(outranked.deadline(), Some(due + MS + THEIR_DOWN));
    let (mut demoted, due) = about_to_displace(asking());
    handle(&mut demoted, due + MS, Event::Priority(40));
    assert!(handle(&mut demoted, due + 2 * MS, Event::Answered).is_empty());
    for state in [Initialize, Master, Releasing] {
        assert!(handle(&mut in_state(state, asking()), AT, Event::Answered).is_empty());
    }
}

#[test]
fn the_owner_asks_too_and_a_sync_group_is_not_asked_twice() {
    // One that was not ready when it started, so that it is a backup.
    let mut owner = Machine::new(Config { priority: OWNER, ..asking() }, Time::ZERO);
    owner.defer_preemption(Time::ZERO, Some(AT));
    handle(&mut owner, Time::ZERO, Event::Start { holds_addresses: false });
    handle(&mut owner, MS, advert(50, 1));
    owner.defer_preemption(2 * MS, None);
    assert_eq!(handle(&mut owner, 2 * MS, Event::Timer), [Action::Ask]);
    assert_eq!(handle(&mut owner, 3 * MS, Event::Answered).last(), Some(&Entered(Master, Cause::Owner)));

    let mut member = in_state(Backup, Config { grouped: true, ..asking() });
    handle(&mut member, AT, advert(50, 1));
    let due = member.deadline().unwrap();
    assert!(handle(&mut member, due, Event::Timer).is_empty());
    assert_eq!(handle(&mut member, due, Event::TakeOver), [Action::Ask]);
    assert!(member.standing().held && handle(&mut member, due + MS, Event::TakeOver).is_empty());
    assert_eq!(handle(&mut member, due + 2 * MS, Event::Answered).last(), Some(&Entered(Master, Cause::Preempted)));
}
