//! `MISC_CHECK`: a script.

use std::time::Duration;

use super::super::track::{bounded, command};
use super::super::tree::Node;
use super::super::words::changed;
use super::super::{taken, timer};
use super::{HOUR, LOW};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, list, quoted};

/// A MISC_CHECK while its lines are read.
#[derive(Debug, Default)]
pub(super) struct Script {
    argv: Vec<String>,
    user: Option<String>,
    pub timeout: Option<Duration>,
    /// Whether its exit code is a weight.
    is_dynamic: bool,
    pub has_user: bool,
}

impl Script {
    /// Takes a statement if it is one of these.
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger) -> bool {
        match node.word() {
            "misc_path" => self.path(node, ledger),
            "misc_timeout" => {
                self.timeout = timer(node, ledger).map(|time| bounded(node, time, LOW, HOUR, ledger));
            }
            "misc_dynamic" => {
                self.is_dynamic = true;
                taken(node, 0, ledger);
            }
            "user" => {
                self.user = node.arg().map(str::to_owned);
                taken(node, 1, ledger);
            }
            _ => return false,
        }
        true
    }

    fn path(&mut self, node: &Node, ledger: &mut Ledger) {
        let text = node.args().join(" ");
        let (argv, by_shell) = command(&text);
        self.argv = argv;
        let shell = by_shell.then_some("it is run by /bin/sh, which looks it up and splits it");
        let user = (!self.has_user).then_some("it runs as nobody: `user` of the check names another");
        let how: Vec<&str> = [shell, user].into_iter().flatten().collect();
        if how.is_empty() {
            taken(node, usize::MAX - 1, ledger);
        } else {
            changed(node, how.join("; "), ledger);
        }
    }

    /// The keys of the check; `None` without a script.
    pub(super) fn keys(&self) -> Option<Vec<Key>> {
        if self.argv.is_empty() {
            return None;
        }
        let mut keys: Vec<Key> = vec![("command", list(self.argv.iter().map(String::as_str)))];
        keys.extend(self.user.iter().map(|user| ("user", quoted(user))));
        keys.extend(self.is_dynamic.then(|| ("dynamic_weight", "true".to_owned())));
        Some(keys)
    }
}
