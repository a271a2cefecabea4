//! The counters of services and reals: per CPU, summed when they are read. A real's stand behind its service's first entry,
//! which has what reals that are gone have counted, so that the sum is the service's and never goes back.

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use lb_common::maps::{Address, Service, Stats};

use super::load::innermost;
use super::{Dataplane, Desired, Error};

const NAME: &str = "real_stats";

impl Dataplane {
    /// A real's number is free: what it counted for each of its pool's services is the service's alone. Services that were
    /// of another pool, where the real `next` has this number too, go on counting.
    pub(super) fn retire_counters(
        &mut self,
        desired: &Desired,
        (pool, index): (u32, u32),
        next: Option<Address>,
    ) -> Result<(), Error> {
        let number = index.saturating_sub(pool);
        let goes_on = |service: &Service| {
            let held = self.applied.services.get(&service.key).filter(|held| held.counters == service.counters);
            let real =
                held.filter(|held| held.reals != pool).and_then(|held| self.held_reals.get(&(held.reals + number)));
            real.is_some_and(|real| Some(real.address) == next)
        };
        let of_pool = |service: &&Service| service.reals == pool && number < service.room && !goes_on(service);
        let held: Vec<u32> = desired.services.values().filter(of_pool).map(|service| service.counters).collect();
        for counters in held {
            let stats = &mut self.maps.real_stats;
            let (sum, gone) = (read(stats, counters)?, read(stats, counters + number)?);
            if gone.iter().all(|gone| *gone == Stats::default()) {
                continue;
            }
            let added = sum.iter().zip(gone.iter()).map(|(sum, gone)| Stats {
                connections: sum.connections.wrapping_add(gone.connections),
                packets: sum.packets.wrapping_add(gone.packets),
                bytes: sum.bytes.wrapping_add(gone.bytes),
            });
            write(stats, counters, added.collect())?;
            let zeros = vec![Stats::default(); gone.len()];
            write(stats, counters + number, zeros)?;
        }
        Ok(())
    }

    /// A service that is new starts from nothing; one whose counters are elsewhere now takes them along.
    pub(super) fn move_counters(&mut self, held: Option<Service>, service: &Service) -> Result<(), Error> {
        let stats = &mut self.maps.real_stats;
        let cpus = read(stats, service.counters)?.len();
        for number in 0..service.room {
            let before = held.filter(|held| number < held.room);
            let values = match before {
                Some(held) => read(stats, held.counters + number)?.to_vec(),
                None => vec![Stats::default(); cpus],
            };
            write(stats, service.counters + number, values)?;
        }
        Ok(())
    }
}

fn read(map: &PerCpuArray<MapData, Stats>, index: u32) -> Result<PerCpuValues<Stats>, Error> {
    map.get(&index, 0).map_err(|error| Error::map(NAME, innermost(&error)))
}

fn write(map: &mut PerCpuArray<MapData, Stats>, index: u32, values: Vec<Stats>) -> Result<(), Error> {
    let values = PerCpuValues::try_from(values).map_err(|error| Error::map(NAME, error))?;
    map.set(index, values, 0).map_err(|error| Error::map(NAME, innermost(&error)))
}
