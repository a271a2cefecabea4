//! `lb check`: what a configuration would do here.

use std::path::PathBuf;

use anyhow::Result;

use super::output;
use crate::agent;
use crate::config::{Config, MapMemory, describe};
use crate::dataplane::map_rows;

/// Prints the checked configuration, with the memory that its maps take.
pub(super) async fn run(path: PathBuf) -> Result<()> {
    let (loaded, _) = agent::read(&path).await?;
    output::print(&describe(&loaded.config, &memory(&loaded.config)))
}

/// The maps' memory: the pinned ones by their sizes, the rings by the services' own.
fn memory(config: &Config) -> Vec<MapMemory> {
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    let mut rows: Vec<MapMemory> = map_rows(agent::sizes(config.limits))
        .iter()
        .map(|row| MapMemory { name: row.name.to_owned(), entries: row.entries.into(), bytes: row.bytes(cpus) })
        .collect();
    let slots: u64 = config.services.iter().map(|service| u64::from(service.ring_size)).sum();
    rows.push(MapMemory { name: "the services' rings".to_owned(), entries: slots, bytes: slots * 4 });
    rows
}
