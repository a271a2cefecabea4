//! `notify`, `notify_master` and their like: the scripts go on hearing what keepalived told them.

use std::collections::BTreeMap;

use super::track::command;
use super::tree::Node;
use super::words::{carried, changed, left};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, list, quoted};

/// The scripts of a virtual router or of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Notify {
    /// argv by our keys.
    commands: BTreeMap<&'static str, Vec<String>>,
    /// The user that the first of them names.
    user: Option<String>,
}

/// The words that are taken: they are our keys too.
pub(super) const WORDS: [&str; 5] = ["notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"];

impl Notify {
    /// Takes one, and tells of it.
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger) {
        let Some(key) = WORDS.into_iter().find(|word| *word == node.word()) else { return };
        let Some(text) = node.arg() else { return left(node, "it names no script", ledger) };
        let (mut argv, by_shell) = command(text);
        if by_shell && key == "notify" {
            // What is added to it are the shell's own arguments, which it hands on.
            argv = ["/bin/sh", "-c", &format!("{text} \"$@\""), "notify"].map(str::to_owned).to_vec();
        }
        self.commands.insert(key, argv);
        let mut how = Vec::new();
        if by_shell {
            how.push("it is run by /bin/sh, which looks it up and splits it".to_owned());
        }
        match (node.args().get(1), &self.user) {
            (Some(user), None) => self.user = Some((*user).to_owned()),
            (Some(user), Some(known)) if user != known => {
                how.push(format!("`notify_user` is of all scripts of a section: it is {known}, not {user}"));
            }
            _ => {}
        }
        if node.args().len() > 2 {
            how.push("it has its user's own group".to_owned());
        }
        match how.is_empty() {
            true => carried(node, ledger),
            false => changed(node, how.join("; "), ledger),
        }
    }

    /// The keys that do all of it; `user` is whose rights scripts have that name none.
    pub(super) fn keys(&self, user: Option<&str>) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for (key, argv) in &self.commands {
            keys.push((key, list(argv.iter().map(String::as_str))));
            if *key == "notify" {
                keys.push(("notify_style", quoted("keepalived")));
            }
        }
        let user = self.user.as_deref().or(user).filter(|user| *user != "root" && !keys.is_empty());
        keys.extend(user.map(|user| ("notify_user", quoted(user))));
        keys
    }
}
