//! Runs commands: each is printed first in a form that can be pasted into a shell, and a failure names it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
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
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| unstarted(command))?;
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
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a command and returns what it wrote to standard output.
///
/// # Errors
/// As [`run`], and where the output isn't UTF-8.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    announce(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| unstarted(command))?;
    judge(command, output.status)?;
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something else than text", line(command)))
}

/// Runs a command, passes its standard output on line by line, and shows each line to `reader`.
/// The command's own failure is in the returned status.
///
/// # Errors
/// Where it can't be started or read from.
pub(crate) fn stream(command: &mut Command, mut reader: impl FnMut(&str)) -> Result<ExitStatus> {
    announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| unstarted(command))?;
    if let Some(stdout) = child.stdout.take() {
        for bytes in BufReader::new(stdout).split(b'\n') {
            let bytes = bytes.with_context(|| format!("reading from `{}`", line(command)))?;
            let text = String::from_utf8_lossy(&bytes);
            println!("{text}");
            reader(&text);
        }
    }
    child.wait().with_context(|| line(command))
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
    if status.success() {
        Ok(())
    } else {
        Err(failure(command, status))
    }
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
        format!(
            "; only {free} MiB are free on the disk of {}",
            place.display()
        )
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

    use super::{elapsed, line};

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let mut command = Command::new("cargo");
        command
            .args(["run", "--", "it's", "a b", ""])
            .env("FLAGS", "-C x")
            .env_remove("OLD");
        assert_eq!(
            line(&command),
            r"env -u OLD FLAGS='-C x' cargo run -- 'it'\''s' 'a b' ''"
        );
        assert_eq!(line(Command::new("true").arg("a=/b")), "true a=/b");
    }

    #[test]
    fn a_duration_has_the_precision_that_matters() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4 s");
        assert_eq!(elapsed(Duration::from_millis(12_900)), "12 s");
        assert_eq!(elapsed(Duration::from_secs(200)), "3 min 20 s");
    }
}
