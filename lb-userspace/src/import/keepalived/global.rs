//! `global_defs`.

use std::time::Duration;

use super::tree::Node;
use super::vrrp::Announce;
use super::words::{Context, changed, left, stranger};
use super::{carried, number, seconds, taken, timer};
use crate::import::ledger::Ledger;
use crate::import::model::{Model, time};

/// What virtual routers have where they say nothing.
#[derive(Debug, Default)]
pub(super) struct Globals {
    /// VRRP's version.
    pub version: Option<u8>,
    pub announce: Announce,
    pub default_interface: Option<String>,
    /// Whose rights scripts have that name nobody; `None` for the agent's.
    pub script_user: Option<String>,
}

impl Globals {
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger, model: &mut Model) {
        carried(node, ledger);
        for child in &node.children {
            self.one(child, ledger, model);
        }
    }

    fn one(&mut self, node: &Node, ledger: &mut Ledger, model: &mut Model) {
        match node.word() {
            "vrrp_version" => {
                if let Some(version) = number::<u8>(node, ledger) {
                    match version {
                        2 | 3 => {
                            self.version = Some(version);
                            taken(node, 1, ledger);
                        }
                        _ => left(node, "VRRP has versions 2 and 3", ledger),
                    }
                }
            }
            "default_interface" => {
                self.default_interface = node.arg().map(str::to_owned);
                taken(node, 1, ledger);
            }
            "script_user" => {
                self.script_user = node.arg().map(str::to_owned);
                match node.args()[..] {
                    [_, _, ..] => changed(node, "scripts have their user's own group", ledger),
                    _ => taken(node, 1, ledger),
                }
            }
            "lvs_timeouts" => timeouts(node, ledger, model),
            "vrrp_garp_interval" | "vrrp_gna_interval" => {
                if let Some(interval) = timer(node, ledger) {
                    self.pace(node, interval, ledger);
                }
            }
            word => match word.strip_prefix("vrrp_").filter(|word| Announce::WORDS.contains(word)) {
                Some(word) => self.announce.read(word, node, ledger),
                None => stranger(Context::Global, node, ledger),
            },
        }
    }

    /// Time between announcements is their rate here.
    fn pace(&mut self, node: &Node, interval: Duration, ledger: &mut Ledger) {
        if interval.is_zero() {
            return carried(node, ledger);
        }
        let pace = u32::try_from(1_000_000 / interval.as_micros().max(1)).unwrap_or(u32::MAX).clamp(1, 1_000_000);
        self.announce.pace = Some(self.announce.pace.map_or(pace, |known| known.min(pace)));
        changed(node, format!("announce = {{ pace = {pace} }} frames a second on each interface"), ledger);
    }
}

/// `lvs_timeouts tcp 7200 tcpfin 30 udp 60`.
fn timeouts(node: &Node, ledger: &mut Ledger, model: &mut Model) {
    let args = node.args();
    for pair in args.chunks(2) {
        let key = match pair.first().copied() {
            Some("tcp") => "tcp",
            Some("tcpfin") => "closing",
            Some("udp") => "udp",
            _ => return left(node, "it isn't known what is meant: [flows] has tcp, udp and closing", ledger),
        };
        let Some(after) = pair.get(1).copied().and_then(seconds).filter(|time| !time.is_zero()) else {
            return left(node, "it has no time that could be read: write it into [flows]", ledger);
        };
        model.flows.retain(|(known, _)| *known != key);
        model.flows.push((key, time(after)));
    }
    changed(node, "in [flows]: `tcpfin` is `closing`", ledger);
}
