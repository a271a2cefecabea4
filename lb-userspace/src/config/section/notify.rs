//! `notify`: a command that hears of changes.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use crate::config::read::texts::ARGUMENT;
use crate::config::read::value::short;
use crate::config::read::{Given, List, Text, Time, hours};
use crate::config::report::text::{WIDTH, clip};
use crate::config::report::{Fault, Findings};

/// A command that hears of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Its program and arguments.
    pub argv: Vec<String>,
    /// When one that still runs is ended.
    pub timeout: Duration,
}

/// A command.
pub(super) const COMMAND: List<Text<String>> = List {
    item: Text { example: "\"/usr/local/bin/notify\"", ..ARGUMENT },
    empty: ("there is no command", "write [\"/path/script\"], or remove the line"),
};

/// A command's values in the documentation.
pub(super) const COMMAND_VALUES: &str = "`[\"/path/script\", \"argument\", …]`";

/// The user that a command runs as.
pub const USER: Text<String> = Text { read: user, example: "\"keepalived_script\"", values: "a user of this machine" };

/// A user's name.
fn user(text: &str) -> Result<String, Fault> {
    let is_name = !text.is_empty() && !text.contains([':', '/']) && !text.chars().any(char::is_whitespace);
    if is_name && text.len() <= 256 {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("\"{}\" is not a user's name", short(text)), "write one alone, such as user = \"nobody\""))
}

/// How long a command may take where the file says nothing.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a command may take.
pub(super) fn timeout() -> Time {
    Time::of(Duration::from_millis(100)..=Duration::from_secs(3600))
}

/// Its rules. The command, and its program with its place.
pub(super) fn accept(
    command: &Given<Vec<Spanned<String>>>,
    timeout: &Given<Duration>,
    findings: &mut Findings,
) -> (Option<Arc<Notify>>, Option<Spanned<String>>) {
    let argv = command.items();
    is_by_path(argv, "notify", findings);
    let values = argv.iter().map(|argument| argument.get_ref().clone()).collect();
    let notify = Notify { argv: values, timeout: timeout.copied().unwrap_or(TIMEOUT) };
    ((!argv.is_empty()).then(|| Arc::new(notify)), argv.first().cloned())
}

/// Reports a command that isn't named by its path: the agent's search path is not its author's.
pub(super) fn is_by_path(argv: &[Spanned<String>], key: &str, findings: &mut Findings) {
    if let Some(program) = argv.first().filter(|program| !program.get_ref().starts_with('/')) {
        findings.report(
            program.span(),
            format!("the command of `{key}` is not an absolute path"),
            format!("write {key} = [\"/path/script\", \"argument\"]: no shell looks it up or splits it"),
        );
    }
}

impl Notify {
    /// In one line.
    pub(super) fn words(&self) -> String {
        words(&self.argv, self.timeout)
    }
}

/// What is told to a command, in one line.
pub(super) fn words(argv: &[String], timeout: Duration) -> String {
    format!("tells each change to {}, for at most {}", clip(&argv.join(" "), WIDTH / 2), hours(timeout))
}
