//! Notify scripts: told of each change of state, in order for each virtual router, never in anybody's way.
//!
//! Tasks: one hands changes out (from [`Notifier::spawn`]), one runs the scripts of each virtual router and sync group that has
//! any (`queue`). They end when the VRRP thread has, and all is told.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::config::{Config, On, Scripts, Style};
use crate::events::{self, Events};
use crate::pulse::Heart;
use crate::vrrp::Status;
use crate::vrrp::protocol::machine::{Cause, State};

use super::queue::{Queues, Run};

/// How long the agent's end may wait for the last scripts, each of which has its own limit too.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Scripts that run at once at most: one of each virtual router, of as many as there can be.
const AT_ONCE: usize = 1024;

/// The running notifier.
pub struct Notifier {
    config: watch::Sender<Arc<Config>>,
    task: JoinHandle<()>,
}

impl Notifier {
    /// Tells every state that virtual routers enter to the scripts that the configuration names, and to the events.
    pub fn spawn(config: Arc<Config>, entered: mpsc::UnboundedReceiver<Status>, events: Events, heart: Heart) -> Self {
        let told = Told::new(&config);
        let (sender, receiver) = watch::channel(config);
        let task = tokio::spawn(heart.during(hand_out(told, receiver, entered, events)));
        Self { config: sender, task }
    }

    /// Takes another configuration.
    pub fn follow(&self, config: Arc<Config>) {
        self.config.send_replace(config);
    }

    /// Waits until the last change is told, after the VRRP thread has ended.
    pub async fn join(self) {
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST_WORDS, self.task).await.is_err() {
            warn!("notify scripts that still run are ended");
            abort.abort();
        }
    }
}

async fn hand_out(
    mut told: Told,
    config: watch::Receiver<Arc<Config>>,
    mut entered: mpsc::UnboundedReceiver<Status>,
    events: Events,
) {
    let mut queues = Queues::new(AT_ONCE);
    while let Some(status) = entered.recv().await {
        debug!("vrrp.{} is {} now", status.name, status.state);
        events.record(events::of_router(&status));
        told.follow(&config.borrow());
        for (about, run) in told.enter(status) {
            queues.push(&about, run);
        }
    }
    queues.join().await;
}

/// Who is told what. One that a reload removed stays: it is told of its end all the same.
struct Told {
    routers: HashMap<String, Scripts>,
    groups: HashMap<String, Group>,
}

/// A sync group, as its members tell.
#[derive(Default)]
struct Group {
    scripts: Scripts,
    /// By their names; `None` for one that nothing was heard of.
    members: BTreeMap<String, Option<Status>>,
    /// What was told last.
    last: Option<State>,
}

impl Told {
    fn new(config: &Config) -> Self {
        let mut told = Self { routers: HashMap::new(), groups: HashMap::new() };
        told.follow(config);
        told
    }

    fn follow(&mut self, config: &Config) {
        self.routers.extend(config.vrrp.iter().map(|router| (router.name.clone(), router.scripts.clone())));
        for group in &config.sync_groups {
            let held = self.groups.entry(group.name.clone()).or_default();
            held.scripts.clone_from(&group.scripts);
            let members = config.vrrp.iter().filter(|router| router.sync_group.as_ref() == Some(&group.name));
            let names: Vec<&String> = members.map(|router| &router.name).collect();
            held.members.retain(|name, _| names.contains(&name));
            for name in names {
                held.members.entry(name.clone()).or_default();
            }
        }
    }

    /// What is to be run when a virtual router has entered a state, and about whom each is.
    fn enter(&mut self, status: Status) -> Vec<(String, Run)> {
        let mut runs = Vec::new();
        if let Some(scripts) = self.routers.get(&status.name) {
            let whose = Whose {
                kind: "INSTANCE",
                name: &status.name,
                priority: status.priority,
                addresses: status.addresses.clone(),
            };
            runs.extend(scripts_runs(scripts, &whose, &status).map(|run| (format!("vrrp.{}", status.name), run)));
        }
        for (name, group) in &mut self.groups {
            let Some(member) = group.members.get_mut(&status.name) else { continue };
            *member = Some(status.clone());
            let heard: Option<Vec<&Status>> = group.members.values().map(Option::as_ref).collect();
            // It has changed when all of its members have.
            let Some(heard) = heard.filter(|all| all.iter().all(|one| one.state == status.state)) else { continue };
            if group.last.replace(status.state) == Some(status.state) {
                continue;
            }
            let addresses = heard.iter().flat_map(|one| one.addresses.iter().copied()).collect();
            // keepalived says 0 for a group's priority.
            let whose = Whose { kind: "GROUP", name, priority: 0, addresses };
            runs.extend(scripts_runs(&group.scripts, &whose, &status).map(|run| (format!("sync_group.{name}"), run)));
        }
        runs
    }
}

/// Whom a script is told of.
struct Whose<'a> {
    kind: &'static str,
    name: &'a str,
    priority: u8,
    addresses: Vec<IpAddr>,
}

fn scripts_runs(scripts: &Scripts, whose: &Whose<'_>, status: &Status) -> impl Iterator<Item = Run> {
    let state = on(status);
    let own = state.map(|state| scripts.on(state).to_vec());
    let words = match scripts.style {
        Style::Lb => {
            let addresses = whose.addresses.iter().map(ToString::to_string);
            Some([status.state.to_string(), whose.name.to_owned()].into_iter().chain(addresses).collect::<Vec<_>>())
        }
        Style::Keepalived => state.map(|state| {
            let priority = whose.priority.to_string();
            [whose.kind, whose.name, state.word(), &priority].map(str::to_owned).to_vec()
        }),
    };
    let any = words.filter(|_| !scripts.any.is_empty()).map(|words| [scripts.any.clone(), words].concat());
    let (timeout, user) = (scripts.timeout, scripts.user.clone());
    // As keepalived does, that of the state first.
    let all = [own.unwrap_or_default(), any.unwrap_or_default()].into_iter().filter(|argv| !argv.is_empty());
    all.map(move |argv| Run { argv, timeout, user: user.clone() })
}

/// keepalived's name of a state; `None` for one that it doesn't have: a master that hands over.
fn on(status: &Status) -> Option<On> {
    match (status.state, status.cause) {
        (State::Master, _) => Some(On::Master),
        (State::Backup, _) => Some(On::Backup),
        (State::Releasing, _) => None,
        (State::Initialize, Cause::Faulted | Cause::Synchronized) => Some(On::Fault),
        (State::Initialize, _) => Some(On::Stop),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::vrrp::wire::packet::Version;
    use crate::vrrp::{self, Settings};

    fn config(text: &str) -> Config {
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n{text}");
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    }

    fn status(name: &str, id: u8, state: State, cause: Cause) -> Status {
        let vip = format!("192.0.2.{id}/24").parse().unwrap();
        let settings = Settings::new(name, "eth1", id, Version::V3, vec![vip]);
        vrrp::Status { state, cause, ..vrrp::Status::waiting(&settings) }
    }

    #[tokio::test]
    async fn each_change_is_told_in_order_and_a_slow_script_holds_nobody_else_up() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = folder.path().join("script");
        let text = format!("#!/bin/sh\n[ \"$3\" = stuck ] && exec sleep 1000\necho \"$@\" >> {}\n", log.display());
        std::fs::write(&script, text).unwrap();
        let router = |name: &str, id: u8, timeout: &str| {
            format!(
                "[vrrp.{name}]\ninterface = \"eth1\"\nid = {id}\naddresses = [\"192.0.2.{id}/24\"]\n\
                 notify = [\"/bin/sh\", \"{}\", \"tell\"]\nnotify_timeout = \"{timeout}\"\n",
                script.display()
            )
        };
        let config = config(&format!("{}{}", router("web", 1, "60s"), router("stuck", 2, "1s")));
        let (entered, receiver) = mpsc::unbounded_channel();
        let events = Events::default();
        let notifier = Notifier::spawn(Arc::new(config.clone()), receiver, events.clone(), Heart::unwatched());
        for state in [State::Backup, State::Master, State::Releasing, State::Backup] {
            for (name, id) in [("stuck", 2), ("web", 1)] {
                entered.send(status(name, id, state, Cause::Created)).unwrap();
            }
        }
        // Told to the last, though it is not configured any more.
        notifier.follow(Arc::new(Config { vrrp: Vec::new(), ..config }));
        drop(entered);
        notifier.join().await;
        let expected = "tell backup web 192.0.2.1\ntell master web 192.0.2.1\ntell releasing web 192.0.2.1\n\
                        tell backup web 192.0.2.1\n";
        assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
        let told: Vec<String> = events.all().into_iter().map(|event| event.said.to_string()).collect();
        assert_eq!(told.len(), 8);
        assert_eq!(told[3], "vrrp.web: master: not started yet; priority 100; VIPs 192.0.2.1");
    }

    #[test]
    fn keepalived_s_scripts_hear_what_it_told_them() {
        let text = "[vrrp.a]\ninterface = \"eth1\"\nid = 1\naddresses = [\"192.0.2.1/24\"]\nsync_group = \"g\"\n\
            notify = [\"/n\", \"own\"]\nnotify_style = \"keepalived\"\nnotify_master = [\"/m\"]\nnotify_stop = [\"/s\", \"x\"]\n\
            [vrrp.b]\ninterface = \"eth1\"\nid = 2\naddresses = [\"192.0.2.2/24\"]\nsync_group = \"g\"\n\
            [sync_group.g]\nnotify = [\"/g\"]\nnotify_style = \"keepalived\"\nnotify_fault = [\"/f\"]\n";
        let mut told = Told::new(&config(text));
        let mut enter = |name: &str, id: u8, state, cause| -> Vec<String> {
            let runs = told.enter(status(name, id, state, cause));
            runs.into_iter().map(|(about, run)| format!("{about}: {}", run.argv.join(" "))).collect()
        };
        let rows: [(&str, State, Cause, &[&str]); 11] = [
            ("a", State::Backup, Cause::Started, &["vrrp.a: /n own INSTANCE a BACKUP 100"]),
            ("b", State::Backup, Cause::Started, &["sync_group.g: /g GROUP g BACKUP 0"]),
            ("a", State::Master, Cause::MasterDown, &["vrrp.a: /m", "vrrp.a: /n own INSTANCE a MASTER 100"]),
            ("b", State::Master, Cause::Synchronized, &["sync_group.g: /g GROUP g MASTER 0"]),
            // A hand-over isn't a state of keepalived's.
            ("a", State::Releasing, Cause::Released, &[]),
            ("b", State::Initialize, Cause::Faulted, &[]),
            (
                "a",
                State::Initialize,
                Cause::Synchronized,
                &["vrrp.a: /n own INSTANCE a FAULT 100", "sync_group.g: /f", "sync_group.g: /g GROUP g FAULT 0"],
            ),
            ("a", State::Backup, Cause::Started, &["vrrp.a: /n own INSTANCE a BACKUP 100"]),
            ("b", State::Backup, Cause::Started, &["sync_group.g: /g GROUP g BACKUP 0"]),
            ("b", State::Initialize, Cause::Stopped, &[]),
            (
                "a",
                State::Initialize,
                Cause::Stopped,
                &["vrrp.a: /s x", "vrrp.a: /n own INSTANCE a STOP 100", "sync_group.g: /g GROUP g STOP 0"],
            ),
        ];
        for (number, (name, state, cause, expected)) in rows.into_iter().enumerate() {
            let id = if name == "a" { 1 } else { 2 };
            assert_eq!(enter(name, id, state, cause), expected, "row {number}");
        }
    }
}
