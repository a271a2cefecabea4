//! Reals that left the configuration while connections of theirs lived: they get no new ones, and are forgotten when nothing
//! names them any more.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lb_common::maps::ServiceKey;

use super::allocation::PoolName;
use super::plan::{key, mapped_address};
use crate::config::{Config, Real, Service};
use crate::dataplane::Desired;

/// Reals of pools that go on without them, by the pool and the real's address.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draining {
    reals: BTreeMap<(PoolName, IpAddr), Drained>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Drained {
    /// As it was configured, with a weight of 0.
    pub real: Real,
    /// Since when, and for how long.
    pub drain: Drain,
}

/// A drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Since when.
    pub since: SystemTime,
    /// When the connections that are left are given up, if they are.
    pub until: Option<SystemTime>,
    /// That time has come.
    pub over: bool,
}

impl Drain {
    /// One that begins.
    pub fn begin(since: SystemTime, length: Option<Duration>) -> Self {
        Self { since, until: length.and_then(|length| since.checked_add(length)), over: false }
    }

    /// Time has passed. Whether this ended it.
    pub fn expire(&mut self, now: SystemTime) -> bool {
        let ends = !self.over && self.until.is_some_and(|until| until <= now);
        self.over |= ends;
        ends
    }
}

impl Draining {
    /// Follows a reload: reals that the new configuration leaves out of a service begin, those that it names are back, those
    /// of services that it leaves out are forgotten.
    pub fn follow(&mut self, before: &Config, after: &Config, now: SystemTime) {
        let owners: BTreeMap<PoolName, &Service> = after.owners().map(|held| (PoolName::of(held), held)).collect();
        let services: BTreeMap<ServiceKey, PoolName> =
            after.services.iter().map(|held| (key(held), PoolName::of(held))).collect();
        let named = |service: &Service| service.reals.iter().map(|real| real.address).collect();
        let pools: BTreeMap<PoolName, HashSet<IpAddr>> =
            after.owners().map(|held| (PoolName::of(held), named(held))).collect();
        let goes_on = |service: &Service| {
            let same = Some(PoolName::of(service)).filter(|name| pools.contains_key(name));
            same.or_else(|| services.get(&key(service)).cloned())
        };
        for service in before.owners() {
            let Some(pool) = goes_on(service) else { continue };
            let (Some(named), Some(owner)) = (pools.get(&pool), owners.get(&pool)) else { continue };
            for real in service.reals.iter().filter(|real| !named.contains(&real.address)) {
                self.begin(owner, real.clone(), now);
            }
        }
        self.reals.retain(|(pool, address), _| pools.get(pool).is_some_and(|named| !named.contains(address)));
    }

    /// A real of a service's pool begins.
    pub fn begin(&mut self, service: &Service, real: Real, now: SystemTime) {
        let drain = Drain::begin(now, service.drain_deadline);
        let drained = Drained { real: Real { weight: 0, ..real }, drain };
        self.reals.entry((PoolName::of(service), drained.real.address)).or_insert(drained);
    }

    /// One of a service's pool.
    pub fn get(&self, service: &Service, address: IpAddr) -> Option<&Drained> {
        if self.reals.is_empty() {
            return None;
        }
        self.reals.get(&(PoolName::of(service), address))
    }

    /// Time has passed. Returns those whose deadline has come.
    pub fn expire(&mut self, now: SystemTime) -> Vec<IpAddr> {
        let over = self.reals.values_mut().filter_map(|held| held.drain.expire(now).then_some(held.real.address));
        over.collect()
    }

    /// Those of a service.
    pub fn of(&self, service: &Service) -> impl Iterator<Item = &Drained> {
        let pool = (!self.reals.is_empty()).then(|| PoolName::of(service));
        let all = self.reals.iter();
        all.filter(move |((held, _), _)| pool.as_ref() == Some(held)).map(|(_, drained)| drained)
    }

    /// All, with their pools.
    pub fn all(&self) -> impl Iterator<Item = (&PoolName, &Drained)> {
        self.reals.iter().map(|((pool, _), drained)| (pool, drained))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reals.is_empty()
    }

    /// Forgets those that no slot and no remembered connection names. `since` is when who looked for names began: a real that
    /// began later may have been missed. Whether any went.
    pub fn end(&mut self, config: &Config, desired: &Desired, named: &HashSet<(u32, u16)>, since: SystemTime) -> bool {
        let before = self.reals.len();
        let services: BTreeMap<PoolName, ServiceKey> =
            config.owners().map(|service| (PoolName::of(service), key(service))).collect();
        self.reals.retain(|(pool, address), drained| {
            let Some(placed) = services.get(pool).and_then(|key| desired.services.get(key)) else { return false };
            let wanted = mapped_address(*address);
            let pool = desired.pools.get(&placed.reals).into_iter().flat_map(|pool| &pool.reals);
            let number = pool.filter(|(_, real)| real.address == wanted).map(|(number, _)| *number).next();
            // One that isn't in the maps yet will be.
            drained.drain.since >= since || number.is_none_or(|number| named.contains(&(placed.reals, number)))
        });
        self.reals.len() != before
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn config(reals: &[u8]) -> Config {
        let mut text =
            "[director]\ninterfaces = [\"eth1\"]\n[service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n"
                .to_owned();
        for real in reals {
            text += &format!("[[service.web.reals]]\naddress = \"192.0.2.{real}\"\nweight = 3\n");
        }
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    }

    fn held(draining: &Draining) -> Vec<String> {
        draining.all().map(|(_, drained)| drained.real.address.to_string()).collect()
    }

    #[test]
    fn a_real_that_is_left_out_drains_until_it_is_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let mut draining = Draining::default();
        draining.follow(&config(&[40, 50]), &config(&[40]), now);
        assert_eq!(held(&draining), ["192.0.2.50"]);
        assert_eq!(draining.all().next().unwrap().1.real.weight, 0);
        draining.follow(&config(&[40]), &config(&[40, 60]), now + Duration::from_secs(1));
        assert_eq!(held(&draining), ["192.0.2.50"], "another reload changes nothing");
        assert_eq!(draining.all().next().unwrap().1.drain.since, now);
        draining.follow(&config(&[40, 60]), &config(&[40, 50, 60]), now);
        assert!(draining.is_empty(), "it is back");
        draining.follow(&config(&[40, 50]), &config(&[40]), now);
        let mut none = config(&[40]);
        none.services.clear();
        draining.follow(&config(&[40]), &none, now);
        assert!(draining.is_empty(), "its service is gone");
    }
}
