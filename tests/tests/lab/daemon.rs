//! The agent as a daemon: its log, its signals, its watchdog, and what its verbs print where nobody reads.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::agent::{Agent, binary, lb, status, write};
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, Process, VIP, nginx, scenario, wait_until};
use lb_userspace::api::State;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

fn config(lab: &Lab) -> String {
    let reals = lab.reals().map(|host| real(host.v4(), ""));
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals)
}

/// Starts the agent by a line of the shell in which `AGENT` is its command, and waits until it answers.
fn start(lab: &Lab, line: &str) -> Result<Process> {
    let host = lab.director();
    let file = write(host, &config(lab))?;
    let run = format!("{} run --config {}", binary()?.display(), file.display());
    let process = host.spawn("/bin/sh", ["-c", &line.replace("AGENT", &run)])?;
    wait_until(DEADLINE, "the agent to answer", || status(host).is_ok_and(|status| status.agent))?;
    Ok(process)
}

fn dropped(host: &Host) -> Result<u64> {
    Ok(status(host)?.log_dropped)
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let host = lab.director();
        let mut agent = start(lab, "exec AGENT 2>/dev/full")?;
        wait_until(DEADLINE, "lines to be dropped", || dropped(host).is_ok_and(|dropped| dropped > 0))?;
        lb(host, &["reload"])?;
        assert!(lb(host, &["list"])?.contains("LOG: "));
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 10)?.len(), 10);
        assert!(agent.terminate(DEADLINE)?.success());
        Ok(())
    });
}

#[test]
fn a_log_whose_reader_hangs_and_goes_costs_its_lines_and_nothing_else() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let pipe = host.dir().join("pipe").display().to_string();
        host.run("mkfifo", &[&pipe])?;
        let mut reader = host.spawn("/bin/sh", ["-c", &format!("exec sleep 100000 <{pipe}")])?;
        let mut agent = start(lab, &format!("exec env LB_LOG=trace AGENT 2>{pipe}"))?;
        // The pipe's room, and the queue's, are full sooner or later; each question is logged.
        wait_until(DEADLINE, "lines to be dropped", || dropped(host).is_ok_and(|dropped| dropped > 0))?;
        lb(host, &["reload"])?;
        reader.kill()?;
        let before = dropped(host)?;
        wait_until(DEADLINE, "more lines to be dropped", || dropped(host).is_ok_and(|dropped| dropped > before))?;
        assert!(agent.terminate(DEADLINE)?.success());
        Ok(())
    });
}

#[test]
fn signals_that_other_daemons_know_do_not_end_it() {
    scenario(Lab::builder(), |lab| {
        let mut agent = Agent::start(lab.director(), &config(lab))?;
        for signal in [Signal::SIGPIPE, Signal::SIGUSR2, Signal::SIGUSR1] {
            agent.process().signal(signal)?;
        }
        agent.process().wait_for_log(DEADLINE, "SIGUSR1: state: {")?;
        agent.process().wait_for_log(DEADLINE, "SIGUSR1: vrrp: [")?;
        agent.process().wait_for_log(DEADLINE, "SIGUSR2: nothing to do")?;
        assert!(agent.status()?.agent);
        Ok(())
    });
}

#[test]
fn a_verb_whose_output_nobody_takes_ends_quietly() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let _agent = Agent::start(host, &config(lab))?;
        let lb = binary()?.display().to_string();
        let file = host.dir().join("lb.toml").display().to_string();
        for verb in ["list", "list --json", "vrrp", &format!("check --config {file}"), "reload", "--help"] {
            let closed = host.output("sh", &["-c", &format!("{{ {lb} {verb}; echo $? >&2; }} | true")])?;
            assert_eq!(String::from_utf8_lossy(&closed.stderr), "0\n", "{verb}");
            if verb == "--help" {
                continue;
            }
            let full = host.output("sh", &["-c", &format!("{lb} {verb} >/dev/full")])?;
            let told = String::from_utf8_lossy(&full.stderr).into_owned();
            assert_eq!(full.status.code(), Some(1), "{verb}: {told}");
            assert!(told.starts_with("lb: standard output can't be written") && told.lines().count() == 1, "{told}");
        }
        Ok(())
    });
}

#[test]
fn under_journald_lines_have_a_priority_and_no_time() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        // What systemd says of a unit's standard error.
        let log = host.dir().join("journal").display().to_string();
        let mut agent =
            start(lab, &format!("exec 2>{log}; JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) exec AGENT"))?;
        assert!(agent.terminate(DEADLINE)?.success());
        let log = std::fs::read_to_string(log)?;
        assert!(log.lines().count() > 3 && log.lines().all(|line| line.starts_with('<')), "{log}");
        assert!(log.contains("<6>SIGTERM: stopping\n"), "{log}");
        Ok(())
    });
}

#[test]
fn an_agent_whose_vrrp_thread_hangs_ends_and_the_program_goes_on() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let host = lab.director();
        let path = host.dir().join("notify");
        let systemd = UnixDatagram::bind(&path)?;
        systemd.set_nonblocking(true)?;
        let mut agent = start(lab, &format!("exec env NOTIFY_SOCKET={} WATCHDOG_USEC=10000000 AGENT", path.display()))?;
        let fed = || {
            let mut bytes = [0; 100];
            let mut told = Vec::new();
            while let Ok(length) = systemd.recv(&mut bytes) {
                told.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
            told
        };
        let mut told = Vec::new();
        wait_until(DEADLINE, "the watchdog to be fed", || {
            told.extend(fed());
            told.iter().any(|told| told.contains("WATCHDOG=1"))
        })?;

        let hung = thread(agent.id(), "vrrp")?;
        ptrace::seize(hung, ptrace::Options::empty())?;
        ptrace::interrupt(hung)?;
        let stopped = Instant::now();
        wait_until(Duration::from_secs(90), "the agent's end", || {
            // A thread that is traced is its tracer's to bury.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            let _ = waitpid(hung, Some(flags)).is_ok_and(|status| matches!(status, WaitStatus::Exited(..)));
            !agent.is_running()
        })?;
        eprintln!("the agent ended {:.1?} after its thread had stopped", stopped.elapsed());
        let log = agent.log();
        assert!(log.contains("the VRRP thread gave no sign of life"), "{log}");
        assert_eq!(agent.wait(DEADLINE)?.code(), Some(70), "{log}");
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 10)?.len(), 10);
        Ok(())
    });
}

#[test]
fn what_the_systemd_unit_leaves_it_suffices() {
    let unit = include_str!("../../../packaging/lb.service");
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    let kept: Vec<String> = set.split(' ').map(|name| name.replacen("CAP_", "+", 1).to_lowercase()).collect();
    let drop = format!("--bounding-set=-all,{}", kept.join(","));
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let host = lab.director();
        let told = host.dir().join("told").display().to_string();
        let script = host.dir().join("script").display().to_string();
        std::fs::write(&script, format!("echo \"$@\" >>{told}\n"))?;
        let notify = format!("id = 210\nvirtual_mac = true\nnotify = [\"/bin/sh\", \"{script}\"]");
        let file = write(host, &config(lab).replacen("id = 210", &notify, 1))?;
        let run =
            ["--no-new-privs", &drop, "--", &binary()?.display().to_string(), "run", "--config"].map(str::to_owned);
        let mut agent = host.spawn("setpriv", run.into_iter().chain([file.display().to_string()]))?;
        agent.wait_for_log(DEADLINE, ": ready")?;
        assert!(agent.log().contains("VRRP runs with real-time priority"), "{}", agent.log());
        wait_until(DEADLINE, "the script to be told", || {
            std::fs::read_to_string(&told).is_ok_and(|told| told.contains("master web"))
        })?;
        wait_until(DEADLINE, "every real", || {
            let reals = status(host).map(|status| status.services).unwrap_or_default();
            reals.iter().flat_map(|service| &service.reals).all(|real| real.state == State::Up)
        })?;
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 10)?.len(), 10);
        lb(host, &["reload"])?;
        assert!(agent.terminate(DEADLINE)?.success());
        assert!(!agent.log().contains("ermitted") && !agent.log().contains("ERROR"), "{}", agent.log());
        Ok(())
    });
}

/// The id of a process's thread of this name.
fn thread(process: u32, name: &str) -> Result<Pid> {
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        if std::fs::read_to_string(task.path().join("comm"))?.trim() == name {
            return Ok(Pid::from_raw(task.file_name().to_string_lossy().parse()?));
        }
    }
    None.with_context(|| format!("process {process} has no thread {name}"))
}
