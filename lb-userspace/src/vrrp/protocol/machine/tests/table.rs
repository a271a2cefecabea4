//! Every (state, event) with what follows, the RFC's section beside each row.

use super::*;

use In::Keeping;

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

/// A state as the rows have it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum In {
    Only(State),
    /// Backup with the VIPs that an agent before it left.
    Keeping,
}

const STATES: [In; 5] = [In::Only(Initialize), In::Only(Backup), Keeping, In::Only(Master), In::Only(Releasing)];

/// State, event, section of RFC 9568 (or what stands in for it), next state, actions, next deadline.
type Row = (In, On, &'static str, State, &'static [Action], Option<Time>);

const fn at(time: Duration) -> Option<Time> {
    Some(time)
}

const fn after(time: Duration) -> Option<Time> {
    AT.checked_add(time)
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (In::Only(Initialize), On::Start,              "6.4.1", Backup,     &[Gate(false), Entered(Backup, Cause::Started)], after(DOWN)),
    (In::Only(Initialize), On::StartHolding,       "adoption", Backup,  &[Gate(true), KeepAddresses, Entered(Backup, Cause::Found)], after(LISTEN)),
    (In::Only(Initialize), On::Resign,             "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::Lower,              "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::EqualLowerAddress,  "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::EqualHigherAddress, "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::Higher,             "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::EarlyTimer,         "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::DueTimer,           "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::Priority120,        "tracking",    Initialize, &[], None),
    (In::Only(Initialize), On::Release,            "release",     Initialize, &[], None),
    (In::Only(Initialize), On::Reclaim,            "release",     Initialize, &[], None),
    (In::Only(Initialize), On::Stop,               "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::Shutdown,           "6.4.1",       Initialize, &[], None),
    (In::Only(Initialize), On::Fault,              "6.4.1",       Initialize, &[], None),

    (In::Only(Backup), On::Start,              "6.4.2", Backup,     &[], at(DOWN)),
    (In::Only(Backup), On::StartHolding,       "6.4.2", Backup,     &[], at(DOWN)),
    (In::Only(Backup), On::Resign,             "6.4.2", Backup, &[], after(SKEW)),
    (In::Only(Backup), On::Lower,              "6.4.2", Backup, &[], at(DOWN)),
    (In::Only(Backup), On::EqualLowerAddress,  "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (In::Only(Backup), On::EqualHigherAddress, "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (In::Only(Backup), On::Higher,             "6.4.2", Backup, &[], after(THEIR_DOWN)),
    (In::Only(Backup), On::EarlyTimer,         "6.4.2", Backup,     &[], at(DOWN)),
    (In::Only(Backup), On::DueTimer,           "6.4.2", Master, &then::<4, 5>(TAKE_OVER, Master, Cause::MasterDown), DOWN.checked_add(S)),
    (In::Only(Backup), On::Priority120,        "tracking", Backup,  &[], at(DOWN_120)),
    (In::Only(Backup), On::Release,            "release", Backup,   &[], at(DOWN)),
    (In::Only(Backup), On::Reclaim,            "release", Backup,   &[], at(DOWN)),
    (In::Only(Backup), On::Stop,               "6.4.2", Initialize, &[Entered(Initialize, Cause::Stopped)], None),
    (In::Only(Backup), On::Shutdown,           "6.4.2", Initialize, &[Entered(Initialize, Cause::Stopped)], None),
    (In::Only(Backup), On::Fault,              "6.4.2", Initialize, &[Entered(Initialize, Cause::Faulted)], None),

    (Keeping, On::Start,              "6.4.2", Backup, &[], at(LISTEN)),
    (Keeping, On::StartHolding,       "6.4.2", Backup, &[], at(LISTEN)),
    (Keeping, On::Resign,             "6.4.2", Backup, &[], after(SKEW)),
    (Keeping, On::Lower,              "6.4.2", Backup, &[], at(LISTEN)),
    (Keeping, On::EqualLowerAddress,  "adoption", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(99)], after(THEIR_DOWN)),
    (Keeping, On::EqualHigherAddress, "adoption", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(99)], after(THEIR_DOWN)),
    (Keeping, On::Higher,             "adoption", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(100)], after(THEIR_DOWN)),
    (Keeping, On::EarlyTimer,         "6.4.2", Backup, &[], at(LISTEN)),
    (Keeping, On::DueTimer,           "adoption", Master, &then::<4, 5>(TAKE_OVER, Master, Cause::Adopted), LISTEN.checked_add(S)),
    (Keeping, On::Priority120,        "tracking", Backup, &[], at(LISTEN)),
    (Keeping, On::Release,            "release", Backup, &[], at(LISTEN)),
    (Keeping, On::Reclaim,            "release", Backup, &[], at(LISTEN)),
    (Keeping, On::Stop,               "adoption, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (Keeping, On::Shutdown,           "adoption, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (Keeping, On::Fault,              "adoption", Initialize, &then::<3, 4>(GIVE_UP, Initialize, Cause::Faulted), None),

    (In::Only(Master), On::Start,              "6.4.3", Master,     &[], at(S)),
    (In::Only(Master), On::StartHolding,       "6.4.3", Master,     &[], at(S)),
    (In::Only(Master), On::Resign,             "6.4.3", Master, &[Advertise(100)], after(S)),
    (In::Only(Master), On::Lower,              "6.4.3", Master, &[Advertise(100), Announce], after(S)),
    (In::Only(Master), On::EqualLowerAddress,  "6.4.3", Master, &[Advertise(100), Announce], after(S)),
    (In::Only(Master), On::EqualHigherAddress, "6.4.3", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(100), Entered(Backup, Cause::Outranked)], after(THEIR_DOWN)),
    (In::Only(Master), On::Higher,             "6.4.3", Backup, &[Gate(false), Silence, RemoveAddresses, Advertise(100), Entered(Backup, Cause::Outranked)], after(THEIR_DOWN)),
    (In::Only(Master), On::EarlyTimer,         "6.4.3", Master,     &[], at(S)),
    (In::Only(Master), On::DueTimer,           "6.4.3", Master, &[Advertise(100)], S.checked_add(S)),
    (In::Only(Master), On::Priority120,        "tracking", Master,  &[Advertise(120)], after(S)),
    (In::Only(Master), On::Release,            "release", Releasing, &[Advertise(0), Entered(Releasing, Cause::Released)], at(Duration::from_millis(2000))),
    (In::Only(Master), On::Reclaim,            "release", Master,   &[], at(S)),
    (In::Only(Master), On::Stop,               "6.4.3, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (In::Only(Master), On::Shutdown,           "6.4.3, held", Releasing, &[Advertise(0), Advertise(0), Entered(Releasing, Cause::Stopped)], at(Duration::from_millis(1750))),
    (In::Only(Master), On::Fault,              "6.4.3", Initialize, &then::<3, 4>(GIVE_UP, Initialize, Cause::Faulted), None),

    (In::Only(Releasing), On::Start,              "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::StartHolding,       "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Resign,             "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Lower,              "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (In::Only(Releasing), On::EqualLowerAddress,  "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (In::Only(Releasing), On::EqualHigherAddress, "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (In::Only(Releasing), On::Higher,             "release", Backup,  &then::<3, 4>(GIVE_UP, Backup, Cause::HandedOver), after(THEIR_DOWN)),
    (In::Only(Releasing), On::EarlyTimer,         "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::DueTimer,           "release", Releasing, &[Advertise(0)], at(Duration::from_millis(3000))),
    (In::Only(Releasing), On::Priority120,        "tracking", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Release,            "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Reclaim,            "release", Master,  &then::<4, 5>(TAKE_OVER, Master, Cause::Reclaimed), after(S)),
    (In::Only(Releasing), On::Stop,               "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Shutdown,           "release", Releasing, &[], at(Duration::from_millis(1500))),
    (In::Only(Releasing), On::Fault,              "6.4.3", Initialize, &then::<3, 4>(GIVE_UP, Initialize, Cause::Faulted), None),
];

#[test]
fn every_event_in_every_state() {
    for state in STATES {
        for on in EVENTS {
            let rows: Vec<_> = TABLE.iter().filter(|row| (row.0, row.1) == (state, on)).collect();
            let [(_, _, section, next, actions, deadline)] = rows[..] else {
                panic!("{state:?} {on:?} has {} rows", rows.len());
            };
            let mut machine = match state {
                In::Only(state) => in_state(state, config()),
                Keeping => keeping(config()),
            };
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
            let row = format!("{state:?}, {on:?} ({section})");
            let done = handle(&mut machine, now, event);
            assert_eq!(done, *actions, "{row}: actions");
            assert_eq!(machine.state(), *next, "{row}: state");
            assert_eq!(machine.deadline(), *deadline, "{row}: deadline");
        }
    }
    assert_eq!(TABLE.len(), STATES.len() * EVENTS.len());
}
