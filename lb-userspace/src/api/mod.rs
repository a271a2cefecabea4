//! The agent's HTTP API on a unix socket, and its client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200, [`Status`] |
//! | `GET /v1/checks` | 200, [`Checks`] |
//! | `GET /v1/connections`, with `client=NET`, `service=NAME`, `real=ADDRESS`, `vip=ADDRESS` | 200, a [`Connection`] a line |
//! | `GET /v1/events`, with `kind=KIND`, `service=NAME`, `real=ADDRESS`, `after=NUMBER`, `last=COUNT`, `follow=true` | 200, an [`Event`](crate::events::Event) a line |
//! | `GET /v1/which`, with `client`, `client_port`, `vip`, `port`, `protocol` | 200, a list of [`Which`], one for each service |
//! | `GET /v1/vrrp` | 200, a list of [`RouterStatus`] |
//! | `POST /v1/vrrp/NAME/release`, `…/reclaim` | 200, [`Done`] |
//! | `POST /v1/order`, an [`Order`] as JSON | 200, [`Done`] |
//! | `POST /v1/changes`, a configuration's [`Texts`] as JSON | 200, [`Reloaded`]: what a reload of it would change; nothing has |
//! | `POST /v1/reload` | 200, [`Reloaded`] |
//! | `GET /metrics`, `GET /` | 200, text for Prometheus, a status page ([`crate::metrics`]) |
//!
//! Any of them may answer 422 with [`Failure`] (of a reload: the old configuration stays in force), or 503 with the same
//! while the agent stops.

mod ask;
mod checks;
mod client;
mod connections;
mod estimate;
mod server;
mod status;
mod which;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::Texts;

pub use crate::planner::overrides::Order;
pub use crate::vrrp::Status as RouterStatus;
pub(crate) use ask::ask;
pub use checks::{CheckBefore, CheckPace, CheckResult, CheckState, CheckStatus, Checks};
pub use client::{
    Error as ClientError, changes, checks, connections, events, order, reclaim, release, reload, routers, status, which,
};
pub use connections::{Connection, ConnectionState, Walk, Wanted};
pub use estimate::Estimate;
pub use server::{Server, bind};
pub use status::{
    ClaimStatus, DropStatus, FleetStatus, InterfaceStatus, MapStatus, PanicStatus, ProgramStatus, QuorumStatus,
    RealStatus, ServiceStatus, State, Status, VerdictStatus, VipOwner,
};
pub use which::{Question, Which, Why};

/// What a refused request says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub error: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// For people.
    pub said: String,
}

impl Done {
    /// In these words.
    pub fn new(said: impl Into<String>) -> Self {
        Self { said: said.into() }
    }
}

/// A reload that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// A line for each service, real and virtual router that changed, for people.
    pub changes: Vec<String>,
    /// What of the file has no effect yet, and when it will have.
    pub without_effect: Vec<String>,
    /// The connections that are touched.
    #[serde(default)]
    pub touched: Vec<Touched>,
}

/// Connections that a reload touches: those of a service, or of one of its reals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The service's name, as it was before.
    pub service: String,
    /// `None` for all of them.
    pub real: Option<IpAddr>,
    /// What becomes of them.
    pub fate: Fate,
}

/// What becomes of connections at a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They go to other reals, which reset them: they are hashed otherwise.
    Move,
    /// Nobody forwards them any more.
    End,
    /// They stay, since their real drains: for so many seconds at most where that is said.
    Drain(Option<u64>),
    /// They stay, and no new ones come.
    Stay,
}

/// Where the answer to a request goes: a value, or why there is none.
pub type Answer<T> = oneshot::Sender<Result<T, String>>;

/// A request to the controller, with the place for its answer.
pub enum Request {
    /// What is.
    Status(Answer<Status>),
    /// The health checks.
    Checks(Answer<Checks>),
    /// What connections are remembered.
    Connections(Answer<Walk>),
    /// Which real has a connection.
    Which(Question, Answer<Vec<Which>>),
    /// The virtual routers.
    Routers(Answer<Vec<RouterStatus>>),
    /// Hand the VIPs of the virtual router of this name over.
    Release(String, Answer<Done>),
    /// Ask for them again.
    Reclaim(String, Answer<Done>),
    /// Set something at run time.
    Order(Order, Answer<Done>),
    /// Say what a configuration of this text would change.
    Changes(Texts, Answer<Reloaded>),
    /// Read the configuration again.
    Reload(Answer<Reloaded>),
}

/// The agent's directory: its socket, its lock, and what it must remember.
pub const RUN: &str = "/run/lb";

/// The agent's socket.
pub fn socket() -> PathBuf {
    Path::new(RUN).join("lb.sock")
}
