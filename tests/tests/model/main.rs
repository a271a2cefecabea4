//! No connection to a living real moves, but in the cases that ARCHITECTURE.md lists: the code of the packet path, of the
//! slots and of the sweep, driven by random histories against a reference that remembers everything.
//!
//! `LB_MODEL_SEED=N` plays one history alone.

mod cases;
mod director;
mod exception;
mod exchange;
mod history;
mod scale;
mod wish;

use std::collections::BTreeMap;

use history::{Outcome, play};

const HISTORIES: u64 = 2000;
const STEPS: u64 = 320;

#[test]
fn no_connection_moves_but_as_it_is_said() {
    let count = std::env::var("LB_MODEL_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(HISTORIES);
    let only = std::env::var("LB_MODEL_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(0..count, |seed| seed..seed + 1);
    let (mut excused, mut packets, mut settled) = (BTreeMap::new(), 0, 0);
    let mut faults = Vec::new();
    let players = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let share = |first: usize| seeds.clone().skip(first).step_by(players);
        let players: Vec<_> = (0..players)
            .map(|first| scope.spawn(move || share(first).map(|seed| play(seed, STEPS)).collect::<Vec<_>>()))
            .collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    for outcome in outcomes {
        outcome.excused.into_iter().for_each(|(exception, count)| *excused.entry(exception).or_insert(0) += count);
        packets += outcome.packets;
        settled += outcome.settled;
        faults.extend(outcome.fault);
    }
    println!("{packets} packets, {settled} histories end settled, moved: {excused:#?}");
    let first = faults.iter().min_by_key(|fault| fault.len()).cloned().unwrap_or_default();
    if std::env::var_os("LB_MODEL_ALL").is_some() {
        faults.iter().for_each(|fault| println!("{}", fault.lines().next().unwrap_or_default()));
    }
    assert!(faults.is_empty(), "{} histories; the shortest:\n{first}", faults.len());
    if only.is_none() {
        assert_eq!(excused.len(), 12, "each exception is met: {excused:?}");
        let said = include_str!("../../../ARCHITECTURE.md");
        for exception in excused.keys() {
            assert!(said.contains(&format!("`{exception:?}`")), "ARCHITECTURE.md doesn't list {exception:?}");
        }
    }
}
