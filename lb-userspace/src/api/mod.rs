//! The agent's HTTP API on a unix socket, and its client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200, [`Status`] |
//! | `POST /v1/reload` | 200, or 422 with [`Failure`]: the old configuration stays in force |

mod client;
mod server;
mod status;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use client::{Error as ClientError, reload, status};
pub use server::{Server, bind};
pub use status::{InterfaceStatus, RealStatus, ServiceStatus, State, Status, VerdictStatus};

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
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<(), String>>),
}

/// The agent's directory: its socket, its lock, and what it must remember.
pub const RUN: &str = "/run/lb";

/// The agent's socket.
pub fn socket() -> PathBuf {
    Path::new(RUN).join("lb.sock")
}
