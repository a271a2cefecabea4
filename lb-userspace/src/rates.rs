//! How much goes on per second, from the last two readings of the counters: whoever asks doesn't wait for one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb_common::Verdict;
use lb_common::maps::{Address, ServiceKey};
use serde::{Deserialize, Serialize};

use crate::dataplane::{Counters, Desired, Error, StatsReader};

/// A reading follows the last after so long at least.
pub const PAUSE: Duration = Duration::from_millis(950);
/// And what it takes is never more than this part of that.
pub const SHARE: u32 = 50;
/// Of readings further apart than this no rate is told: the agent slept, or reading failed.
const STALE: Duration = Duration::from_secs(60);

/// Per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Connections.
    pub connections: f64,
    /// Packets.
    pub packets: f64,
    /// Bytes, by the IP header.
    pub bytes: f64,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    at: Instant,
    services: BTreeMap<ServiceKey, Counters>,
    reals: BTreeMap<(ServiceKey, Address), Counters>,
    verdicts: Vec<(Verdict, u64)>,
}

impl Reading {
    /// Reads the counters of everything that the maps hold.
    ///
    /// # Errors
    /// They can't be read.
    pub fn take(stats: &StatsReader, desired: &Desired) -> Result<Self, Error> {
        let at = Instant::now();
        let (mut services, mut reals) = (BTreeMap::new(), BTreeMap::new());
        for (key, service) in &desired.services {
            let pool = desired.pools.get(&service.reals);
            let mut sum = Counters::default();
            // Each is read once; the first entry has what reals that are gone have counted.
            for number in 0..u16::try_from(service.room).unwrap_or(u16::MAX) {
                let counted = stats.real(service, number)?;
                sum = [sum, counted].into_iter().sum();
                if let Some(real) = pool.and_then(|pool| pool.reals.get(&number)) {
                    reals.insert((*key, real.address), counted);
                }
            }
            services.insert(*key, sum);
        }
        Ok(Self { at, services, reals, verdicts: stats.verdicts()? })
    }
}

impl Reading {
    /// What a service counted so far; nothing where it was new.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Counters {
        self.services.get(key).copied().unwrap_or_default()
    }

    /// What a real of a service counted so far; nothing where it was new.
    #[must_use]
    pub fn real(&self, key: &ServiceKey, real: Address) -> Counters {
        self.reals.get(&(*key, real)).copied().unwrap_or_default()
    }

    /// Packets by verdict so far.
    #[must_use]
    pub fn verdicts(&self) -> &[(Verdict, u64)] {
        &self.verdicts
    }
}

/// The last two readings.
#[derive(Debug, Default)]
pub struct Sampled {
    before: Option<Reading>,
    last: Option<Reading>,
}

impl Sampled {
    /// A reading was taken.
    pub fn take(&mut self, reading: Reading) {
        self.before = self.last.replace(reading);
    }

    fn pair(&self) -> Option<(&Reading, &Reading, f64)> {
        let (before, last) = self.before.as_ref().zip(self.last.as_ref())?;
        let apart = last.at.checked_duration_since(before.at).filter(|apart| !apart.is_zero() && *apart < STALE)?;
        Some((before, last, apart.as_secs_f64()))
    }

    /// How far apart the two are; `None` before the second.
    #[must_use]
    pub fn apart(&self) -> Option<Duration> {
        self.pair().map(|(_, _, apart)| Duration::from_secs_f64(apart))
    }

    /// Of a service; `None` before it was read twice.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<Rates> {
        let (before, last, apart) = self.pair()?;
        Some(rates(before.services.get(key)?, last.services.get(key)?, apart))
    }

    /// Of a real of a service; `None` before it was read twice.
    #[must_use]
    pub fn real(&self, key: &ServiceKey, real: Address) -> Option<Rates> {
        let (before, last, apart) = self.pair()?;
        Some(rates(before.reals.get(&(*key, real))?, last.reals.get(&(*key, real))?, apart))
    }

    /// What was counted of each real of each service between the two readings; nothing of one that began anew meanwhile.
    pub fn between(&self) -> impl Iterator<Item = ((ServiceKey, Address), Counters)> + '_ {
        let pair = self.pair().into_iter();
        pair.flat_map(|(before, last, _)| {
            last.reals.iter().filter_map(|(real, last)| {
                let before = before.reals.get(real)?;
                let since = |of: fn(&Counters) -> u64| of(last).checked_sub(of(before));
                let counters = Counters {
                    connections: since(|counters| counters.connections)?,
                    packets: since(|counters| counters.packets)?,
                    bytes: since(|counters| counters.bytes)?,
                };
                Some((*real, counters))
            })
        })
    }

    /// Packets of a verdict; `None` before the second reading.
    #[must_use]
    pub fn verdict(&self, verdict: Verdict) -> Option<f64> {
        let (before, last, apart) = self.pair()?;
        let of =
            |reading: &Reading| reading.verdicts.iter().find(|(held, _)| *held == verdict).map(|(_, count)| *count);
        Some(rate(of(before)?, of(last)?, apart))
    }
}

fn rates(before: &Counters, last: &Counters, apart: f64) -> Rates {
    Rates {
        connections: rate(before.connections, last.connections, apart),
        packets: rate(before.packets, last.packets, apart),
        bytes: rate(before.bytes, last.bytes, apart),
    }
}

/// A counter that is lower than it was began anew.
#[expect(clippy::cast_precision_loss, reason = "a rate of 2^53 per second is none")]
fn rate(before: u64, last: u64, apart: f64) -> f64 {
    last.checked_sub(before).unwrap_or(last) as f64 / apart
}

#[cfg(test)]
mod tests {
    use lb_common::maps::mapped;

    use super::*;

    #[test]
    fn rates_are_the_difference_of_two_readings_over_the_time_between_them() {
        let start = Instant::now();
        let key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
        let real = mapped([192, 0, 2, 40]);
        let reading = |seconds: u64, packets: u64, counted: bool| Reading {
            at: start + Duration::from_secs(seconds),
            services: [(key, Counters { connections: packets / 10, packets, bytes: packets * 100 })].into(),
            reals: counted.then(|| ((key, real), Counters { packets, ..Counters::default() })).into_iter().collect(),
            verdicts: vec![(Verdict::NoReal, packets)],
        };
        let mut sampled = Sampled::default();
        assert!(sampled.service(&key).is_none() && sampled.apart().is_none());
        sampled.take(reading(0, 100, false));
        assert!(sampled.service(&key).is_none());
        sampled.take(reading(2, 300, true));
        assert_eq!(sampled.service(&key), Some(Rates { connections: 10.0, packets: 100.0, bytes: 10_000.0 }));
        assert_eq!(sampled.real(&key, real), None, "it was read once");
        assert_eq!(sampled.verdict(Verdict::NoReal), Some(100.0));
        assert_eq!(sampled.verdict(Verdict::NoRoom), None);
        assert_eq!(sampled.apart(), Some(Duration::from_secs(2)));
        assert_eq!(sampled.between().count(), 0, "it was read once");
        // It began anew.
        sampled.take(reading(3, 50, true));
        assert_eq!(sampled.real(&key, real).map(|rates| rates.packets), Some(50.0));
        assert_eq!(sampled.between().count(), 0);
        sampled.take(reading(4, 57, true));
        assert_eq!(sampled.between().map(|(_, counted)| counted.packets).collect::<Vec<_>>(), [7]);
        sampled.take(reading(300, 60, true));
        assert!(sampled.service(&key).is_none(), "it slept");
    }
}
