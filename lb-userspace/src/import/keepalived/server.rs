//! `virtual_server` and `virtual_server_group`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::check::{self, Base, Found};
use super::together::Together;
use super::tree::Node;
use super::words::{Context, changed, left, stranger};
use super::{carried, flag, number, surplus, taken};
use crate::import::ledger::{Fate, Ledger};
use crate::import::lvs::{self, Candidate, Method, Virtual};
use crate::import::model::{End, Fleet, Model};

/// A `virtual_server_group`.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    ends: Vec<End>,
    marks: Vec<u32>,
}

/// All of them by their names.
pub(super) type Groups = BTreeMap<String, Group>;

/// Addresses of one range at most: as many as `limits.services` is by default.
const RANGE: usize = 4096;

/// `virtual_server_group NAME { … }`.
pub(super) fn group(node: &Node, groups: &mut Groups, ledger: &mut Ledger) {
    let Some(name) = node.arg() else { return left(node, "a group has a name", ledger) };
    taken(node, 1, ledger);
    let mut group = Group::default();
    for child in &node.children {
        if child.word() == "fwmark" {
            match child.arg().and_then(|text| text.parse().ok()) {
                Some(mark) => group.marks.push(mark),
                None => left(child, "this is no firewall mark", ledger),
            }
            left(child, lvs::MARK, ledger);
            continue;
        }
        let port = match child.arg().map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) => (port != 0).then_some(port),
            Some(Err(_)) => {
                left(child, "its port is no number: names aren't looked up", ledger);
                continue;
            }
        };
        match range(child.word()) {
            Some(addresses) => {
                group.ends.extend(addresses.into_iter().map(|address| End { address, port }));
                taken(child, 1, ledger);
            }
            None => {
                left(child, format!("it is no address, and no range of up to {RANGE}: write services by hand"), ledger)
            }
        }
    }
    groups.insert(name.to_owned(), group);
}

/// Tells of groups that no virtual server names.
pub(super) fn unnamed(nodes: &[Node], groups: &Groups, ledger: &mut Ledger) {
    let named = |name: &str| nodes.iter().any(|node| node.word() == "virtual_server" && node.args() == ["group", name]);
    for node in nodes.iter().filter(|node| node.word() == "virtual_server_group") {
        if node.arg().is_some_and(|name| groups.contains_key(name) && !named(name)) {
            ledger.note(&node.all(), Fate::Changed, node.what(), "no virtual_server names it: it is left out");
        }
    }
}

/// `192.0.2.1`, `192.0.2.1-9`, `192.0.2.250-192.0.3.9`, `192.0.2.8/29`, and the same of IPv6, whose short form ends in
/// a hexadecimal group.
fn range(text: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = text.parse() {
        return Some(vec![address]);
    }
    let count = |first: u128, last: u128| {
        let count = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
        (count <= RANGE).then_some((first, count))
    };
    let (first, count) = if let Some((first, last)) = text.split_once('-') {
        let first: IpAddr = first.parse().ok()?;
        let last: IpAddr = match (last.parse(), first) {
            (Ok(last), _) => last,
            (_, IpAddr::V4(v4)) => {
                let [a, b, c, _] = v4.octets();
                Ipv4Addr::new(a, b, c, last.parse().ok()?).into()
            }
            (_, IpAddr::V6(v6)) => {
                let last = u16::from_str_radix(last, 16).ok()?;
                Ipv6Addr::from(u128::from(v6) & !0xffff | u128::from(last)).into()
            }
        };
        let (first, last) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (u32::from(first).into(), u32::from(last).into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first), u128::from(last)),
            _ => return None,
        };
        count(first, last)?
    } else {
        let net: ipnet::IpNet = text.parse().ok()?;
        match (net.network(), net.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => count(u32::from(first).into(), u32::from(last).into())?,
            (IpAddr::V6(first), IpAddr::V6(last)) => count(u128::from(first), u128::from(last))?,
            _ => return None,
        }
    };
    let is_v6 = text.contains(':');
    let one = |number: u128| match is_v6 {
        true => Some(Ipv6Addr::from(number).into()),
        false => Some(Ipv4Addr::from(u32::try_from(number).ok()?).into()),
    };
    (first..).take(count).map(one).collect()
}

/// A virtual server while its lines are read.
#[derive(Debug)]
struct Reading<'a> {
    algorithm: Option<&'a Node>,
    kind: Option<&'a Node>,
    method: Method,
    ports: bool,
    persistent: Option<(u32, &'a Node)>,
    granularity: Option<&'a Node>,
    protocol: &'static str,
    base: Base,
    together: Together<'a>,
    reals: Vec<&'a Node>,
}

/// `virtual_server … { … }`.
pub(super) fn server(node: &Node, groups: &Groups, ledger: &mut Ledger, model: &mut Model) {
    let ends = match of(node, groups) {
        Ok(ends) => ends,
        Err(how) => return left(node, how, ledger),
    };
    if node.children.iter().any(|child| child.word() == "protocol" && child.arg() == Some("SCTP")) {
        return left(node, "lb has TCP and UDP alone", ledger);
    }
    carried(node, ledger);
    if node.arg() == Some("fwmark") {
        ledger.note(&node.own(), Fate::Left, node.what(), lvs::MARK);
    }
    let mut reading = Reading {
        algorithm: None,
        kind: None,
        // keepalived's where the file says nothing.
        method: Method::Nat,
        ports: false,
        persistent: None,
        granularity: None,
        protocol: "tcp",
        base: Base::default(),
        together: Together::default(),
        reals: Vec::new(),
    };
    for child in &node.children {
        reading.one(child, ledger);
    }
    reading.finish(node, ends, ledger, model);
}

/// Its addresses, ports and marks.
fn of(node: &Node, groups: &Groups) -> Result<Group, String> {
    match node.args()[..] {
        ["fwmark", mark] => match mark.parse() {
            Ok(mark) => Ok(Group { ends: Vec::new(), marks: vec![mark] }),
            Err(_) => Err("this is no firewall mark".to_owned()),
        },
        ["group", name] => groups.get(name).cloned().ok_or_else(|| format!("there is no virtual_server_group {name}")),
        [address, ref port @ ..] => {
            let Ok(address) = address.parse() else {
                return Err(format!("\"{address}\" is not an IP address: host names aren't looked up"));
            };
            let port = match port {
                [] => None,
                [port] => {
                    Some(port.parse::<u16>().map_err(|_| format!("\"{port}\" is no port: names aren't looked up"))?)
                }
                _ => return Err("it has more than an address and a port".to_owned()),
            };
            Ok(Group { ends: vec![End { address, port: port.filter(|port| *port != 0) }], marks: Vec::new() })
        }
        [] => Err("it has no address".to_owned()),
    }
}

impl<'a> Reading<'a> {
    fn one(&mut self, node: &'a Node, ledger: &mut Ledger) {
        match node.word() {
            "lb_algo" | "lvs_sched" => {
                self.algorithm = Some(node);
                carried(node, ledger);
            }
            "lb_kind" | "lvs_method" => {
                self.kind = Some(node);
                match method(node) {
                    Some(method) => self.method = method,
                    None => {
                        self.method = Method::Direct;
                        left(node, "it isn't known how this sends: direct routing is written", ledger);
                    }
                }
            }
            "sh-port" | "mh-port" => {
                self.ports = true;
                taken(node, 0, ledger);
            }
            "persistence_timeout" => {
                // 6 minutes where none are given.
                let seconds = match node.arg() {
                    None => Some(360),
                    Some(_) => number::<u32>(node, ledger),
                };
                match seconds {
                    Some(0) => taken(node, 1, ledger),
                    Some(seconds) => {
                        self.persistent = Some((seconds, node));
                    }
                    None => {}
                }
            }
            "persistence_granularity" if node.arg().is_some() => self.granularity = Some(node),
            "protocol" => match node.arg() {
                Some("TCP") => taken(node, 1, ledger),
                Some("UDP") => {
                    self.protocol = "udp";
                    taken(node, 1, ledger);
                }
                _ => left(node, "lb has TCP and UDP alone: tcp is written", ledger),
            },
            "inhibit_on_failure" => self.base.inhibit(node, ledger),
            "real_server" => self.reals.push(node),
            word if check::KINDS.contains(&word) => left(node, "a check stands in a real_server", ledger),
            _ if self.base.read(node, ledger) || self.together.read(node, ledger) => {}
            _ => stranger(Context::Server, node, ledger),
        }
    }

    fn finish(self, node: &'a Node, group: Group, ledger: &mut Ledger, model: &mut Model) {
        let Group { ends, marks } = group;
        let word = self.algorithm.and_then(Node::arg).unwrap_or("wlc");
        let (scheduler, fate, how) = lvs::scheduler(word, self.ports, self.persistent.is_some());
        if let Some(node) = self.algorithm {
            ledger.note(&node.own(), fate, node.what(), how);
            surplus(node, 1, ledger);
        }
        let mut kept = None;
        if let Some((seconds, node)) = self.persistent {
            let (found, (fate, how), of_mask) =
                lvs::persistence(scheduler, seconds, self.granularity.and_then(Node::arg));
            kept = found;
            ledger.note(&node.own(), fate, node.what(), how);
            surplus(node, 1, ledger);
            if let (Some(node), Some((fate, how))) = (self.granularity, of_mask) {
                ledger.note(&node.own(), fate, node.what(), how);
                surplus(node, 1, ledger);
            }
        } else if let Some(node) = self.granularity {
            changed(node, "it says nothing without persistence_timeout", ledger);
        }
        match (self.method, self.kind) {
            (Method::Direct, Some(node)) => taken(node, 1, ledger),
            (method, kind) => {
                let at = kind.unwrap_or(node);
                let none = if kind.is_none() { "without lvs_method it is NAT; " } else { "" };
                ledger.note(&at.own(), Fate::Left, at.what(), format!("{none}{}", lvs::elsewhere(method, None)));
            }
        }
        let mut remarks = vec![format!("{}: {}", ledger.place(node.place()), node.what())];
        if self.method != Method::Direct {
            remarks.push("Not by direct routing there: prepare the reals before this takes traffic.".to_owned());
        }
        let name = match node.args()[..] {
            ["group", name] => name.to_owned(),
            ref words => words.join("-"),
        };
        let mut one = Virtual {
            place: node.place(),
            ends,
            marks,
            name,
            protocol: self.protocol,
            scheduler,
            kept,
            check: None,
            quiesce: self.base.inhibits,
            fleet: Fleet::default(),
            notify: Vec::new(),
            reals: Vec::new(),
            remarks,
        };
        // Beside the reals.
        let mut checks: Vec<Option<Found<'a>>> = Vec::new();
        let mut hooks = self.together.hooks.clone();
        let (mut unchecked, mut inhibits): (Vec<&Node>, Vec<bool>) = (Vec::new(), Vec::new());
        for real in &self.reals {
            let Some(found) = self.real(real, &mut one, ledger) else { continue };
            inhibits.push(found.base.inhibits);
            found.scripts.iter().for_each(|(node, address)| hooks.real(node, *address, ledger));
            unchecked.extend(found.check.is_none().then_some(*real));
            checks.push(found.check);
        }
        if one.reals.is_empty() {
            let how = "no real of it is left, and a service here has one at least";
            return ledger.note(&node.own(), Fate::Left, node.what(), how);
        }
        one.fleet = self.together.fleet(&one, ledger);
        one.notify = hooks.argv();
        if inhibits.contains(&true) {
            one.quiesce = true;
            if inhibits.contains(&false) {
                let how = "on_failure = \"quiesce\" is of all reals of a service: it is written for all of them";
                ledger.note(&node.own(), Fate::Changed, node.what(), how);
            }
        }
        one.check = check::choose(&checks.iter().flatten().collect::<Vec<_>>());
        for (real, found) in one.reals.iter_mut().zip(&checks) {
            real.check = found.as_ref().map(|found| found.check.clone()).filter(|own| Some(own) != one.check.as_ref());
        }
        if one.check.is_some() {
            for real in unchecked {
                let how = "it had no check: one is written for all reals of a service";
                ledger.note(&real.own(), Fate::Changed, real.what(), how);
            }
        }
        one.settle(model);
    }

    fn real(&self, node: &'a Node, one: &mut Virtual, ledger: &mut Ledger) -> Option<Real<'a>> {
        let mut base = self.base.clone();
        let (mut weight, mut own) = (1, None);
        let (mut checks, mut scripts) = (Vec::new(), Vec::new());
        for child in &node.children {
            match child.word() {
                "weight" => {
                    if let Some(number) = number::<u32>(child, ledger) {
                        weight = number;
                        taken(child, 1, ledger);
                    }
                }
                "lvs_method" | "lb_kind" => match method(child) {
                    Some(Method::Direct) => {
                        own = Some(Method::Direct);
                        taken(child, 1, ledger);
                    }
                    Some(method) => {
                        own = Some(method);
                        left(child, lvs::elsewhere(method, None), ledger);
                    }
                    None => left(child, "it isn't known how this sends: direct routing is written", ledger),
                },
                "inhibit_on_failure" => base.inhibit(child, ledger),
                "alpha" if flag(child) == Some(false) => taken(child, 1, ledger),
                "smtp_alert" if flag(child) == Some(false) => taken(child, 1, ledger),
                "notify_up" | "notify_down" => scripts.push(child),
                word if check::KINDS.contains(&word) => checks.push(child),
                _ if base.read(child, ledger) => {}
                _ => stranger(Context::Real, child, ledger),
            }
        }
        let args = node.args();
        let address = args.first().copied().unwrap_or_default();
        let port = match args.get(1).map(|text| text.parse::<u16>()) {
            None => None,
            Some(Ok(port)) => (port != 0).then_some(port),
            Some(Err(_)) => {
                left(node, "its port is no number: names aren't looked up", ledger);
                return None;
            }
        };
        let places = node.own();
        let candidate = Candidate {
            places: &places,
            what: node.what(),
            address,
            port,
            weight,
            method: own.unwrap_or(self.method),
            told: true,
        };
        surplus(node, 2, ledger);
        let is_taken = one.take(candidate, ledger);
        let asked = port.or(one.port());
        let found =
            check::of_real(&checks, &base, check::Real { address, port: asked, protocol: self.protocol }, ledger);
        if !is_taken {
            for child in checks.into_iter().chain(scripts) {
                left(child, "it goes with its real_server", ledger);
            }
            return None;
        }
        let scripts = scripts.into_iter().filter_map(|child| Some((child, address.parse().ok()?)));
        Some(Real { base, check: found, scripts: scripts.collect() })
    }
}

/// A real that was taken.
struct Real<'a> {
    base: Base,
    check: Option<Found<'a>>,
    /// Its own scripts.
    scripts: Vec<(&'a Node, IpAddr)>,
}

pub(super) fn method(node: &Node) -> Option<Method> {
    match node.arg()?.to_uppercase().as_str() {
        "DR" => Some(Method::Direct),
        "NAT" => Some(Method::Nat),
        "TUN" => Some(Method::Tunnel),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses() {
        let shown = |text| range(text).map(|all| (all.len(), all[0].to_string(), all[all.len() - 1].to_string()));
        let of = |count, first: &str, last: &str| Some((count, first.to_owned(), last.to_owned()));
        assert_eq!(shown("192.0.2.1"), of(1, "192.0.2.1", "192.0.2.1"));
        assert_eq!(shown("192.0.2.1-9"), of(9, "192.0.2.1", "192.0.2.9"));
        assert_eq!(shown("192.0.2.250-192.0.3.9"), of(16, "192.0.2.250", "192.0.3.9"));
        assert_eq!(shown("192.0.2.8/29"), of(8, "192.0.2.8", "192.0.2.15"));
        assert_eq!(shown("2001:db8::1-f"), of(15, "2001:db8::1", "2001:db8::f"));
        assert_eq!(shown("2001:db8::/125"), of(8, "2001:db8::", "2001:db8::7"));
        for bad in [
            "192.0.2.9-1",
            "10.0.0.0/8",
            "::/0",
            "::-ffff:ffff::",
            "a-b",
            "192.0.2.1-x",
            "192.0.2.1-::1",
            "0.0.0.0-255.255.255.255",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
