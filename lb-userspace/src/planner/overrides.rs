//! What was set at run time: weights, drains and reals that are disabled, beside what the configuration says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use crate::config::{Config, Service, is_meant};

/// Names that an error lists at most.
const NAMED: usize = 8;

/// What is asked of a real at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub enum Order {
    /// No new connections.
    Drain {
        /// Which.
        real: IpAddr,
        /// Of this service alone, or of its pool.
        service: Option<String>,
        /// Seconds until those that it has are given up.
        deadline: Option<u64>,
    },
    /// Ends a drain.
    Undrain {
        /// Which.
        real: IpAddr,
        /// Of this service alone, or of its pool.
        service: Option<String>,
    },
    /// Another weight.
    Weight {
        /// The service.
        service: String,
        /// Which.
        real: IpAddr,
        /// 0 to 65535.
        weight: u32,
    },
    /// No traffic at all.
    Disable {
        /// Which.
        real: IpAddr,
        /// Of this service alone, or of its pool.
        service: Option<String>,
    },
    /// Ends that.
    Enable {
        /// Which.
        real: IpAddr,
        /// Of this service alone, or of its pool.
        service: Option<String>,
    },
    /// Back to the configuration.
    Reset {
        /// Of this service alone, or of its pool.
        service: Option<String>,
        /// This real alone.
        real: Option<IpAddr>,
    },
}

/// What was set for one real of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    /// Its weight.
    pub weight: Option<u32>,
    /// It drains.
    pub drain: Option<Drain>,
    /// It takes nothing, since then.
    pub disabled: Option<SystemTime>,
}

/// All of it, by the section that names the real and by its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, BTreeMap<IpAddr, Override>>);

/// The section that names a service's reals: its own, or its pool's, whose services share them and so what is set for them.
pub fn section(service: &Service) -> String {
    match &service.pool {
        Some(pool) => format!("pool.{pool}"),
        None => format!("service.{}", service.name),
    }
}

impl Overrides {
    /// What was set for a real.
    pub fn of(&self, service: &Service, real: IpAddr) -> Option<&Override> {
        // The usual case, for which no name is put together.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&section(service))?.get(&real)
    }

    /// Carries an order out. Returns what changed, in words.
    ///
    /// # Errors
    /// It names a service or real that the configuration doesn't have; nothing has changed.
    pub fn obey(&mut self, order: &Order, config: &Config, now: SystemTime) -> Result<Vec<String>, String> {
        let (service, real) = order.names();
        let named = match real {
            Some(real) => services_of(config, service, real)?,
            None => meant(config, service)?,
        };
        let (mut said, mut seen) = (Vec::new(), BTreeSet::new());
        for service in named {
            let section = section(service);
            if !seen.insert(section.clone()) {
                continue;
            }
            let held = self.0.entry(section.clone()).or_default();
            for real in service.reals.iter().filter(|held| real.is_none_or(|real| real == held.address)) {
                let set = held.entry(real.address).or_default();
                if let Some(words) = order.apply(set, real.weight, now) {
                    said.push(format!("{section}: real {}: {words}", real.address));
                }
            }
        }
        self.tidy();
        Ok(said)
    }

    /// Forgets what is about services and reals that the configuration doesn't have. Returns them, in words.
    pub fn follow(&mut self, config: &Config) -> Vec<String> {
        let mut gone = Vec::new();
        for (name, held) in &mut self.0 {
            let service = config.owners().find(|service| section(service) == *name);
            held.retain(|address, _| {
                let stays = service.is_some_and(|service| service.reals.iter().any(|real| real.address == *address));
                if !stays {
                    gone.push(format!("{name}: real {address}"));
                }
                stays
            });
        }
        self.tidy();
        gone
    }

    /// Time has passed. Returns the drains whose deadline has come, in words.
    pub fn expire(&mut self, now: SystemTime) -> Vec<String> {
        let mut over = Vec::new();
        for (service, held) in &mut self.0 {
            for (address, set) in held {
                if set.drain.as_mut().is_some_and(|drain| drain.expire(now)) {
                    over.push(format!("{service}: real {address}"));
                }
            }
        }
        over
    }

    /// As it is written down.
    pub fn noted(&self) -> Noted {
        let reals = self.0.iter().flat_map(|(section, held)| {
            held.iter().map(|(real, set)| NotedReal {
                section: section.clone(),
                real: *real,
                weight: set.weight,
                drained_since: set.drain.as_ref().map(|drain| seconds(drain.since)),
                drained_until: set.drain.as_ref().and_then(|drain| drain.until).map(seconds),
                disabled_since: set.disabled.map(seconds),
            })
        });
        Noted { version: VERSION, reals: reals.collect() }
    }

    /// From what was written down.
    ///
    /// # Errors
    /// Another version wrote it, or a value is out of range.
    pub fn of_noted(noted: Noted) -> Result<Self, String> {
        if noted.version != VERSION {
            return Err(format!("it is of version {}, and this lb knows {VERSION}", noted.version));
        }
        let mut all = Self::default();
        for held in noted.reals {
            if held.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
                return Err(format!("a weight of {} is out of range", held.weight.unwrap_or_default()));
            }
            let since = held.drained_since.map(time).transpose()?;
            let until = held.drained_until.map(time).transpose()?;
            let set = Override {
                weight: held.weight,
                drain: since.map(|since| Drain { since, until, over: false }),
                disabled: held.disabled_since.map(time).transpose()?,
            };
            all.0.entry(held.section).or_default().insert(held.real, set);
        }
        all.tidy();
        Ok(all)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn tidy(&mut self) {
        self.0.values_mut().for_each(|held| held.retain(|_, set| *set != Override::default()));
        self.0.retain(|_, held| !held.is_empty());
    }
}

/// The largest weight, as in the configuration.
pub const MAX_WEIGHT: u32 = 65_535;

const VERSION: u32 = 1;

/// What is written down; times in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    version: u32,
    reals: Vec<NotedReal>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotedReal {
    section: String,
    real: IpAddr,
    weight: Option<u32>,
    drained_since: Option<u64>,
    drained_until: Option<u64>,
    disabled_since: Option<u64>,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

fn time(seconds: u64) -> Result<SystemTime, String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.ok_or_else(|| format!("{seconds} is no time"))
}

impl Order {
    /// The verb of `lb` that gives it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Weight { .. } => "weight",
            Self::Disable { .. } => "disable",
            Self::Enable { .. } => "enable",
            Self::Reset { .. } => "reset",
        }
    }

    fn names(&self) -> (Option<&str>, Option<IpAddr>) {
        match self {
            Self::Drain { real, service, .. }
            | Self::Undrain { real, service }
            | Self::Disable { real, service }
            | Self::Enable { real, service } => (service.as_deref(), Some(*real)),
            Self::Weight { service, real, .. } => (Some(service), Some(*real)),
            Self::Reset { service, real } => (service.as_deref(), *real),
        }
    }

    /// What it does to a real of this configured weight, in words; `None` where there is nothing to say.
    fn apply(&self, set: &mut Override, weight: u32, now: SystemTime) -> Option<String> {
        match self {
            Self::Drain { deadline, .. } => {
                let since = set.drain.take().filter(|held| !held.over).map_or(now, |held| held.since);
                let until = deadline.and_then(|seconds| now.checked_add(Duration::from_secs(seconds)));
                set.drain = Some(Drain { since, until, over: false });
                let end = match until {
                    Some(until) => format!("until {}", humantime::format_rfc3339_seconds(until)),
                    None => "for as long as they live".to_owned(),
                };
                Some(format!("drains: no new connections, those that it has go on {end}"))
            }
            Self::Undrain { .. } => Some(match set.drain.take() {
                Some(_) => "takes new connections again".to_owned(),
                None => "was not draining".to_owned(),
            }),
            Self::Weight { weight: new, .. } => {
                set.weight = (*new != weight).then_some(*new);
                Some(match set.weight {
                    Some(new) => format!("weight {new}; the file says {weight}"),
                    None => format!("weight {weight}, as the file says"),
                })
            }
            Self::Disable { .. } => {
                let again = set.disabled.is_some();
                set.disabled.get_or_insert(now);
                Some(if again { "is disabled already" } else { "disabled: it takes nothing" }.to_owned())
            }
            Self::Enable { .. } => Some(match set.disabled.take() {
                Some(_) => "enabled".to_owned(),
                None => "was not disabled".to_owned(),
            }),
            Self::Reset { .. } => {
                let held = std::mem::take(set);
                (held != Override::default()).then(|| "as the file says".to_owned())
            }
        }
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Service, String> {
    config.services.iter().find(|service| is_meant(&service.name, name)).ok_or_else(|| {
        let names = config.services.iter().map(|service| service.name.clone());
        format!("there is no service {name}.\n{}", list("Services:", names))
    })
}

fn meant<'a>(config: &'a Config, service: Option<&str>) -> Result<Vec<&'a Service>, String> {
    match service {
        Some(name) => find(config, name).map(|service| vec![service]),
        None => Ok(config.services.iter().collect()),
    }
}

/// The services that have a real, of those that are meant.
fn services_of<'a>(config: &'a Config, service: Option<&str>, real: IpAddr) -> Result<Vec<&'a Service>, String> {
    let has = |service: &Service| service.reals.iter().any(|held| held.address == real);
    let meant = meant(config, service)?;
    let named: Vec<&Service> = meant.iter().copied().filter(|service| has(service)).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let mut reals: Vec<IpAddr> = meant.iter().flat_map(|held| &held.reals).map(|held| held.address).collect();
    reals.sort();
    reals.dedup();
    let reals = list("Reals:", reals.iter().map(ToString::to_string));
    Err(match service {
        Some(name) => format!("service {name} has no real {real}.\n{reals}"),
        None => format!("no service has a real {real}.\n{reals}"),
    })
}

fn list(what: &str, names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let (named, more) = names.split_at(names.len().min(NAMED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more (`lb list`)", more.len()) };
    if named.is_empty() { format!("{what} none") } else { format!("{what} {}{more}", named.join(", ")) }
}

#[cfg(test)]
mod tests;
