//! What virtual routers watch: interfaces, scripts, files, processes and the services' own health, and what follows from it.
//!
//! Tasks, and what cancelling each does:
//! - The task from [`Tracks::spawn`] folds what it hears into the [`policy`] and tells the VRRP thread each standing
//!   that changed. It waits for nothing but its channels, so that a lost link is told at once. It ends when its
//!   [`Tracks`] is dropped, and ends the others.
//! - One task for the interfaces (`links`) and one for each tracked script (`script`), file and process (`polled`); a script that runs
//!   is ended with its task.
//!
//! All standings stay as they were told last.

pub mod hooks;
mod links;
pub mod notify;
pub mod policy;
mod polled;
mod queue;
mod script;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use crate::config::{Condition, Config};
use crate::pulse::Heart;
use crate::vrrp::Handle;

pub use policy::Healthy;
use policy::{Policy, Word};

/// How many reals of each service are healthy, by the service's name.
pub type Services = HashMap<String, Healthy>;

/// The running tracks.
pub struct Tracks {
    commands: mpsc::UnboundedSender<Command>,
    /// What was told last.
    services: Services,
}

enum Command {
    Follow(Arc<Config>),
    Services(Services),
}

/// What one of the watching tasks saw.
enum Seen {
    /// All interfaces that are up and have a link.
    Running(Vec<String>),
    /// A script, file or process.
    Word(Condition, Word),
}

impl Tracks {
    /// Starts to watch what this configuration's virtual routers track, and tells `routers` how each stands.
    pub fn spawn(config: Arc<Config>, routers: Handle, links: watch::Receiver<()>, heart: Heart) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let tracks = Self { commands, services: Services::new() };
        tracks.follow(config);
        tokio::spawn(heart.during(Task::new(routers, links).run(receiver)));
        tracks
    }

    /// Takes another configuration, after the virtual routers did.
    pub fn follow(&self, config: Arc<Config>) {
        let _ = self.commands.send(Command::Follow(config));
    }

    /// The services' health is this now.
    pub fn set_services(&mut self, services: Services) {
        if self.services != services {
            self.services.clone_from(&services);
            let _ = self.commands.send(Command::Services(services));
        }
    }
}

struct Task {
    routers: Handle,
    policy: Policy,
    seen: mpsc::UnboundedSender<Seen>,
    sights: mpsc::UnboundedReceiver<Seen>,
    services: Services,
    running: Option<Vec<String>>,
    links: Option<AbortHandle>,
    /// Of the interfaces.
    changes: watch::Receiver<()>,
    /// The task of each script, file and process.
    watched: HashMap<Condition, AbortHandle>,
    /// Ended with this.
    watchers: JoinSet<()>,
}

impl Task {
    fn new(routers: Handle, changes: watch::Receiver<()>) -> Self {
        let (seen, sights) = mpsc::unbounded_channel();
        Self {
            routers,
            policy: Policy::default(),
            seen,
            sights,
            services: Services::new(),
            running: None,
            links: None,
            changes,
            watched: HashMap::new(),
            watchers: JoinSet::new(),
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                biased;
                Some(seen) = self.sights.recv() => self.see(seen),
                command = commands.recv() => match command {
                    Some(Command::Follow(config)) => self.follow(&config),
                    Some(Command::Services(services)) => self.services = services,
                    None => return,
                },
            }
            self.policy.learn_services(&self.services);
            if let Some(running) = &self.running {
                self.policy.learn_interfaces(running);
            }
            self.tell();
        }
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Running(names) => self.running = Some(names),
            Seen::Word(condition, word) => self.policy.learn(&condition, word),
        }
    }

    fn tell(&mut self) {
        for change in self.policy.changes() {
            info!("vrrp.{}: tracking: {}", change.router, change.why);
            if let Err(error) = self.routers.stand(&change.router, change.standing, change.why) {
                warn!("vrrp.{}: tracking has no effect: {error}", change.router);
            }
        }
    }

    /// Watches what is to be watched, and nothing else.
    fn follow(&mut self, config: &Config) {
        self.policy.follow(config);
        let tracks = || config.vrrp.iter().flat_map(|router| &router.track).map(|track| &track.condition);
        let wanted = tracks().any(|condition| matches!(condition, Condition::Interface(_)));
        if !wanted {
            self.running = None;
            if let Some(links) = self.links.take() {
                links.abort();
            }
        } else if self.links.is_none() {
            self.links = Some(self.watchers.spawn(links::watch(self.seen.clone(), self.changes.clone())));
        }
        let is_watched =
            |condition: &&Condition| !matches!(condition, Condition::Interface(_) | Condition::Service { .. });
        let wanted: Vec<&Condition> = tracks().filter(is_watched).collect();
        self.watched.retain(|condition, task| {
            let stays = wanted.contains(&condition);
            if !stays {
                task.abort();
            }
            stays
        });
        for condition in wanted {
            if self.watched.contains_key(condition) {
                continue;
            }
            let seen = self.seen.clone();
            let task = match condition {
                Condition::Script(script) => self.watchers.spawn(script::watch(script.clone(), seen)),
                other => self.watchers.spawn(polled::watch(other.clone(), seen)),
            };
            self.watched.insert(condition.clone(), task);
        }
    }
}
