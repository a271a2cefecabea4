//! `[sync_group.NAME]`: who hears of the state that virtual routers have together. A group without scripts needs no section.

use std::time::Duration;

use toml::Spanned;

use super::notify;
use super::vrrp::VrrpKeys;
use super::vrrp::scripts::{self, Scripts, Style};
use crate::config::read::source::Span;
use crate::config::read::{Named, key, keys};
use crate::config::report::text::wrap;
use crate::config::report::{Findings, suggest};

/// `[sync_group.NAME]`: who hears of a group's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncGroup {
    /// NAME, as its members' `sync_group` has it.
    pub name: String,
    /// Who hears of them.
    pub scripts: Scripts,
}

/// Places within one `[sync_group.NAME]`.
#[derive(Debug, Clone)]
pub struct SyncGroupPlaces {
    /// The section's header.
    pub header: Span,
    /// The programs of its scripts.
    pub programs: Vec<Spanned<String>>,
}

keys! {
    #[derive(Debug)]
    pub struct SyncGroupKeys {
        /// as in a virtual router: a command that is run when all members have changed their state, with it, NAME and the VIPs of all
        notify: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// as in a virtual router; the arguments of `keepalived` are GROUP, NAME, the state and 0
        notify_style: Style = key(Style::WORDS).or(Style::Lb);
        /// a command that is run when all members are master
        notify_master: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … are backup
        notify_backup: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … can't take part
        notify_fault: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … have ended
        notify_stop: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// the user that these commands run as
        notify_user: String = key(notify::USER).without("the agent's own");
        /// when a command that still runs is ended
        notify_timeout: Duration = key(notify::timeout()).or(notify::TIMEOUT);
    }
}

/// The rules of all groups.
pub fn accept(
    groups: &[Named<SyncGroupKeys>],
    routers: &[Named<VrrpKeys>],
    findings: &mut Findings,
) -> (Vec<SyncGroup>, Vec<SyncGroupPlaces>) {
    let one = |read: &Named<SyncGroupKeys>| {
        let name = read.name.get_ref();
        let known = || routers.iter().filter_map(|router| router.sync_group.get()).map(String::as_str);
        if !known().any(|group| group == name) {
            let mend = suggest::mend(name, "The file's groups are", known().collect::<std::collections::BTreeSet<_>>());
            findings.report(read.name.span(), format!("no virtual router is of the sync group \"{name}\""), mend);
        }
        let given = scripts::Given {
            any: &read.notify,
            style: &read.notify_style,
            on: [&read.notify_master, &read.notify_backup, &read.notify_fault, &read.notify_stop],
            user: &read.notify_user,
            timeout: &read.notify_timeout,
        };
        let (scripts, programs) = scripts::accept(&given, findings);
        let places = SyncGroupPlaces { header: read.span.clone(), programs };
        (SyncGroup { name: name.clone(), scripts }, places)
    };
    groups.iter().map(one).unzip()
}

impl SyncGroup {
    /// Who is told.
    pub fn describe(&self, out: &mut String) {
        for line in self.scripts.words() {
            out.push_str(&wrap(&format!("  sync group {}: {line}", self.name), "    "));
        }
    }
}
