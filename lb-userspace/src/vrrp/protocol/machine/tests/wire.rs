//! Machines on a simulated wire: what holds whatever is lost, late or started twice.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const A: Duration = Duration::from_millis(100);
/// What a frame takes from one to the other.
const DELAY: Duration = Duration::from_millis(1);

/// Machines that hear each other unless `lost` says otherwise.
struct Wire {
    now: Time,
    machines: Vec<Machine>,
    /// The last advert that each has heard, or its start.
    heard: Vec<Time>,
    in_flight: Vec<(Time, usize, Heard)>,
    lost: Box<dyn FnMut() -> bool>,
}

impl Wire {
    fn new(machines: Vec<Machine>, lost: impl FnMut() -> bool + 'static) -> Self {
        Self {
            now: Time::ZERO,
            heard: vec![Time::ZERO; machines.len()],
            machines,
            in_flight: Vec::new(),
            lost: Box::new(lost),
        }
    }

    fn handle(&mut self, index: usize, event: Event) {
        let mut actions = Vec::new();
        let machine = &mut self.machines[index];
        machine.handle(self.now, event, &mut actions);
        let (source, interval) = (machine.config().address, machine.config().interval);
        for action in actions {
            let Action::Advertise(priority) = action else {
                continue;
            };
            for other in (0..self.machines.len()).filter(|&other| other != index) {
                if !(self.lost)() {
                    let heard = Heard { source, priority, interval };
                    self.in_flight.push((self.now + DELAY, other, heard));
                }
            }
        }
    }

    /// Makes it master at once, of this priority from its first advert on.
    fn make_master(&mut self, index: usize, priority: u8) {
        self.handle(index, Event::Priority(OWNER));
        let heard = self.in_flight.len();
        self.handle(index, Event::Start { holds_addresses: false });
        self.in_flight.truncate(heard);
        self.handle(index, Event::Priority(priority));
    }

    /// The next advert or deadline, until `end`.
    fn step(&mut self, end: Time) -> bool {
        let arrival = self.in_flight.iter().map(|flight| flight.0).min();
        let deadline = self.machines.iter().filter_map(Machine::deadline).min();
        let Some(next) = arrival.into_iter().chain(deadline).min().filter(|&next| next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let position = self.in_flight.iter().position(|flight| flight.0 == next).unwrap();
            let (_, to, heard) = self.in_flight.remove(position);
            self.heard[to] = self.now;
            self.handle(to, Event::Advert(heard));
        } else {
            let index = self.machines.iter().position(|m| m.deadline() == Some(next)).unwrap();
            self.handle(index, Event::Timer);
        }
        true
    }

    fn masters(&self) -> usize {
        let is_master = |m: &&Machine| matches!(m.state(), State::Master | State::Releasing);
        self.machines.iter().filter(is_master).count()
    }

    /// How many hosts have the VIPs.
    fn holders(&self) -> usize {
        self.machines.iter().filter(|machine| machine.holds_addresses()).count()
    }
}

fn machine(last: u8, priority: u8, version: Version, preempt: bool) -> Machine {
    let interval = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => A,
    };
    let config = Config {
        asks: false,
        grouped: false,
        version,
        priority,
        interval,
        preempt,
        preempt_delay: Duration::ZERO,
        handover: default_handover(interval),
        address: [192, 0, 2, last].into(),
    };
    Machine::new(config, Time::ZERO)
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V2), Just(Version::V3)]
}

proptest! {
    #[test]
    fn two_on_a_lossless_wire_never_stay_both_master(
        version in versions(),
        priorities in prop::array::uniform2(1u8..),
        preempt in prop::array::uniform2(any::<bool>()),
        holding in prop::array::uniform2(any::<bool>()),
    ) {
        let machines = (0..2).map(|i| machine(i as u8, priorities[i], version, preempt[i]));
        let mut wire = Wire::new(machines.collect(), || false);
        for (index, &holds_addresses) in holding.iter().enumerate() {
            wire.handle(index, Event::Start { holds_addresses });
        }
        let mut both_since = None;
        while wire.step(Duration::from_secs(30)) {
            if wire.masters() < 2 {
                both_since = None;
            } else {
                let since = *both_since.get_or_insert(wire.now);
                prop_assert!(wire.now - since <= 2 * DELAY, "both since {since:?}");
            }
        }
        prop_assert_eq!(wire.masters(), 1);
    }

    /// The first was killed as their master, after it was heard at 0 s, and starts again `away` later.
    #[test]
    fn whoever_returns_to_its_vips_leaves_no_moment_without_them_and_displaces_nobody_that_it_may_not(
        version in versions(),
        priorities in prop::array::uniform2(1u8..=254),
        preempt: bool,
        away in 0u32..60,
    ) {
        let machines = (0..2).map(|i| machine(i as u8, priorities[i], version, preempt || i == 1));
        let mut wire = Wire::new(machines.collect(), || false);
        let interval = wire.machines[0].config().interval;
        wire.handle(1, Event::Start { holds_addresses: false });
        while wire.step(interval * away / 10) {}
        let was_followed = wire.masters() == 1;
        wire.handle(0, Event::Start { holds_addresses: true });
        let end = wire.now + 20 * interval;
        while wire.step(end) {
            prop_assert!(wire.holders() >= 1, "nobody has them at {:?}", wire.now);
            let displaced = was_followed && wire.machines[1].state() != State::Master;
            prop_assert!(!displaced || preempt && priorities[0] > priorities[1], "at {:?}", wire.now);
        }
        prop_assert_eq!((wire.masters(), wire.holders()), (1, 1));
        if away <= 17 {
            prop_assert_eq!(wire.machines[1].state() == State::Master, priorities[1] > priorities[0], "no election");
        }
    }

    #[test]
    fn of_many_masters_after_a_partition_the_highest_remains(
        version in versions(),
        priorities in prop::collection::vec(1u8..=254, 2..6),
    ) {
        let machines: Vec<_> = priorities.iter().zip(0..)
            .map(|(&priority, last)| machine(last, priority, version, true))
            .collect();
        let interval = machines[0].config().interval;
        let best = (0..machines.len()).max_by_key(|&i| (priorities[i], i)).unwrap();
        let mut wire = Wire::new(machines, || false);
        for (index, &priority) in priorities.iter().enumerate() {
            wire.make_master(index, priority);
        }
        while wire.step(interval) {}
        prop_assert_eq!(wire.masters(), 1);
        prop_assert_eq!(wire.machines[best].state(), State::Master);
    }

    #[test]
    fn whatever_is_lost_there_is_a_master_in_time(
        version in versions(),
        priorities in prop::array::uniform3(1u8..),
        pattern in prop::collection::vec(any::<bool>(), 1..64),
    ) {
        let machines = (0..3).map(|i| machine(i as u8, priorities[i], version, true));
        let mut losses = pattern.into_iter().cycle();
        let mut wire = Wire::new(machines.collect(), move || losses.next().unwrap());
        for index in 0..3 {
            wire.handle(index, Event::Start { holds_addresses: false });
        }
        while wire.step(Duration::from_secs(20)) {
            for (machine, &heard) in wire.machines.iter().zip(&wire.heard) {
                let limit = heard + machine.down_interval();
                prop_assert!(
                    machine.state() != State::Backup || wire.now <= limit,
                    "backup at {:?}, nothing heard since {heard:?}", wire.now
                );
            }
        }
        prop_assert!(wire.masters() >= 1);
    }

    #[test]
    fn a_hand_over_leaves_no_moment_without_a_master(
        version in versions(),
        priorities in prop::array::uniform2(1u8..=254),
        stop: bool,
        first_lost: bool,
    ) {
        let machines = (0..2).map(|i| machine(i as u8, priorities[i], version, true));
        let lose = Rc::new(Cell::new(false));
        let next_lost = lose.clone();
        let mut wire = Wire::new(machines.collect(), move || next_lost.take());
        wire.make_master(0, priorities[0]);
        wire.handle(1, Event::Start { holds_addresses: false });
        let master = wire.machines[0].config();
        let obeyed = Heard { source: master.address, priority: 254, interval: master.interval };
        wire.handle(1, Event::Advert(obeyed));
        wire.in_flight.clear();
        lose.set(first_lost);
        wire.handle(0, if stop { Event::Stop } else { Event::Release });
        let end = Duration::from_secs(20);
        while wire.step(end) {
            prop_assert!(wire.masters() >= 1, "nobody at {:?}", wire.now);
        }
        prop_assert_eq!(wire.machines[1].state(), State::Master);
        prop_assert_eq!(
            wire.machines[0].state(),
            if stop { State::Initialize } else { State::Backup }
        );
    }

    #[test]
    fn any_events_at_any_time_leave_a_machine_that_has_a_deadline_or_is_idle(
        version in versions(),
        priority in 1u8..,
        events in prop::collection::vec((0u8..9, any::<u8>(), 0u32..5000), 0..200),
    ) {
        let mut machine = machine(100, priority, version, true);
        let mut now = Time::ZERO;
        let mut gate = false;
        for (kind, byte, wait) in events {
            now += Duration::from_millis(wait.into());
            let event = match kind {
                0 => Event::Start { holds_addresses: byte > 127 },
                1..=3 => Event::Advert(Heard {
                    source: [192, 0, 2, byte].into(),
                    priority: byte,
                    interval: A,
                }),
                4 => Event::Timer,
                5 => Event::Priority(byte.max(1)),
                6 => Event::Release,
                7 => Event::Reclaim,
                _ => if byte > 127 { Event::Stop } else { Event::Fault },
            };
            let mut actions = Vec::new();
            machine.handle(now, event, &mut actions);
            for action in actions {
                if let Action::Gate(open) = action {
                    gate = open;
                }
            }
            prop_assert_eq!(gate, machine.holds_addresses(), "the gate follows the state");
            prop_assert_eq!(machine.deadline().is_none(), machine.state() == State::Initialize);
        }
    }
}
