//! Adverts every 10 ms on a machine whose cores are all busy: does a backup take a living master for dead?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::directors::{Router, Way, config, wait_until_holds};
use lb_tests::keepalived::{Keepalived, instance};
use lb_tests::lab::{DEADLINE, VIP, wait_until};
use serde::Serialize;

use crate::team::{self, Program};

/// What one program's backup did.
#[derive(Debug, Serialize)]
pub(crate) struct Count {
    pub(crate) program: Program,
    /// Elections of the backup while its master lived.
    pub(crate) take_overs: u64,
    pub(crate) minutes: f64,
}

/// Loads every core for `length` while both programs run, each in its own lab.
pub(crate) fn run(length: Duration) -> Result<Vec<Count>> {
    let [ours, theirs] = [team::lab()?, team::lab()?];
    let router = |priority| Router::web(Way::V3_10MS, priority);
    let [a, b] = [("director-a", 200), ("director-b", 100)]
        .map(|(name, priority)| Agent::start(ours.host(name), &config(&ours, &[router(priority)])));
    let [_a, b] = [a?, b?];
    let [c, d] = [("director-a", 200), ("director-b", 100)]
        .map(|(name, priority)| Keepalived::start(theirs.host(name), &instance(&router(priority), None, &[])));
    let [_c, d] = [c?, d?];
    for lab in [&ours, &theirs] {
        wait_until_holds(lab.director(), VIP, true)?;
        wait_until_holds(lab.host("director-b"), VIP, false)?;
    }
    b.wait_for_router("web", "backup")?;
    let elections = || Ok::<_, anyhow::Error>(b.routers()?.iter().map(|router| router.counters.elections).sum::<u64>());
    let entries = || d.log().matches("Entering MASTER STATE").count() as u64;
    let before = (elections()?, entries());

    let load = Load::start();
    let start = Instant::now();
    while start.elapsed() < length {
        let step = Duration::from_secs(30).min(length.saturating_sub(start.elapsed()));
        thread::sleep(step);
        let (lb, keepalived) = (elections()? - before.0, entries() - before.1);
        eprintln!("after {:.0} s: lb {lb}, keepalived {keepalived}", start.elapsed().as_secs_f64());
    }
    drop(load);
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    wait_until(DEADLINE, "the agent's answer", || elections().is_ok())?;
    let count = |program, take_overs| Count { program, take_overs, minutes };
    Ok(vec![count(Program::Lb, elections()? - before.0), count(Program::Keepalived, entries() - before.1)])
}

/// A busy loop for every core.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            }
        };
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..cores).map(|_| thread::spawn(spin(stop.clone()))).collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A busy loop doesn't panic.
            let _ = thread.join();
        }
    }
}
