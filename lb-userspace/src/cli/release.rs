//! `lb release` and the hidden `lb guard`: the VIPs of an agent that is dead.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::output;
use crate::agent;
use crate::host::privilege::{Capability, require};

/// When it is done.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only if the configuration that ran last says `when_agent_dies = "release"`.
    #[arg(long)]
    as_configured: bool,
}

/// Takes the VIPs off this host when no agent runs; the program goes on forwarding.
pub(super) fn release(arguments: &Arguments) -> Result<()> {
    require(Capability::NetAdmin, "to take VIPs off an interface")?;
    if agent::is_locked()? {
        bail!("an agent runs: `lb vrrp release NAME` has it hand a VIP over to a backup.");
    }
    if arguments.as_configured && !agent::releases() {
        return output::print("the VIPs stay: the configuration has no when_agent_dies = \"release\"\n");
    }
    let released = agent::release();
    if released.removed.is_empty() && released.left.is_empty() {
        return output::print("no VIP is held\n");
    }
    report(&released)
}

/// Says what was removed, and fails where something stays.
pub(super) fn report(released: &agent::Released) -> Result<()> {
    let removed = released.removed.iter();
    let removed = removed.map(|held| format!("removed {} from interface {}\n", held.address, held.ifindex));
    output::print(&removed.collect::<String>())?;
    if released.left.is_empty() { Ok(()) } else { bail!("{}", released.left.join("\n")) }
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
