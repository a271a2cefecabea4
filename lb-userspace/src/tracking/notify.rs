//! Notify scripts: told of each change of state, in order for each virtual router, never in anybody's way.
//!
//! Tasks: one hands changes out (from [`Notifier::spawn`]), one runs the scripts of each virtual router that has
//! any (`queue`). They end when the VRRP thread has, and all is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::config::Config;
use crate::events::{self, Events};
use crate::pulse::Heart;
use crate::vrrp::Status;

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
        let scripts = scripts_of(&config).collect();
        let (sender, receiver) = watch::channel(config);
        let task = tokio::spawn(heart.during(hand_out(scripts, receiver, entered, events)));
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

/// Each virtual router's script and its limit.
type Scripts = HashMap<String, (Vec<String>, Duration)>;

fn scripts_of(config: &Config) -> impl Iterator<Item = (String, (Vec<String>, Duration))> {
    config.vrrp.iter().map(|router| (router.name.clone(), (router.notify.clone(), router.notify_timeout)))
}

/// One that a reload removed stays among the scripts: it is told of its end all the same.
async fn hand_out(
    mut scripts: Scripts,
    config: watch::Receiver<Arc<Config>>,
    mut entered: mpsc::UnboundedReceiver<Status>,
    events: Events,
) {
    let mut queues = Queues::new(AT_ONCE);
    while let Some(status) = entered.recv().await {
        debug!("vrrp.{} is {} now", status.name, status.state);
        events.record(events::of_router(&status));
        scripts.extend(scripts_of(&config.borrow()));
        let Some((argv, timeout)) = scripts.get(&status.name).filter(|(argv, _)| !argv.is_empty()) else { continue };
        let run = Run { argv: arguments(argv, &status), timeout: *timeout };
        queues.push(&format!("vrrp.{}", status.name), run);
    }
    queues.join().await;
}

/// The script's own arguments, then the state, the virtual router's name and its VIPs.
fn arguments(argv: &[String], status: &Status) -> Vec<String> {
    let told = [status.state.to_string(), status.name.clone()];
    let addresses = status.addresses.iter().map(ToString::to_string);
    argv.iter().cloned().chain(told).chain(addresses).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::vrrp::protocol::machine::State;
    use crate::vrrp::wire::packet::Version;
    use crate::vrrp::{self, Settings};

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
        let text =
            format!("[director]\ninterfaces = [\"eth1\"]\n{}{}", router("web", 1, "60s"), router("stuck", 2, "1s"));
        let config = crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config;
        let (entered, receiver) = mpsc::unbounded_channel();
        let events = Events::default();
        let notifier = Notifier::spawn(Arc::new(config.clone()), receiver, events.clone(), Heart::unwatched());
        for state in [State::Backup, State::Master, State::Releasing, State::Backup] {
            for (name, id) in [("stuck", 2), ("web", 1)] {
                let vip = format!("192.0.2.{id}/24").parse().unwrap();
                let settings = Settings::new(name, "eth1", id, Version::V3, vec![vip]);
                entered.send(vrrp::Status { state, ..vrrp::Status::waiting(&settings) }).unwrap();
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
}
