//! A segment of two hosts, and the processes on them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::vrrp::thread::socket::{FrameSender, interfaces};

/// Generous: the machine may be busy with something else.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The test that is a runner.
const CHILD: &str = "vrrp::thread::lab::a_runner_in_a_process_of_its_own";
/// Words before a runner's settings: a virtual MAC, no preemption, a death behind the first address that is put.
const OPTIONS: [(&str, &str); 3] =
    [("mac ", "LB_VRRP_LAB_MAC"), ("meek ", "LB_VRRP_LAB_MEEK"), ("dies ", "LB_VRRP_LAB_DIES")];
pub(super) const KEEPALIVED: &str = "/usr/sbin/keepalived";
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

/// Two namespaces and the veth pair between them.
pub(super) struct Lab {
    names: [String; 2],
    directory: tempfile::TempDir,
}

impl Lab {
    /// `None`, said aloud, where namespaces can't be made.
    pub(super) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |host: &str| format!("lbvr-{}-{number}{host}", std::process::id());
        let lab = Self { names: [name("a"), name("b")], directory: tempfile::tempdir().unwrap() };
        for name in &lab.names {
            if !ip(&["netns", "add", name]) {
                crate::skip::skip("VRRP in namespaces: needs root");
                return None;
            }
            let quick = "for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done";
            assert!(ip(&["netns", "exec", name, "sh", "-c", quick]));
        }
        let [a, b] = &lab.names;
        let pair = ["link", "add", "eth0", "netns", a, "type", "veth", "peer", "eth0", "netns", b];
        assert!(ip(&pair));
        for (host, last) in [(A, 11), (B, 12)] {
            lab.ip(host, &format!("addr add 10.77.0.{last}/24 dev eth0"));
            lab.ip(host, &format!("addr add fd77::{last}/64 dev eth0"));
            lab.ip(host, "link set eth0 up");
            lab.ip(host, "link set lo up");
        }
        Some(lab)
    }

    pub(super) fn ip(&self, host: usize, command: &str) {
        let mut arguments = vec!["-n", &self.names[host]];
        arguments.extend(command.split(' '));
        assert!(ip(&arguments), "ip {command}");
    }

    pub(super) fn remove(&self, host: usize, vip: &str) {
        let arguments = ["-n", &self.names[host], "addr", "del", vip, "dev"];
        let removed = Command::new("ip").args(arguments).arg("eth0").status().unwrap();
        assert!(removed.success());
    }

    pub(super) fn holds(&self, host: usize, vip: &str) -> bool {
        let vip: IpNet = vip.parse().unwrap();
        let output = Command::new("ip")
            .args(["-n", &self.names[host], "-o", "addr", "show", "to", &vip.addr().to_string()])
            .output()
            .unwrap();
        !output.stdout.is_empty()
    }

    pub(super) fn has_link_local(&self, host: usize) -> bool {
        let arguments = ["-n", &self.names[host], "-6", "-o", "addr", "show", "scope", "link", "-tentative"];
        let output = Command::new("ip").args(arguments).output().unwrap();
        !output.stdout.is_empty()
    }

    /// What `ip` says on a host.
    pub(super) fn says(&self, host: usize, command: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.names[host]]).args(command.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// How a host would reach this address.
    pub(super) fn source(&self, host: usize, to: &str) -> String {
        self.says(host, &format!("route get {to}"))
    }

    /// The interfaces of a host.
    pub(super) fn links(&self, host: usize) -> String {
        self.says(host, "-o -d link")
    }

    /// The name of a host's namespace.
    pub(super) fn name(&self, host: usize) -> &str {
        &self.names[host]
    }

    pub(super) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the runner has taken so many adverts.
    pub(super) fn until_heard(&self, runner: &mut Process, count: u64) {
        let end = Instant::now() + PATIENCE;
        while runner.status_after(Duration::from_millis(20)).received < count {
            assert!(Instant::now() < end, "not in time: {count} adverts");
        }
    }

    pub(super) fn runner(&self, host: usize, settings: &str) -> Process {
        let mut command = Command::new("ip");
        let mut settings = settings;
        for (word, variable) in OPTIONS {
            if let Some(rest) = settings.strip_prefix(word) {
                command.env(variable, "1");
                settings = rest;
            }
        }
        command
            .args(["netns", "exec", &self.names[host]])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--nocapture"])
            .env("LB_VRRP_LAB_LIST", self.directory.path().join(format!("{host}-list")))
            .env("LB_VRRP_LAB", settings);
        Process::start(command)
    }

    /// Sends the frames from `host`, one each `pause`, for `length`; how many.
    pub(super) fn flood(&self, host: usize, frames: &[Vec<u8>], pause: Duration, length: Duration) -> u64 {
        let path = format!("/run/netns/{}", self.names[host]);
        let namespace = std::fs::File::open(path).unwrap();
        let flood = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let sender = FrameSender::open(&interfaces().unwrap()["eth0"]).unwrap();
            let end = Instant::now() + length;
            let pace = std::iter::repeat_with(|| std::thread::sleep(pause));
            let sent = frames.iter().cycle().zip(pace).take_while(|_| Instant::now() < end);
            // A full queue is a flood's own affair.
            sent.filter(|(frame, ())| sender.send(frame).is_ok()).count() as u64
        };
        std::thread::scope(|scope| scope.spawn(flood).join().unwrap())
    }

    pub(super) fn keepalived(&self, host: usize, config: &str) -> Process {
        let file = |name: &str| self.directory.path().join(format!("{host}-{name}"));
        std::fs::write(file("conf"), config).unwrap();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[host], KEEPALIVED, "--vrrp", "--dont-fork"])
            .args(["--log-console", "--use-file"])
            .arg(file("conf"))
            .arg("--pid")
            .arg(file("pid"))
            .arg("--vrrp_pid")
            .arg(file("vrrp.pid"))
            .stderr(Stdio::null());
        Process::start(command)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

pub(super) fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::inherit()).status().is_ok_and(|s| s.success())
}

/// A runner or keepalived. Dropped, it is killed.
pub(super) struct Process {
    child: Child,
    commands: ChildStdin,
    lines: mpsc::Receiver<String>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) state: String,
    pub(super) received: u64,
    pub(super) refused: u64,
}

impl Seen {
    /// How many instances are in this state.
    pub(super) fn count(&self, state: &str) -> usize {
        self.state.split(',').filter(|&one| one == state).count()
    }
}

impl Process {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test harness writes before our first line without ending its own.
                if let Some((_, line)) = line.split_once("lab ") {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        let commands = child.stdin.take().unwrap();
        Self { child, commands, lines }
    }

    pub(super) fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Skips what is said until it begins with `what`.
    pub(super) fn wait_for(&mut self, what: &str) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(what) => {
                    let mut words = line.split(' ').skip(1);
                    let state = words.next().unwrap_or_default().to_owned();
                    let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    return Seen { state, received: number(), refused: number() };
                }
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited for {what:?}, heard {said:?}")
                }
            }
        }
    }

    pub(super) fn status_after(&mut self, pause: Duration) -> Seen {
        std::thread::sleep(pause);
        self.command("status");
        self.wait_for("status")
    }

    pub(super) fn ends(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Asks it to end, as systemd would.
    pub(super) fn stop(mut self) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(id, Signal::SIGTERM).unwrap();
        assert!(self.ends());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
