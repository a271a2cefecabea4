//! `lb detach`: the end of forwarding.

use anyhow::{Result, bail};

use super::output;
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
    let addresses = agent::release();
    // A killed agent leaves its socket.
    let _ = std::fs::remove_file(api::socket());
    if interfaces.is_empty() && addresses.is_empty() {
        return output::print("nothing was attached\n");
    }
    let detached = interfaces.iter().map(|ifindex| format!("detached from interface {ifindex}\n"));
    let removed = addresses.iter().map(|owned| format!("removed {} from interface {}\n", owned.address, owned.ifindex));
    output::print(&detached.chain(removed).collect::<String>())
}
