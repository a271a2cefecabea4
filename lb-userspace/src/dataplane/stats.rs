//! The counters, summed over the CPUs.

use std::collections::BTreeMap;
use std::iter::Sum;

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use lb_common::Verdict;
use lb_common::maps::{Drops, Service, Stats, VerdictStats};

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

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + one.connections,
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
        })
    }
}

/// Reads the pinned counters; needs no agent.
pub struct StatsReader {
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
            reals: super::maps::open(pins, "real_stats")?,
            verdicts: super::maps::open(pins, "verdicts")?,
            drops: super::maps::open(pins, "drops")?,
        })
    }

    /// A service's counters: those of its reals, and of those that it had.
    ///
    /// # Errors
    /// They can't be read.
    pub fn service(&self, service: &Service) -> Result<Counters, Error> {
        let all = (0..service.room).map(|number| read(&self.reals, service.counters + number));
        all.sum()
    }

    /// The counters of one of a service's reals.
    ///
    /// # Errors
    /// They can't be read.
    pub fn real(&self, service: &Service, number: u16) -> Result<Counters, Error> {
        read(&self.reals, service.counters + u32::from(number))
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

fn read(map: &PerCpuArray<MapData, Stats>, index: u32) -> Result<Counters, Error> {
    let values = map.get(&index, 0).map_err(|error| Error::map("real_stats", error))?;
    let of = |value: &Stats| Counters { connections: value.connections, packets: value.packets, bytes: value.bytes };
    Ok(values.iter().map(of).sum())
}
