//! How labs go: closed, failed, interrupted, killed, or kept.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{self, DEADLINE, Lab, cleanup_on_signal, scenario, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_closed_lab_leaves_nothing() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let lab = Lab::builder().build()?;
    let (name, dir) = (lab.name().to_owned(), lab.dir().to_owned());
    let enter = lab.director().how_to_enter();
    let mut holder = enter.split(' ').skip_while(|word| *word != "--target").skip(1);
    let holder = holder.next().context("no holder")?.to_owned();
    let agent = lab.director().spawn("sleep", ["1000"])?;
    // A grandchild that has left its parent, as a daemon does.
    lab.real(1).run("sh", &["-c", "sleep 1000 >/dev/null 2>&1 &"])?;
    let pids = processes_of(&name);
    ensure!(pids.len() >= 4, "{pids:?}");
    ensure!(pids.contains(&holder) && pids.contains(&agent.id().to_string()));
    lab.close()?;
    assert_gone(&name, &dir, &pids);
    Ok(())
}

#[test]
fn a_failed_test_keeps_its_logs_and_captures() {
    if !lab::available() {
        return;
    }
    let test = format!("doomed-{}", std::process::id());
    let failed = thread::Builder::new().name(test.clone()).spawn(|| {
        scenario(Lab::builder(), |lab| {
            let _capture = lab.client().capture("eth1")?;
            let mut agent = lab.director().spawn("echo", ["last words"])?;
            agent.wait(DEADLINE)?;
            anyhow::bail!("lab {} at {}", lab.name(), lab.dir().display());
        });
    });
    let panic = failed.unwrap().join().unwrap_err();
    let message = panic.downcast::<String>().unwrap();
    let mut words = message.split(' ').skip(1);
    let (name, dir) = (words.next().unwrap(), words.nth(1).unwrap());
    assert_gone(name, Path::new(dir), &[]);
    let program = std::env::current_exe().unwrap();
    let tag = |dir: &&Path| dir.join("CACHEDIR.TAG").exists();
    let kept = program.ancestors().find(tag).unwrap().join("lab").join(test);
    let log = fs::read_to_string(kept.join("director-a.echo.log")).unwrap();
    assert_eq!(log, "last words\n");
    assert!(kept.join("client.eth1.pcap").exists());
    fs::remove_dir_all(kept).unwrap();
}

/// Not a test of its own: what the tests below start as another process, with the word for what it is to do.
#[test]
fn owner() -> Result<()> {
    let Some(task) = std::env::var_os("LB_LAB_OWNER") else {
        return Ok(());
    };
    if task == "interrupt" {
        cleanup_on_signal()?;
    }
    let lab = Lab::builder().build()?;
    println!("\n{} {}", lab.name(), lab.dir().display());
    std::io::stdout().flush()?;
    if task == "keep" {
        lab.keep()?;
        return Ok(());
    }
    // To be killed or interrupted here.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Another process that owns a lab.
struct Owner {
    child: Child,
    // Both kept open: the owner reads until it is told to end, and prints its results then.
    _stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
    lab: String,
    dir: PathBuf,
}

impl Owner {
    fn start(task: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "lab_removal::owner", "--nocapture"])
            .env("LB_LAB_OWNER", task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        while stdout.read_line(&mut line)? > 0 {
            if let Some((lab, dir)) = line.trim_end().split_once(' ')
                && lab.starts_with("lb")
            {
                let (lab, dir) = (lab.to_owned(), dir.into());
                return Ok(Self { _stdin: child.stdin.take(), child, _stdout: stdout, lab, dir });
            }
            line.clear();
        }
        anyhow::bail!("the owner has built no lab");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = lab::remove(&self.lab);
    }
}

#[test]
fn what_a_killed_owner_left_is_swept_and_a_living_ones_is_not() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut owner = Owner::start("wait")?;
    lab::sweep()?;
    let pids = processes_of(&owner.lab);
    ensure!(!pids.is_empty(), "a living lab was swept");
    owner.child.kill()?;
    owner.child.wait()?;
    lab::sweep()?;
    // Another test's lab may be sweeping at the same moment.
    wait_until(DEADLINE, "the sweep", || namespaces_of(&owner.lab).is_empty() && !owner.dir.exists())?;
    assert_gone(&owner.lab, &owner.dir, &pids);
    Ok(())
}

#[test]
fn an_interrupted_owner_cleans_up() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut owner = Owner::start("interrupt")?;
    let pids = processes_of(&owner.lab);
    ensure!(!pids.is_empty());
    let id = Pid::from_raw(i32::try_from(owner.child.id())?);
    kill(id, Signal::SIGINT)?;
    assert_eq!(owner.child.wait()?.code(), Some(128 + Signal::SIGINT as i32));
    assert_gone(&owner.lab, &owner.dir, &pids);
    Ok(())
}

#[test]
fn a_kept_lab_outlives_its_owner() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let mut owner = Owner::start("keep")?;
    ensure!(owner.child.wait()?.success());
    lab::sweep()?;
    let pids = processes_of(&owner.lab);
    ensure!(!pids.is_empty(), "a kept lab was swept");
    let switch = format!("{}-switch", owner.lab);
    let shown = Command::new("ip").args(["-n", &switch, "link", "show", "director-a"]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("prog/xdp"), "the port has lost its program: {shown}");
    lab::remove(&owner.lab)?;
    assert_gone(&owner.lab, &owner.dir, &pids);
    Ok(())
}

/// Processes in the namespaces of a lab, found by other means than its own.
fn processes_of(lab: &str) -> Vec<String> {
    namespaces_of(lab)
        .iter()
        .filter_map(|name| Command::new("ip").args(["netns", "pids", name]).output().ok())
        .flat_map(|output| {
            let pids = String::from_utf8_lossy(&output.stdout).into_owned();
            pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn namespaces_of(lab: &str) -> Vec<String> {
    let shown = Command::new("ip").arg("netns").output().map(|output| output.stdout);
    String::from_utf8_lossy(&shown.unwrap_or_default())
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with(lab))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn assert_gone(lab: &str, dir: &Path, pids: &[String]) {
    assert_eq!(namespaces_of(lab), Vec::<String>::new());
    assert!(!dir.exists(), "{} is still there", dir.display());
    for pid in pids {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "{pid} still runs");
    }
}
