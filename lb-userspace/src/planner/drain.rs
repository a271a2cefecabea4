//! Reals that left the configuration while connections of theirs lived: they get no new ones, and are forgotten when nothing
//! names them any more.

use std::collections::{BTreeMap, BTreeSet, HashSet};
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
    /// The last reload: pools may have other places since then.
    followed: Option<SystemTime>,
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
    /// Follows a reload: reals that the new configuration leaves out of a pool begin, those that it names are back, those
    /// of services that it leaves out are forgotten. They drain wherever the services of their pool are now.
    pub fn follow(&mut self, before: &Config, after: &Config, now: SystemTime) {
        self.followed = Some(now);
        let owners: BTreeMap<PoolName, &Service> = after.owners().map(|held| (PoolName::of(held), held)).collect();
        let named = |service: &Service| service.all_reals().map(|real| real.address).collect();
        let pools: BTreeMap<PoolName, HashSet<IpAddr>> =
            after.owners().map(|held| (PoolName::of(held), named(held))).collect();
        let heirs = heirs(before, after);
        let of = |pool: &PoolName| heirs.get(pool).into_iter().flatten().cloned();
        for ((pool, address), drained) in std::mem::take(&mut self.reals) {
            for heir in of(&pool) {
                self.reals.entry((heir, address)).or_insert_with(|| drained.clone());
            }
        }
        for service in before.owners() {
            for owner in of(&PoolName::of(service)).filter_map(|heir| owners.get(&heir)) {
                for real in service.all_reals() {
                    self.begin(owner, real.clone(), now);
                }
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
        if self.followed.is_some_and(|followed| followed >= since) {
            return false;
        }
        let before = self.reals.len();
        // A pool's services may have their reals in several places.
        let mut places: BTreeMap<PoolName, BTreeSet<u32>> = BTreeMap::new();
        for service in &config.services {
            let placed = desired.services.get(&key(service)).map(|placed| placed.reals);
            places.entry(PoolName::of(service)).or_default().extend(placed);
        }
        self.reals.retain(|(pool, address), drained| {
            let wanted = mapped_address(*address);
            let is_named = |start: &u32| {
                let pool = desired.pools.get(start).into_iter().flat_map(|pool| &pool.reals);
                let number = pool.filter(|(_, real)| real.address == wanted).map(|(number, _)| *number).next();
                // One that isn't in the maps yet will be.
                number.is_none_or(|number| named.contains(&(*start, number)))
            };
            let places = places.get(pool).filter(|places| !places.is_empty());
            places.is_some_and(|places| drained.drain.since >= since || places.iter().any(is_named))
        });
        self.reals.len() != before
    }
}

/// Where the services of each pool are now: in that of the same name, if there is one, and in others.
fn heirs(before: &Config, after: &Config) -> BTreeMap<PoolName, BTreeSet<PoolName>> {
    let are: BTreeMap<ServiceKey, PoolName> =
        after.services.iter().map(|held| (key(held), PoolName::of(held))).collect();
    let names: BTreeSet<&PoolName> = are.values().collect();
    let mut heirs: BTreeMap<PoolName, BTreeSet<PoolName>> = BTreeMap::new();
    for service in &before.services {
        let was = PoolName::of(service);
        let same = Some(&was).filter(|was| names.contains(was));
        let now: BTreeSet<PoolName> = same.into_iter().chain(are.get(&key(service))).cloned().collect();
        heirs.entry(was).or_default().extend(now);
    }
    heirs
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

    #[test]
    fn what_drains_in_a_pool_drains_wherever_its_services_go() {
        let pool = |name: &str, reals: &str| format!("[pool.{name}]\nreals = [{reals}]\n");
        let service = |name: &str, port: u16, rest: &str| {
            format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{rest}\n")
        };
        let of = |pool: &str| format!("pool = \"{pool}\"");
        let (both, one) =
            ("{ address = \"192.0.2.40\" }, { address = \"192.0.2.50\" }", "{ address = \"192.0.2.40\" }");
        let read = |text: &str| {
            let text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned() + text;
            let read = crate::config::parse(Path::new("lb.toml"), &text);
            read.unwrap_or_else(|error| panic!("{}", error.render(false))).config
        };
        let two = |p: &str, reals: &str| pool(p, reals) + &service("a", 80, &of(p)) + &service("b", 81, &of(p));
        let apart = pool("q", one) + &service("a", 80, &of("q")) + &service("b", 81, &format!("reals = [{one}]"));
        let now = SystemTime::UNIX_EPOCH;
        let mut draining = Draining::default();
        draining.follow(&read(&two("p", both)), &read(&two("p", one)), now);
        draining.follow(&read(&two("p", one)), &read(&two("q", one)), now + Duration::from_secs(1));
        let named = |name: &str| PoolName::Named(name.to_owned());
        let pools = |draining: &Draining| draining.all().map(|(pool, _)| pool.clone()).collect::<Vec<_>>();
        assert_eq!(pools(&draining), [named("q")], "a new name");
        draining.follow(&read(&two("q", one)), &read(&apart), now + Duration::from_secs(2));
        assert_eq!(pools(&draining), [PoolName::Of(key(&read(&apart).services[1])), named("q")], "one left");
        assert!(draining.all().all(|(_, drained)| drained.drain.since == now));
    }
}
