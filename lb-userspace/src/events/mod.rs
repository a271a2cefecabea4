//! The last changes of the director, with their causes: reals, services, virtual routers, reloads, interfaces, peers and the
//! agent itself. A bounded number of them is kept, over a restart of the agent too.
//!
//! [`journal`] says which are kept, without clock or file; [`Events`] is the handle that whoever notices a change has, and
//! [`keeper`] the task that writes them down. `agent/witness` notices what changed in the model.

pub mod journal;
pub mod keeper;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::is_meant;
use crate::vrrp;
use journal::Journal;
pub use keeper::Keeper;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The agent: started, stopped, refused a reload, couldn't write the maps.
    Agent,
    /// The configuration was read again.
    Reload,
    /// A real: up, down, draining, its weight.
    Real,
    /// A service: nobody takes its new connections, or somebody does again.
    Service,
    /// A virtual router's state: whose the VIPs are.
    Vrrp,
    /// An interface of the director came, went or is waited for.
    Interface,
    /// Another director of `[peers]`.
    Peer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Reload => "reload",
            Self::Real => "real",
            Self::Service => "service",
            Self::Vrrp => "vrrp",
            Self::Interface => "interface",
            Self::Peer => "peer",
        })
    }
}

/// What happened: an event without its time and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What it is about.
    pub kind: Kind,
    /// Whose it is: `service.NAME` or `pool.NAME`, `vrrp.NAME`, an interface, a peer's address; `lb` for the agent.
    pub subject: String,
    /// The reals that it happened to at once, the first [`NAMED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reals: Vec<IpAddr>,
    /// Reals that it happened to as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_reals: u64,
    /// What is now, such as `down`, `master`, `reloaded`.
    pub state: String,
    /// Why; `None` where nothing is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Reals that one event names at most.
pub const NAMED: usize = 50;
/// Letters of a cause that are kept at most: some of it is what a real or a script said.
const LONGEST: usize = 600;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Said {
    /// Of something that isn't about reals.
    pub fn new(kind: Kind, subject: impl Into<String>, state: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), reals: Vec::new(), more_reals: 0, state: state.into(), cause: None }
    }

    /// For this reason; an empty one is none.
    #[must_use]
    pub fn because(self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { cause: (!cause.is_empty()).then_some(cause), ..self }
    }

    /// On one line, and no longer than it may be.
    fn tidied(self) -> Self {
        let tidy = |text: String| {
            let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            line.retain(|letter| !letter.is_control());
            if let Some((end, _)) = line.char_indices().nth(LONGEST) {
                line.truncate(end);
                line.push('…');
            }
            line
        };
        Self { subject: tidy(self.subject), state: tidy(self.state), cause: self.cause.map(tidy), ..self }
    }
}

/// Reals that a line names at most.
const SHOWN: usize = 3;

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        let more = self.reals.len().saturating_sub(SHOWN) as u64 + self.more_reals;
        for (number, real) in self.reals.iter().take(SHOWN).enumerate() {
            write!(f, "{} {real}", if number == 0 { " real" } else { "," })?;
        }
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        write!(f, ": {}", self.state)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// One more than the event's before it, over restarts too.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// Which events are asked for: those that fit all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of the service of this name, or of its pool's name.
    pub service: Option<String>,
    /// Of this real.
    pub real: Option<IpAddr>,
    /// With higher numbers than this.
    pub after: Option<u64>,
    /// The last so many of them alone.
    pub last: Option<usize>,
    /// And those that come, for as long as they are read.
    #[serde(default)]
    pub follow: bool,
}

impl Wanted {
    /// Whether an event is wanted.
    #[must_use]
    pub fn fits(&self, event: &Event) -> bool {
        let said = &event.said;
        let named =
            |name: &String| said.subject.split_once('.').is_some_and(|(kind, of)| kind != "vrrp" && is_meant(of, name));
        self.kind.is_none_or(|kind| kind == said.kind)
            && self.service.as_ref().is_none_or(named)
            && self.real.is_none_or(|real| said.reals.contains(&real))
            && self.after.is_none_or(|after| event.number > after)
    }

    /// Those of a list that are wanted.
    #[must_use]
    pub fn of(&self, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
        let mut fitting: Vec<Event> = events.into_iter().filter(|event| self.fits(event)).collect();
        if let Some(last) = self.last {
            fitting.drain(..fitting.len().saturating_sub(last));
        }
        fitting
    }

    /// As the query of a request.
    #[must_use]
    pub fn query(&self) -> String {
        let pair = |key: &str, value: Option<String>| value.map(|value| format!("{key}={value}"));
        [
            pair("kind", self.kind.map(|kind| kind.to_string())),
            // What else a service's name has than letters and digits stands in a query as it is.
            pair("service", self.service.clone()),
            pair("real", self.real.map(|real| real.to_string())),
            pair("after", self.after.map(|after| after.to_string())),
            pair("last", self.last.map(|last| last.to_string())),
            pair("follow", self.follow.then(|| "true".to_owned())),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("&")
    }
}

/// How far the journal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last event's number.
    pub last: u64,
    /// Nothing follows any more.
    pub closed: bool,
}

/// The journal, for whoever notices or reads. It is held for microseconds, so that nobody waits for a reader or the disk.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    journal: Mutex<Journal>,
    progress: watch::Sender<Progress>,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(Journal::default())
    }
}

impl Events {
    /// That goes on from a journal.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        let progress = Progress { last: journal.last(), closed: false };
        Self(Arc::new(Shared { journal: Mutex::new(journal), progress: watch::Sender::new(progress) }))
    }

    /// Something happened now.
    pub fn record(&self, said: Said) {
        self.record_all([said]);
    }

    /// All of this happened now.
    pub fn record_all(&self, all: impl IntoIterator<Item = Said>) {
        let now = milliseconds(SystemTime::now());
        let mut journal = self.journal();
        let before = journal.last();
        all.into_iter().for_each(|said| journal.record(now, said.tidied()));
        let last = journal.last();
        drop(journal);
        if last != before {
            self.0.progress.send_modify(|progress| progress.last = last);
        }
    }

    /// Every event that is kept, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.journal().events().cloned().collect()
    }

    /// Those that are wanted.
    #[must_use]
    pub fn of(&self, wanted: &Wanted) -> Vec<Event> {
        let journal = self.journal();
        let fitting: Vec<Event> = journal.events().filter(|event| wanted.fits(event)).cloned().collect();
        drop(journal);
        wanted.of(fitting)
    }

    /// Tells of every progress.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Nothing follows any more: whoever follows ends.
    pub fn close(&self) {
        self.0.progress.send_modify(|progress| progress.closed = true);
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A virtual router has entered a state.
#[must_use]
pub fn of_router(status: &vrrp::Status) -> Said {
    let shown: Vec<String> = status.addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match status.addresses.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = status.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let cause = format!("{}; priority {}{why}; VIPs {}{more}", status.cause, status.priority, shown.join(", "));
    Said::new(Kind::Vrrp, format!("vrrp.{}", status.name), status.state.to_string()).because(cause)
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
