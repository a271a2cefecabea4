//! The build that tells its steps (`lb trace`) decides of every fixture's frames as the program does, and leaves no trace.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lb_common::maps::mapped;
use lb_common::trace::{Record, Step};
use lb_common::{Action, Scheduler, Verdict};
use lb_tests::fixture::{IFINDEX, RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4};
use lb_tests::scenario::{Fixture, SIZES};
use lb_tests::side::{Counts, Outcome, Side};
use lb_tests::testbed::{Testbed, lacking};
use lb_userspace::dataplane::{Desired, Hook, Purpose, Tracer};

use crate::world::{CLIENT, TCP, VIP, reals, service};

/// More of a frame isn't given to the traced program.
const WHOLE: usize = 2048;

/// The loaded program, of which each frame is asked before it is sent.
struct Traced {
    bed: Testbed,
    tracer: Tracer,
    met: BTreeSet<u32>,
}

impl Side for Traced {
    fn name(&self) -> &'static str {
        "traced"
    }

    fn apply(&mut self, desired: &Desired) -> Result<()> {
        self.bed.apply(desired)
    }

    fn gate(&mut self, gate: u32, closed: bool) -> Result<()> {
        self.bed.gate(gate, closed)
    }

    fn virtual_mac(&mut self, mac: [u8; 6], master: Option<bool>) -> Result<()> {
        self.bed.virtual_mac(mac, master)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Outcome> {
        let before = (self.bed.memory()?, self.bed.counts()?);
        let told = self.tracer.run(frame)?;
        ensure!((self.bed.memory()?, self.bed.counts()?) == before, "a trace changed something");
        let sent = self.bed.run(frame)?;
        ensure!(told.action == sent.action, "the trace's action is {}, the program's {}", told.action, sent.action);
        if frame.len() <= WHOLE && sent.action != self.number(Action::Abort) {
            ensure!(told.frame == sent.frame, "the trace makes another frame");
        }
        let verdict = told.steps.last().and_then(Record::verdict).context("a trace ends with its verdict")?;
        ensure!(self.number(verdict.action()) == sent.action, "the trace says {}", verdict.name());
        ensure!(told.steps.iter().all(|record| record.step().is_some()), "{:?}", told.steps);
        self.met.insert(verdict as u32);
        Ok(sent)
    }

    fn counts(&self) -> Result<Counts> {
        self.bed.counts()
    }

    fn age(&mut self, seconds: i32) -> Result<()> {
        self.bed.age(seconds)
    }

    fn forget(&mut self) -> Result<()> {
        self.bed.forget()
    }
}

/// Plays the fixtures, and holds the verdicts that are met against all that there are.
pub fn check(fixtures: &[Fixture]) -> Result<()> {
    if let Some(reason) = lacking() {
        lb_tests::skip::skip(&format!("the program that tells its steps: {reason}"));
        return Ok(());
    }
    let bed = Testbed::new(SIZES)?;
    let tracer = Tracer::open(&bed.pins, Hook::Native, IFINDEX)?;
    let mut side = Traced { bed, tracer, met: BTreeSet::new() };
    let failures: Vec<String> =
        fixtures.iter().filter_map(|fixture| Some(format!("{:#}", fixture.play(&mut side).err()?))).collect();
    ensure!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
    let missing = Verdict::ALL.iter().filter(|verdict| !side.met.contains(&(**verdict as u32)));
    let missing: Vec<&str> = missing.map(|verdict| verdict.name()).collect();
    // A test run has room in front of the frame.
    ensure!(missing.is_empty() || missing == ["no-room"], "no fixture meets {missing:?}");
    Ok(())
}

#[test]
fn steps_come_in_order_with_the_entries_behind_them() -> Result<()> {
    if let Some(reason) = lacking() {
        lb_tests::skip::skip(&format!("the program that tells its steps: {reason}"));
        return Ok(());
    }
    let mut bed = Testbed::new(SIZES)?;
    let of = |scheduler: Scheduler, reals: &[RealSpec]| {
        desired(&[ServiceSpec { scheduler, flags: scheduler.flags(), ..service(mapped(VIP), 80, TCP, reals) }])
    };
    bed.apply(&of(Scheduler::Rr, &reals([40, 41])))?;
    for hook in [Hook::Native, Hook::Tc] {
        let mut tracer = Tracer::open(&bed.pins, hook, IFINDEX)?;
        let frame = tcp4(CLIENT, 4000, VIP, 80, Segment::Syn);
        let steps: Vec<Step> = tracer.run(&frame)?.steps.iter().filter_map(Record::step).collect();
        let expected = [
            Step::Port,
            Step::Addressed,
            Step::Addresses,
            Step::Carries,
            Step::Vip,
            Step::Ports,
            Step::Service,
            Step::From,
            Step::Slot,
            Step::Table,
            Step::Table,
            Step::Answer,
            Step::Real,
            Step::Leaves,
            Step::Verdict,
        ];
        ensure!(steps == expected, "{hook:?}: {steps:?}");
        let other = tracer.run(&tcp4(CLIENT, 4000, VIP, 81, Segment::Syn))?;
        let last = other.steps.last().and_then(Record::verdict);
        ensure!(last == Some(Verdict::NotService), "{hook:?}: {last:?}");
        let elsewhere = Tracer::open(&bed.pins, hook, IFINDEX + 1)?.run(&frame)?;
        ensure!(elsewhere.steps.last().and_then(Record::verdict) == Some(Verdict::NotOurs), "{hook:?}");
    }
    Ok(())
}

/// One that observes decides of the frames as one that forwards, and lets each pass as it came.
#[test]
fn the_program_that_observes_counts_and_passes() -> Result<()> {
    if let Some(reason) = lacking() {
        lb_tests::skip::skip(&format!("the program that observes: {reason}"));
        return Ok(());
    }
    for is_tc in [false, true] {
        let mut bed = Testbed::with_purpose(SIZES, Purpose::Observe)?;
        if is_tc {
            bed = bed.behind_the_socket_buffers()?;
        }
        bed.apply(&desired(&[service(mapped(VIP), 80, TCP, &reals([40, 41]))]))?;
        let frame = tcp4(CLIENT, 4000, VIP, 80, Segment::Syn);
        let outcome = bed.run(&frame)?;
        ensure!(outcome == Outcome { action: bed.number(Action::Pass), frame: frame.clone() }, "{outcome:?}");
        let counts = bed.counts()?;
        ensure!(counts.verdicts.first() == Some(&1), "{counts:?}");
        ensure!(counts.reals.values().map(|real| real.connections).sum::<u64>() == 1, "{counts:?}");
    }
    Ok(())
}
