//! What the agent tells of its checks: a [`Look`] at the runner with the names of the configuration.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::status::seconds;
use crate::api::{CheckBefore, CheckPace, CheckResult, CheckState, CheckStatus, Checks, Status};
use crate::config::{Check, Config};
use crate::health::history::Said;
use crate::health::machine::phase::Phase;
use crate::health::{Health, Look, Seen};

/// All checks, for `lb checks`.
pub fn checks(look: &Look, config: &Config, now: Instant) -> Checks {
    let mut askers: HashMap<IpAddr, Vec<(&str, &Check)>> = HashMap::new();
    for service in &config.services {
        for real in service.all_reals() {
            let asks = service.checks_of(real).iter().map(|check| (service.name.as_str(), check));
            askers.entry(real.address).or_default().extend(asks);
        }
    }
    let told = |seen: &Seen| {
        let of = askers.get(&seen.target.address).into_iter().flatten();
        let names = of.filter(|(_, check)| **check == seen.target.check).map(|(name, _)| (*name).to_owned());
        status(seen, names.collect(), now)
    };
    let mut checks: Vec<CheckStatus> = look.checks.iter().map(told).collect();
    checks.sort_by(|a, b| (a.real, &a.check, &a.services).cmp(&(b.real, &b.check, &b.services)));
    Checks { pace: pace(look), checks }
}

/// Adds what the checks say to the status of reals.
pub fn add_to(status: &mut Status, look: &Look, config: &Config) {
    status.checks = Some(pace(look));
    let mut by_real: HashMap<IpAddr, Vec<&Seen>> = HashMap::new();
    for seen in &look.checks {
        by_real.entry(seen.target.address).or_default().push(seen);
    }
    let services: HashMap<&str, _> = config.services.iter().map(|service| (service.name.as_str(), service)).collect();
    for told in &mut status.services {
        let Some(service) = told.name.as_deref().and_then(|name| services.get(name)) else { continue };
        let reals: HashMap<IpAddr, _> = service.all_reals().map(|real| (real.address, real)).collect();
        for told in &mut told.reals {
            let Some(real) = reals.get(&told.address) else { continue };
            let checks = service.checks_of(real);
            let seen = by_real.get(&told.address).into_iter().flatten();
            let own: Vec<&&Seen> = seen.filter(|seen| checks.contains(&seen.target.check)).collect();
            told.latency_us = own.iter().filter_map(|seen| seen.history.percentile(50)).max().map(micros);
            told.own_fault = own.iter().find_map(|seen| seen.history.own_fault()).map(str::to_owned);
            told.doubt = own.iter().find_map(|seen| doubt(seen, checks.len() > 1));
        }
    }
}

fn pace(look: &Look) -> CheckPace {
    let mut faults = look.checks.iter().filter_map(|seen| seen.history.own_fault());
    let own_fault = faults.next().map(str::to_owned);
    CheckPace {
        limit: look.limit,
        running: look.running,
        waiting: look.waiting,
        delayed: look.delayed,
        late_p99_us: look.late.map(micros),
        unasked: faults.count() + usize::from(own_fault.is_some()),
        own_fault,
    }
}

fn status(seen: &Seen, services: Vec<String>, now: Instant) -> CheckStatus {
    let (state, have, need) = match seen.phase {
        Phase::Unknown => (CheckState::Unknown, 0, 0),
        Phase::Up => (CheckState::Up, 0, 0),
        Phase::Falling(have, need) => (CheckState::Falling, u64::from(have), u64::from(need)),
        Phase::Down => (CheckState::Down, 0, 0),
        Phase::Rising(have, need) => (CheckState::Rising, u64::from(have), u64::from(need)),
        Phase::Held(good, needed) => (CheckState::Held, good.as_secs(), needed.as_secs()),
    };
    let (since, why) = match &seen.health {
        Health::Unknown => (None, None),
        Health::Up { since } => (Some(*since), None),
        Health::Down { since, reason, .. } => (Some(*since), Some(reason.clone())),
    };
    let history = &seen.history;
    let last = history.results.iter().map(|entry| {
        let (good, said) = match &entry.said {
            Said::Good => (Some(true), None),
            Said::Bad(reason) => (Some(false), Some(reason.to_string())),
            Said::Void(reason) => (None, Some(reason.to_string())),
        };
        CheckResult { at: seconds(entry.at), took_us: micros(entry.took), good, said }
    });
    CheckStatus {
        real: seen.target.address,
        check: seen.target.check.label(),
        asks: seen.target.check.words(),
        services,
        state,
        have,
        need,
        since: since.map(seconds),
        why,
        running: seen.running,
        next_ms: u64::try_from(seen.next.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX),
        p50_us: history.percentile(50).map(micros),
        p99_us: history.percentile(99).map(micros),
        good: history.good,
        bad: history.bad,
        unasked: history.void,
        last: last.collect(),
        before: seen.before.as_ref().map(|kept| {
            let (state, why) = match &kept.health {
                Health::Down { reason, .. } => (CheckState::Down, Some(reason.clone())),
                Health::Up { .. } => (CheckState::Up, None),
                Health::Unknown => (CheckState::Unknown, None),
            };
            CheckBefore { at: seconds(kept.heard), state, why }
        }),
    }
}

/// What speaks against what holds, in words.
fn doubt(seen: &Seen, is_one_of_several: bool) -> Option<String> {
    let said = || {
        seen.history.results.iter().rev().find_map(|entry| match &entry.said {
            Said::Bad(reason) => Some(reason.to_string()),
            Said::Good | Said::Void(_) => None,
        })
    };
    let words = match seen.phase {
        Phase::Falling(have, need) => {
            format!("falling, {have} of {need} bad in a row: {}", said().unwrap_or_default())
        }
        Phase::Rising(have, need) => format!("rising, {have} of {need} good in a row"),
        Phase::Held(good, needed) => {
            format!("held down, good for {} of {} s", good.as_secs(), needed.as_secs())
        }
        Phase::Unknown | Phase::Up | Phase::Down => return None,
    };
    Some(if is_one_of_several { format!("{}: {words}", seen.target.check.label()) } else { words })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::health::Target;
    use crate::health::history::History;
    use crate::health::machine::Outcome;

    #[test]
    fn a_check_is_told_with_all_its_services_and_what_speaks_against_it() {
        let service = |name: &str, port: u16| {
            format!(
                "[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n\
                 check = {{ type = \"tcp\", port = 80, fall = 3 }}\nreals = [{{ address = \"192.0.2.40\" }}]\n"
            )
        };
        let text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned() + &service("a", 80) + &service("b", 443);
        let config = crate::config::parse(Path::new("lb.toml"), &text).unwrap().config;
        let real = &config.services[0].reals[0];
        let mut history = History::default();
        let refused = Outcome::Bad(crate::health::Failure::Unreachable, "refused".to_owned());
        for outcome in [Outcome::Good, refused, Outcome::Void("no socket".to_owned())] {
            history.note(SystemTime::UNIX_EPOCH, Duration::from_millis(3), &outcome);
        }
        let now = Instant::now();
        let seen = Seen {
            target: Arc::new(Target { address: real.address, check: config.services[0].checks[0].clone() }),
            health: Health::Up { since: SystemTime::UNIX_EPOCH + Duration::from_secs(7) },
            phase: Phase::Falling(1, 3),
            next: now + Duration::from_millis(250),
            running: false,
            history,
            before: None,
        };
        let other = Seen {
            target: Arc::new(Target { address: "192.0.2.9".parse().unwrap(), ..(*seen.target).clone() }),
            ..seen.clone()
        };
        let look = Look { checks: vec![seen.clone(), other], limit: 16, ..Look::default() };
        let told = checks(&look, &config, now);
        assert_eq!((told.pace.unasked, told.pace.own_fault.as_deref()), (2, Some("no socket")));
        let [unnamed, told] = told.checks.as_slice() else { panic!("{told:?}") };
        assert!(unnamed.services.is_empty(), "of no service any more");
        assert_eq!(told.services, ["a", "b"]);
        assert_eq!((told.state, told.have, told.need, told.since), (CheckState::Falling, 1, 3, Some(7)));
        assert_eq!((told.next_ms, told.p50_us, told.p99_us), (250, Some(3000), Some(3000)));
        assert_eq!((told.good, told.bad, told.unasked), (1, 1, 1));
        let last: Vec<_> = told.last.iter().map(|result| (result.good, result.said.as_deref())).collect();
        assert_eq!(last, [(Some(true), None), (Some(false), Some("refused")), (None, Some("no socket"))]);
        assert_eq!(doubt(&seen, false).unwrap(), "falling, 1 of 3 bad in a row: refused");
        assert_eq!(doubt(&seen, true).unwrap(), "tcp on port 80: falling, 1 of 3 bad in a row: refused");
    }
}
