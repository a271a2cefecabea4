//! The VIPs' places, who answers for them and for the reals, and other directors that are heard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Facts, Found};
use crate::agent::mac;
use crate::api::Status;
use crate::config::{Config, Service, Via, Vrrp};
use crate::segment::Mac;

/// Services that a finding names at most.
const NAMED: usize = 5;

pub(super) fn find(found: &mut Found, facts: &Facts, config: &Config, status: Option<&Status>) {
    if let Some(fault) = &facts.heard.fault {
        let what = format!("it can't be asked: {fault}");
        found.note("segment", what, "who has VIPs and reals isn't known", "run it as root");
    }
    let answers = |address: IpAddr| -> BTreeSet<Mac> {
        facts.heard.answers.iter().filter(|(of, _)| *of == address).map(|(_, mac)| *mac).collect()
    };
    let mut reals: BTreeMap<Mac, IpAddr> = BTreeMap::new();
    for real in super::reals(config) {
        let macs = answers(real);
        reals.extend(macs.iter().map(|mac| (*mac, real)));
        let Some(interface) = facts.heard.asked.get(&real).filter(|_| status.is_none()) else { continue };
        let subject = format!("real {real}");
        let lists = |macs: &BTreeSet<Mac>| macs.iter().map(|one| mac(*one)).collect::<Vec<_>>().join(" and ");
        match macs.len() {
            0 => found.bad(
                &subject,
                format!("nobody answers for it on {interface}"),
                "without its MAC address it takes no traffic",
                "is it up, with that address, and on this segment or VLAN?",
            ),
            1 => {}
            _ => found.bad(
                &subject,
                format!("several hosts answer for it on {interface}: {}", lists(&macs)),
                "its packets go to the one that answered last",
                "take the address off all of them but one",
            ),
        }
    }
    checks(found, facts, config);
    let is_claimed = |vip, station: &Mac| {
        let claims = status.iter().flat_map(|status| &status.claims);
        claims.into_iter().any(|claim| claim.vip == vip && claim.mac == mac(*station))
    };
    for router in &config.vrrp {
        for vip in router.addresses.iter().map(|vip| vip.addr()) {
            place(found, facts, router, vip, status.is_some());
            let others: Vec<Mac> = answers(vip).into_iter().filter(|station| !is_claimed(vip, station)).collect();
            who_answers(found, vip, &others, &reals, status.is_some());
        }
        heard(found, facts, router);
    }
}

/// What checks don't ask, and what they cost beside.
fn checks(found: &mut Found, facts: &Facts, config: &Config) {
    let asks = |service: &Service| service.checks.iter().any(|check| check.via != Via::Real);
    let (asking, silent): (Vec<&Service>, Vec<&Service>) =
        config.services.iter().filter(|service| !service.reals.is_empty()).partition(|service| asks(service));
    if !silent.is_empty() {
        let mut names: Vec<String> = silent.iter().take(NAMED).map(|service| service.name.clone()).collect();
        let more = silent.len() - names.len();
        names.extend((more > 0).then(|| format!("{more} more")));
        found.note(
            "checks",
            format!("none asks on the VIP, of {}", names.join(", ")),
            "a real that has lost the VIP, or whose firewall drops it, takes its clients, and nobody notices",
            "add via = \"both\" to the check, where its kind has that (docs/via.md)",
        );
    }
    let loud = config.director.interfaces.iter().filter(|name| facts.host.larger(name, "log_martians") > 0);
    if let Some(name) = loud.filter(|_| !asking.is_empty()).min() {
        found.note(
            name,
            "the kernel logs martians (log_martians = 1)",
            "on a master it does so for each answer to a check on a VIP",
            "`sysctl -w net.ipv4.conf.all.log_martians=0`, and in /etc/sysctl.d",
        );
    }
}

/// Where the VIP is on this host.
fn place(found: &mut Found, facts: &Facts, router: &Vrrp, vip: IpAddr, agent: bool) {
    let subject = format!("VIP {vip}");
    let own = router.addresses.iter().find(|held| held.addr() == vip).and_then(|held| held.interface.as_deref());
    let expected = own.unwrap_or(&router.interface);
    let holders = facts.links.iter().filter(|link| link.addresses.iter().any(|net| net.addr() == vip));
    for link in holders {
        let is_ours = link.name.starts_with("lb4-") || link.name.starts_with("lb6-");
        if link.name != expected && !link.altnames.iter().any(|name| name == expected) && !is_ours {
            found.bad(
                &subject,
                format!("it is on {}, and belongs on {expected}", link.name),
                "this host has it even as a backup, and may answer for it beside the master",
                format!("`ip address del {vip} dev {}`, and where it is configured", link.name),
            );
        } else if !agent {
            found.note(
                &subject,
                format!("it is on {}, and no agent runs", link.name),
                "this host answers for it, and the program forwards: nobody checks",
                "start the agent, or give it up with `lb release`",
            );
        }
    }
    let ignore = facts.host.larger(expected, "arp_ignore");
    if vip.is_ipv4() && (ignore >= 3 || expected == "lo" && ignore > 0) {
        found.bad(
            &subject,
            format!("{expected} doesn't answer ARP for it: arp_ignore is {ignore}"),
            "no client and no router finds the director",
            "`sysctl -w net.ipv4.conf.all.arp_ignore=1`, and the VIP on the interface of its clients".to_owned(),
        );
    }
    if vip.is_ipv6() && facts.host.sysctls.get(&format!("net/ipv6/conf/{expected}/disable_ipv6")) == Some(&1) {
        let mend = format!("`sysctl -w net.ipv6.conf.{expected}.disable_ipv6=0`, and in /etc/sysctl.d");
        found.bad(&subject, format!("{expected} has no IPv6 (disable_ipv6 = 1)"), "the VIP can't be put there", mend);
    }
}

/// Who answers for a VIP beside this host.
fn who_answers(found: &mut Found, vip: IpAddr, others: &[Mac], reals: &BTreeMap<Mac, IpAddr>, agent: bool) {
    let subject = format!("VIP {vip}");
    let mut directors = Vec::new();
    for station in others {
        match reals.get(station) {
            Some(real) => found.bad(
                &subject,
                format!("real {real} ({}) answers for it", mac(*station)),
                "clients that learn its MAC address go past the director",
                format!("`lb real-server check {vip}` on that real says what to set, `apply` sets it"),
            ),
            None => directors.push(mac(*station)),
        }
    }
    match directors.as_slice() {
        [] => {}
        [one] if !agent => found.note(
            &subject,
            format!("{one} answers for it now"),
            "that is its master, or a host that has the same address",
            "`lb vrrp` on the other director says whether it is",
        ),
        [_] => {}
        several => found.bad(
            &subject,
            format!("several hosts answer for it: {}", several.join(" and ")),
            "two take themselves for its master, and clients go to either",
            "`lb vrrp` on each director says whom it hears",
        ),
    }
}

/// Other directors that a virtual router doesn't go together with.
fn heard(found: &mut Found, facts: &Facts, router: &Vrrp) {
    let ours: BTreeSet<IpAddr> = router.addresses.iter().map(|vip| vip.addr()).collect();
    let is_v4 = ours.first().is_some_and(IpAddr::is_ipv4);
    let same = facts.heard.strangers.iter().filter(|stranger| {
        stranger.interface == router.interface && stranger.router == router.id && stranger.source.is_ipv4() == is_v4
    });
    let subject = format!("vrrp.{}", router.name);
    for stranger in same {
        let theirs: Option<BTreeSet<IpAddr>> = stranger.addresses.clone().map(|all| all.into_iter().collect());
        let lists = |all: &BTreeSet<IpAddr>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if stranger.version != router.version {
            found.bad(
                &subject,
                format!("{} speaks version {}, this one {}", stranger.source, stranger.version, router.version),
                "directors that don't understand each other are both master",
                "give both the same version, or one of them another id",
            );
            continue;
        }
        match theirs {
            Some(theirs) if theirs == ours => {}
            Some(theirs) => found.bad(
                &subject,
                format!("{} has id {} for {}", stranger.source, router.id, lists(&theirs)),
                "two virtual routers of one id on a segment take each other for a peer, and one of them stays a backup",
                "give one of them another id; or all directors of one the same addresses",
            ),
            None => found.bad(
                &subject,
                format!("adverts of {} for id {} can't be read", stranger.source, router.id),
                "directors that don't understand each other are both master",
                "`tcpdump -vv -i INTERFACE vrrp` shows them; give one of the two another id if it is no peer",
            ),
        }
    }
}
