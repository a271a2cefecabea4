//! What is still known of reals under another configuration.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::SystemTime;

use super::model::{Hop, Model, addresses, probes, targets};
use crate::config::{Config, Protocol, Real, Service};
use crate::health::{Health, Target};

/// The health and the way of each real that another configuration names.
///
/// A probe that stays keeps its health. A new one takes that of a real that was asked the same at another pace, or that
/// of the real in the service that it belongs to, where "not checked" counts as up: clients that are served now are served on
/// until the new check has an answer. Between several of those the best counts.
pub(super) fn carry_over(
    model: &Model,
    config: &Config,
    now: SystemTime,
) -> (HashMap<Target, Health>, HashMap<IpAddr, Hop>) {
    let mut health = HashMap::new();
    let mut heard: HashMap<IpAddr, Vec<(&Target, &Health)>> = HashMap::new();
    model.health.iter().for_each(|(target, held)| heard.entry(target.address).or_default().push((target, held)));
    for target in targets(config, &model.draining).into_keys() {
        let same = model.health.get(&target).cloned();
        let of_address = heard.get(&target.address).into_iter().flatten();
        let mut similar = of_address.filter(|(held, _)| held.asks_the_same(&target)).map(|(_, health)| *health);
        if let Some(known) = same.or_else(|| best(similar.by_ref().cloned())) {
            health.insert(target, known);
        }
    }
    let all = || model.config.services.iter();
    let by_name: HashMap<&str, &Service> = all().map(|service| (service.name.as_str(), service)).collect();
    let by_endpoint: HashMap<_, &Service> = all().map(|service| (endpoint(service), service)).collect();
    let mut pairs = HashSet::new();
    for service in &config.services {
        let Some(before) = by_name.get(service.name.as_str()).or_else(|| by_endpoint.get(&endpoint(service))) else {
            continue;
        };
        // Services of one pool that were of one pool have nothing of their own.
        if service.pool.is_some() && before.pool.is_some() && !pairs.insert((&service.pool, &before.pool)) {
            continue;
        }
        let reals: HashMap<IpAddr, &Real> = before.all_reals().map(|real| (real.address, real)).collect();
        for real in service.all_reals() {
            let Some(held) = reals.get(&real.address) else { continue };
            let known = model.health_of(before, held).unwrap_or(Health::Up { since: now });
            for target in probes(service, real) {
                // A probe of its own kind has answered, here or for another service.
                if known != Health::Unknown && !health.contains_key(&target) {
                    health.insert(target, known.clone());
                }
            }
        }
    }
    let mut hops = HashMap::new();
    let reals = model.config.owners().flat_map(Service::all_reals);
    let given: HashMap<IpAddr, &Real> =
        reals.filter(|real| real.mac.is_some()).map(|real| (real.address, real)).collect();
    for address in addresses(config, &model.draining).into_keys() {
        let known = || given.get(&address).and_then(|real| model.hop(real)).map(Hop::Reached);
        if let Some(hop) = model.hops.get(&address).cloned().or_else(known) {
            hops.insert(address, hop);
        }
    }
    (health, hops)
}

/// The weights that the checks of another configuration ask for, as far as they asked the same before.
pub(super) fn carry_weights(model: &Model, config: &Config) -> HashMap<Target, u8> {
    if model.weights.is_empty() {
        return HashMap::new();
    }
    let asks = |target: Target| {
        let same = || model.weights.iter().find(|(held, _)| held.asks_the_same(&target)).map(|(_, weight)| weight);
        let weight = model.weights.get(&target).or_else(same).copied()?;
        Some((target, weight))
    };
    targets(config, &model.draining).into_keys().filter(|target| target.check.weighs()).filter_map(asks).collect()
}

fn best(all: impl Iterator<Item = Health>) -> Option<Health> {
    let rank = |health: &Health| match health {
        Health::Unknown => 0,
        Health::Down { .. } => 1,
        Health::Up { .. } => 2,
    };
    all.max_by_key(rank)
}

/// What clients connect to. A service is the same to those who use it by its name, or by this.
fn endpoint(service: &Service) -> (Protocol, IpAddr, Option<u16>) {
    (service.protocol, service.address, service.port)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::planner::model::Standing;
    use crate::planner::model::tests::eth1;

    /// A service with one real.
    fn config(name: &str, port: u16, keys: &str) -> Arc<Config> {
        let text = format!(
            "[director]\ninterfaces = [\"eth1\"]\n[service.{name}]\naddress = \"192.0.2.1:{port}\"\n\
             protocol = \"tcp\"\n{keys}\n"
        );
        let reals = format!("[[service.{name}.reals]]\naddress = \"192.0.2.40\"\nmac = \"02:00:00:00:00:40\"\n");
        let keys = text + &reals;
        let loaded = crate::config::parse(Path::new("lb.toml"), &keys);
        Arc::new(loaded.unwrap_or_else(|error| panic!("{}", error.render(false))).config)
    }

    const TCP: &str = "check = { type = \"tcp\", interval = \"1s\" }";
    const FASTER: &str = "check = { type = \"tcp\", interval = \"200ms\", timeout = \"100ms\" }";
    const HTTP: &str = "check = { type = \"http\", path = \"/\" }";
    const ELSEWHERE: &str = "check = { type = \"tcp\", port = 9 }";

    #[test]
    fn a_real_stays_what_it_was_until_a_new_check_has_an_answer() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let up = || Some(Health::Up { since: SystemTime::UNIX_EPOCH });
        let down = || {
            Some(Health::Down {
                since: SystemTime::UNIX_EPOCH,
                failure: crate::health::Failure::Unreachable,
                reason: "refused".to_owned(),
            })
        };
        let fresh = Some(Health::Up { since: now });
        let rows = [
            ("the same", ("web", 80, TCP), up(), ("web", 80, TCP), up()),
            ("another pace", ("web", 80, TCP), up(), ("web", 80, FASTER), up()),
            ("another pace, down", ("web", 80, TCP), down(), ("web", 80, FASTER), down()),
            ("another pace and name and port", ("web", 80, ELSEWHERE), up(), ("new", 81, ELSEWHERE), up()),
            ("another question", ("web", 80, TCP), up(), ("web", 80, HTTP), up()),
            ("another question, down", ("web", 80, TCP), down(), ("web", 80, HTTP), down()),
            ("another port of the check", ("web", 80, TCP), up(), ("web", 80, ELSEWHERE), up()),
            ("renamed", ("web", 80, TCP), up(), ("new", 80, HTTP), up()),
            ("moved", ("web", 80, TCP), up(), ("web", 81, HTTP), up()),
            ("another service", ("web", 80, TCP), up(), ("new", 81, HTTP), None),
            ("nothing known", ("web", 80, TCP), None, ("web", 80, FASTER), None),
            ("not checked before", ("web", 80, ""), None, ("web", 80, TCP), fresh.clone()),
            ("not checked any more", ("web", 80, TCP), down(), ("web", 80, ""), None),
        ];
        for (case, before, known, after, expected) in rows {
            let of = |(name, port, keys): (&str, u16, &str)| config(name, port, keys);
            let mut model = Model::new(of(before), BTreeMap::new(), now);
            for target in targets(&model.config, &model.draining).into_keys() {
                model.health.extend(known.clone().map(|known| (target, known)));
            }
            model.set_config(of(after), now);
            let target = targets(&model.config, &model.draining).into_keys().next();
            assert_eq!(target.and_then(|target| model.health.get(&target).cloned()), expected, "{case}");
            assert!(model.health.len() <= 1, "{case}: nothing else is kept");
        }
    }

    #[test]
    fn a_real_whose_mac_is_learned_from_now_on_is_reached_as_before() {
        let now = SystemTime::now();
        let (given, mut learned) = (config("web", 80, ""), (*config("web", 80, "")).clone());
        learned.services[0].reals[0].mac = None;
        let mut model = Model::new(given, BTreeMap::from([("eth1".to_owned(), eth1())]), now);
        let before = model.hop(&model.config.services[0].reals[0]);
        assert!(before.is_some());
        model.set_config(Arc::new(learned), now);
        assert_eq!(model.hop(&model.config.services[0].reals[0]), before);
        let service = &model.config.services[0];
        assert!(matches!(model.standing(service, &service.reals[0]), Standing::Up { .. }));
    }
}
