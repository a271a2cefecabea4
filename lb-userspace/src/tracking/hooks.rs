//! Hooks: scripts that hear of changes of reals and of services. What they are told is what `lb events` has.

use std::time::Duration;

use tracing::warn;

use super::queue::{Queues, Run};
use crate::agent::witness;
use crate::config::{Config, Service};
use crate::events::{Kind, Said};
use crate::planner::overrides::section;

/// Scripts that run at once at most, over all services.
const AT_ONCE: usize = 16;

/// How long the agent's end may wait for the last scripts.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The scripts of reals and services, in the order of changes for each section.
pub struct Hooks(Queues);

impl Default for Hooks {
    fn default() -> Self {
        Self(Queues::new(AT_ONCE))
    }
}

impl Hooks {
    /// Has the scripts run that hear of these changes; waits for none.
    pub fn tell(&mut self, config: &Config, changes: &[Said]) {
        if config.services.iter().all(|service| service.notify.is_none()) {
            return;
        }
        for said in changes {
            let Some(service) = of(config, said) else { continue };
            let Some(notify) = &service.notify else { continue };
            let argv = arguments(&notify.argv, said);
            self.0.push(&section(service), Run { argv, timeout: notify.timeout, user: None });
        }
    }

    /// Waits until the last change is told, or no longer.
    pub async fn join(self) {
        if tokio::time::timeout(LAST_WORDS, self.0.join()).await.is_err() {
            warn!("notify scripts of services that still run are ended");
        }
    }
}

/// The service that something happened to, or one of the pool.
fn of<'c>(config: &'c Config, said: &Said) -> Option<&'c Service> {
    if !matches!(said.kind, Kind::Real | Kind::Service) {
        return None;
    }
    match said.subject.split_once('.')? {
        ("service", name) => config.services.iter().find(|service| service.name == name),
        ("pool", name) => config.services.iter().find(|service| service.pool.as_deref() == Some(name)),
        _ => None,
    }
}

/// The script's own arguments, then `real` or `service`, its state in one word, NAME, the cause, and the reals.
fn arguments(argv: &[String], said: &Said) -> Vec<String> {
    let name = said.subject.split_once('.').map_or("", |(_, name)| name);
    let state = witness::word(said);
    let whole = (said.state != state && said.kind == Kind::Real).then_some(said.state.as_str());
    let cause: Vec<&str> = whole.into_iter().chain(said.cause.as_deref()).collect();
    let told = [said.kind.to_string(), state.to_owned(), name.to_owned(), cause.join("; ")];
    let reals = said.reals.iter().map(ToString::to_string);
    let more = (said.more_reals > 0).then(|| format!("+{}", said.more_reals));
    argv.iter().cloned().chain(told).chain(reals).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn changes_are_told_to_whoever_has_a_script() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!("for word; do printf '%s|' \"$word\"; done >> {0}; echo >> {0}", log.display());
        let real = "reals = [{ address = \"192.0.2.40\" }]\n";
        let notify = format!("notify = [\"/bin/sh\", \"-c\", '''{script}''', \"hook\", \"own\"]\n");
        let service = |name: &str, port: u16, rest: &str| {
            format!("[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\n{rest}")
        };
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n[pool.p]\n{notify}{real}")
            + &service("a", 80, "pool = \"p\"\n")
            + &service("b", 81, &(notify.clone() + real))
            + &service("c", 82, real);
        let config = crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config;
        let reals = |said: Said| Said { reals: vec!["192.0.2.40".parse().unwrap()], ..said };
        let all = [
            reals(Said::new(Kind::Real, "pool.p", "down")).because("connection refused"),
            Said::new(Kind::Service, "service.a", "no real takes new connections"),
            reals(Said::new(Kind::Real, "service.c", "down")),
            Said::new(Kind::Service, "pool.p", "quorum lost").because("1 of 2"),
            reals(Said::new(Kind::Real, "pool.p", "weight 5")).because("was 2"),
            Said { more_reals: 9, ..reals(Said::new(Kind::Real, "pool.p", "up")) },
            Said::new(Kind::Vrrp, "vrrp.a", "master"),
        ];
        let mut hooks = Hooks::default();
        hooks.tell(&config, &all);
        hooks.tell(&config, &[Said::new(Kind::Service, "service.b", "panic is over")]);
        tokio::time::timeout(Duration::from_secs(60), hooks.0.join()).await.unwrap();
        let told = std::fs::read_to_string(log).unwrap();
        let of = |name: &str| told.lines().filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n");
        let expected = "own|real|down|p|connection refused|192.0.2.40|\nown|service|no-reals|a||\n\
                        own|service|quorum-lost|p|1 of 2|\nown|real|weight|p|weight 5; was 2|192.0.2.40|\n\
                        own|real|up|p||192.0.2.40|+9|";
        assert_eq!(
            (of("|p|") + &of("|b|"), told.lines().count()),
            (expected.replace("own|service|no-reals|a||\n", "") + "own|service|panic-ends|b||", 6)
        );
        assert_eq!(of("|a|"), "own|service|no-reals|a||");
    }
}
