//! Commands of the configuration: tracked scripts and notify scripts. Each runs in a process group of its own, which
//! is ended as a whole.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not be started.
    #[error("it can't be started: {0}")]
    Start(#[source] std::io::Error),
    /// It ended with another status than 0.
    #[error("{0}")]
    Status(ExitStatus),
    /// It took too long and was ended.
    #[error("it was ended after {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

/// Runs a command without a shell, its output discarded. Dropping this ends it.
///
/// # Errors
/// How it failed.
pub async fn run(argv: &[String], timeout: Duration) -> Result<(), Failure> {
    let (program, arguments) = argv.split_first().ok_or_else(|| Failure::Start(std::io::ErrorKind::NotFound.into()))?;
    let null = Stdio::null;
    let mut command = Command::new(program);
    command.args(arguments).stdin(null()).stdout(null()).stderr(null()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(Failure::Start)?;
    let mut group = Group(child.id());
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    let Ok(ended) = ended else {
        group.end();
        // Killed, it ends at once; it is reaped so that its id can't be another's.
        let _ = child.wait().await;
        return Err(Failure::Timeout(timeout));
    };
    group.0 = None;
    match ended.map_err(Failure::Start)? {
        status if status.success() => Ok(()),
        status => Err(Failure::Status(status)),
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
        run(&sh("exit 0"), PATIENCE).await.unwrap();
        assert_eq!(run(&sh("exit 3"), PATIENCE).await.unwrap_err().to_string(), "exit status: 3");
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
        assert!(matches!(failure, Failure::Timeout(_)), "{failure}");
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
