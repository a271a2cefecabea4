//! The agent's HTTP API on a unix socket, and its client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200, [`Status`] |
//! | `GET /v1/vrrp` | 200, a list of [`RouterStatus`] |
//! | `POST /v1/vrrp/NAME/release`, `…/reclaim` | 200, or 422 with [`Failure`] |
//! | `POST /v1/reload` | 200, or 422 with [`Failure`]: the old configuration stays in force |

mod client;
mod router;
mod server;
mod status;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use client::{Error as ClientError, command, get, reload, status};
pub use router::RouterStatus;
pub use server::{Server, bind};
pub use status::{DropStatus, InterfaceStatus, RealStatus, ServiceStatus, State, Status, VerdictStatus};

/// What a refused request says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub error: String,
}

/// A request to the controller, with the place for its answer.
#[derive(Debug)]
pub enum Request {
    /// What is.
    Status(oneshot::Sender<Status>),
    /// The virtual routers.
    Routers(oneshot::Sender<Result<Vec<RouterStatus>, String>>),
    /// Hand the VIPs of the virtual router of this name over.
    Release(String, oneshot::Sender<Result<(), String>>),
    /// Ask for them again.
    Reclaim(String, oneshot::Sender<Result<(), String>>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<(), String>>),
}

/// The agent's directory: its socket, its lock, and what it must remember.
pub const RUN: &str = "/run/lb";

/// The agent's socket.
pub fn socket() -> PathBuf {
    Path::new(RUN).join("lb.sock")
}
