//! `lb detach`: the end of forwarding.

use anyhow::{Result, bail};

use super::output;
use super::release::report;
use crate::host::privilege::{Capability, require};
use crate::{agent, api, dataplane};

/// Removes the program, its maps, and the VIPs that the agent added.
pub(super) async fn run() -> Result<()> {
    require(Capability::NetAdmin, "to remove the program and the VIPs")?;
    if api::status(&api::socket()).await.is_ok() {
        bail!("an agent runs and would write the maps again.\nStop it first (SIGTERM), then run `lb detach`.");
    }
    // One that is about to start, or that doesn't answer, is told by its lock.
    let _lock = agent::lock()?;
    let interfaces = dataplane::detach()?;
    let released = agent::release();
    // A killed agent leaves its socket.
    let _ = std::fs::remove_file(api::socket());
    if interfaces.is_empty() && released.removed.is_empty() && released.left.is_empty() {
        return output::print("nothing was attached\n");
    }
    let detached = interfaces.iter().map(|ifindex| format!("detached from interface {ifindex}\n"));
    output::print(&detached.collect::<String>())?;
    report(&released)
}
