//! `lb run`: the agent.

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use crate::agent;

/// Runs the agent with its log on standard error.
pub(super) async fn run(config: PathBuf) -> Result<()> {
    let filter = EnvFilter::try_from_env("LB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false);
    log.init();
    agent::run(config).await
}
