//! Runs commands: each is printed first in a form that can be pasted into a shell, and a failure names it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use nix::sys::statvfs::statvfs;

/// Free space below which a failure's message mentions it, in MiB.
const LOW_DISK: u64 = 1024;

/// Runs a command that shows its own progress; its output is the terminal's.
///
/// # Errors
/// Where it can't be started or exits with anything but 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| unstarted(command))?;
    judge(command, status)
}

/// Runs a command that may be silent for long, with a line of elapsed time every few seconds.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_silent(command: &mut Command) -> Result<()> {
    const HEARTBEAT: Duration = Duration::from_secs(5);
    announce(command);
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| unstarted(command))?;
    let mut next = HEARTBEAT;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| line(command))? {
            break status;
        }
        if start.elapsed() >= next {
            eprintln!("  … {}", elapsed(start.elapsed()));
            next += HEARTBEAT;
        }
        thread::sleep(Duration::from_millis(50));
    };
    judge(command, status)
}

/// Runs a command for its exit status alone: it is printed, what it says is not.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    announce(command);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a command and returns what it wrote to standard output.
///
/// # Errors
/// As [`run`], and where the output isn't UTF-8.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    announce(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| unstarted(command))?;
    judge(command, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed something else than text", line(command)))
}

/// Runs a command, passes its standard output on line by line, and shows each line to `reader`.
/// The command's own failure is in the returned status.
///
/// # Errors
/// Where it can't be started or waited for.
pub(crate) fn stream(command: &mut Command, mut reader: impl FnMut(&str)) -> Result<ExitStatus> {
    const LAST_WORDS: Duration = Duration::from_secs(2);
    announce(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| unstarted(command))?;
    let lines = lines_of(child.stdout.take());
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(text) => {
                println!("{text}");
                reader(&text);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() {
            let status = child.try_wait().with_context(|| line(command))?;
            ended = status.map(|status| (status, Instant::now()));
        }
        if ended.is_some_and(|(_, at)| at.elapsed() > LAST_WORDS) {
            // A process that a test left behind holds the pipe open for as long as it lives.
            eprintln!("  … a process of `{}` outlives it", line(command));
            break;
        }
    }
    match ended {
        Some((status, _)) => Ok(status),
        None => child.wait().with_context(|| line(command)),
    }
}

/// The lines of a pipe, as another thread reads them.
fn lines_of(pipe: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let bytes = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n'));
        for line in bytes.map_while(io::Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Becomes the command: its signals and its exit status are then the program's own.
pub(crate) fn exec(command: &mut Command) -> Error {
    announce(command);
    let error = command.exec();
    Error::new(error).context(unstarted(command))
}

/// The error for a command that ended with `status`.
pub(crate) fn failure(command: &Command, status: ExitStatus) -> Error {
    let place = command.get_current_dir().unwrap_or_else(|| Path::new("."));
    anyhow!("`{}` failed ({status}){}", line(command), low_disk(place))
}

/// A duration for a person: `0.4 s`, `12 s`, `3 min 20 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The command as a line for a shell: changed variables, program, arguments.
pub(crate) fn line(command: &Command) -> String {
    let (mut words, mut set) = (Vec::new(), Vec::new());
    for (name, value) in command.get_envs() {
        match value {
            None => words.push(format!("-u {}", quoted(name))),
            Some(value) => set.push(format!("{}={}", quoted(name), quoted(value))),
        }
    }
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    words.extend(set);
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn announce(command: &Command) {
    eprintln!("$ {}", line(command));
}

fn judge(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(failure(command, status)) }
}

fn unstarted(command: &Command) -> String {
    format!("could not start `{}`", line(command))
}

/// A remark for a failure's message, where the file system that holds `place` is nearly full.
fn low_disk(place: &Path) -> String {
    let Ok(stat) = statvfs(place) else {
        return String::new();
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20;
    if free < LOW_DISK {
        format!("; only {free} MiB are free on the disk of {}", place.display())
    } else {
        String::new()
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{elapsed, line, run, stream};

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let mut command = Command::new("cargo");
        command.args(["run", "--", "it's", "a b", ""]).env("FLAGS", "-C x").env_remove("OLD");
        assert_eq!(line(&command), r"env -u OLD FLAGS='-C x' cargo run -- 'it'\''s' 'a b' ''");
        assert_eq!(line(Command::new("true").arg("a=/b")), "true a=/b");
    }

    #[test]
    fn all_lines_and_the_status_of_a_streamed_command_arrive() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf two; exit 3"]);
        let status = stream(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_process_left_behind_does_not_hold_up_the_stream() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!"]);
        let status = stream(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert!(status.success());
        let left = lines.first().and_then(|pid| pid.parse().ok()).map(Pid::from_raw).unwrap();
        kill(left, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Command::new("sh").args(["-c", "exit 4"])).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c 'exit 4'` failed (exit status: 4)"), "{error}");
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "could not start `no-such-program`");
    }

    #[test]
    fn a_duration_has_the_precision_that_matters() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4 s");
        assert_eq!(elapsed(Duration::from_millis(12_900)), "12 s");
        assert_eq!(elapsed(Duration::from_secs(200)), "3 min 20 s");
    }
}
