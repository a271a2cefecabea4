//! `[script.NAME]`: a command that virtual routers track, named once for several of them.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::notify::{USER, is_by_path};
use super::times::{self, INTERVAL, TIMEOUT_WORDS};
use crate::config::read::texts::ARGUMENT;
use crate::config::read::{Flag, Given, List, Named, Number, Text, key, keys};
use crate::config::report::Findings;

/// A tracked command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Script {
    /// NAME, where it has one.
    pub name: Option<String>,
    /// argv, its first element an absolute path.
    pub command: Vec<String>,
    /// Time between the starts of two runs.
    pub interval: Duration,
    /// A run that takes longer is ended and counts as failed; at most the interval.
    pub timeout: Duration,
    /// Good runs in a row that make it hold.
    pub rise: u32,
    /// Bad ones in a row that make it fail.
    pub fall: u32,
    /// It fails until `rise` runs were good; else what it says counts from the first run on.
    pub init_fail: bool,
    /// Whose rights it has; `None` for the agent's.
    pub user: Option<String>,
}

impl Script {
    /// Its name, or its command.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.command.join(" "))
    }
}

/// A command.
pub(super) const COMMAND: List<Text<String>> = List {
    item: Text { example: "\"/path/check\"", ..ARGUMENT },
    empty: ("there is no command", "write [\"/path/check\", \"argument\"]"),
};

/// Runs in a row.
pub(super) fn runs() -> Number<u32> {
    Number::of(1..=100)
}

keys! {
    #[derive(Debug)]
    pub struct ScriptKeys {
        /// what is run; it holds while the command ends with exit code 0. No shell is in between
        command: Vec<Spanned<String>> = key(COMMAND).required().values("`[\"/path/check\", \"argument\", …]`");
        /// time between the starts of two runs
        interval: Duration = key(times::interval()).or(INTERVAL);
        /// a run that takes longer has failed
        timeout: Duration = key(times::timeout()).without(TIMEOUT_WORDS).values("1ms to the interval");
        /// good runs in a row until it holds
        rise: u32 = key(runs()).or(1);
        /// bad ones in a row until it fails
        fall: u32 = key(runs()).or(1);
        /// whether it fails until `rise` runs were good; else it has no effect before its first run, which decides alone
        init_fail: bool = key(Flag).or(false);
        /// the user that it runs as, with that one's group alone
        user: String = key(USER).without("the agent's own");
    }
}

/// What the file says of a script.
pub struct Parts<'a> {
    pub command: &'a [Spanned<String>],
    pub interval: &'a Given<Duration>,
    pub timeout: &'a Given<Duration>,
    pub rise: &'a Given<u32>,
    pub fall: &'a Given<u32>,
    pub init_fail: &'a Given<bool>,
    pub user: &'a Given<String>,
}

/// Its rules.
pub(super) fn one(name: Option<String>, parts: &Parts<'_>, findings: &mut Findings) -> Option<Script> {
    is_by_path(parts.command, if name.is_some() { "command" } else { "script" }, findings);
    let (interval, timeout) = times::accept(parts.interval, parts.timeout, "runs", findings)?;
    Some(Script {
        name,
        command: parts.command.iter().map(|argument| argument.get_ref().clone()).collect(),
        interval,
        timeout,
        rise: parts.rise.copied()?,
        fall: parts.fall.copied()?,
        init_fail: parts.init_fail.copied()?,
        user: parts.user.cloned(),
    })
}

/// All of them by their names, with their programs and where these stand.
pub fn accept(
    read: &[Named<ScriptKeys>],
    findings: &mut Findings,
) -> (BTreeMap<String, Option<Script>>, Vec<Spanned<String>>) {
    let mut programs = Vec::new();
    let mut scripts = BTreeMap::new();
    for script in read {
        programs.extend(script.command.items().first().cloned());
        let parts = Parts {
            command: script.command.items(),
            interval: &script.interval,
            timeout: &script.timeout,
            rise: &script.rise,
            fall: &script.fall,
            init_fail: &script.init_fail,
            user: &script.user,
        };
        let name = script.name.get_ref().clone();
        let read = one(Some(name.clone()), &parts, findings).filter(|script| !script.command.is_empty());
        scripts.insert(name, read);
    }
    (scripts, programs)
}
