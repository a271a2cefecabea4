//! The agent on a director of the lab: its binary, its configuration, its log and its answers.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::api::{RealStatus, RouterStatus, State, Status};

use crate::lab::{DEADLINE, Host, Process, wait_until};

/// Longest run of a verb of `lb` that isn't `run`.
const PATIENCE: Duration = Duration::from_secs(20);

/// The binary `lb` of the running test's own build.
///
/// # Errors
/// It wasn't built.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // A test stands in target/PROFILE/deps, a binary in target/PROFILE.
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join("lb")).find(|path| path.is_file());
    found.with_context(|| format!("no binary lb beside {}: `cargo build -p lb-userspace` makes it", test.display()))
}

/// An agent that runs on a director.
pub struct Agent<'a> {
    host: &'a Host,
    process: Process,
    config: PathBuf,
}

impl<'a> Agent<'a> {
    /// Starts it with this configuration, and waits until it is ready.
    ///
    /// # Errors
    /// It isn't within the deadline.
    pub fn start(host: &'a Host, config: &str) -> Result<Self> {
        let path = host.dir().join("lb.toml");
        fs::write(&path, config)?;
        Self::start_from(host, path)
    }

    /// Starts it with the configuration of the run before.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(host: &'a Host) -> Result<Self> {
        Self::start_from(host, host.dir().join("lb.toml"))
    }

    fn start_from(host: &'a Host, config: PathBuf) -> Result<Self> {
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let mut process = host.spawn(binary()?, arguments)?;
        process.wait_for_log(DEADLINE, ": ready")?;
        Ok(Self { host, process, config })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Replaces the configuration's text, without a word to the agent.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        Ok(fs::write(&self.config, config)?)
    }

    /// Runs `lb` with these arguments beside the agent.
    ///
    /// # Errors
    /// It fails; the text has what it printed.
    pub fn lb(&self, arguments: &[&str]) -> Result<String> {
        lb(self.host, arguments)
    }

    /// The agent's status.
    ///
    /// # Errors
    /// No understandable answer.
    pub fn status(&self) -> Result<Status> {
        status(self.host)
    }

    /// Waits until a real stands so; tells how long that took.
    ///
    /// # Errors
    /// It doesn't within the deadline.
    pub fn wait_for_real(
        &self,
        service: &str,
        address: impl Into<IpAddr>,
        stands: impl Fn(&RealStatus) -> bool,
    ) -> Result<Duration> {
        let address = address.into();
        wait_until(DEADLINE, &format!("real {address} of {service} to stand so"), || {
            let services = self.status().map(|status| status.services).unwrap_or_default();
            let service = services.iter().find(|held| held.name.as_deref() == Some(service));
            service.is_some_and(|service| service.reals.iter().any(|real| real.address == address && stands(real)))
        })
    }

    /// The agent's virtual routers.
    ///
    /// # Errors
    /// No understandable answer.
    pub fn routers(&self) -> Result<Vec<RouterStatus>> {
        Ok(serde_json::from_str(&self.lb(&["vrrp", "--json"])?)?)
    }

    /// Waits until a virtual router is in this state; tells how long that took.
    ///
    /// # Errors
    /// It isn't within the deadline.
    pub fn wait_for_router(&self, name: &str, state: &str) -> Result<Duration> {
        wait_until(DEADLINE, &format!("vrrp.{name} to be {state}"), || {
            let routers = self.routers().unwrap_or_default();
            routers.iter().any(|router| router.name == name && router.state == state)
        })
    }

    /// Waits until every real of every service takes traffic, and every virtual router has a master.
    ///
    /// # Errors
    /// One doesn't within the deadline.
    pub fn wait_until_served(&self) -> Result<Duration> {
        wait_until(DEADLINE, "every real to take traffic", || {
            let services = self.status().map(|status| status.services).unwrap_or_default();
            let mut reals = services.iter().flat_map(|service| &service.reals);
            let routers = self.routers().unwrap_or_default();
            let settled = routers
                .iter()
                .all(|router| router.state == "master" || router.state == "backup" && router.master.is_some());
            settled && !services.is_empty() && reals.all(|real| matches!(real.state, State::Up | State::Quiesced))
        })
    }
}

/// Runs `lb` with these arguments on a director.
///
/// # Errors
/// It fails; the text has what it printed.
pub fn lb(host: &Host, arguments: &[&str]) -> Result<String> {
    let binary = binary()?;
    let output = host.output_within(PATIENCE, &binary.display().to_string(), arguments)?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "lb {} failed: {error}", arguments.join(" "));
    Ok(out.into_owned())
}

/// The status that `lb list --json` tells on a director.
///
/// # Errors
/// No understandable answer.
pub fn status(host: &Host) -> Result<Status> {
    Ok(serde_json::from_str(&lb(host, &["list", "--json"])?)?)
}
