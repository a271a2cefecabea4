//! The log: events of `tracing`, as lines on standard error.
//!
//! It is never a dependency. Whoever logs puts a line into a bounded queue and goes on; a thread of its own ([`queue`])
//! writes them. Lines that find the queue full, or that standard error doesn't take (a full disk, a reader that has
//! gone), are counted in [`dropped`] and said once lines are taken again.
//!
//! Under journald (`JOURNAL_STREAM` names standard error) a line begins with its `<priority>` and has no time of its own.

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, stderr};
use std::os::fd::AsFd as _;
use std::panic;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use tracing::{Level, Metadata, error, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use queue::{Queue, Sink};

pub use queue::dropped;

/// The variable that says what is logged, in the words of `tracing_subscriber::EnvFilter`: `debug`,
/// `warn,lb_userspace::vrrp=debug`.
pub const VARIABLE: &str = "LB_LOG";

/// The running log. What waits is written when this is dropped, for as long as that can be waited for.
pub struct Log(Queue);

/// How long the process's end may wait for standard error to take the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Log {
    /// Starts it, for everything in this process. `default` is what is logged where [`VARIABLE`] says nothing.
    #[must_use]
    pub fn start(default: &str) -> Self {
        let journal = is_journal();
        let queue = Queue::start(StandardError, journal.then_some(Level::WARN));
        let (filter, fault) = match std::env::var(VARIABLE) {
            Ok(text) => match EnvFilter::try_new(&text) {
                Ok(filter) => (filter, None),
                Err(error) => (EnvFilter::new(default), Some(format!("{VARIABLE}={text}: {error}"))),
            },
            Err(_) => (EnvFilter::new(default), None),
        };
        let lines = Lines { queue: queue.clone(), journal };
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
        // A second log in one process (tests) changes nothing.
        let _ = if journal {
            log.without_time().with_level(false).with_ansi(false).with_writer(lines).try_init()
        } else {
            log.with_ansi(stderr().is_terminal()).with_writer(lines).try_init()
        };
        // The hook that Rust brings writes to standard error itself, and waits for it.
        panic::set_hook(Box::new(|failure| {
            let trace = Backtrace::capture();
            let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
            error!("a fault of lb's own: {failure}{trace}");
        }));
        if let Some(fault) = fault {
            warn!("{fault}; \"{default}\" is in force");
        }
        Self(queue)
    }

    /// Adds a text as it is, such as the reason of the end, at the level of an error.
    pub fn say(&self, text: &str) {
        self.0.put(lines(text.as_bytes(), is_journal().then_some(Level::ERROR)));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(LAST_WORDS);
    }
}

/// Whether standard error is journald's, as systemd says it.
fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr().as_fd()).is_ok_and(|held| told == format!("{}:{}", held.st_dev, held.st_ino))
}

/// Where the lines of events go.
struct Lines {
    queue: Queue,
    journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { queue: &self.queue, priority: None }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        Line { queue: &self.queue, priority: self.journal.then(|| *event.level()) }
    }
}

/// One event's place in the queue.
struct Line<'a> {
    queue: &'a Queue,
    priority: Option<Level>,
}

impl io::Write for Line<'_> {
    /// Takes a whole event, which is how `tracing_subscriber` writes it.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.queue.put(lines(text, self.priority));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text as whole lines, each with its priority (syslog's number) where one is given: journald takes each for itself.
fn lines(text: &[u8], priority: Option<Level>) -> Vec<u8> {
    let number = priority.map(|level| match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    });
    let mut out = Vec::with_capacity(text.len() + 8);
    for line in text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n') {
        out.extend(number.map(|number| format!("<{number}>")).unwrap_or_default().into_bytes());
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

/// Standard error, without the lock that Rust's own handle takes: a write that hangs holds up nobody else.
struct StandardError;

impl Sink for StandardError {
    fn write(&mut self, bytes: &[u8]) -> nix::Result<usize> {
        nix::unistd::write(stderr().as_fd(), bytes)
    }

    fn wait(&mut self) {
        let error = stderr();
        let mut ready = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
        // Whatever it says, the next write says it too.
        let _ = poll(&mut ready, PollTimeout::NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority_under_journald_and_none_elsewhere() {
        let cases: [(&str, Option<Level>, &str); 5] = [
            ("one\n", None, "one\n"),
            ("one\ntwo", None, "one\ntwo\n"),
            ("real: down\n", Some(Level::WARN), "<4>real: down\n"),
            ("refused:\n  1 | x\n", Some(Level::ERROR), "<3>refused:\n<3>  1 | x\n"),
            ("", Some(Level::DEBUG), "<7>\n"),
        ];
        for (text, priority, expected) in cases {
            assert_eq!(String::from_utf8(lines(text.as_bytes(), priority)).unwrap(), expected, "{text:?}");
        }
    }
}
