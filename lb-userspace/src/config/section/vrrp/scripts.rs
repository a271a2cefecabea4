//! Scripts that hear of the state of a virtual router, or of a sync group.

use std::time::Duration;

use toml::Spanned;

use crate::config::read::{Choice, Given as Key, hours};
use crate::config::report::Findings;
use crate::config::report::text::{WIDTH, clip};
use crate::config::section::notify;

/// The scripts of a virtual router or of a sync group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scripts {
    /// argv of the one that hears of every change; empty for none.
    pub any: Vec<String>,
    /// Which arguments are added to it.
    pub style: Style,
    /// Those that hear of one state alone, in [`On`]'s order, as they are written.
    pub on: [Vec<String>; 4],
    /// Whose rights they have; `None` for the agent's.
    pub user: Option<String>,
    /// When one that still runs is ended.
    pub timeout: Duration,
}

/// Which arguments a script gets besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// The state, the name, the VIPs.
    #[default]
    Lb,
    /// `INSTANCE` or `GROUP`, the name, `MASTER`, `BACKUP`, `FAULT` or `STOP`, the priority.
    Keepalived,
}

impl Style {
    pub(in crate::config) const WORDS: Choice<Self> = Choice(&[("lb", Self::Lb), ("keepalived", Self::Keepalived)]);
}

/// The states that a script can be for, by keepalived's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// It has the VIPs.
    Master,
    /// Another one has.
    Backup,
    /// It can't take part.
    Fault,
    /// It has ended.
    Stop,
}

impl On {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }
}

/// What the file says of them.
pub struct Given<'a> {
    pub any: &'a Key<Vec<Spanned<String>>>,
    pub style: &'a Key<Style>,
    /// In [`On`]'s order.
    pub on: [&'a Key<Vec<Spanned<String>>>; 4],
    pub user: &'a Key<String>,
    pub timeout: &'a Key<Duration>,
}

/// The rules, with the programs and their places.
pub fn accept(given: &Given<'_>, findings: &mut Findings) -> (Scripts, Vec<Spanned<String>>) {
    let names = ["notify_master", "notify_backup", "notify_fault", "notify_stop"];
    let all = [(given.any, "notify")].into_iter().chain(given.on.into_iter().zip(names));
    let mut programs = Vec::new();
    for (command, name) in all {
        notify::is_by_path(command.items(), name, findings);
        programs.extend(command.items().first().cloned());
    }
    if let (Some((Style::Keepalived, span)), None) = (given.style.written(), given.any.key()) {
        findings.report(
            span,
            "`notify_style` is about `notify`, which isn't there",
            "remove it: notify_master and its like get no arguments besides their own",
        );
    }
    if let (Some((_, span)), true) = (given.user.written(), programs.is_empty()) {
        findings.report(
            span,
            "`notify_user` says nothing without a script",
            "add notify = [\"/path/script\"], or remove it",
        );
    }
    let argv = |command: &Key<Vec<Spanned<String>>>| -> Vec<String> {
        command.items().iter().map(|argument| argument.get_ref().clone()).collect()
    };
    let scripts = Scripts {
        any: argv(given.any),
        style: given.style.copied().unwrap_or_default(),
        on: given.on.map(argv),
        user: given.user.cloned(),
        timeout: given.timeout.copied().unwrap_or(notify::TIMEOUT),
    };
    (scripts, programs)
}

impl Scripts {
    /// The one that hears of a state alone; empty for none.
    #[must_use]
    pub fn on(&self, state: On) -> &[String] {
        let [master, backup, fault, stop] = &self.on;
        match state {
            On::Master => master,
            On::Backup => backup,
            On::Fault => fault,
            On::Stop => stop,
        }
    }

    /// Who is told of what.
    pub fn words(&self) -> Vec<String> {
        let user = self.user.as_ref().map_or_else(String::new, |user| format!(", as {}", clip(user, WIDTH / 2)));
        let line = |what: &str, argv: &[String]| {
            let shown = clip(&argv.join(" "), WIDTH / 2);
            (!argv.is_empty()).then(|| format!("tells {what} to {shown}, for at most {}{user}", hours(self.timeout)))
        };
        let each = match self.style {
            Style::Lb => "each change",
            Style::Keepalived => "each change, as keepalived does,",
        };
        let on = [On::Master, On::Backup, On::Fault, On::Stop].into_iter();
        let on = on.filter_map(|state| line(&state.word().to_lowercase(), self.on(state)));
        line(each, &self.any).into_iter().chain(on).collect()
    }
}
