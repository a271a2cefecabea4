//! What 255 virtual routers on one interface cost.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_tests::agent::Agent;
use lb_tests::directors::{Router, Way};
use lb_tests::keepalived::{Keepalived, instance};
use lb_tests::lab::{Host, Lab, wait_until};
use lb_tests::usage::cpu_seconds;
use serde::Serialize;

use crate::team::{self, Program};

/// Setting up so many takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const ANNOUNCED: Duration = Duration::from_secs(15);

/// A program's share of a core.
#[derive(Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) program: Program,
    pub(crate) master: f64,
    pub(crate) backup: f64,
}

/// Measures both programs at once, each in its own lab.
pub(crate) fn run(length: Duration) -> Result<Vec<Share>> {
    let [ours, theirs] = [team::lab()?, team::lab()?];
    for lab in [&ours, &theirs] {
        for (host, number) in lab.directors().zip(1..) {
            host.ip(&format!("address add 10.99.0.{number}/22 dev eth1"))?;
        }
    }
    let mut agents = Vec::new();
    let mut keepaliveds = Vec::new();
    for (name, priority) in [("director-a", 200), ("director-b", 100)] {
        let routers = (1..=255_u8).map(|id| router(id, priority));
        let sections: String = routers.clone().map(|router| router.section()).collect();
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n\n{sections}");
        agents.push(Agent::start(ours.host(name), &text)?);
        let text: String = routers.map(|router| instance(&router, None, &[])).collect();
        keepaliveds.push(Keepalived::start(theirs.host(name), &text)?);
        // A first: keepalived is busy for so long with announcing 255 VIPs that a backup takes it for dead.
        for lab in [&ours, &theirs] {
            settle(lab)?;
        }
    }
    // Everything is announced a second time after 5 s, which is no part of the steady state.
    thread::sleep(ANNOUNCED);
    settle(&theirs)?;
    let mut processes = Vec::new();
    for agent in &mut agents {
        processes.push(vec![agent.process().id()]);
    }
    for keepalived in &keepaliveds {
        let child = keepalived.child().context("keepalived has no VRRP process")?;
        processes.push(vec![keepalived.parent(), child]);
    }
    let used = || processes.iter().map(|ids| ids.iter().map(|id| cpu_seconds(*id)).sum()).collect::<Result<Vec<f64>>>();
    let (before, start) = (used()?, Instant::now());
    thread::sleep(length);
    let (after, elapsed) = (used()?, start.elapsed().as_secs_f64());
    let shares: Vec<f64> = after.iter().zip(&before).map(|(after, before)| (after - before) / elapsed).collect();
    let pairs = Program::ALL.into_iter().zip(shares.chunks(2));
    Ok(pairs
        .filter_map(|(program, pair)| match pair {
            [master, backup] => Some(Share { program, master: *master, backup: *backup }),
            _ => None,
        })
        .collect())
}

fn router(id: u8, priority: u8) -> Router {
    let vip = IpAddr::from(Ipv4Addr::new(10, 99, 1 + id / 128, 1 + id % 128));
    Router { name: format!("vr{id}"), id, ..Router::web(Way::V3_100MS, priority).of(vip) }
}

/// Waits until A has every VIP and B none.
fn settle(lab: &Lab) -> Result<()> {
    let shown = |host: &Host| host.ip("-o -4 address show to 10.99.0.0/22").unwrap_or_default();
    // One is the host's own.
    let held = |host: &Host| shown(host).lines().count().saturating_sub(1);
    wait_until(PATIENCE, "A to be master of all", || held(lab.director()) == 255)?;
    wait_until(PATIENCE, "B to be backup of all", || held(lab.host("director-b")) == 0)?;
    Ok(())
}
