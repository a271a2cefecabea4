//! Programs that run inside a host.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{DEADLINE, wait_until};

/// A program that runs inside a host until it is told to stop, or dropped. Both its outputs go to one log file in
/// the host's directory, which a failing test keeps.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    /// Where its own part of the log begins: an earlier run of the same program has written what is before.
    log_start: u64,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its outputs appended to `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let log_start = output.metadata()?.len();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal is for the lab's owner, who then ends these in order.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name} ({command:?})"))?;
        Ok(Self { name: name.to_owned(), log, log_start, child, status: None })
    }

    /// The process id, as seen from outside.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has already ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.poll() {
            bail!("{} cannot get {signal}: it has ended ({status})", self.name);
        }
        let id = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Ends it as a crash would (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if self.poll().is_none() {
            self.child.kill()?;
            self.status = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it is still there after `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if self.poll().is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(deadline)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it is still there after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_until(deadline, &what, || self.poll().is_some())?;
        self.status.context("it ended without a status")
    }

    /// All that it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_from(&self.log, self.log_start).unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    ///
    /// # Errors
    /// When it ends, or `deadline` passes, without that; the message has the log's last lines.
    pub fn wait_for_log(&mut self, deadline: Duration, text: &str) -> Result<Duration> {
        let what = format!("{} to print {text:?}", self.name);
        let waited = wait_until(deadline, &what, || self.log().contains(text) || self.poll().is_some());
        if self.log().contains(text) {
            return waited;
        }
        bail!(
            "{} did not print {text:?} ({}); its log ends with:\n{}",
            self.name,
            self.status.map_or("still running".to_owned(), |status| status.to_string()),
            tail(&self.log())
        )
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = match self.child.try_wait() {
                Ok(status) => status,
                // Somebody else has reaped it: it is gone, and how is not known.
                Err(_) => Some(ExitStatus::from_raw(0)),
            };
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to do about a process that can't be killed.
        let _ = self.kill();
    }
}

/// Runs `command` to its end and returns what it printed.
pub(crate) fn output(mut command: Command, deadline: Duration) -> Result<Output> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let mut status = None;
    let waited = wait_until(deadline, &format!("the end of {shown}"), || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if let Err(error) = waited {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    Ok(Output {
        status: status.unwrap_or_default(),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// As [`output`], and a failing status is an error that quotes what was printed.
pub(crate) fn success(command: Command, deadline: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let output = output(command, deadline)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} failed ({}): {}{stdout}", output.status, stderr);
    }
    Ok(stdout)
}

/// Runs iproute2's `ip` on a batch of lines, in a namespace or in the caller's own.
pub(crate) fn ip_batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip (install iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A line that fails closes the pipe early; the status below says why.
        let _ = stdin.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("ip -batch failed: {}; the batch was:\n{lines}", stderr.trim());
    }
    Ok(())
}

/// Ends every process in `pids` at once and waits until they are gone.
pub(crate) fn kill_all(pids: &[Pid]) -> Result<()> {
    for pid in pids {
        // It may have ended meanwhile.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    for pid in pids {
        wait_until(DEADLINE, &format!("the end of process {pid}"), || is_gone(*pid))?;
    }
    Ok(())
}

/// Whether a process has ended; one that only waits to be reaped has.
fn is_gone(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.starts_with(" Z")))
        .unwrap_or(true)
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn read_from(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log, as much as a failure message can bear.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let skip = lines.len().saturating_sub(40);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}
