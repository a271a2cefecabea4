//! `lb release` and the hidden `lb guard`: the VIPs of an agent that is dead.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::agent;

/// Takes the VIPs off this host when no agent runs; the program goes on forwarding.
pub(super) fn release() -> Result<()> {
    if agent::is_locked()? {
        bail!("an agent runs: `lb vrrp release NAME` hands a VIP over without a lost packet.");
    }
    let owned = agent::release();
    if owned.is_empty() {
        println!("no VIP is held");
    }
    for held in owned {
        println!("removed {} from interface {}", held.address, held.ifindex);
    }
    Ok(())
}

/// What the agent tells its guard.
#[derive(Debug, Args)]
pub(super) struct GuardArguments {
    #[arg(long)]
    after_ms: u64,
    #[arg(long)]
    agent: u32,
}

/// Watches over an agent.
pub(super) fn guard(arguments: &GuardArguments) -> Result<()> {
    agent::watch(arguments.agent, Duration::from_millis(arguments.after_ms))
}
