//! A machine of the lab.

mod network;

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::address::{Mac, Segment};
use super::capture::{self, Capture};
use super::namespace::Namespace;
use super::process::{self, Process};
use super::sys;
use super::wait::DEADLINE;

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks the VIP.
    Client,
    /// Runs the balancer. Has a mount namespace of its own, with its own `/sys/fs/bpf` and `/run`.
    Director,
    /// Answers; has the VIPs on `lo` and keeps still about them.
    Real,
    /// Routes between the segments.
    Router,
    /// The bridges that all others are plugged into. Has a mount namespace of its own as a director has.
    Switch,
}

/// One network interface of a host.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its name in the host: `eth1` on the front segment, `eth2` on the back.
    pub device: String,
    /// The segment it is plugged into.
    pub segment: Segment,
    /// The name of the switch's port at its other end.
    pub port: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub v6: Ipv6Addr,
}

/// A machine of the lab: a network namespace. Cheap to clone; a clone is the same machine.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    title: String,
    role: Role,
    nics: Vec<Nic>,
    vips: Vec<IpAddr>,
    dir: PathBuf,
    namespace_name: String,
    /// Empty once the lab is closed.
    namespace: Mutex<Option<Arc<Namespace>>>,
}

impl Host {
    pub(crate) fn new(
        name: String,
        title: String,
        role: Role,
        nics: Vec<Nic>,
        vips: Vec<IpAddr>,
        dir: PathBuf,
        namespace: Namespace,
    ) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                title,
                role,
                nics,
                vips,
                dir,
                namespace_name: namespace.name().to_owned(),
                namespace: Mutex::new(Some(Arc::new(namespace))),
            }),
        })
    }

    /// Its name in the lab, such as `real-1`; also that of its switch port on the front segment.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it calls itself in its answers, such as `Real-1`.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.inner.title
    }

    /// What it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.inner.role
    }

    /// The name for `ip netns exec`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.inner.namespace_name
    }

    /// A directory for its files, the same path inside and outside; removed with the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// All its interfaces but `lo`.
    #[must_use]
    pub fn nics(&self) -> &[Nic] {
        &self.inner.nics
    }

    /// Its first interface.
    ///
    /// # Panics
    /// For the switch, which has none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the builder gives every host one")]
    pub fn nic(&self) -> &Nic {
        self.inner.nics.first().expect("the switch has ports, not a network interface")
    }

    /// The IPv4 address of its first interface.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.nic().v4
    }

    /// The IPv6 address of its first interface.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.nic().v6
    }

    /// The hardware address that its first interface was made with.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.nic().mac
    }

    /// Every address that it takes packets for: its own ones, and a real's VIPs.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let own = self.inner.nics.iter();
        own.flat_map(|nic| [IpAddr::from(nic.v4), IpAddr::from(nic.v6)])
            .chain(self.inner.vips.iter().copied())
            .collect()
    }

    /// A command line that opens a shell inside.
    #[must_use]
    pub fn how_to_enter(&self) -> String {
        match self.try_namespace().and_then(|it| it.holder()) {
            Some(pid) => format!("nsenter --target {pid} --net --mount"),
            None => format!("ip netns exec {} bash", self.namespace()),
        }
    }

    /// A command that will run inside, for a director with its own `/sys/fs/bpf` and `/run`, and with `/` as its
    /// directory. Its process id is that of the program itself.
    ///
    /// # Errors
    /// When the lab is closed.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Command> {
        let mut command = self.enter()?.command(program);
        // The machine's own state is not the lab's: a director's is in its /run.
        command.args(args).current_dir("/").env("STATE_DIRECTORY", "/run/lb-state");
        Ok(command)
    }

    /// Runs a program to its end and returns what it printed, whatever its status.
    ///
    /// # Errors
    /// When it can't be started or is not done within ten seconds.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<Output> {
        process::output(self.command(program, args)?, DEADLINE)
    }

    /// As [`Host::output`], with a deadline of the caller's.
    ///
    /// # Errors
    /// When it can't be started or is not done by then; it is killed in that case.
    pub fn output_within(&self, deadline: Duration, program: &str, args: &[&str]) -> Result<Output> {
        process::output(self.command(program, args)?, deadline)
    }

    /// Runs a program to its end and returns its standard output.
    ///
    /// # Errors
    /// As [`Host::output`], and when it fails; the message has what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        process::success(self.command(program, args)?, DEADLINE)
    }

    /// Runs `ip` with the words of `line`.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn ip(&self, line: &str) -> Result<String> {
        self.run("ip", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts a program; its outputs go to `NAME.log` in the host's directory, where NAME is the program's.
    ///
    /// # Errors
    /// When it can't be started. A program that does not exist shows in its log and status.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        let program = program.as_ref();
        let name = program.file_name().unwrap_or(program.as_os_str());
        let name = name.to_string_lossy();
        let command = self.command(program, args)?;
        self.start(&name, command)
    }

    /// As [`Host::spawn`], for a command that was made with [`Host::command`] and may have an environment added.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        let log = self.dir().join(format!("{name}.log"));
        Process::start(&format!("{}'s {name}", self.name()), command, log)
    }

    /// Runs `work` on a fresh thread inside, for a director with its mounts too. Sockets that it makes stay inside
    /// and can be used from any thread.
    ///
    /// # Errors
    /// When the lab is closed.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter()?.within(work)
    }

    /// Captures what passes an interface, from now on.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn capture(&self, device: &str) -> Result<Capture> {
        let name = format!("{}'s {device}", self.name());
        let file = self.dir().join(format!("{device}.pcap"));
        let socket = self.within(|| capture::open_socket(device))??;
        Capture::start(name, file, socket)
    }

    /// Sends `frame`, from its destination address on and with any VLAN tag in its place, out of an interface.
    ///
    /// # Errors
    /// When there is no such interface, or it is down.
    pub fn send(&self, device: &str, frame: &[u8]) -> Result<()> {
        let socket = self.within(|| capture::open_socket(device))??;
        let sent = socket.send(frame).with_context(|| format!("cannot send out of {}'s {device}", self.name()))?;
        ensure!(sent == frame.len(), "only {sent} bytes were sent");
        Ok(())
    }

    /// The same, with no more than the Ethernet header in the first of the kernel's buffers: so it arrives at the other
    /// end, if each interface of the way can (`ethtool -K DEVICE tx on sg on`).
    ///
    /// # Errors
    /// As [`Self::send`], or the frame is longer than any other.
    pub fn send_in_fragments(&self, device: &str, frame: &[u8]) -> Result<()> {
        let socket = self.within(|| capture::open_socket(device))??;
        sys::send_in_fragments(&socket, frame).with_context(|| format!("cannot send out of {}'s {device}", self.name()))
    }

    pub(crate) fn close(&self) {
        let namespace = self.lock().take();
        if let Some(mut namespace) = namespace.and_then(Arc::into_inner) {
            namespace.release();
        }
    }

    fn enter(&self) -> Result<Arc<Namespace>> {
        match self.try_namespace() {
            Some(namespace) => Ok(namespace),
            None => bail!("{}: the lab is closed", self.name()),
        }
    }

    fn try_namespace(&self) -> Option<Arc<Namespace>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Namespace>>> {
        self.inner.namespace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
