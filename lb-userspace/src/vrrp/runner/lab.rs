//! Runners in network namespaces that share a veth pair: against each other, and against keepalived.
//!
//! Each runner is a process of its own, this test binary again, so that it can be killed as an agent can.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::vrrp::address::Addresses;
use crate::vrrp::captures;
use crate::vrrp::packet::Version;
use crate::vrrp::socket::{FrameSender, interfaces};

/// Generous: the machine may be busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);
const CHILD: &str = "vrrp::runner::lab::a_runner_in_a_process_of_its_own";

#[test]
fn the_higher_priority_is_elected_and_hands_over_when_it_is_stopped() {
    let Some(lab) = Lab::new() else { return };
    for vip in ["10.77.0.100/24", "fd77::100/64"] {
        let mut low = lab.runner(B, &format!("3 100 100 {vip}"));
        low.wait_for("master");
        let mut high = lab.runner(A, &format!("3 100 200 {vip}"));
        high.wait_for("master");
        low.wait_for("backup");
        assert!(lab.holds(A, vip) && !lab.holds(B, vip));

        high.command("shutdown");
        low.wait_for("master: the master resigned");
        high.wait_for("initialize: its successor was heard");
        assert!(high.ends());
        assert!(lab.holds(B, vip) && !lab.holds(A, vip));
        low.command("shutdown");
        low.wait_for("initialize: no successor was heard in time");
        assert!(low.ends());
        assert!(!lab.holds(B, vip));
    }
}

#[test]
fn a_released_instance_stays_backup_until_it_reclaims() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    let mut low = lab.runner(B, "3 100 100 10.77.0.100/24");
    low.wait_for("backup");
    high.command("release");
    high.wait_for("releasing");
    high.wait_for("backup: its successor was heard");
    low.wait_for("master");
    high.command("reclaim");
    high.wait_for("master: the master had a lower priority");
    low.wait_for("backup: a master of higher standing was heard");
}

#[test]
fn a_reload_moves_addresses_without_an_election_and_a_removed_instance_hands_over() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    high.command("reload");
    high.wait_for("reloaded");
    assert!(lab.holds(A, "10.77.0.101/24") && !lab.holds(A, "10.77.0.100/24"));
    assert_eq!(high.status_after(Duration::ZERO).state, "master");

    let mut low = lab.runner(B, "3 100 100 10.77.0.101/24");
    low.wait_for("backup");
    high.command("unload");
    high.wait_for("initialize: its successor was heard");
    low.wait_for("master: the master resigned");
    lab.until("only the backup holds it", || {
        lab.holds(B, "10.77.0.101/24") && !lab.holds(A, "10.77.0.101/24")
    });
}

#[test]
fn a_killed_agent_adopts_its_addresses_when_it_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let vip = "10.77.0.100/24";
    let mut high = lab.runner(A, "3 1000 200 10.77.0.100/24");
    high.wait_for("master");
    let mut low = lab.runner(B, "3 1000 100 10.77.0.100/24");
    low.wait_for("backup");
    drop(high);
    assert!(lab.holds(A, vip), "nobody removed it");
    let mut high = lab.runner(A, "3 1000 200 10.77.0.100/24");
    high.wait_for("master: found its addresses on the interface");
    // Two intervals' adverts later the backup has seen no reason to move.
    low.command("status");
    let seen = low.wait_for("status").received;
    while low.status_after(Duration::from_millis(100)).received < seen + 2 {}
    assert_eq!(low.status_after(Duration::ZERO).state, "backup");

    drop(high);
    low.wait_for("master: the master was not heard any more");
}

#[test]
fn a_lost_link_is_noticed_and_a_late_interface_is_waited_for() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    lab.ip(A, "link set eth0 down");
    high.wait_for("initialize: its interface is gone");
    lab.ip(A, "link set eth0 up");
    high.wait_for("backup: started");
    high.wait_for("master");

    lab.ip(A, "link set eth0 down");
    high.wait_for("initialize");
    lab.ip(A, "link set eth0 name eth9");
    lab.ip(A, "link set eth9 up");
    lab.ip(A, "link set eth9 down");
    lab.ip(A, "link set eth9 name eth0");
    lab.ip(A, "link set eth0 up");
    high.wait_for("master");
}

#[test]
fn keepalived_and_lb_take_over_from_each_other() {
    let Some(lab) = Lab::new() else { return };
    if !std::path::Path::new(KEEPALIVED).exists() {
        eprintln!("skipped: {KEEPALIVED} is not installed");
        return;
    }
    let cases = [
        (
            "2",
            "1000",
            "10.77.0.100/24",
            "",
            "authentication {\nauth_type PASS\nauth_pass s3cret77\n}",
        ),
        ("3", "100", "10.77.0.100/24", "", ""),
        ("3", "100", "fe80::100/64", "", ""),
        (
            "3",
            "100",
            "10.77.0.100/24",
            "10.77.0.12",
            "unicast_peer {\n10.77.0.11\n}",
        ),
    ];
    for (version, interval, vip, peers, extra) in cases {
        let ours = |priority| {
            let password = if version == "2" { "s3cret77" } else { "-" };
            format!("{version} {interval} {priority} {vip} {password} {peers}")
        };
        let theirs = |priority| {
            let seconds = interval.parse::<f64>().unwrap() / 1000.0;
            format!(
                "global_defs {{\nvrrp_version {version}\n}}\nvrrp_instance web {{\nstate BACKUP\n\
                 interface eth0\nvirtual_router_id 51\npriority {priority}\nadvert_int {seconds}\n\
                 {extra}\nvirtual_ipaddress {{\n{vip}\n}}\n}}\n"
            )
        };
        // keepalived is master, lb its backup, and back.
        let keepalived = lab.keepalived(B, &theirs(200));
        lab.until("keepalived holds the VIP", || lab.holds(B, vip));
        let mut lb = lab.runner(A, &ours(100));
        lb.wait_for("backup");
        while lb.status_after(Duration::from_millis(20)).received < 3 {}
        assert_eq!(lb.status_after(Duration::ZERO).state, "backup");
        keepalived.stop();
        lb.wait_for("master: the master resigned");
        lab.until("lb alone holds the VIP", || {
            lab.holds(A, vip) && !lab.holds(B, vip)
        });
        let keepalived = lab.keepalived(B, &theirs(200));
        lb.wait_for("backup: a master of higher standing was heard");
        lab.until("keepalived alone holds it", || {
            lab.holds(B, vip) && !lab.holds(A, vip)
        });
        assert_eq!(lb.status_after(Duration::ZERO).refused, 0);
        drop(lb);
        keepalived.stop();
        lab.until("nobody holds the VIP", || {
            !lab.holds(A, vip) && !lab.holds(B, vip)
        });

        // lb is master, keepalived its backup, and back.
        let keepalived = lab.keepalived(B, &theirs(100));
        lab.until("keepalived holds the VIP", || lab.holds(B, vip));
        let mut lb = lab.runner(A, &ours(200));
        lb.wait_for("master: the master had a lower priority");
        lab.until("lb alone holds the VIP", || {
            lab.holds(A, vip) && !lab.holds(B, vip)
        });
        lb.command("shutdown");
        lb.wait_for("initialize: its successor was heard");
        lab.until("keepalived holds it again", || {
            lab.holds(B, vip) && !lab.holds(A, vip)
        });
        keepalived.stop();
    }
}

#[test]
fn a_stream_of_refused_adverts_changes_no_state() {
    let Some(lab) = Lab::new() else { return };
    for (version, settings, interval) in [
        (
            Version::V2,
            "2 1000 PRIORITY 10.77.0.100/24 s3cret77",
            Duration::from_secs(1),
        ),
        (
            Version::V3,
            "3 100 PRIORITY 10.77.0.100/24",
            Duration::from_millis(100),
        ),
    ] {
        // The crafted frames are aimed at 10.77.0.12.
        let mut master = lab.runner(B, &settings.replace("PRIORITY", "100"));
        master.wait_for("master");
        let mut backup = lab.runner(A, &settings.replace("PRIORITY", "50"));
        backup.wait_for("backup");
        let frames = captures::refused_frames(version);
        let before = backup.status_after(Duration::ZERO).received;
        let sent = lab.flood(A, &frames, interval / 10, 5 * interval);
        let seen = master.status_after(Duration::ZERO);
        assert_eq!(seen.state, "master");
        // Those of another router id, or too short to have one, reach no instance.
        assert!(seen.refused >= sent * 3 / 4, "{seen:?} of {sent}");
        let heard = backup.status_after(Duration::ZERO);
        assert_eq!(heard.state, "backup");
        assert!(
            heard.received >= before + 4,
            "the master was silenced: {heard:?}"
        );
    }
}

#[test]
fn every_router_id_of_an_interface_is_served_by_one_thread() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24 - - 255");
    let mut low = lab.runner(B, "3 100 100 10.77.0.100/24 - - 255");
    let in_state = |process: &mut Process, state: &str| {
        process
            .status_after(Duration::from_millis(100))
            .count(state)
    };
    let end = Instant::now() + PATIENCE;
    while in_state(&mut high, "master") < 255 || in_state(&mut low, "backup") < 255 {
        assert!(Instant::now() < end);
    }
    assert!(lab.holds(A, "10.77.1.255/24") && !lab.holds(B, "10.77.1.255/24"));
    high.command("shutdown");
    assert!(high.ends());
    assert_eq!(in_state(&mut low, "master"), 255);
    assert!(lab.holds(B, "10.77.1.255/24"));
}

/// Not a test: what [`Lab::runner`] starts.
#[test]
#[ignore = "started by the other tests"]
fn a_runner_in_a_process_of_its_own() {
    let Ok(arguments) = std::env::var("LB_VRRP_LAB") else {
        return;
    };
    let mut arguments = arguments.split_whitespace();
    let mut next = || arguments.next();
    let version = if next() == Some("2") {
        Version::V2
    } else {
        Version::V3
    };
    let interval = Duration::from_millis(next().unwrap().parse().unwrap());
    let priority = next().unwrap().parse().unwrap();
    let vips = next()
        .unwrap()
        .split(',')
        .map(|vip| vip.parse().unwrap())
        .collect();
    let password = next()
        .filter(|&password| password != "-")
        .map(str::to_owned);
    let peers = next()
        .filter(|&peer| peer != "-")
        .map(|peer| peer.parse().unwrap());
    let mut settings = Settings::new("web", "eth0", 51, version, vips);
    (settings.priority, settings.interval) = (priority, interval);
    (settings.password, settings.peers) = (password, peers.into_iter().collect());
    let mut all = vec![settings.clone()];
    if let Some(count) = next() {
        let nth = |router: u8| Settings {
            name: format!("web{router}"),
            router,
            addresses: vec![format!("10.77.1.{router}/16").parse().unwrap()],
            ..settings.clone()
        };
        all = (1..=count.parse().unwrap()).map(nth).collect();
    }
    let owner = Printing(Addresses::open().unwrap());
    let (runner, handle) = Runner::new(owner, all).unwrap();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "release" => handle.release("web").unwrap(),
                "reclaim" => handle.reclaim("web").unwrap(),
                "shutdown" => handle.shut_down().unwrap(),
                "reload" => {
                    let moved = Settings {
                        name: "renamed".into(),
                        addresses: vec!["10.77.0.101/24".parse().unwrap()],
                        ..settings.clone()
                    };
                    handle.reload(vec![moved]).unwrap();
                    println!("lab reloaded");
                }
                "unload" => handle.reload(Vec::new()).unwrap(),
                _ => {
                    let all = handle.status().unwrap();
                    let received: u64 = all.iter().map(|one| one.counters.received).sum();
                    let refused: u64 = all.iter().map(|one| one.counters.refused.total()).sum();
                    let states: Vec<_> = all.iter().map(|one| one.state.to_string()).collect();
                    println!("lab status {} {received} {refused}", states.join(","));
                }
            }
        }
    });
    runner.run().unwrap();
}

struct Printing(Addresses);

impl Owner for Printing {
    fn gate(&mut self, _: &Settings, _: bool) {}

    fn add_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        settings
            .addresses
            .iter()
            .try_for_each(|&vip| self.0.add(interface, vip))
    }

    fn remove_addresses(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        settings
            .addresses
            .iter()
            .try_for_each(|&vip| self.0.remove(interface, vip))
    }

    fn entered(&mut self, status: &Status) {
        println!("lab {}: {}", status.state, status.cause);
    }
}

const KEEPALIVED: &str = "/usr/sbin/keepalived";
const A: usize = 0;
const B: usize = 1;

/// Two namespaces and the veth pair between them.
struct Lab {
    names: [String; 2],
    directory: tempfile::TempDir,
}

impl Lab {
    /// `None`, said aloud, where namespaces can't be made.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |host: &str| format!("lbvr-{}-{number}{host}", std::process::id());
        let lab = Self {
            names: [name("a"), name("b")],
            directory: tempfile::tempdir().unwrap(),
        };
        for name in &lab.names {
            if !ip(&["netns", "add", name]) {
                eprintln!("skipped: network namespaces can't be made here: run as root");
                return None;
            }
            let quick =
                "for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done";
            assert!(ip(&["netns", "exec", name, "sh", "-c", quick]));
        }
        let [a, b] = &lab.names;
        let pair = [
            "link", "add", "eth0", "netns", a, "type", "veth", "peer", "eth0", "netns", b,
        ];
        assert!(ip(&pair));
        for (host, last) in [(A, 11), (B, 12)] {
            lab.ip(host, &format!("addr add 10.77.0.{last}/24 dev eth0"));
            lab.ip(host, &format!("addr add fd77::{last}/64 dev eth0"));
            lab.ip(host, "link set eth0 up");
            lab.ip(host, "link set lo up");
        }
        Some(lab)
    }

    fn ip(&self, host: usize, command: &str) {
        let mut arguments = vec!["-n", &self.names[host]];
        arguments.extend(command.split(' '));
        assert!(ip(&arguments), "ip {command}");
    }

    fn holds(&self, host: usize, vip: &str) -> bool {
        let vip: IpNet = vip.parse().unwrap();
        let output = Command::new("ip")
            .args([
                "-n",
                &self.names[host],
                "-o",
                "addr",
                "show",
                "to",
                &vip.addr().to_string(),
            ])
            .output()
            .unwrap();
        !output.stdout.is_empty()
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn runner(&self, host: usize, settings: &str) -> Process {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[host]])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--ignored", "--nocapture"])
            .env("LB_VRRP_LAB", settings);
        Process::start(command)
    }

    /// Sends the frames from `host`, one each `pause`, for `length`; how many.
    fn flood(&self, host: usize, frames: &[Vec<u8>], pause: Duration, length: Duration) -> u64 {
        let path = format!("/run/netns/{}", self.names[host]);
        let namespace = std::fs::File::open(path).unwrap();
        let flood = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let sender = FrameSender::open(&interfaces().unwrap()["eth0"]).unwrap();
            let end = Instant::now() + length;
            let pace = std::iter::repeat_with(|| std::thread::sleep(pause));
            let sent = frames
                .iter()
                .cycle()
                .zip(pace)
                .take_while(|_| Instant::now() < end);
            sent.map(|(frame, ())| sender.send(frame).unwrap()).count() as u64
        };
        std::thread::scope(|scope| scope.spawn(flood).join().unwrap())
    }

    fn keepalived(&self, host: usize, config: &str) -> Process {
        let file = |name: &str| self.directory.path().join(format!("{host}-{name}"));
        std::fs::write(file("conf"), config).unwrap();
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.names[host],
                KEEPALIVED,
                "--vrrp",
                "--dont-fork",
            ])
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

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip")
        .args(arguments)
        .stderr(Stdio::inherit())
        .status()
        .is_ok_and(|s| s.success())
}

/// A runner or keepalived. Dropped, it is killed.
struct Process {
    child: Child,
    commands: ChildStdin,
    lines: mpsc::Receiver<String>,
}

#[derive(Debug)]
struct Seen {
    state: String,
    received: u64,
    refused: u64,
}

impl Seen {
    /// How many instances are in this state.
    fn count(&self, state: &str) -> usize {
        self.state.split(',').filter(|&one| one == state).count()
    }
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
        Self {
            child,
            commands,
            lines,
        }
    }

    fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Skips what is said until it begins with `what`.
    fn wait_for(&mut self, what: &str) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.starts_with(what) => {
                    let mut words = line.split(' ').skip(1);
                    let state = words.next().unwrap_or_default().to_owned();
                    let mut number =
                        || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    return Seen {
                        state,
                        received: number(),
                        refused: number(),
                    };
                }
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited for {what:?}, heard {said:?}")
                }
            }
        }
    }

    fn status_after(&mut self, pause: Duration) -> Seen {
        std::thread::sleep(pause);
        self.command("status");
        self.wait_for("status")
    }

    fn ends(&mut self) -> bool {
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
    fn stop(mut self) {
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
