//! `quorum_up`, `quorum_down`, and `notify_up` and `notify_down` of reals: one `notify` hears of every change, and calls them
//! by a line of shell.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::tree::Node;
use super::words::{changed, left};
use crate::import::ledger::Ledger;

/// The scripts of a virtual server.
#[derive(Debug, Clone, Default)]
pub(super) struct Hooks {
    /// By what `notify` is told first.
    quorum: BTreeMap<&'static str, String>,
    /// By the state, and by the real.
    reals: BTreeMap<&'static str, Vec<(IpAddr, String)>>,
}

impl Hooks {
    /// Takes a script of the quorum if a statement is one.
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger) -> bool {
        let (state, how) = match node.word() {
            "quorum_up" => (
                "service quorum-met",
                "one `notify` hears of every change: it runs this one when the quorum is met again",
            ),
            "quorum_down" => {
                ("service quorum-lost", "one `notify` hears of every change: it runs this one when the quorum is lost")
            }
            _ => return false,
        };
        if let Some(command) = command(node, how, ledger) {
            self.quorum.insert(state, command);
        }
        true
    }

    /// Takes a script of a real.
    pub(super) fn real(&mut self, node: &Node, address: IpAddr, ledger: &mut Ledger) {
        let (state, how) = match node.word() {
            "notify_up" => ("real up", "one `notify` hears of every change: it runs this one when the real is up"),
            _ => ("real down", "one `notify` hears of every change: it runs this one when the real is down"),
        };
        if let Some(command) = command(node, how, ledger) {
            self.reals.entry(state).or_default().push((address, command));
        }
    }

    /// Whether it hears of a quorum.
    pub(super) fn has_quorum(&self) -> bool {
        !self.quorum.is_empty()
    }

    /// argv that does all of it; empty for nothing. `$1` and `$2` are what changed and its state, from `$5` on the reals.
    pub(super) fn argv(&self) -> Vec<String> {
        let quorum = self.quorum.iter().map(|(state, command)| format!("'{state}') {command};;"));
        let reals = self.reals.iter().map(|(state, commands)| {
            let each = commands.iter().map(|(address, command)| format!("{address}) {command};;"));
            let each: Vec<String> = each.collect();
            format!("'{state}') shift 4; for real; do case $real in {} esac; done;;", each.join(" "))
        });
        let arms: Vec<String> = quorum.chain(reals).collect();
        if arms.is_empty() {
            return Vec::new();
        }
        let script = format!("case \"$1 $2\" in {} esac", arms.join(" "));
        ["/bin/sh", "-c", &script, "notify"].map(str::to_owned).to_vec()
    }
}

/// The command of a statement, which is told.
fn command(node: &Node, how: &str, ledger: &mut Ledger) -> Option<String> {
    let Some(command) = node.arg() else {
        left(node, "it names no script", ledger);
        return None;
    };
    let user = match node.args()[..] {
        [_] => "",
        _ => "; scripts run as the agent's user, not as the one named here",
    };
    changed(node, format!("{how}{user}"), ledger);
    Some(command.to_owned())
}
