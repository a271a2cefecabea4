//! The guard: a second process that outlives its agent. When the agent is dead and no other one has come for
//! `director.release_after`, it takes the VIPs off this host, so that nobody answers ARP for a VIP that
//! another director owns meanwhile. The program goes on forwarding what still comes here.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::{noted, owned, start};
use crate::config::WhenAgentDies;

/// How often a guard looks for its agent, and for the next one.
const LOOK: Duration = Duration::from_millis(250);

/// The guard of this agent, if its configuration asks for one.
#[derive(Debug, Default)]
pub(super) struct Guard {
    policy: WhenAgentDies,
    process: Option<Child>,
}

impl Guard {
    /// Has the guard that this policy asks for, in place of an earlier one, and says so to guards of earlier agents.
    pub(super) fn follow(&mut self, policy: WhenAgentDies) {
        self.end();
        self.policy = policy;
        match policy {
            WhenAgentDies::Forward => take_duty(Duty { policy: Policy::Forward, guard: None }),
            // The guard takes the duty itself: it has it even if this agent dies now.
            WhenAgentDies::Release { after } => match spawn(after) {
                Ok(process) => {
                    info!(
                        "guard {} releases the VIPs when no agent runs for {}",
                        process.id(),
                        humantime::format_duration(after)
                    );
                    self.process = Some(process);
                }
                Err(error) => error!("no guard: {error:#}; nobody releases the VIPs of an agent that dies"),
            },
        }
    }

    /// Starts it again where somebody ended it.
    pub(super) fn look(&mut self) {
        let ended = self.process.as_mut().map(|process| process.try_wait());
        if let (WhenAgentDies::Release { .. }, None | Some(Ok(Some(_)) | Err(_))) = (self.policy, ended) {
            self.process = None;
            self.follow(self.policy);
        }
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended in this moment.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What is to become of the VIPs when the agent dies, and whose duty that is: written down in the agent's directory
/// for guards of earlier agents, and for `lb release --as-configured`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Duty {
    policy: Policy,
    /// The process id of the guard.
    guard: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Forward,
    Release,
}

impl Duty {
    const FILE: &str = "guard.json";

    fn read() -> Option<Self> {
        noted::read(Self::FILE)
    }

    fn write(&self) -> io::Result<()> {
        noted::write(Self::FILE, self)
    }
}

fn take_duty(duty: Duty) {
    if let Err(error) = duty.write() {
        warn!("{}: {error}", noted::path(Duty::FILE).display());
    }
}

/// Whether the configuration of the agent that ran last has its VIPs released when it stays dead.
pub fn releases() -> bool {
    Duty::read().is_some_and(|duty| duty.policy == Policy::Release)
}

fn spawn(after: Duration) -> Result<Child> {
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
    command.spawn().context("it can't be started")
}

/// Watches over the agent with this process id.
///
/// # Errors
/// The lock can't be looked at.
pub fn watch(agent: u32, after: Duration) -> Result<()> {
    // A Ctrl-C at the agent's terminal is not the guard's.
    let _ = setsid();
    take_duty(Duty { policy: Policy::Release, guard: Some(std::process::id()) });
    let agent = format!("/proc/{agent}");
    while Path::new(&agent).is_dir() && start::is_locked()? {
        std::thread::sleep(LOOK);
    }
    let mut died = Instant::now();
    while died.elapsed() < after {
        // One that has only come to fail, before it had a guard of its own, leaves the duty here.
        if Duty::read().is_some_and(|duty| duty.guard != Some(std::process::id())) {
            return Ok(());
        }
        if start::is_locked()? {
            died = Instant::now();
        }
        std::thread::sleep(LOOK.min(after));
    }
    let owned::Released { removed, left } = owned::release();
    for held in removed {
        warn!("no agent for {}: {} is released", humantime::format_duration(after), held.address);
    }
    for what in left {
        warn!("no agent for {}, and {what}", humantime::format_duration(after));
    }
    Ok(())
}
