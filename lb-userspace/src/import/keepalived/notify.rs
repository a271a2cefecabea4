//! `notify`, `notify_master` and their like: the scripts go on hearing what keepalived told them, by a line of shell
//! around them.

use std::collections::BTreeMap;

use super::tree::Node;
use super::words::changed;
use crate::import::ledger::Ledger;

/// The scripts of a virtual router or of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Notify {
    /// By keepalived's words without `notify_`; `any` is `notify` itself.
    commands: BTreeMap<&'static str, String>,
}

/// The words that are taken.
pub(super) const WORDS: [&str; 5] = ["notify_master", "notify_backup", "notify_fault", "notify_stop", "notify"];

impl Notify {
    /// Takes one, and tells of it.
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger) {
        let Some(command) = node.arg() else {
            return super::words::left(node, "it names no script", ledger);
        };
        let (of, how) = match node.word() {
            "notify_master" => ("master", "one `notify` hears of every change: it runs this one on MASTER"),
            "notify_backup" => ("backup", "one `notify` hears of every change: it runs this one on BACKUP"),
            "notify_fault" => {
                ("fault", "one `notify` hears of every change: it runs this one on FAULT, and when the agent ends")
            }
            "notify_stop" => (
                "stop",
                "one `notify` hears of every change: it runs this one when the agent ends, and on FAULT, unless there is a \
                 notify_fault, which then hears of both",
            ),
            _ => (
                "any",
                "one `notify` hears of every change: this one is called as keepalived does, but hears FAULT when the agent ends",
            ),
        };
        self.commands.insert(of, command.to_owned());
        let user = match node.args()[..] {
            [_] => "",
            _ => "; scripts run as the agent's user, not as the one named here",
        };
        changed(node, format!("{how}{user}"), ledger);
    }

    /// argv that does all of it. `kind` is keepalived's `INSTANCE` or `GROUP`.
    pub(super) fn argv(&self, kind: &str, name: &str, priority: u8) -> Vec<String> {
        let script = self.script(kind, name, priority);
        if script.is_empty() {
            return Vec::new();
        }
        ["/bin/sh", "-c", &script, "notify"].map(str::to_owned).to_vec()
    }

    /// The same as shell, where `$1` is the state.
    pub(super) fn script(&self, kind: &str, name: &str, priority: u8) -> String {
        let end = self.commands.get("fault").or(self.commands.get("stop"));
        let rows = [
            ("master", "MASTER", self.commands.get("master")),
            ("backup", "BACKUP", self.commands.get("backup")),
            ("initialize", "FAULT", end),
        ];
        let any = self.commands.get("any");
        let arm = |(ours, theirs, own): &(&str, &str, Option<&String>)| {
            let any = any.map(|any| format!("{any} {kind} {} {theirs} {priority}", word(name)));
            let commands: Vec<String> = own.iter().map(|own| (*own).clone()).chain(any).collect();
            (!commands.is_empty()).then(|| format!("{ours}) {};;", commands.join("; ")))
        };
        let arms: Vec<String> = rows.iter().filter_map(arm).collect();
        if arms.is_empty() { String::new() } else { format!("case $1 in {} esac", arms.join(" ")) }
    }
}

/// A word of shell.
fn word(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
