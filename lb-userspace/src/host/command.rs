//! Commands of the configuration: scripts that are tracked, notified or check a real. Each runs in a process group of its own, which
//! is ended as a whole. One that somebody other than root and the agent's user could have written is not run
//! ([`trust`]).

mod trust;

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, Command};

pub use trust::Untrusted;

use super::privilege::{self, Capability};

/// Bytes of a command's standard error that are kept: its end.
const KEPT: usize = 1024;
/// How long the end of standard error is waited for after the command's own end: a child of its may hold it open.
const REST: Duration = Duration::from_millis(100);

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is nobody to run it as.
    #[error("it is not run: {0}")]
    User(String),
    /// It could not be started.
    #[error("it can't be started: {0}")]
    Start(#[source] std::io::Error),
    /// It is not run.
    #[error("it is not run: {0}")]
    Untrusted(#[from] trust::Untrusted),
    /// It ended with another status than 0.
    #[error("{0}{said}", said = said(.1))]
    Status(ExitStatus, String),
    /// It took too long and was ended.
    #[error("it was ended after {}{said}", humantime::format_duration(*.0), said = said(.1))]
    Timeout(Duration, String),
}

/// The last lines of standard error, behind why a command failed.
fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

/// What is run, and how.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The program by its path, and its arguments.
    pub argv: &'a [String],
    /// How long it may take.
    pub timeout: Duration,
    /// All that is in its environment beside `PATH`; without it, what is in the agent's.
    pub environment: Option<&'a [(&'static str, String)]>,
    /// Whose rights it has, with that one's group alone; without it, the agent's.
    pub user: Option<&'a User>,
}

/// Where a command of a [`Job`] with an environment looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command isn't run, as things are now: others may write it.
#[must_use]
pub fn untrusted(argv: &[String]) -> Option<Untrusted> {
    trust::check(argv).err()
}

/// Runs a command as the agent itself: see [`run_job`].
///
/// # Errors
/// How it failed.
pub async fn run(argv: &[String], timeout: Duration) -> Result<String, Failure> {
    run_job(Job { argv, timeout, environment: None, user: None }).await
}

/// Runs a command as a user of this name, or as the agent itself.
///
/// # Errors
/// How it failed.
pub async fn run_as(argv: &[String], timeout: Duration, user: Option<&str>) -> Result<String, Failure> {
    let user = match user.map(str::to_owned) {
        None => None,
        Some(name) => {
            // Who somebody is may be asked of another host.
            let found = tokio::task::spawn_blocking(move || runner(&name));
            match tokio::time::timeout(timeout, found).await {
                Ok(Ok(found)) => found.map_err(Failure::User)?,
                Ok(Err(_)) | Err(_) => return Err(Failure::User("this machine can't tell who its user is".to_owned())),
            }
        }
    };
    run_job(Job { argv, timeout, environment: None, user: user.as_ref() }).await
}

/// A user of this name, if that is somebody else than the agent's.
///
/// # Errors
/// There is none, or the agent may not give its rights to one.
pub fn runner(name: &str) -> Result<Option<User>, String> {
    match named(name)? {
        user if user.uid == geteuid() => Ok(None),
        _ if !geteuid().is_root() => Err(format!("only an agent of root's can run a script as {name}")),
        _ if ![Capability::SetUid, Capability::SetGid, Capability::Kill].into_iter().all(privilege::has) => {
            Err(format!(
                "the agent may not run a script as {name}: its unit lacks CAP_SETUID, CAP_SETGID or CAP_KILL, which the drop-in \
             lb-scripts.conf gives it"
            ))
        }
        user => Ok(Some(user)),
    }
}

/// A user of this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("this machine has no user {name}")),
        Err(error) => Err(format!("this machine can't tell who {name} is: {error}")),
    }
}

/// Runs a command without a shell, its output discarded. Returns the last lines of its standard error, as one. Dropping
/// this ends it.
///
/// # Errors
/// How it failed.
pub async fn run_job(job: Job<'_>) -> Result<String, Failure> {
    let Job { argv, timeout, environment, user } = job;
    trust::check(argv)?;
    let (program, arguments) = argv.split_first().ok_or_else(|| Failure::Start(std::io::ErrorKind::NotFound.into()))?;
    let null = Stdio::null;
    let mut command = Command::new(program);
    command.args(arguments).stdin(null()).stdout(null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    if let Some(environment) = environment {
        command.env_clear().env("PATH", PATH).envs(environment.iter().map(|(name, value)| (name, value)));
    }
    if let Some(user) = user {
        // Further groups are given up along with root.
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let mut child = command.spawn().map_err(Failure::Start)?;
    let mut group = Group(child.id());
    let mut tail = Tail { from: child.stderr.take(), kept: Vec::new() };
    let deadline = tokio::time::Instant::now() + timeout;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break Some(ended),
            () = tail.read() => {}
            () = tokio::time::sleep_until(deadline) => break None,
        }
    };
    let Some(ended) = ended else {
        group.end();
        // Killed, it ends at once; it is reaped so that its id can't be another's.
        let _ = child.wait().await;
        return Err(Failure::Timeout(timeout, tail.text()));
    };
    group.0 = None;
    let rest = async {
        while tail.from.is_some() {
            tail.read().await;
        }
    };
    let _ = tokio::time::timeout(REST, rest).await;
    match ended.map_err(Failure::Start)? {
        status if status.success() => Ok(tail.text()),
        status => Err(Failure::Status(status, tail.text())),
    }
}

/// The end of what a command says on standard error.
struct Tail {
    /// `None` after its end.
    from: Option<ChildStderr>,
    kept: Vec<u8>,
}

impl Tail {
    /// Reads what is there; waits where there is nothing, for ever after the end.
    async fn read(&mut self) {
        let Some(from) = &mut self.from else { return std::future::pending().await };
        let mut bytes = [0; KEPT];
        match from.read(&mut bytes).await {
            Ok(count) if count > 0 => {
                self.kept.extend_from_slice(bytes.get(..count).unwrap_or_default());
                let over = self.kept.len().saturating_sub(KEPT);
                self.kept.drain(..over);
            }
            _ => self.from = None,
        }
    }

    /// As one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" / ").replace(char::is_control, " ")
    }
}

/// The process group of a command that has not ended.
struct Group(Option<u32>);

impl Group {
    fn end(&mut self) {
        if let Some(id) = self.0.take().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended in this moment.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(text: &str) -> Vec<String> {
        ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_command_ends_well_badly_or_not_in_time() {
        const PATIENCE: Duration = Duration::from_secs(60);
        assert_eq!(run(&sh("echo out; echo 1 >&2; exit 0"), PATIENCE).await.unwrap(), "1");
        assert_eq!(run(&sh("exit 3"), PATIENCE).await.unwrap_err().to_string(), "exit status: 3");
        let told = run(&sh("seq 1 9999 >&2; printf 'no such\\tthing' >&2; exit 3"), PATIENCE).await.unwrap_err();
        assert_eq!(told.to_string(), "exit status: 3; it said: 9998 / 9999 / no such thing");
        let told = run(&sh("echo slow >&2; exec sleep 1000"), Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(told.to_string(), "it was ended after 500ms; it said: slow");
        // A child that holds standard error open holds nobody up.
        run(&sh("sleep 5 & exit 0"), PATIENCE).await.unwrap();
        let missing = run(&["/no/such/command".to_owned()], PATIENCE).await.unwrap_err();
        assert!(matches!(missing, Failure::Start(_)), "{missing}");
        assert!(run(&[], PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn one_that_takes_too_long_goes_with_its_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let script = sh(&format!("sleep 1000 & echo $! > {path}; wait"));
        let started = std::time::Instant::now();
        let failure = run(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(failure, Failure::Timeout(..)), "{failure}");
        assert!(started.elapsed() < Duration::from_secs(60));
        let child = std::fs::read_to_string(file.path()).unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z")
        };
        let end = started + Duration::from_secs(30);
        while !is_gone() {
            assert!(std::time::Instant::now() < end, "its child {child} still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
