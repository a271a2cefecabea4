//! From what was seen to how each virtual router stands. No task, no clock.

use std::collections::{BTreeMap, HashMap};

use super::Services;
use crate::config::{Condition, Config, Vrrp, is_meant};
use crate::vrrp::protocol::weights::{Effect, Standing, Tracker};

/// The reals of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthy {
    /// Those that are healthy.
    pub healthy: u32,
    /// Those that nothing is known of yet.
    pub unknown: u32,
}

/// A virtual router that stands elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) router: String,
    pub(super) standing: Standing,
    pub(super) why: String,
}

/// What a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Whether it holds.
    Holds(bool),
    /// The number in a file.
    Number(i32),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Policy {
    routers: BTreeMap<String, Router>,
    /// What is known of each condition that is tracked.
    known: HashMap<Condition, Word>,
}

#[derive(Debug)]
struct Router {
    tracker: Tracker,
    conditions: Vec<Condition>,
    /// `None` before anything was told of it.
    told: Option<(Standing, String)>,
}

impl Policy {
    /// Takes a configuration. What is known of conditions that stay is kept.
    pub(super) fn follow(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.routers);
        for router in &config.vrrp {
            let told = before.remove(&router.name).and_then(|router| router.told);
            self.routers.insert(router.name.clone(), Router::new(router, told));
        }
        let routers = &self.routers;
        self.known.retain(|condition, _| routers.values().any(|router| router.conditions.contains(condition)));
        for router in self.routers.values_mut() {
            for condition in &router.conditions {
                let first =
                    matches!(condition, Condition::Script(script) if script.init_fail).then_some(Word::Holds(false));
                if let Some(word) = self.known.get(condition).copied().or(first) {
                    tell(&mut router.tracker, condition, word);
                }
            }
        }
    }

    /// A condition was looked at.
    pub(super) fn learn(&mut self, condition: &Condition, word: Word) {
        let mut trackers = self.routers.values_mut().filter(|router| router.conditions.contains(condition)).peekable();
        if trackers.peek().is_none() {
            return;
        }
        for router in trackers {
            tell(&mut router.tracker, condition, word);
        }
        self.known.insert(condition.clone(), word);
    }

    /// These interfaces have a link, no others.
    pub(super) fn learn_interfaces(&mut self, running: &[String]) {
        for condition in self.conditions() {
            if let Condition::Interface(name) = &condition {
                let holds = running.contains(name);
                self.learn(&condition, Word::Holds(holds));
            }
        }
    }

    /// The services' health is this. What depends on reals that nothing is known of stays open.
    pub(super) fn learn_services(&mut self, services: &Services) {
        for condition in self.conditions() {
            let Condition::Service { name, healthy: enough } = &condition else { continue };
            // The ports of a service share their reals.
            let part = || services.iter().find(|(service, _)| is_meant(service, name)).map(|(_, health)| health);
            let Some(Healthy { healthy, unknown }) = services.get(name).or_else(part).copied() else { continue };
            if healthy >= *enough {
                self.learn(&condition, Word::Holds(true));
            } else if healthy + unknown < *enough {
                self.learn(&condition, Word::Holds(false));
            }
        }
    }

    /// The routers that stand elsewhere, or for other reasons, than was told last.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, router) in &mut self.routers {
            // One that tracks nothing stands where VRRP has put it, unless tracking once moved it.
            if router.conditions.is_empty() && router.told.is_none() {
                continue;
            }
            let now = (router.tracker.standing(), router.tracker.explanation());
            if router.told.as_ref() == Some(&now) {
                continue;
            }
            changes.push(Change { router: name.clone(), standing: now.0, why: now.1.clone() });
            router.told = Some(now);
        }
        changes
    }

    fn conditions(&self) -> Vec<Condition> {
        self.routers.values().flat_map(|router| &router.conditions).cloned().collect()
    }
}

impl Router {
    fn new(router: &Vrrp, told: Option<(Standing, String)>) -> Self {
        let effect = |weight: Option<i16>| weight.map_or(Effect::Require, Effect::Weight);
        let conditions = router.track.iter().map(|track| (label(&track.condition), effect(track.weight)));
        let tracker = Tracker::new(router.priority, conditions);
        Self { tracker, conditions: router.track.iter().map(|track| track.condition.clone()).collect(), told }
    }
}

fn tell(tracker: &mut Tracker, condition: &Condition, word: Word) {
    match word {
        Word::Holds(holds) => tracker.set(&label(condition), holds),
        Word::Number(number) => tracker.count(&label(condition), number),
    };
}

/// A condition in the words of `lb vrrp`.
fn label(condition: &Condition) -> String {
    match condition {
        Condition::Interface(name) => format!("link {name}"),
        Condition::Script(script) => format!("script {}", script.label()),
        Condition::File { path, .. } => format!("file {}", path.display()),
        Condition::Process { name, count: 1, .. } => format!("process {name}"),
        Condition::Process { name, count, .. } => format!("{count} processes {name}"),
        Condition::Service { name, healthy: 1 } => format!("a healthy real of service {name}"),
        Condition::Service { name, healthy } => format!("{healthy} healthy reals of service {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(priority: u8, track: &str) -> Config {
        let text = format!(
            "[director]\ninterfaces = [\"eth1\"]\n\
             [vrrp.web]\ninterface = \"eth1\"\nid = 1\npriority = {priority}\naddresses = [\"192.0.2.1/24\"]\n{track}\n\
             [vrrp.free]\ninterface = \"eth1\"\nid = 2\naddresses = [\"192.0.2.2/24\"]\n\
             [service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n\
             reals = [{{ address = \"192.0.2.40\" }}, {{ address = \"192.0.2.50\" }}]\n"
        );
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    }

    fn told(policy: &mut Policy) -> Vec<(String, Standing)> {
        policy.changes().into_iter().map(|change| (change.router, change.standing)).collect()
    }

    fn services(healthy: u32, unknown: u32) -> Services {
        Services::from([("web".to_owned(), Healthy { healthy, unknown })])
    }

    const TRACK: &str = "track = [{ interface = \"eth2\", weight = -20 }, { service = \"web\", healthy = 2 }]";

    #[test]
    fn what_is_seen_becomes_a_standing_once() {
        let web = |standing| vec![("web".to_owned(), standing)];
        let mut policy = Policy::default();
        policy.follow(&config(100, TRACK));
        assert_eq!(told(&mut policy), web(Standing::Priority(100)));
        policy.learn_services(&services(0, 2));
        assert_eq!(told(&mut policy), [], "nothing is known of its reals");
        policy.learn_services(&services(1, 0));
        assert_eq!(told(&mut policy), web(Standing::Out));
        policy.learn_services(&services(1, 1));
        assert_eq!(told(&mut policy), [], "it may be enough, or not");
        policy.learn_services(&services(2, 0));
        assert_eq!(told(&mut policy), web(Standing::Priority(100)));
        policy.learn_interfaces(&["eth1".to_owned()]);
        assert_eq!(told(&mut policy), web(Standing::Priority(80)));
        policy.learn_interfaces(&["eth1".to_owned()]);
        assert_eq!(told(&mut policy), []);
        policy.learn_interfaces(&["eth1".to_owned(), "eth2".to_owned()]);
        assert_eq!(told(&mut policy), web(Standing::Priority(100)));
    }

    #[test]
    fn a_reload_keeps_what_is_known_and_takes_back_what_is_not_tracked_any_more() {
        let web = |standing| vec![("web".to_owned(), standing)];
        let mut policy = Policy::default();
        policy.follow(&config(100, TRACK));
        policy.learn_interfaces(&[]);
        assert_eq!(told(&mut policy), web(Standing::Priority(80)));
        policy.follow(&config(150, TRACK));
        assert_eq!(told(&mut policy), web(Standing::Priority(130)));
        policy.follow(&config(150, ""));
        assert_eq!(told(&mut policy), web(Standing::Priority(150)));
        policy.follow(&config(120, ""));
        assert_eq!(told(&mut policy), web(Standing::Priority(120)));
    }
}
