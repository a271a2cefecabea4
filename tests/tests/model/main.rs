//! No connection to a living real moves, but in the cases that ARCHITECTURE.md lists: the code of the packet path, of the
//! slots and of the sweep, driven by random histories against a reference that remembers everything.
//!
//! `LB_MODEL_SEED=N` plays one history alone.

mod cases;
mod director;
mod history;
mod scale;

use std::collections::BTreeMap;

use history::play;

const HISTORIES: u64 = 2000;
const STEPS: u64 = 400;

#[test]
fn no_connection_moves_but_as_it_is_said() {
    let only = std::env::var("LB_MODEL_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(0..HISTORIES, |seed| seed..seed + 1);
    let (mut excused, mut packets, mut settled) = (BTreeMap::new(), 0, 0);
    let mut faults = Vec::new();
    for seed in seeds {
        let outcome = play(seed, STEPS);
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
        assert_eq!(excused.len(), 11, "each exception is met: {excused:?}");
        let said = include_str!("../../../ARCHITECTURE.md");
        for exception in excused.keys() {
            assert!(said.contains(&format!("`{exception:?}`")), "ARCHITECTURE.md doesn't list {exception:?}");
        }
    }
}
