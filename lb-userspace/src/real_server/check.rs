//! What is wrong on a real.

use std::net::IpAddr;

use super::{Facts, Keeper, files, keeper, shown, sysctl};
use crate::findings::Finding;

/// What is found for these VIPs, whose frames come in by this interface; what is bad comes first.
#[must_use]
pub fn check(facts: &Facts, interface: &str, vips: &[IpAddr]) -> Vec<Finding> {
    let all = vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut found = Found { facts, interface, all, findings: Vec::new() };
    vips.iter().for_each(|vip| found.vip(*vip));
    if vips.iter().any(IpAddr::is_ipv4) {
        found.silence();
    }
    if vips.iter().any(IpAddr::is_ipv6) && facts.sysctl("net/ipv6/conf/lo/disable_ipv6") == Some(1) {
        found.bad(
            "lo",
            "it has no IPv6 (net.ipv6.conf.lo.disable_ipv6 = 1)",
            "no VIP of IPv6 can be on it, and requests to one are dropped",
        );
    }
    found.boot(vips);
    let (mut bad, notes): (Vec<Finding>, Vec<Finding>) = found.findings.into_iter().partition(|finding| finding.bad);
    bad.extend(notes);
    bad
}

struct Found<'a> {
    facts: &'a Facts,
    interface: &'a str,
    /// The VIPs, for commands.
    all: String,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, bad: bool, subject: &str, what: impl Into<String>, why: &str, mend: String) {
        let (subject, what) = (subject.to_owned(), what.into());
        self.findings.push(Finding { bad, subject, what, why: Some(why.to_owned()), mend: Some(mend) });
    }

    /// What `apply` mends.
    fn bad(&mut self, subject: &str, what: impl Into<String>, why: &str) {
        let mend = format!("`lb real-server apply {}`", self.all);
        self.add(true, subject, what, why, mend);
    }

    fn vip(&mut self, vip: IpAddr) {
        let subject = format!("VIP {vip}");
        let facts = self.facts;
        let whole = if vip.is_ipv4() { 32 } else { 128 };
        let mut is_here = false;
        for (link, net) in facts.holders(vip) {
            if link.loopback || link.kind.as_deref() == Some("dummy") {
                is_here = true;
                if net.prefix_len() != whole {
                    let what = format!("it is on {} as {net}", link.name);
                    let mend = format!(
                        "`ip address add {vip}/{whole} dev {0}`, then `ip address del {net} dev {0}`; and where it is configured",
                        link.name
                    );
                    let why = "this host takes all of that network for its own, and reaches nobody in it";
                    self.add(true, &subject, what, why, mend);
                }
            } else {
                let what = format!("it is on {} as well, which answers for it", link.name);
                let mend = format!("`ip address del {net} dev {}`, and where it is configured", link.name);
                let why = "clients learn this real's MAC address, and go past the director";
                self.add(true, &subject, what, why, mend);
                is_here = true;
            }
        }
        if !is_here {
            self.bad(&subject, "it isn't on lo", "requests that a director sends here are dropped, or sent on");
        }
    }

    /// ARP and the way back.
    fn silence(&mut self) {
        let (facts, interface) = (self.facts, self.interface);
        let ignore = facts.larger(interface, "arp_ignore").unwrap_or(0);
        if !sysctl::keeps_silent(ignore) {
            let (what, why) = match ignore {
                8 => (
                    "it answers no ARP at all (arp_ignore = 8)".to_owned(),
                    "directors and routers don't find this real",
                ),
                _ => (
                    format!(
                        "it answers ARP for VIPs: arp_ignore is {ignore}, by the larger value of all and {interface}"
                    ),
                    "clients learn this real's MAC address, and go past the director",
                ),
            };
            self.bad(interface, what, why);
        }
        let announce = facts.larger(interface, "arp_announce").unwrap_or(0);
        if announce < 2 {
            self.bad(
                interface,
                format!("its ARP requests may come from a VIP: arp_announce is {announce}, by the larger value of all and {interface}"),
                "whoever is asked learns that the VIP is at this real",
            );
        }
        if sysctl::drops_clients(facts, interface) {
            let route = facts.default_route.as_deref().unwrap_or("?");
            self.bad(
                interface,
                format!("rp_filter is 1 (strict), and the default route is {route}'s"),
                "requests of clients that are reached by another interface are dropped",
            );
        }
    }

    /// What is lost at the next boot.
    fn boot(&mut self, vips: &[IpAddr]) {
        let (facts, interface) = (self.facts, self.interface);
        let kept = || facts.files.iter().filter(|(path, _)| files::is_kept(path)).map(|(_, text)| text.as_str());
        let is_named = |vip: &IpAddr| kept().any(|text| names(text, *vip));
        let held = vips.iter().filter(|vip| facts.holders(**vip).next().is_some());
        let lost: Vec<String> = held.filter(|vip| !is_named(vip)).map(ToString::to_string).collect();
        if !lost.is_empty() {
            let what =
                format!("no file of {} names it: it is gone after a reboot", keepers(keeper::of(facts, interface)));
            let mend = format!("`lb real-server apply {}`", self.all);
            self.add(false, &format!("VIP {}", lost.join(", ")), what, "directors will find that it has lost it", mend);
        }
        if !vips.iter().any(IpAddr::is_ipv4) {
            return;
        }
        for (name, least) in [("arp_ignore", 1), ("arp_announce", 2)] {
            let all = format!("net/ipv4/conf/all/{name}");
            let own = format!("net/ipv4/conf/{interface}/{name}");
            let set: Vec<_> = [&all, &own].into_iter().filter_map(|key| sysctl::at_boot(facts, key)).collect();
            let now = facts.larger(interface, name).unwrap_or(0);
            let largest = set.iter().map(|(value, _)| *value).max().unwrap_or(0);
            if now < least || largest >= least {
                continue;
            }
            let what = match set.last() {
                Some((value, path)) => format!("at boot it is set to {value} by {}", path.display()),
                None => "no file of /etc/sysctl.d sets it: it is 0 after a reboot".to_owned(),
            };
            let mend = match set.last() {
                Some((_, path)) => {
                    format!("take it out of {}, then `lb real-server apply {}`", path.display(), self.all)
                }
                None => format!("`lb real-server apply {}`", self.all),
            };
            self.add(false, &shown(&all), what, "this real would answer ARP for VIPs", mend);
        }
    }
}

fn keepers(keeper: Keeper) -> String {
    if matches!(keeper, Keeper::Unit | Keeper::None) {
        "the network's configuration".into()
    } else {
        keeper.to_string()
    }
}

/// Whether a text has this address as a word of its own.
fn names(text: &str, vip: IpAddr) -> bool {
    let part = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, '.' | ':');
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split(|letter| !part(letter))).any(|word| word.trim_end_matches(':').parse() == Ok(vip))
}
