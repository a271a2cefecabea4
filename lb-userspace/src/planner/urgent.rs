//! What of a plan can't wait for the rest of it: where flows of a pool go, when the health of its reals has changed. A plan looks
//! at every real of the director; this looks at those of the pools that it is about.

use std::collections::HashMap;

use lb_common::ring::Member;

use super::model::{Model, reals};
use super::plan::{key, mapped_address, standing};
use crate::config::Service;
use crate::dataplane::{Desired, Part, Pool, Ring};

/// The pools of these services, and their rings, as the next plan has them: since the last one, which has made `desired`, no more than
/// the health of reals has changed.
pub fn urgent<'a>(model: &Model, desired: &Desired, services: impl Iterator<Item = &'a Service>) -> Part {
    let mut members: HashMap<u32, Vec<Member>> = HashMap::new();
    let mut part = Part::default();
    for service in services {
        let Some(start) = desired.services.get(&key(service)).map(|placed| placed.reals) else { continue };
        // All services of a pool have the same reals.
        if members.contains_key(&start) {
            continue;
        }
        let Some(pool) = desired.pools.get(&start) else { continue };
        let (pool, takers) = follow(model, service, pool);
        members.insert(start, takers);
        part.pools.insert(start, pool);
    }
    for (start, ring) in &desired.rings {
        if let Some(members) = members.get(&ring.pool).filter(|members| **members != ring.members) {
            part.rings.insert(*start, Ring { members: members.clone(), ..ring.clone() });
        }
    }
    part
}

/// A pool of this service as it is now, and who takes new flows of it.
fn follow(model: &Model, service: &Service, before: &Pool) -> (Pool, Vec<Member>) {
    let numbers: HashMap<_, u16> = before.reals.iter().map(|(number, real)| (real.address, *number)).collect();
    let (mut pool, mut members) = (before.clone(), Vec::new());
    for real in reals(service, &model.draining) {
        let address = mapped_address(real.address);
        let Some(&number) = numbers.get(&address) else { continue };
        let share = model.share(service, real);
        if let Some(entry) = pool.reals.get_mut(&number) {
            (entry.flags, entry.weight) = standing(model, service, real, share);
        }
        if share.takes_new() {
            members.push(Member { address, weight: share.ring, real: number });
        }
    }
    (pool, members)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::dataplane::{Adopted, Room};
    use crate::health::{Failure, Health};
    use crate::planner::allocation::Allocation;
    use crate::planner::model::probes;
    use crate::planner::model::tests::eth1;
    use crate::planner::plan::plan;

    /// Services of a pool with these rules, one of them with another ring, and a service with the same reals of its own.
    fn model(rules: &str, fresh: bool) -> Model {
        let real = |last: u8| {
            format!("{{ address = \"192.0.2.{last}\", mac = \"02:00:00:00:00:{last:02}\", weight = {} }}", 1 + last % 3)
        };
        let reals = (40..46).map(real).collect::<Vec<_>>().join(", ");
        let side = format!("check = {{ type = \"tcp\", port = 80 }}\n{rules}\nreals = [{reals}]\n");
        let service = |port: u16, rest: &str| {
            format!("[service.s{port}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{rest}\n")
        };
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n[pool.p]\n{side}")
            + &service(80, "pool = \"p\"")
            + &service(81, "pool = \"p\"\nscheduler = \"wlc\"")
            + &service(82, "pool = \"p\"\nring_size = 251")
            + &service(83, &side);
        let config = crate::config::parse(Path::new("lb.toml"), &text);
        let config = config.unwrap_or_else(|error| panic!("{}", error.render(false))).config;
        let mut model =
            Model::new(Arc::new(config), BTreeMap::from([("eth1".to_owned(), eth1())]), SystemTime::UNIX_EPOCH);
        // Before all reals are known, no ring is in use.
        model.fresh = fresh;
        model
    }

    #[test]
    fn what_comes_first_is_what_the_next_plan_has() {
        let since = SystemTime::UNIX_EPOCH;
        let down = |failure| Health::Down { since, failure, reason: "no".to_owned() };
        const SORRY: &str = "fleet = { quorum = 8, sorry = { address = \"192.0.2.99\", mac = \"02:00:00:00:00:99\" } }";
        let all = ["", "fleet = { panic_below = 50 }", SORRY];
        for (rules, fresh) in all.into_iter().flat_map(|rules| [(rules, false), (rules, true)]) {
            let (mut model, start, mut random) = (model(rules, fresh), Instant::now(), fastrand::Rng::with_seed(9));
            let room = Room { services: 16, reals: 64, slots: 1 << 20 };
            let mut allocation = Allocation::adopt(&Adopted::default(), room);
            let mut before = plan(&model, &mut allocation);
            let mut rings = 0;
            for step in 0..300 {
                let config = model.config.clone();
                let about = if random.bool() { &config.services[..3] } else { &config.services[3..] };
                let real = random.choice(&about[0].reals[..]).unwrap();
                let health = match random.u8(..5) {
                    0 => down(Failure::Unreachable),
                    1 => down(Failure::Wrong),
                    _ => Health::Up { since },
                };
                for target in about.iter().flat_map(|service| probes(service, real)) {
                    model.set_health(target, health.clone());
                }
                model.follow_fleets(start);
                let with = config.services.iter().filter(|service| service.all_reals().any(|held| held == real));
                let first = urgent(&model, &before, with);
                let after = plan(&model, &mut allocation);
                for (start, pool) in &first.pools {
                    assert_eq!(after.pools.get(start), Some(pool), "{rules}, step {step}");
                }
                let differ = after.rings.iter().filter(|(start, ring)| before.rings.get(start) != Some(ring));
                let differ: BTreeMap<_, _> = differ.map(|(start, ring)| (*start, ring.clone())).collect();
                assert_eq!(first.rings, differ, "{rules}, step {step}");
                rings += differ.len();
                before = after;
            }
            assert!(rings > 100, "{rules}: {rings}");
        }
    }
}
