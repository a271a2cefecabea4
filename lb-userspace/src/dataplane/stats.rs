//! The counters, summed over the CPUs.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use lb_common::Verdict;
use lb_common::maps::{Drops, Stats, VerdictStats};

use super::{Error, Pins};

/// Counters of a service or real.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Connections so far.
    pub connections: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes, by the IP header.
    pub bytes: u64,
}

/// Reads the pinned counters; needs no agent.
pub struct StatsReader {
    services: PerCpuArray<MapData, Stats>,
    reals: PerCpuArray<MapData, Stats>,
    verdicts: PerCpuArray<MapData, VerdictStats>,
    drops: PerCpuHashMap<MapData, u32, Drops>,
}

impl StatsReader {
    /// Opens the pinned counters.
    ///
    /// # Errors
    /// They aren't pinned, or this process may not read them.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            services: super::maps::open(pins, "service_stats")?,
            reals: super::maps::open(pins, "real_stats")?,
            verdicts: super::maps::open(pins, "verdicts")?,
            drops: super::maps::open(pins, "drops")?,
        })
    }

    /// A service's counters.
    ///
    /// # Errors
    /// There is no such id.
    pub fn service(&self, id: u32) -> Result<Counters, Error> {
        read(&self.services, "service_stats", id)
    }

    /// A real's counters.
    ///
    /// # Errors
    /// There is no such index.
    pub fn real(&self, index: u32) -> Result<Counters, Error> {
        read(&self.reals, "real_stats", index)
    }

    /// Packets by verdict.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn verdicts(&self) -> Result<Vec<(Verdict, u64)>, Error> {
        let count = |verdict: Verdict| {
            let values = self.verdicts.get(&(verdict as u32), 0).map_err(|error| Error::map("verdicts", error))?;
            Ok((verdict, values.iter().map(|value| value.packets).sum()))
        };
        Verdict::ALL.iter().copied().map(count).collect()
    }

    /// Frames that the kernel dropped behind the program, by the index of their interface.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn drops(&self) -> Result<BTreeMap<u32, Drops>, Error> {
        let sum = |(ifindex, values): (u32, PerCpuValues<Drops>)| {
            let drops = values.iter().fold(Drops::default(), |sum, value| Drops {
                refused: sum.refused + value.refused,
                unsent: sum.unsent + value.unsent,
            });
            (ifindex, drops)
        };
        self.drops.iter().map(|entry| entry.map(sum).map_err(|error| Error::map("drops", error))).collect()
    }
}

fn read(map: &PerCpuArray<MapData, Stats>, name: &str, index: u32) -> Result<Counters, Error> {
    let values = map.get(&index, 0).map_err(|error| Error::map(name, error))?;
    Ok(values.iter().fold(Counters::default(), |sum, value| Counters {
        connections: sum.connections + value.connections,
        packets: sum.packets + value.packets,
        bytes: sum.bytes + value.bytes,
    }))
}
