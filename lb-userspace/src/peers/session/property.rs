//! Two sessions joined by a pipe that keeps its order come to the same state, whatever changes and however often they
//! are cut.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::model::{Table, View, flow, member, real, service};
use super::{Session, State, Time};
use crate::peers::differences::Differences;
use crate::peers::ours::Ours;
use crate::peers::state::{Change, Kind, Offer, ServiceId, Slot, Stage};
use crate::peers::wire::Greeting;

#[derive(Debug, Clone)]
enum Step {
    /// At this director: a service is offered, served or not, with reals of these weights.
    Offer {
        at: bool,
        service: usize,
        serving: bool,
        tracked: bool,
        weight: u32,
    },
    /// Of one service, or of both of its family.
    Members {
        at: bool,
        service: usize,
        both: bool,
        weights: Vec<u32>,
    },
    Slots {
        at: bool,
        service: usize,
        both: bool,
        ring: u32,
        whole: bool,
        words: Vec<(u32, u8, u8)>,
    },
    Flow {
        at: bool,
        service: usize,
        client: u16,
        real: u8,
        stage: Stage,
    },
    Gone {
        at: bool,
        service: usize,
    },
    /// So many messages reach the other one.
    Deliver {
        to: bool,
        count: usize,
    },
    Wait {
        milliseconds: u64,
    },
    Cut,
}

fn steps() -> impl Strategy<Value = Step> {
    let stage = prop_oneof![3 => Just(Stage::Open), 1 => Just(Stage::Closed), 2 => Just(Stage::Gone)];
    let word = (0..11_u32, 0..4_u8, 0..4_u8);
    prop_oneof![
        3 => (any::<bool>(), 0..4_usize, prop::bool::weighted(0.7), any::<bool>(), 1..3_u32)
            .prop_map(|(at, service, serving, tracked, weight)| Step::Offer { at, service, serving, tracked, weight }),
        2 => (any::<bool>(), 0..4_usize, any::<bool>(), prop::collection::vec(0..9_u32, 0..4))
            .prop_map(|(at, service, both, weights)| Step::Members { at, service, both, weights }),
        3 => (any::<bool>(), 0..4_usize, any::<bool>(), prop_oneof![5 => Just(11_u32), 1 => Just(7)], prop::bool::weighted(0.1),
              prop::collection::vec(word, 0..6))
            .prop_map(|(at, service, both, ring, whole, words)| Step::Slots { at, service, both, ring, whole, words }),
        8 => (any::<bool>(), 0..4_usize, 0..20_u16, 0..4_u8, stage)
            .prop_map(|(at, service, client, real, stage)| Step::Flow { at, service, client, real, stage }),
        1 => (any::<bool>(), 0..4_usize).prop_map(|(at, service)| Step::Gone { at, service }),
        8 => (any::<bool>(), 1..6_usize).prop_map(|(to, count)| Step::Deliver { to, count }),
        3 => (0..30_u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => Just(Step::Cut),
    ]
}

/// A service, or both of its family.
fn named(n: usize, both: bool) -> Vec<ServiceId> {
    if both { vec![service(n), service(n + 2)] } else { vec![service(n)] }
}

struct Director {
    ours: Ours,
    table: Table,
    session: Session,
    differences: Differences,
    view: View,
    /// On its way here.
    pipe: VecDeque<Vec<u8>>,
    /// Services that were once not served: what was told of their flows may have ended unsaid.
    paused: BTreeSet<ServiceId>,
    instance: u64,
}

impl Director {
    fn new(instance: u64) -> Self {
        Self {
            ours: Ours::default(),
            table: Table::default(),
            session: Session::new(Time::ZERO, Greeting::new(instance, 1), false),
            differences: Differences::default(),
            view: View::default(),
            pipe: VecDeque::new(),
            paused: BTreeSet::new(),
            instance,
        }
    }

    fn tell(&mut self, now: Time, change: Change) {
        self.ours.apply(&change);
        self.session.change(now, &change, &self.ours, &mut self.differences);
    }

    fn change(&mut self, now: Time, step: Step) {
        let ring_reals = |n: u8| (n > 0).then_some(n);
        match step {
            Step::Offer { service: n, serving, tracked, weight, .. } => {
                let service = service(n);
                if !serving || self.ours.get(&service).is_none() {
                    self.paused.insert(service);
                }
                let kind = if tracked { Kind::Tracked } else { Kind::Stateless };
                let offer = Offer { kind, serving, configured: vec![(real(service, 1), weight)] };
                self.tell(now, Change::Service(service, offer));
            }
            Step::Members { service: n, both, weights, .. } => {
                let member = |(&weight, number)| member(service(n), number, weight);
                let members = weights.iter().zip(0..).map(member).collect();
                self.tell(now, Change::Members(named(n, both), members));
            }
            Step::Slots { service: n, both, ring, whole, words, .. } => {
                let address = |number| ring_reals(number).map(|number| real(service(n), number));
                let slots = words
                    .iter()
                    .filter(|word| word.0 < ring)
                    .map(|&(slot, current, base)| Slot { slot, current: address(current), base: address(base) })
                    .collect();
                self.tell(now, Change::Slots { services: named(n, both), ring_size: ring, whole, slots });
            }
            Step::Flow { service: n, client, real, stage, .. } => {
                let flow = flow(service(n), client, real, stage);
                if self.ours.get(&flow.service).is_some() {
                    self.table.set(&flow);
                    self.tell(now, Change::Flows(vec![flow]));
                }
            }
            Step::Gone { service: n, .. } => {
                self.table.forget(service(n));
                self.tell(now, Change::Gone(service(n)));
            }
            Step::Deliver { .. } | Step::Wait { .. } | Step::Cut => {}
        }
    }

    /// The next messages for the other one.
    fn send(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for _ in 0..count {
            if self.session.is_filling() {
                self.session.fill(&self.ours, &self.table);
            }
            out.extend(self.session.transmit());
        }
        out
    }

    fn hear(&mut self, now: Time, count: usize) {
        for _ in 0..count {
            let Some(message) = self.pipe.pop_front() else { return };
            let mut told = Vec::new();
            self.session.receive(now, &message, &self.ours, &mut self.differences, &mut told).unwrap();
            told.into_iter().for_each(|told| self.view.take(told));
        }
    }
}

fn exchange(now: Time, to: bool, [a, b]: &mut [Director; 2], count: usize) {
    let (from, to) = if to { (a, b) } else { (b, a) };
    to.pipe.extend(from.send(count));
    to.hear(now, count);
}

fn check(of: &Director, by: &Director) {
    let served = |name: &super::model::Name| of.ours.get(&name.0).is_some_and(|own| own.serving);
    assert_eq!(by.view.services.len(), of.ours.iter().count());
    for (service, own) in of.ours.iter() {
        let seen = &by.view.services[service];
        assert_eq!((seen.kind, seen.serving), (own.kind, own.serving), "{service}");
        if own.serving {
            assert_eq!(seen.members, *own.members, "{service}");
            let words = (own.words.ring_size, &own.words.slots);
            assert_eq!((seen.ring_size, &seen.slots), words, "{service}");
        }
    }
    let table = of.table.0.lock().unwrap();
    for (name, entry) in table.iter().filter(|(name, _)| served(name)) {
        assert_eq!(by.view.flows.get(name), Some(entry), "{name:?}");
    }
    for name in by.view.flows.keys().filter(|name| served(name) && !of.paused.contains(&name.0)) {
        assert!(table.contains_key(name), "{name:?} has ended");
    }
    let same = |service: &ServiceId| {
        let (a, b) = (of.ours.get(service), by.ours.get(service));
        a.map(|own| (own.kind, own.digest)) == b.map(|own| (own.kind, own.digest))
    };
    let differ: BTreeSet<_> = of.differences.iter().map(|(service, ..)| *service).collect();
    let known = of.ours.iter().chain(by.ours.iter()).map(|(service, _)| *service);
    assert_eq!(differ, known.filter(|service| !same(service)).collect());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_directors_come_to_the_same(steps in prop::collection::vec(steps(), 0..120)) {
        let mut directors = [Director::new(1), Director::new(2)];
        // Served from the start.
        for (director, n) in [(0, 0), (0, 1), (1, 2)] {
            let offer = Offer { kind: Kind::Tracked, serving: true, configured: vec![] };
            directors[director].tell(Time::ZERO, Change::Service(service(n), offer));
        }
        let mut now = Time::ZERO;
        let mut cuts = 10;
        for step in steps {
            match step {
                Step::Deliver { to, count } => exchange(now, to, &mut directors, count),
                Step::Wait { milliseconds } => {
                    now += Duration::from_millis(milliseconds);
                    directors.iter_mut().for_each(|director| director.session.tick(now).unwrap());
                }
                Step::Cut => {
                    cuts += 1;
                    for director in &mut directors {
                        director.pipe.clear();
                        director.session = Session::new(now, Greeting::new(director.instance, 1), false);
                    }
                }
                Step::Offer { at, .. } | Step::Members { at, .. } | Step::Slots { at, .. } | Step::Flow { at, .. }
                | Step::Gone { at, .. } => directors[usize::from(at)].change(now, step),
            }
        }
        for _ in 0..10 {
            now += Duration::from_millis(20);
            for to in [true, false] {
                directors.iter_mut().for_each(|director| director.session.tick(now).unwrap());
                exchange(now, to, &mut directors, 500);
            }
        }
        let [a, b] = &directors;
        prop_assert!(a.view.whole && b.view.whole && cuts > 0);
        prop_assert_eq!((a.session.state(), b.session.state()), (State::Live, State::Live));
        check(a, b);
        check(b, a);
    }
}
