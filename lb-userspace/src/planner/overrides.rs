//! What was set at run time: weights, drains and reals that are disabled, beside what the configuration says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::drain::Drain;
use crate::config::{Config, Service};

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
fn section(service: &Service) -> String {
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
    config.services.iter().find(|service| service.name == name).ok_or_else(|| {
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
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let service = |name: &str, port: u16, reals: &[u8]| {
            let reals = reals
                .iter()
                .map(|real| format!("[[service.{name}.reals]]\naddress = \"192.0.2.{real}\"\nweight = 2\n"));
            format!(
                "[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{}",
                reals.collect::<String>()
            )
        };
        let text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned()
            + &service("api", 81, &[40])
            + &service("web", 80, &[40, 50]);
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    }

    fn address(last: u8) -> IpAddr {
        format!("192.0.2.{last}").parse().unwrap()
    }

    fn order(json: &str) -> Order {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn each_order_and_its_words() {
        let rows: [(&str, &[&str]); 13] = [
            (
                r#"{"verb":"drain","real":"192.0.2.40","deadline":60}"#,
                &[
                    "service.api: real 192.0.2.40: drains: no new connections, those that it has go on until 1970-01-01T00:01:09Z",
                    "service.web: real 192.0.2.40: drains: no new connections, those that it has go on until 1970-01-01T00:01:09Z",
                ],
            ),
            (
                r#"{"verb":"undrain","real":"192.0.2.40","service":"api"}"#,
                &["service.api: real 192.0.2.40: takes new connections again"],
            ),
            (
                r#"{"verb":"undrain","real":"192.0.2.40","service":"api"}"#,
                &["service.api: real 192.0.2.40: was not draining"],
            ),
            (
                r#"{"verb":"drain","real":"192.0.2.50"}"#,
                &[
                    "service.web: real 192.0.2.50: drains: no new connections, those that it has go on for as long as they live",
                ],
            ),
            (
                r#"{"verb":"weight","service":"web","real":"192.0.2.50","weight":7}"#,
                &["service.web: real 192.0.2.50: weight 7; the file says 2"],
            ),
            (
                r#"{"verb":"weight","service":"web","real":"192.0.2.50","weight":2}"#,
                &["service.web: real 192.0.2.50: weight 2, as the file says"],
            ),
            (
                r#"{"verb":"disable","real":"192.0.2.40"}"#,
                &[
                    "service.api: real 192.0.2.40: disabled: it takes nothing",
                    "service.web: real 192.0.2.40: disabled: it takes nothing",
                ],
            ),
            (
                r#"{"verb":"disable","real":"192.0.2.40","service":"web"}"#,
                &["service.web: real 192.0.2.40: is disabled already"],
            ),
            (r#"{"verb":"enable","real":"192.0.2.40","service":"web"}"#, &["service.web: real 192.0.2.40: enabled"]),
            (r#"{"verb":"enable","real":"192.0.2.50"}"#, &["service.web: real 192.0.2.50: was not disabled"]),
            (
                r#"{"verb":"reset","service":"web","real":"192.0.2.50"}"#,
                &["service.web: real 192.0.2.50: as the file says"],
            ),
            (
                r#"{"verb":"reset"}"#,
                &["service.api: real 192.0.2.40: as the file says", "service.web: real 192.0.2.40: as the file says"],
            ),
            (r#"{"verb":"reset"}"#, &[]),
        ];
        let (config, mut overrides) = (config(), Overrides::default());
        for (json, expected) in rows {
            assert_eq!(overrides.obey(&order(json), &config, at(9)).unwrap(), expected, "{json}");
            let kept = serde_json::to_vec(&overrides.noted()).unwrap();
            let kept = Overrides::of_noted(serde_json::from_slice(&kept).unwrap()).unwrap();
            assert_eq!(kept, overrides, "{json}: what is written down is read again");
        }
        assert!(overrides.is_empty());
    }

    #[test]
    fn what_is_unknown_is_named_with_what_exists() {
        let rows = [
            (
                r#"{"verb":"drain","real":"192.0.2.60"}"#,
                "no service has a real 192.0.2.60.\nReals: 192.0.2.40, 192.0.2.50",
            ),
            (
                r#"{"verb":"drain","real":"192.0.2.50","service":"api"}"#,
                "service api has no real 192.0.2.50.\nReals: 192.0.2.40",
            ),
            (r#"{"verb":"reset","service":"wbe"}"#, "there is no service wbe.\nServices: api, web"),
        ];
        let (config, mut overrides) = (config(), Overrides::default());
        for (json, expected) in rows {
            assert_eq!(overrides.obey(&order(json), &config, at(9)).unwrap_err(), expected);
            assert!(overrides.is_empty());
        }
    }

    #[test]
    fn a_deadline_comes_once_and_a_new_drain_begins_anew() {
        let (config, mut overrides) = (config(), Overrides::default());
        let drain = order(r#"{"verb":"drain","real":"192.0.2.50","deadline":60}"#);
        overrides.obey(&drain, &config, at(9)).unwrap();
        assert!(overrides.expire(at(68)).is_empty());
        assert_eq!(overrides.expire(at(69)), ["service.web: real 192.0.2.50"]);
        assert!(overrides.expire(at(99)).is_empty());
        overrides.obey(&drain, &config, at(100)).unwrap();
        let web = &config.services[1];
        let held = overrides.of(web, address(50)).and_then(|set| set.drain.clone()).unwrap();
        assert_eq!(held, Drain { since: at(100), until: Some(at(160)), over: false });
    }

    #[test]
    fn what_left_the_file_is_forgotten_and_odd_notes_are_refused() {
        let (mut config, mut overrides) = (config(), Overrides::default());
        overrides.obey(&order(r#"{"verb":"disable","real":"192.0.2.40"}"#), &config, at(9)).unwrap();
        config.services.remove(0);
        assert_eq!(overrides.follow(&config), ["service.api: real 192.0.2.40"]);
        assert!(overrides.of(&config.services[0], address(40)).is_some());
        for (text, why) in [
            (r#"{"version":2,"reals":[]}"#, "version 2"),
            (r#"{"version":1,"reals":[{"section":"service.web","real":"192.0.2.40","weight":65536}]}"#, "out of range"),
            (
                r#"{"version":1,"reals":[{"section":"service.web","real":"192.0.2.40","drained_since":18446744073709551615}]}"#,
                "no time",
            ),
        ] {
            let error = Overrides::of_noted(serde_json::from_str(text).unwrap()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_set_for_a_service_of_a_pool_is_the_pools() {
        let service = |name: &str, port: u16| {
            format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\npool = \"p\"\n")
        };
        let text = "[director]\ninterfaces = [\"eth1\"]\n[pool.p]\nreals = [{ address = \"192.0.2.40\" }]\n".to_owned()
            + &service("a", 80)
            + &service("b", 81);
        let config = crate::config::parse(Path::new("lb.toml"), &text).unwrap().config;
        let mut overrides = Overrides::default();
        let drain = order(r#"{"verb":"disable","real":"192.0.2.40","service":"b"}"#);
        let said = overrides.obey(&drain, &config, at(9)).unwrap();
        assert_eq!(said, ["pool.p: real 192.0.2.40: disabled: it takes nothing"]);
        assert!(config.services.iter().all(|service| overrides.of(service, address(40)).is_some()));
        assert!(overrides.follow(&config).is_empty());
    }
}
