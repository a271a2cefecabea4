//! The guard: a second process that outlives its agent. When the agent is dead and no other one has come for
//! `director.release_after`, it takes the VIPs off this host, so that nobody answers ARP for a VIP that
//! another director owns meanwhile. The program goes on forwarding what still comes here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::setsid;
use tracing::{info, warn};

use super::{owned, start};

/// How often a guard looks for its agent, and for the next one.
const LOOK: Duration = Duration::from_millis(250);

/// Starts a guard for this agent. It ends by itself: when another agent takes over, or after it released.
///
/// # Errors
/// The process can't be started.
pub fn spawn(after: Duration) -> Result<()> {
    let binary = std::env::current_exe().context("the path of lb itself")?;
    let mut command = Command::new(binary);
    command
        .arg("guard")
        .arg("--after-ms")
        .arg(after.as_millis().to_string())
        .arg("--agent")
        .arg(std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let guard = command.spawn().context("starting the guard")?;
    info!("guard {} releases the VIPs when no agent runs for {}", guard.id(), humantime::format_duration(after));
    Ok(())
}

/// Watches over the agent with this process id.
///
/// # Errors
/// The lock can't be looked at.
pub fn watch(agent: u32, after: Duration) -> Result<()> {
    // A Ctrl-C at the agent's terminal is not the guard's.
    let _ = setsid();
    let agent = format!("/proc/{agent}");
    while Path::new(&agent).is_dir() && start::is_locked()? {
        std::thread::sleep(LOOK);
    }
    let died = Instant::now();
    while died.elapsed() < after {
        if start::is_locked()? {
            // Another agent has come; it has a guard of its own.
            return Ok(());
        }
        std::thread::sleep(LOOK.min(after));
    }
    for held in owned::release() {
        warn!("no agent for {}: {} is released", humantime::format_duration(after), held.address);
    }
    Ok(())
}
