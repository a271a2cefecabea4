//! The agent on a director of the lab: its binary, its configuration, its log and its answers.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::api::{RealStatus, RouterStatus, ServiceStatus, State, Status};
use lb_userspace::vrrp;

use crate::lab::{DEADLINE, Host, Process, VIP, VIP6, wait_until};

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
        Self::start_from(host, &binary()?, write(host, config)?)
    }

    /// Starts one that observes alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_observing(host: &'a Host, config: &str) -> Result<Self> {
        Self::start_with(host, &binary()?, write(host, config)?, &["--observe"])
    }

    /// Starts it with the configuration of the run before.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(host: &'a Host) -> Result<Self> {
        Self::start_from(host, &binary()?, config_file(host))
    }

    /// Starts another binary with the configuration of the run before.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_binary(host: &'a Host, binary: &Path) -> Result<Self> {
        Self::start_from(host, binary, config_file(host))
    }

    fn start_from(host: &'a Host, binary: &Path, config: PathBuf) -> Result<Self> {
        Self::start_with(host, binary, config, &[])
    }

    fn start_with(host: &'a Host, binary: &Path, config: PathBuf, more: &[&str]) -> Result<Self> {
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let mut process = host.spawn(binary, arguments.into_iter().chain(more.iter().map(OsStr::new)))?;
        process.wait_for_log(DEADLINE, ": ready")?;
        Ok(Self { host, process, config })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All that it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Replaces the configuration's text, without a word to the agent.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        Ok(fs::write(&self.config, config)?)
    }

    /// Replaces the configuration and has the agent take it.
    ///
    /// # Errors
    /// It refuses; the text has its words.
    pub fn reload(&self, config: &str) -> Result<String> {
        self.write_config(config)?;
        self.lb(&["reload"])
    }

    /// Ends it as an operator does (SIGTERM).
    ///
    /// # Errors
    /// It isn't gone within the deadline, or says that it failed.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(DEADLINE)?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.process.log());
        Ok(())
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

    /// A service's status.
    ///
    /// # Errors
    /// The agent has none of this name.
    pub fn service(&self, name: &str) -> Result<ServiceStatus> {
        let services = self.status()?.services;
        let found = services.into_iter().find(|service| service.name.as_deref() == Some(name));
        found.with_context(|| format!("no service {name}"))
    }

    /// A real's status.
    ///
    /// # Errors
    /// The service has none of this address.
    pub fn real(&self, service: &str, address: impl Into<IpAddr>) -> Result<RealStatus> {
        let address = address.into();
        let reals = self.service(service)?.reals;
        reals.into_iter().find(|real| real.address == address).with_context(|| format!("no real {address}"))
    }

    /// Packets that met the verdict of this name so far.
    ///
    /// # Errors
    /// No understandable answer.
    pub fn verdict(&self, name: &str) -> Result<u64> {
        let verdicts = self.status()?.verdicts;
        Ok(verdicts.iter().find(|counted| counted.verdict == name).map_or(0, |counted| counted.packets))
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
            routers.iter().any(|router| router.name == name && router.state.to_string() == state)
        })
    }

    /// Waits until every real that the configuration names takes traffic, and every virtual router has a master.
    ///
    /// # Errors
    /// One doesn't within the deadline.
    pub fn wait_until_served(&self) -> Result<Duration> {
        wait_until(DEADLINE, "every real to take traffic", || {
            let services = self.status().map(|status| status.services).unwrap_or_default();
            let mut reals = services.iter().flat_map(|service| &service.reals);
            let routers = self.routers().unwrap_or_default();
            let settled = routers.iter().all(|router| match router.state {
                vrrp::State::Master => true,
                vrrp::State::Backup => router.master.is_some(),
                _ => false,
            });
            let is_served =
                |real: &RealStatus| real.left || matches!(real.state, State::Up | State::Quiesced | State::Standby);
            settled && !services.is_empty() && reals.all(is_served)
        })
    }
}

fn config_file(host: &Host) -> PathBuf {
    host.dir().join("lb.toml")
}

/// Writes a director's configuration, and tells where.
///
/// # Errors
/// The file can't be written.
pub fn write(host: &Host, config: &str) -> Result<PathBuf> {
    let path = config_file(host);
    fs::write(&path, config)?;
    Ok(path)
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

/// What `lb list` prints on a director, whether an agent answers or the pinned maps do (then it exits with 3).
///
/// # Errors
/// It has nothing to list.
pub fn list(host: &Host, arguments: &[&str]) -> Result<String> {
    let arguments: Vec<&str> = ["list"].iter().chain(arguments).copied().collect();
    let output = host.output_within(PATIENCE, &binary()?.display().to_string(), &arguments)?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let listed = matches!(output.status.code(), Some(0 | 3)) && !out.is_empty();
    ensure!(listed, "lb {} ended with {}: {error}", arguments.join(" "), output.status);
    Ok(out.into_owned())
}

/// Runs a program on a director that is to fail, by itself and with one of the statuses that `lb` documents for that;
/// returns what it printed.
///
/// # Errors
/// It doesn't end, or ends well, or by a signal or a panic.
pub fn refusal(host: &Host, program: &str, arguments: &[&str]) -> Result<String> {
    let output = host.output_within(PATIENCE, program, arguments)?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(matches!(output.status.code(), Some(1 | 3 | 4 | 6)), "it ended with {}: {text}", output.status);
    Ok(text)
}

/// The status that `lb list --json` tells on a director.
///
/// # Errors
/// No understandable answer.
pub fn status(host: &Host) -> Result<Status> {
    Ok(serde_json::from_str(&list(host, &["--json"])?)?)
}

/// Waits until a director has these traces of an agent, in this order, and no others: its pins, its socket, the VIPs'
/// addresses, XDP programs. Each is known by a part of it; there are none where no agent has run or `lb detach` has.
/// (The kernel takes a program off its interface a moment after its link was unpinned.)
///
/// # Errors
/// It has others after the deadline; the text has them.
pub fn wait_for_traces(host: &Host, expected: &[&str]) -> Result<()> {
    let are = |traces: &[String]| {
        traces.len() == expected.len() && traces.iter().zip(expected).all(|(trace, part)| trace.contains(part))
    };
    let waited = wait_until(DEADLINE, "the agent's traces", || traces(host).is_ok_and(|traces| are(&traces)));
    let left = traces(host)?;
    ensure!(are(&left), "expected {expected:?}, found {left:#?}");
    waited.map(drop)
}

fn traces(host: &Host) -> Result<Vec<String>> {
    let mut traces = Vec::new();
    for path in ["/sys/fs/bpf/lb", "/run/lb/lb.sock"] {
        if host.within(|| Path::new(path).exists())? {
            traces.push(path.to_owned());
        }
    }
    let held = host.ip("-oneline address show")?;
    let vips = [IpAddr::from(VIP), VIP6.into()].map(|vip| format!(" {vip}/"));
    traces.extend(held.lines().filter(|line| vips.iter().any(|vip| line.contains(vip))).map(str::to_owned));
    let links = host.ip("-oneline -details link show")?;
    traces.extend(links.lines().filter(|line| line.contains("prog/xdp")).map(str::to_owned));
    Ok(traces)
}

/// A text without its line breaks and indents, wherever it was wrapped.
pub fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
