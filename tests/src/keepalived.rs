//! Debian's keepalived on a director of the lab, for VRRP alone.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directors::{Router, Way};
use crate::lab::{DEADLINE, Host, Process, wait_for};
use crate::skip::skip;

/// Where Debian installs it.
const PROGRAM: &str = "/usr/sbin/keepalived";

/// Whether it is installed; a test that must go on without it is told to be skipped.
#[must_use]
pub fn available() -> bool {
    let there = Path::new(PROGRAM).exists();
    if !there {
        skip(&format!("{PROGRAM} is missing: install keepalived"));
    }
    there
}

/// What a router of a director says to keepalived.
#[must_use]
pub fn instance(router: &Router, password: Option<&str>, peers: &[IpAddr]) -> String {
    let Router { name, id, way: Way { version, interval }, priority, vip, .. } = router;
    let seconds = interval.as_secs_f64();
    let length = if vip.is_ipv4() { 24 } else { 64 };
    let mut text = format!(
        "vrrp_instance {name} {{\n  version {version}\n  state BACKUP\n  interface eth1\n  virtual_router_id {id}\n  \
         priority {priority}\n  advert_int {seconds}\n  virtual_ipaddress {{\n    {vip}/{length}\n  }}\n"
    );
    // Writing to a string can't fail.
    if let Some(password) = password {
        let _ = writeln!(text, "  authentication {{\n    auth_type PASS\n    auth_pass {password}\n  }}");
    }
    if !peers.is_empty() {
        let peers: Vec<String> = peers.iter().map(IpAddr::to_string).collect();
        let _ = writeln!(text, "  unicast_peer {{\n    {}\n  }}", peers.join("\n    "));
    }
    text.push_str("}\n");
    text
}

/// A running keepalived.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
    child: std::path::PathBuf,
}

impl Keepalived {
    /// Starts it with this configuration, and waits until its VRRP process runs.
    ///
    /// # Errors
    /// It doesn't within the deadline.
    pub fn start(host: &Host, config: &str) -> Result<Self> {
        let dir = host.dir();
        let [file, parent, child] = ["keepalived.conf", "keepalived.pid", "vrrp.pid"].map(|name| dir.join(name));
        fs::write(&file, config)?;
        // One that was killed has left its own.
        let _ = fs::remove_file(&child);
        let [file, parent, pid] = [&file, &parent, &child].map(|path| path.display().to_string());
        let arguments = ["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--use-file", &file, "--pid"];
        let process = host.spawn(PROGRAM, arguments.into_iter().chain([&parent[..], "--vrrp_pid", &pid]))?;
        let keepalived = Self { process, child };
        wait_for(DEADLINE, "keepalived's VRRP process", || keepalived.child())?;
        Ok(keepalived)
    }

    /// The process that speaks VRRP, a child of the other.
    #[must_use]
    pub fn child(&self) -> Option<u32> {
        fs::read_to_string(&self.child).ok()?.trim().parse().ok()
    }

    /// The process that watches over the other.
    #[must_use]
    pub fn parent(&self) -> u32 {
        self.process.id()
    }

    /// All that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends a signal to the process that speaks VRRP.
    ///
    /// # Errors
    /// There is none.
    pub fn signal_child(&self, signal: Signal) -> Result<()> {
        let child = self.child().context("keepalived has no VRRP process")?;
        Ok(kill(Pid::from_raw(i32::try_from(child)?), signal)?)
    }

    /// Stops both processes where they are, as a host does that loses its power; [`Self::kill`] ends them.
    ///
    /// # Errors
    /// They have ended already.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)?;
        self.signal_child(Signal::SIGSTOP)
    }

    /// Ends both at once (SIGKILL). The VIPs stay.
    ///
    /// # Errors
    /// They can't be waited for.
    pub fn kill(mut self) -> Result<()> {
        // The parent first, which would start another child.
        self.process.kill()?;
        // It has ended with its parent if this fails.
        let _ = self.signal_child(Signal::SIGKILL);
        Ok(())
    }

    /// Asks it to end (SIGTERM), as systemd does, and waits for that.
    ///
    /// # Errors
    /// It is still there after `deadline`.
    pub fn stop(mut self, deadline: Duration) -> Result<()> {
        self.process.terminate(deadline).map(drop)
    }
}
