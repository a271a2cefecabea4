//! What the controller logs of each event: which real, of which services.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::agent::status::mac;
use crate::config::{Config, Real, Service};
use crate::health::{Event, Health, Target};
use crate::host::neighbour::NeighbourEvent;
use crate::planner::model::Hop;

/// Services that a line names at most.
const NAMED: usize = 3;

/// A reason for which a check fails is logged again only after this time: some fail by turns for two, as where the real's
/// kernel limits how often it sends ICMP errors, and are one trouble all the same.
const REPEATED: Duration = Duration::from_secs(60);
/// Reasons of one check that are remembered.
const REASONS: usize = 4;

/// The services of each real.
#[derive(Debug, Default)]
pub(super) struct Names {
    config: Option<Arc<Config>>,
    /// Why each check that fails does, as far as it was logged a short while ago.
    reasons: HashMap<Target, Vec<(String, Instant)>>,
    /// Positions of a service in the configuration and of the real in it, by the real's address.
    services: HashMap<IpAddr, Vec<(usize, usize)>>,
}

impl Names {
    /// Takes the configuration in force.
    pub(super) fn follow(&mut self, config: &Arc<Config>) {
        if self.config.as_ref().is_some_and(|held| Arc::ptr_eq(held, config)) {
            return;
        }
        self.services.clear();
        for (position, service) in config.services.iter().enumerate() {
            for (place, real) in service.all_reals().enumerate() {
                self.services.entry(real.address).or_default().push((position, place));
            }
        }
        self.config = Some(config.clone());
        // Those of checks that are gone among them.
        self.reasons.clear();
    }

    /// Tells the news of a check, which said this before. Whether a service has such a one.
    pub(super) fn say_health(
        &mut self,
        Event { target, health, weight }: &Event,
        before: Option<&Health>,
        now: Instant,
    ) -> bool {
        let is_one_of_several = Cell::new(false);
        let asks = |service: &Service, real: &Real| {
            let checks = service.checks_of(real);
            is_one_of_several.set(is_one_of_several.get() || checks.len() > 1);
            checks.contains(&target.check)
        };
        let Some(of) = self.of(target.address, asks) else {
            return false;
        };
        let (address, place) = (target.address, target.check.place());
        let label = target.check.label();
        if let Some(weight) = weight.filter(|_| before == Some(health)) {
            info!("real {address}: {label}: asks for weight {weight} ({of})");
            return true;
        }
        match health {
            Health::Down { reason, .. } if !self.is_news(target, reason, now) => {
                debug!("real {address}: {label}: fails again: {reason} ({of})");
            }
            // Whether the real is up depends on the others too.
            Health::Up { .. } if is_one_of_several.get() => info!("real {address}: {label}: good ({of})"),
            Health::Down { reason, .. } if is_one_of_several.get() => {
                warn!("real {address}: {label}: fails: {reason} ({of})");
            }
            Health::Up { .. } => info!("real {address}: up ({of}, checked {place})"),
            Health::Down { reason, .. } => warn!("real {address}: down: {reason} ({of}, checked {place})"),
            Health::Unknown => {}
        }
        if !matches!(health, Health::Down { .. }) {
            self.reasons.remove(target);
        }
        true
    }

    /// Whether a check's reason for failing wasn't logged a short while ago, and notes that it is now.
    fn is_news(&mut self, target: &Target, reason: &str, now: Instant) -> bool {
        let said = self.reasons.entry(target.clone()).or_default();
        said.retain(|(_, at)| now < *at + REPEATED);
        if said.iter().any(|(held, _)| held == reason) {
            return false;
        }
        if said.len() == REASONS {
            said.remove(0);
        }
        said.push((reason.to_owned(), now));
        true
    }

    /// Tells the news of the way to a real, which was this before.
    pub(super) fn say_neighbour(&self, before: Option<&Hop>, event: &NeighbourEvent) {
        let of = || self.of(event.address, |_, _| true).unwrap_or_else(|| "of no service".to_owned());
        match &event.state {
            Some(resolved) if before != Some(&Hop::Reached(*resolved)) => {
                info!("real {}: {} ({}; {})", event.address, mac(resolved.mac), event.why, of());
            }
            None => warn!("real {}: takes no traffic: {} ({})", event.address, event.why, of()),
            Some(_) => {}
        }
    }

    /// The services of a real.
    pub(super) fn services_of(&self, address: IpAddr) -> impl Iterator<Item = &Service> {
        let all = self.config.as_ref().map_or(&[][..], |config| &config.services);
        self.services.get(&address).into_iter().flatten().filter_map(|(position, _)| all.get(*position))
    }

    /// The services of a real that something is about, in words; `None` where there are none.
    fn of(&self, address: IpAddr, is_about: impl Fn(&Service, &Real) -> bool) -> Option<String> {
        let all = &self.config.as_ref()?.services;
        let positions = self.services.get(&address)?.iter();
        let names: Vec<&str> = positions
            .filter_map(|&(position, place)| {
                let service = all.get(position)?;
                is_about(service, service.all_reals().nth(place)?).then_some(service.name.as_str())
            })
            .collect();
        let (named, more) = names.split_at(names.len().min(NAMED));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more services", more.len()) };
        (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn names(services: usize) -> Names {
        let service = |n: usize| {
            format!(
                "[service.s{n}]\naddress = \"192.0.2.{n}:80\"\nprotocol = \"tcp\"\ncheck = {{ type = \"tcp\" }}\n[[service.s{n}.reals]]\n\
                 address = \"192.0.2.240\"\n"
            )
        };
        let text: String = (1..=services).map(service).collect();
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n{text}");
        let loaded = parse(Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{}", error.render(false)));
        let mut names = Names::default();
        names.follow(&Arc::new(loaded.config));
        names
    }

    #[test]
    fn a_check_that_fails_for_two_reasons_by_turns_is_told_of_each_once_a_minute() {
        let mut names = names(1);
        let address = "192.0.2.240".parse().unwrap();
        let config = names.config.clone().unwrap();
        let (service, real) = (&config.services[0], &config.services[0].reals[0]);
        let target = Target { address, check: service.checks_of(real)[0].clone() };
        let start = Instant::now();
        for (seconds, reason, expected) in [
            (0, "timed out", true),
            (1, "refused", true),
            (2, "timed out", false),
            (59, "refused", false),
            (60, "timed out", true),
            (61, "refused", true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(names.is_news(&target, reason, now), expected, "{reason} after {seconds} s");
        }
        for n in 0..9 {
            assert!(names.is_news(&target, &n.to_string(), start + REPEATED * 2), "{n}");
        }
        assert_eq!(names.reasons[&target].len(), REASONS);

        let health = Health::Up { since: std::time::SystemTime::now() };
        let up = Event { target: target.clone(), health, weight: None };
        names.say_health(&up, None, start);
        assert!(names.is_news(&target, "8", start + REPEATED * 2), "it was up in between");
    }

    #[test]
    fn a_real_is_told_with_its_services_and_not_with_all_of_a_thousand() {
        let real = "192.0.2.240".parse().unwrap();
        for (count, expected) in [(1, "s1"), (3, "s1, s2, s3"), (5, "s1, s2, s3 and 2 more services")] {
            let names = names(count);
            assert_eq!(names.of(real, |_, _| true).unwrap(), expected);
            assert_eq!(names.of(real, |service, _| service.name == "s1").unwrap(), "s1");
            assert_eq!(names.of(real, |_, _| false), None);
            assert_eq!(names.of("192.0.2.241".parse().unwrap(), |_, _| true), None);
        }
    }
}
