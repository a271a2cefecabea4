//! `lb which` tells what the program does next, under every scheduler and in a slot's every state, and changes nothing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lb_common::maps::mapped;
use lb_common::slot::State;
use lb_common::{Scheduler, Verdict};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4};
use lb_tests::scenario::SIZES;
use lb_tests::testbed::{Testbed, lacking};
use lb_userspace::dataplane::{Desired, Sought};

use crate::world::{CLIENT, TCP, VIP, reals, service};

fn of(scheduler: Scheduler, reals: &[RealSpec]) -> Desired {
    desired(&[ServiceSpec { scheduler, flags: scheduler.flags(), ..service(mapped(VIP), 80, TCP, reals) }])
}

/// Asks about a packet, and then sends it.
fn check(bed: &mut Testbed, maps: &Desired, port: u16, segment: Segment) -> Result<State> {
    let sought = Sought { client: mapped(CLIENT), client_port: port, vip: mapped(VIP), port: 80, protocol: TCP };
    let before = bed.memory()?;
    let told = bed.dataplane.which(&sought)?.context("no service")?;
    ensure!(bed.memory()? == before, "a question changed something");
    let told = if matches!(segment, Segment::Syn) { told.opens } else { told.goes_on };
    let frame = tcp4(CLIENT, port, VIP, 80, segment);
    let after = bed.run(&frame)?.frame;
    let mac = after.get(..6).context("a destination")?;
    let expected = match told.real {
        Ok(number) => {
            let pool = maps.pools.values().next().context("a pool")?;
            pool.reals.get(&number).context("a real")?.mac.to_vec()
        }
        Err(verdict) => {
            ensure!(matches!(verdict, Verdict::Refused | Verdict::NoReal), "{verdict:?}");
            frame.get(..6).context("a destination")?.to_vec()
        }
    };
    ensure!(mac == expected, "port {port}, {segment:?}: {told:?}, and it went to {mac:02x?}");
    Ok(told.slot.state())
}

#[test]
fn what_is_told_is_what_the_program_does() -> Result<()> {
    if let Some(reason) = lacking() {
        lb_tests::skip::skip(&format!("lb which over the kernel's maps: {reason}"));
        return Ok(());
    }
    let mut bed = Testbed::new(SIZES)?;
    let nobody: Vec<RealSpec> = reals([40]).into_iter().map(|real| RealSpec { usable: false, ..real }).collect();
    for (_, scheduler) in Scheduler::WORDS.iter().copied() {
        bed.dataplane.apply(&Desired::default())?;
        lb_tests::side::Side::forget(&mut bed)?;
        let mut met = BTreeSet::new();
        // Reals come and go under living connections.
        for numbers in [&[40, 41][..], &[40, 41, 42], &[41, 42, 43], &[40]] {
            let maps = of(scheduler, &reals(numbers.iter().copied()));
            bed.apply(&maps)?;
            for port in 2000..2060 {
                let segment = if port % 3 == 0 { Segment::Syn } else { Segment::Ack };
                met.insert(format!("{:?}", check(&mut bed, &maps, port, segment)?));
                met.insert(format!("{:?}", check(&mut bed, &maps, port, Segment::Ack)?));
            }
        }
        if scheduler == Scheduler::Mh {
            ensure!(met.contains("Settled") && met.contains("Moving"), "{met:?}");
        }
        let maps = of(scheduler, &nobody);
        bed.apply(&maps)?;
        check(&mut bed, &maps, 3000, Segment::Syn)?;
    }
    Ok(())
}
