//! What the controller logs of each event.

use tracing::{info, warn};

use crate::agent::status::mac;
use crate::health::{Health, Target};
use crate::host::neighbour::NeighbourEvent;
use crate::planner::model::{Hop, Model, target};

/// Services that a line names at most.
const NAMED: usize = 3;

/// The news of a check.
pub(super) fn say_health(model: &Model, target: &Target, health: &Health) {
    let of = services(model, |service, real| self::target(service, real).as_ref() == Some(target));
    let (address, port) = (target.address, target.check.port);
    match health {
        Health::Up { .. } => info!("real {address}: up ({of}, checked on port {port})"),
        Health::Down { reason, .. } => warn!("real {address}: down: {reason} ({of}, checked on port {port})"),
        Health::Unknown => {}
    }
}

/// The news of the way to a real.
pub(super) fn say_neighbour(model: &Model, event: &NeighbourEvent) {
    let before = model.hops.get(&event.address);
    let of = || services(model, |_, real| real.address == event.address);
    match &event.state {
        Some(resolved) if before != Some(&Hop::Reached(*resolved)) => {
            info!("real {}: {} ({}; {})", event.address, mac(resolved.mac), event.why, of());
        }
        None => warn!("real {}: takes no traffic: {} ({})", event.address, event.why, of()),
        Some(_) => {}
    }
}

/// The services that something is about.
fn services(model: &Model, is_about: impl Fn(&crate::config::Service, &crate::config::Real) -> bool) -> String {
    let all = &model.config.services;
    let names: Vec<&str> = all
        .iter()
        .filter(|service| service.reals.iter().any(|real| is_about(service, real)))
        .map(|service| service.name.as_str())
        .collect();
    match names.get(NAMED..) {
        Some(more) if !more.is_empty() => {
            format!("{} and {} more services", names.get(..NAMED).unwrap_or_default().join(", "), more.len())
        }
        _ if names.is_empty() => "no service".to_owned(),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, parse};

    fn config(services: usize) -> Config {
        let service = |n: usize| {
            format!(
                "[service.s{n}]\naddress = \"192.0.2.{n}:80\"\nprotocol = \"tcp\"\n[[service.s{n}.reals]]\n\
                 address = \"192.0.2.240\"\n"
            )
        };
        let text: String = (1..=services).map(service).collect();
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n{text}");
        parse(Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{}", error.render(false))).config
    }

    #[test]
    fn a_real_is_told_with_its_services_and_not_with_all_of_a_thousand() {
        for (count, expected) in [(1, "s1"), (3, "s1, s2, s3"), (5, "s1, s2, s3 and 2 more services")] {
            let model = Model::new(config(count).into(), Default::default(), std::time::SystemTime::now());
            assert_eq!(services(&model, |_, real| real.address.to_string() == "192.0.2.240"), expected);
            assert_eq!(services(&model, |_, _| false), "no service");
        }
    }
}
