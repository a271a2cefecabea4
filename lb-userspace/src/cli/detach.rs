//! `lb detach`: the end of forwarding.

use anyhow::{Result, bail};

use crate::{agent, api, dataplane};

/// Removes the program, its maps, and the VIPs that the agent added.
pub(super) async fn run() -> Result<()> {
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
        println!("nothing was attached");
        return Ok(());
    }
    for ifindex in interfaces {
        println!("detached from interface {ifindex}");
    }
    for owned in addresses {
        println!("removed {} from interface {}", owned.address, owned.ifindex);
    }
    Ok(())
}
