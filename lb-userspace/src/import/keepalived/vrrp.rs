//! `vrrp_instance`.

use std::net::IpAddr;
use std::time::Duration;

use super::global::Globals;
use super::notify::{self, Notify};
use super::track::{self, Named};
use super::tree::Node;
use super::watched;
use super::words::{Context, changed, left, stranger};
use super::{carried, flag, number, surplus, taken, timer};
use crate::import::ledger::{Fate, Ledger};
use crate::import::model::{Key, Model, Router, Vip, list, quoted, time};

/// `garp_master_*`, of keepalived's globals or of one virtual router.
#[derive(Debug, Clone, Default)]
pub(super) struct Announce {
    repeat: Option<u32>,
    delay: Option<Duration>,
    refresh: Option<Duration>,
    pub pace: Option<u32>,
}

impl Announce {
    /// The words, which have `vrrp_` before them among the globals.
    pub(super) const WORDS: [&str; 4] =
        ["garp_master_delay", "garp_master_repeat", "garp_master_refresh", "garp_master_refresh_repeat"];

    pub(super) fn read(&mut self, word: &str, node: &Node, ledger: &mut Ledger) {
        match word {
            "garp_master_delay" => self.delay = timer(node, ledger),
            "garp_master_refresh" => self.refresh = timer(node, ledger),
            _ => {
                let count = number::<u32>(node, ledger);
                if word == "garp_master_refresh_repeat" {
                    if count.is_some_and(|count| count != 1) {
                        changed(node, "a refresh announces each VIP once", ledger);
                    }
                } else {
                    self.repeat = count.map(|count| count.min(100));
                }
            }
        }
        taken(node, 1, ledger);
    }

    fn keys(&self, globals: &Self) -> Vec<Key> {
        let delay = self.delay.or(globals.delay);
        let mut keys: Vec<Key> = Vec::new();
        keys.extend(self.repeat.or(globals.repeat).map(|repeat| ("repeat", repeat.to_string())));
        match delay {
            // keepalived has no second set then.
            Some(Duration::ZERO) => keys.push(("delayed_repeat", "0".to_owned())),
            Some(delay) => keys.push(("delay", time(delay))),
            None => {}
        }
        keys.extend(self.refresh.or(globals.refresh).filter(|time| !time.is_zero()).map(|own| ("refresh", time(own))));
        keys.extend(self.pace.or(globals.pace).map(|pace| ("pace", pace.to_string())));
        keys
    }
}

/// A virtual router while its lines are read.
#[derive(Debug, Default)]
struct Reading<'a> {
    interface: Option<String>,
    id: Option<u32>,
    priority: Option<u32>,
    version: Option<u8>,
    advertise: Option<Duration>,
    password: Option<String>,
    vips: Vec<(Vip, &'a Node)>,
    excluded: Vec<(Vip, &'a Node)>,
    peers: Vec<IpAddr>,
    minimum_ttl: Option<u8>,
    is_master: bool,
    preempt: bool,
    preempt_delay: Duration,
    virtual_mac: bool,
    announce: Announce,
    track: Vec<Vec<Key>>,
    notify: Notify,
    ignores_link: bool,
}

/// `vrrp_instance NAME { … }`.
pub(super) fn instance(node: &Node, globals: &Globals, named: &Named, ledger: &mut Ledger, model: &mut Model) {
    let Some(name) = node.arg() else { return left(node, "an instance has a name", ledger) };
    let mut reading = Reading { preempt: true, ..Reading::default() };
    for child in &node.children {
        reading.one(child, named, ledger);
    }
    taken(node, 1, ledger);
    if reading.vips.is_empty() && reading.excluded.is_empty() {
        return ledger.note(
            &node.own(),
            Fate::Left,
            node.what(),
            "it has no VIP, and a virtual router here has one at least",
        );
    }
    reading.finish(node, name, globals, ledger, model);
}

impl<'a> Reading<'a> {
    fn one(&mut self, node: &'a Node, named: &Named, ledger: &mut Ledger) {
        match node.word() {
            "state" => {
                self.is_master = node.arg() == Some("MASTER");
                changed(
                    node,
                    "nothing need be done: of those that live, the one of the highest priority is master",
                    ledger,
                );
            }
            "interface" => {
                self.interface = node.arg().map(str::to_owned);
                taken(node, 1, ledger);
            }
            "virtual_router_id" => self.id = plain(node, ledger),
            "priority" => self.priority = plain(node, ledger),
            "version" => {
                if let Some(version) = number::<u8>(node, ledger) {
                    self.version = Some(version);
                    taken(node, 1, ledger);
                }
            }
            "advert_int" => {
                self.advertise = timer(node, ledger);
                if self.advertise.is_some() {
                    taken(node, 1, ledger);
                }
            }
            "authentication" => self.authentication(node, ledger),
            "virtual_ipaddress" => addresses(node, &mut self.vips, ledger),
            "virtual_ipaddress_excluded" => addresses(node, &mut self.excluded, ledger),
            "unicast_peer" => self.peers(node, ledger),
            "nopreempt" => {
                self.preempt = false;
                taken(node, 0, ledger);
            }
            "preempt_delay" => {
                self.preempt_delay = timer(node, ledger).unwrap_or_default();
                if node.arg().is_some() {
                    taken(node, 1, ledger);
                }
            }
            "use_vmac" => {
                self.virtual_mac = true;
                match node.arg() {
                    None => taken(node, 0, ledger),
                    Some(_) => changed(
                        node,
                        "virtual_mac = true: the macvlan has a name of lb's, and the RFC's MAC address",
                        ledger,
                    ),
                }
            }
            "track_script" => track::track_script(node, &named.scripts, &mut self.track, ledger),
            "track_file" => watched::track(node, &named.files, &mut self.track, ledger),
            "track_process" => watched::track(node, &named.processes, &mut self.track, ledger),
            "dont_track_primary" => {
                self.ignores_link = flag(node).unwrap_or(true);
                taken(node, usize::from(node.arg().is_some()), ledger);
            }
            "track_interface" => track::track_interface(node, &mut self.track, ledger),
            word if Announce::WORDS.contains(&word) => self.announce.read(word, node, ledger),
            word if notify::WORDS.contains(&word) => self.notify.read(node, ledger),
            "smtp_alert" if flag(node) == Some(false) => taken(node, 1, ledger),
            _ => stranger(Context::Vrrp, node, ledger),
        }
    }

    fn authentication(&mut self, node: &Node, ledger: &mut Ledger) {
        carried(node, ledger);
        let mut is_header = false;
        for child in &node.children {
            match child.word() {
                "auth_type" => {
                    is_header = child.arg() == Some("AH");
                    if is_header {
                        left(
                            child,
                            "AH isn't there: on a network that others send on, protect VRRP by a firewall",
                            ledger,
                        );
                    } else {
                        taken(child, 1, ledger);
                    }
                }
                "auth_pass" => {
                    self.password = child.arg().map(str::to_owned);
                    taken(child, 1, ledger);
                }
                _ => stranger(Context::Vrrp, child, ledger),
            }
        }
        if is_header {
            self.password = None;
        }
    }

    fn peers(&mut self, node: &Node, ledger: &mut Ledger) {
        carried(node, ledger);
        for child in &node.children {
            // Some write a length behind it, which keepalived doesn't look at.
            let text = child.word().split('/').next().unwrap_or_default();
            let Ok(peer) = text.parse::<IpAddr>() else {
                left(child, "a peer is an IP address here: host names aren't looked up", ledger);
                continue;
            };
            if self.peers.contains(&peer) {
                changed(child, "this peer is named already", ledger);
                continue;
            }
            self.peers.push(peer);
            carried(child, ledger);
            match child.args()[..] {
                [] => {}
                ["min_ttl", ttl, ..] => {
                    let ttl = ttl.parse().unwrap_or(0);
                    self.minimum_ttl =
                        Some(self.minimum_ttl.map_or(ttl, |known: u8| known.min(ttl))).filter(|ttl| *ttl > 0);
                    changed(
                        child,
                        "minimum_ttl is of all peers of a virtual router, the lowest of them; there is no greatest one",
                        ledger,
                    );
                }
                _ => surplus(child, 0, ledger),
            }
        }
    }

    /// Writes it, with a second one for addresses of the other family.
    fn finish(mut self, node: &Node, name: &str, globals: &Globals, ledger: &mut Ledger, model: &mut Model) {
        let first = self.vips.iter().chain(&self.excluded).next().is_some_and(|(vip, _)| vip.address.is_ipv6());
        let mut vips: Vec<Vip> = Vec::new();
        let mut others: Vec<Vip> = Vec::new();
        let all = std::mem::take(&mut self.vips).into_iter().map(|row| (row, false));
        let excluded = std::mem::take(&mut self.excluded).into_iter().map(|row| (row, true));
        for ((mut vip, child), excluded) in all.chain(excluded) {
            vip.interface = vip.interface.filter(|name| Some(name) != self.interface.as_ref());
            let of = if vip.address.is_ipv6() == first { &mut vips } else { &mut others };
            if vip.address.is_ipv6() != first {
                let how = "in a [vrrp.NAME] of its own, of the same id and sync_group: one has VIPs of one family. A \
                           director that still runs keepalived doesn't speak for it: change both over together, or leave \
                           it out";
                changed(child, how, ledger);
            } else if excluded {
                let how = "in `addresses`, and so in adverts: keepalived refuses adverts with other addresses than its \
                           own, so on a director that still runs it move the line to virtual_ipaddress first";
                changed(child, how, ledger);
            }
            if !of.contains(&vip) {
                of.push(vip);
            }
        }
        let priority = self.priority.unwrap_or(100);
        let preempt = self.preemption(node, priority, ledger);
        let router = self.router(node, name, first, priority, globals, ledger);
        let group = format!("{name}-both");
        let second = (!others.is_empty()).then(|| Router {
            theirs: format!("{name}-{}", if first { "ipv4" } else { "ipv6" }),
            keys: self.second_keys(!first, priority, globals),
            addresses: others,
            preempt: preempt.clone(),
            announce: router.announce.clone(),
            sync_group: Some(group.clone()),
            ..Router::default()
        });
        let sync_group = second.is_some().then_some(group);
        model.routers.push(Router { addresses: vips, preempt, sync_group, ..router });
        model.routers.extend(second);
    }

    fn preemption(&self, node: &Node, priority: u32, ledger: &mut Ledger) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        let mut tell = |word: &str, how: &str| {
            for child in node.children.iter().filter(|child| child.word() == word) {
                changed(child, how, ledger);
            }
        };
        let told = if priority == 255 {
            Some("the addresses' owner (priority 255) always takes over")
        } else if self.is_master {
            Some("keepalived ignores it beside state MASTER, so it is left out; write it if it was meant")
        } else {
            None
        };
        match told {
            Some(how) => {
                tell("nopreempt", how);
                tell("preempt_delay", how);
            }
            None if !self.preempt => {
                keys.push(("preempt", "false".to_owned()));
                tell("preempt_delay", "it has no meaning beside nopreempt");
            }
            None if !self.preempt_delay.is_zero() => keys.push(("preempt_delay", time(self.preempt_delay))),
            None => {}
        }
        keys
    }

    fn router(
        &mut self,
        node: &Node,
        name: &str,
        is_v6: bool,
        priority: u32,
        globals: &Globals,
        ledger: &mut Ledger,
    ) -> Router {
        let version = self.version.or(globals.version).unwrap_or(2);
        let version = if is_v6 { 3 } else { version };
        let mut keys = self.head(version, priority, globals);
        if let Some(password) = self.password.take() {
            let line =
                node.children.iter().flat_map(|child| &child.children).filter(|child| child.word() == "auth_pass");
            if version == 3 {
                line.for_each(|child| {
                    left(child, "VRRPv3 has no password, in keepalived too: remove it there", ledger)
                });
            } else {
                // keepalived cuts off what an advert has no room for.
                let kept: String = cut(&password, 8).to_owned();
                if kept.len() < password.len() {
                    line.for_each(|child| changed(child, "its first 8 bytes, which are what keepalived sends", ledger));
                }
                keys.push(("password", quoted(&kept)));
            }
        }
        if !self.peers.is_empty() {
            let peers: Vec<String> = self.peers.iter().map(IpAddr::to_string).collect();
            keys.push(("peers", list(peers.iter().map(String::as_str))));
            keys.extend(self.minimum_ttl.map(|ttl| ("minimum_ttl", ttl.to_string())));
        }
        if self.virtual_mac {
            keys.push(("virtual_mac", "true".to_owned()));
        }
        if self.ignores_link {
            keys.push(("track_link", "false".to_owned()));
        }
        if priority == 255 && self.track.iter().any(|item| item.iter().any(|(key, _)| *key == "weight")) {
            self.track.retain(|item| item.iter().all(|(key, _)| *key != "weight"));
            let tracks = node.children.iter().filter(|child| child.word().starts_with("track_"));
            tracks.for_each(|child| {
                changed(child, "no weight changes the owner's priority (255): those with one are left out", ledger)
            });
        }
        Router {
            theirs: name.to_owned(),
            remarks: vec![format!("{}: {}", ledger.place(node.place()), node.what())],
            keys,
            announce: self.announce.keys(&globals.announce),
            track: std::mem::take(&mut self.track),
            notify: self.notify.keys(globals.script_user.as_deref()),
            ..Router::default()
        }
    }

    fn head(&self, version: u8, priority: u32, globals: &Globals) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        keys.extend(
            self.interface.as_ref().or(globals.default_interface.as_ref()).map(|own| ("interface", quoted(own))),
        );
        keys.extend(self.id.map(|id| ("id", id.to_string())));
        keys.push(("version", version.to_string()));
        keys.push(("priority", priority.to_string()));
        keys.push(("advertise", time(self.advertise.unwrap_or(Duration::from_secs(1)))));
        keys
    }

    /// The keys of the one for addresses of the other family.
    fn second_keys(&self, is_v6: bool, priority: u32, globals: &Globals) -> Vec<Key> {
        let version = if is_v6 { 3 } else { self.version.or(globals.version).unwrap_or(2) };
        let mut keys = self.head(version, priority, globals);
        if self.virtual_mac {
            keys.push(("virtual_mac", "true".to_owned()));
        }
        keys
    }
}

/// At most so many bytes of a text, between its characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

/// A number of any size: what is out of range is left to be finished.
fn plain(node: &Node, ledger: &mut Ledger) -> Option<u32> {
    let read = number(node, ledger)?;
    taken(node, 1, ledger);
    Some(read)
}

/// `ADDRESS[/LENGTH] [dev IF] [label L] [scope S] [brd B] …`.
fn addresses<'a>(node: &'a Node, vips: &mut Vec<(Vip, &'a Node)>, ledger: &mut Ledger) {
    carried(node, ledger);
    for child in &node.children {
        let text = child.word();
        let address = text.split('/').next().unwrap_or_default();
        let Ok(address) = address.parse::<IpAddr>() else {
            left(child, format!("\"{text}\" is not an IP address: write the VIP into `addresses`"), ledger);
            continue;
        };
        let mut vip = Vip { address, net: text.to_owned(), interface: None };
        if let Some((_, length)) = text.split_once('/')
            && let Some(length) = mask(length)
        {
            vip.net = format!("{address}/{length}");
        }
        carried(child, ledger);
        options(child, &mut vip, ledger);
        vips.push((vip, child));
    }
}

/// The length of a netmask in dots.
fn mask(text: &str) -> Option<u32> {
    let mask = u32::from(text.parse::<std::net::Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| mask.leading_ones())
}

fn options(node: &Node, vip: &mut Vip, ledger: &mut Ledger) {
    let args = node.args();
    let mut words = args.iter().copied();
    let mut note = |fate, how: String| ledger.note(&node.own(), fate, node.what(), how);
    while let Some(word) = words.next() {
        match word {
            "dev" => vip.interface = words.next().map(str::to_owned),
            "label" => {
                words.next();
                note(Fate::Left, "a label isn't there: `ip address` shows the VIP without one".to_owned());
            }
            "scope" => match words.next() {
                Some("global") => {}
                other => note(
                    Fate::Left,
                    format!("scope {} isn't there: a VIP has the global one", other.unwrap_or_default()),
                ),
            },
            "brd" | "broadcast" => {
                words.next();
                note(
                    Fate::Changed,
                    "a VIP is put without a broadcast address: it is the interface's own that matters".to_owned(),
                );
            }
            "peer" => {
                words.next();
                note(Fate::Left, "an address with a peer isn't there".to_owned());
            }
            "preferred_lft" => {
                words.next();
                note(Fate::Left, "a preferred lifetime isn't there".to_owned());
            }
            "home" | "-nodad" | "mngtmpaddr" | "noprefixroute" | "autojoin" | "no_track" | "use_vmac"
            | "track_group" => {
                note(Fate::Left, format!("`{word}` of an address isn't there"));
            }
            other => note(Fate::Unknown, format!("\"{other}\" isn't known there")),
        }
    }
}

/// `director.interfaces`: those that VIPs are put on.
pub(super) fn interfaces(model: &mut Model) {
    for router in &model.routers {
        let own = router
            .keys
            .iter()
            .find(|(key, _)| *key == "interface")
            .map(|(_, value)| value.trim_matches('"').to_owned());
        for vip in &router.addresses {
            let Some(name) = vip.interface.clone().or(own.clone()) else { continue };
            if !model.interfaces.contains(&name) {
                model.interfaces.push(name);
            }
        }
    }
}
