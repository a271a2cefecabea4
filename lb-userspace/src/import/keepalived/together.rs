//! What the reals of a virtual server do together: its quorum and its sorry server.

use std::net::IpAddr;

use super::hooks::Hooks;
use super::server::method;
use super::tree::Node;
use super::words::{changed, left};
use super::{number, surplus, taken};
use crate::import::ledger::Ledger;
use crate::import::lvs::{self, Method, Virtual};
use crate::import::model::Fleet;

/// Of one virtual server, while its lines are read.
#[derive(Debug, Default)]
pub(super) struct Together<'a> {
    /// 0 where none is given, which is 1.
    quorum: u32,
    hysteresis: Option<(&'a Node, u32)>,
    sorry: Option<&'a Node>,
    /// Who hears of changes.
    pub hooks: Hooks,
}

impl<'a> Together<'a> {
    /// Takes a statement if it is one of these.
    pub(super) fn read(&mut self, node: &'a Node, ledger: &mut Ledger) -> bool {
        match node.word() {
            "quorum" => match number::<u32>(node, ledger) {
                Some(0) => left(node, "a quorum is 1 at least", ledger),
                Some(quorum) => {
                    self.quorum = quorum;
                    taken(node, 1, ledger);
                }
                None => {}
            },
            "hysteresis" => self.hysteresis = number(node, ledger).map(|number| (node, number)),
            "sorry_server" => self.sorry = Some(node),
            "sorry_server_lvs_method" => match method(node) {
                Some(Method::Direct) => taken(node, 1, ledger),
                Some(method) => left(node, lvs::elsewhere(method, None), ledger),
                None => left(node, "it isn't known how this sends: direct routing is written", ledger),
            },
            _ => return self.hooks.read(node, ledger),
        }
        true
    }

    /// All of it, once the reals are known.
    pub(super) fn fleet(&self, one: &Virtual, ledger: &mut Ledger) -> Fleet {
        let hysteresis = match self.hysteresis {
            Some((node, number)) if number > 0 && number >= self.quorum.max(1) => {
                let most = self.quorum.max(1) - 1;
                changed(node, format!("{most}: it is smaller than the quorum, as keepalived has it"), ledger);
                most
            }
            Some((node, number)) => {
                taken(node, 1, ledger);
                number
            }
            None => 0,
        };
        let sorry = self.sorry.and_then(|node| sorry(node, one, ledger));
        let told = self.hooks.has_quorum();
        Fleet { quorum: (self.quorum > 1 || told).then_some(self.quorum.max(1)), hysteresis, sorry }
    }
}

/// `sorry_server ADDRESS [PORT]`.
fn sorry(node: &Node, one: &Virtual, ledger: &mut Ledger) -> Option<IpAddr> {
    let text = node.arg().unwrap_or_default();
    let Ok(address) = text.parse::<IpAddr>() else {
        left(node, format!("\"{text}\" is not an IP address, and names aren't looked up: write the address"), ledger);
        return None;
    };
    if address.is_loopback() {
        let how = "the director itself is none. Without a usable real packets go to its own stack: what listens on the VIP's \
                   port there stands in, on each director";
        left(node, how, ledger);
        return None;
    }
    if let Some(vip) = one.ends.first().map(|end| end.address).filter(|vip| vip.is_ipv6() != address.is_ipv6()) {
        left(
            node,
            format!("it is of another family than {vip}: direct routing doesn't translate; write its own"),
            ledger,
        );
        return None;
    }
    if one.reals.iter().any(|real| real.address == address) {
        left(node, "it is one of the reals, which can't stand in for all of them: name another host", ledger);
        return None;
    }
    let port = node.args().get(1).and_then(|text| text.parse::<u16>().ok()).filter(|port| *port != 0);
    match (port, one.port()) {
        (Some(own), Some(vips)) if own != vips => {
            let how = format!("direct routing keeps the port, in IPVS too: it is sent to on {vips}, not {own}");
            changed(node, how, ledger);
            surplus(node, 2, ledger);
        }
        _ => taken(node, 2, ledger),
    }
    Some(address)
}
