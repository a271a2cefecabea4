//! Machines made up: each finding is provoked by one change of a machine that is well.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::parse;
use crate::findings::tests::{router, well};
use crate::host::links::Link;

const FILE: &str = r#"
[director]
interfaces = ["eth1", "bond0"]
[vrrp.web]
interface = "eth1"
id = 51
version = 3
advertise = "1s"
addresses = ["192.0.2.1/24"]
[vrrp.six]
interface = "eth1"
id = 52
version = 3
advertise = "1s"
addresses = ["2001:db8::1/64"]
[service.web]
address = "192.0.2.1:80"
protocol = "tcp"
check = { type = "tcp", via = "both" }
[[service.web.reals]]
address = "192.0.2.40"
[service.mail]
address = "192.0.2.1:25"
protocol = "tcp"
check = { type = "tcp", via = "vip" }
[[service.mail.reals]]
address = "192.0.2.40"
"#;
const REAL: [u8; 6] = [2, 0, 0, 0, 0, 0x40];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    Link {
        index,
        name: name.to_owned(),
        up: true,
        running: true,
        loopback: name == "lo",
        mtu: 1500,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..Link::default()
    }
}

fn good() -> Facts {
    let mut links = vec![
        link(1, "lo", &["127.0.0.1/8"]),
        link(2, "eth1", &["192.0.2.2/24"]),
        link(3, "bond0", &[]),
        link(4, "eth2", &[]),
        link(5, "eth3", &[]),
    ];
    links[2].kind = Some("bond".to_owned());
    (links[3].controller, links[4].controller) = (Some(3), Some(3));
    let nic = Nic { native: Some(true), queues: 4, ..Nic::default() };
    let bond = Nic { bond: Some("802.3ad".to_owned()), queues: 16, ..nic.clone() };
    let nics = [("eth1", nic.clone()), ("bond0", bond), ("eth2", nic.clone()), ("eth3", nic)];
    let real = "192.0.2.40".parse().unwrap();
    let mut heard = Heard::default();
    heard.asked.insert(real, "eth1".to_owned());
    heard.answers.insert((real, REAL));
    let loaded = parse(Path::new("lb.toml"), FILE).unwrap_or_else(|error| panic!("{}", error.render(false)));
    Facts {
        file: Ok(Arc::new(loaded.config)),
        links,
        nics: nics.into_iter().map(|(name, nic)| (name.to_owned(), nic)).collect(),
        kernel: Kernel { lacks: None, frags: true, bpffs: true, jit: true },
        host: Host {
            processors: 4,
            synchronised: Some(true),
            descriptors: 1024,
            available: Some(1 << 30),
            maps: 1 << 20,
            ..Host::default()
        },
        heard,
    }
}

fn nic<'a>(facts: &'a mut Facts, name: &str) -> &'a mut Nic {
    facts.nics.get_mut(name).unwrap()
}

fn set(facts: &mut Facts, key: &str, value: u32) {
    facts.host.sysctls.insert(key.to_owned(), value);
}

fn answers(facts: &mut Facts, address: &str, mac: [u8; 6]) {
    facts.heard.answers.insert((address.parse().unwrap(), mac));
}

fn stranger(facts: &mut Facts, version: u8, addresses: Option<&[&str]>) {
    let addresses = addresses.map(|all| all.iter().map(|one| one.parse().unwrap()).collect());
    let source = "192.0.2.9".parse().unwrap();
    facts.heard.strangers.push(Stranger { interface: "eth1".to_owned(), source, version, router: 51, addresses });
}

fn change_file(facts: &mut Facts, from: &str, to: &str) {
    let text = FILE.replacen(from, to, 1);
    facts.file = Ok(Arc::new(parse(Path::new("lb.toml"), &text).unwrap().config));
}

fn with_mode(facts: &mut Facts, mode: &str) {
    change_file(facts, "[director]\n", &format!("[director]\nmode = \"{mode}\"\n"));
}

type Row = (fn(&mut Facts), &'static [&'static str]);

/// What is changed, and all that is found then.
const TABLE: &[Row] = &[
    (|_| {}, &[]),
    (|facts| facts.file = Err("lb.toml:1: no".to_owned()), &["! lb.toml: lb.toml:1: no"]),
    // The kernel and the machine.
    (|facts| facts.kernel.lacks = Some("it lacks x".to_owned()), &["! kernel: it lacks x"]),
    (|facts| facts.kernel.bpffs = false, &["! kernel: no BPF filesystem is mounted at /sys/fs/bpf"]),
    (|facts| facts.kernel.jit = false, &["! kernel: programs aren't compiled (net.core.bpf_jit_enable = 0)"]),
    (|facts| facts.host.synchronised = Some(false), &["  host: its clock isn't kept in step with others"]),
    (|facts| facts.host.descriptors = 1, &["  host: a process may open 1 files here, and there are 1 reals to check"]),
    (|facts| facts.host.maps = 3 << 30, &["! host: the maps take 3072 MiB, and 1024 MiB can be had"]),
    (|facts| (facts.host.maps, facts.host.runs) = (3 << 30, true), &[]),
    (
        |facts| set(facts, "net/ipv4/neigh/default/gc_thresh3", 1),
        &["! host: the kernel's neighbour table has room for 1, and 1 reals are to be in it"],
    ),
    // Interfaces.
    (|facts| drop(facts.links.remove(1)), &["! eth1: it isn't there"]),
    (|facts| facts.links[1].up = false, &["! eth1: it is down"]),
    (|facts| facts.links[1].running = false, &["! eth1: it has no carrier"]),
    (|facts| facts.links[1].controller = Some(3), &["! eth1: it is a slave of bond0"]),
    (|facts| facts.links[1].mtu = 9000, &["  bond0: its MTU is 1500, that of eth1 is 9000"]),
    (
        |facts| nic(facts, "eth1").occupant = Some(("another program: id 7".to_owned(), "take it off".to_owned())),
        &["! eth1: another program: id 7"],
    ),
    (|facts| nic(facts, "eth1").native = Some(false), &["  eth1: its driver runs no XDP programs"]),
    (
        |facts| {
            nic(facts, "eth3").native = Some(false);
            with_mode(facts, "native");
        },
        &["! eth3: its driver runs no XDP programs"],
    ),
    (
        |facts| {
            nic(facts, "eth1").native = Some(false);
            nic(facts, "eth1").lro = true;
            nic(facts, "eth1").occupant = Some(("x".to_owned(), "y".to_owned()));
            with_mode(facts, "generic");
        },
        &[],
    ),
    (|facts| nic(facts, "eth2").lro = true, &["! eth2: it merges received packets (LRO)"]),
    (
        |facts| nic(facts, "eth1").takes_tags = true,
        &["! eth1: it takes VLAN tags out of frames, and can't be told not to"],
    ),
    (
        |facts| {
            facts.kernel.frags = false;
            facts.links[1..5].iter_mut().for_each(|link| link.mtu = 9000);
            facts.links[2..5].iter_mut().for_each(|link| link.mtu = 3498);
        },
        &[
            "! eth1: its MTU is 9000, and this kernel has no XDP over frames in fragments",
            "  bond0: its MTU is 3498, that of eth1 is 9000",
        ],
    ),
    (|facts| nic(facts, "eth1").queues = 1, &["  eth1: frames come in by one queue, and there are 4 processors"]),
    (|facts| nic(facts, "bond0").bond = Some("balance-alb".to_owned()), &["  bond0: the bond's mode is balance-alb"]),
    // The checks.
    (|facts| change_file(facts, ", via = \"vip\"", ""), &["  checks: none asks on the VIP, of mail"]),
    (
        |facts| set(facts, "net/ipv4/conf/all/log_martians", 1),
        &["  bond0: the kernel logs martians (log_martians = 1)"],
    ),
    // The segment.
    (|facts| facts.heard.fault = Some("no".to_owned()), &["  segment: it can't be asked: no"]),
    (|facts| facts.heard.answers.clear(), &["! real 192.0.2.40: nobody answers for it on eth1"]),
    (
        |facts| answers(facts, "192.0.2.40", OTHER),
        &["! real 192.0.2.40: several hosts answer for it on eth1: 02:00:00:00:00:03 and 02:00:00:00:00:40"],
    ),
    (
        |facts| facts.links[0].addresses.push("192.0.2.1/32".parse().unwrap()),
        &["! VIP 192.0.2.1: it is on lo, and belongs on eth1"],
    ),
    (
        |facts| facts.links[1].addresses.push("192.0.2.1/24".parse().unwrap()),
        &["  VIP 192.0.2.1: it is on eth1, and no agent runs"],
    ),
    (
        |facts| set(facts, "net/ipv4/conf/all/arp_ignore", 8),
        &["! VIP 192.0.2.1: eth1 doesn't answer ARP for it: arp_ignore is 8"],
    ),
    (|facts| set(facts, "net/ipv4/conf/all/arp_ignore", 1), &[]),
    (
        |facts| set(facts, "net/ipv6/conf/eth1/disable_ipv6", 1),
        &["! VIP 2001:db8::1: eth1 has no IPv6 (disable_ipv6 = 1)"],
    ),
    (
        |facts| answers(facts, "192.0.2.1", REAL),
        &["! VIP 192.0.2.1: real 192.0.2.40 (02:00:00:00:00:40) answers for it"],
    ),
    (|facts| answers(facts, "192.0.2.1", OTHER), &["  VIP 192.0.2.1: 02:00:00:00:00:03 answers for it now"]),
    (
        |facts| facts.heard.answers.extend([OTHER, [2; 6]].map(|mac| ("192.0.2.1".parse().unwrap(), mac))),
        &["! VIP 192.0.2.1: several hosts answer for it: 02:00:00:00:00:03 and 02:02:02:02:02:02"],
    ),
    (|facts| stranger(facts, 3, Some(&["192.0.2.1"])), &[]),
    (|facts| stranger(facts, 3, Some(&["192.0.2.7"])), &["! vrrp.web: 192.0.2.9 has id 51 for 192.0.2.7"]),
    (|facts| stranger(facts, 2, Some(&["192.0.2.1"])), &["! vrrp.web: 192.0.2.9 speaks version 2, this one 3"]),
    (|facts| stranger(facts, 3, None), &["! vrrp.web: adverts of 192.0.2.9 for id 51 can't be read"]),
];

fn told(findings: &[Finding]) -> Vec<String> {
    let mark = |bad| if bad { "! " } else { "  " };
    findings.iter().map(|finding| format!("{}{finding}", mark(finding.bad))).collect()
}

#[test]
fn each_finding_has_its_cause_why_it_matters_and_what_mends_it() {
    for (change, expected) in TABLE {
        let mut facts = good();
        change(&mut facts);
        let found = findings(&facts, None, 0);
        assert_eq!(told(&found), *expected);
        assert!(found.iter().all(|finding| finding.why.is_some() && finding.mend.is_some()));
    }
}

#[test]
fn what_an_agent_tells_is_told_with_it_and_not_twice() {
    let mut facts = good();
    let (mut status, routers) = (well(), [router()]);
    let find = |facts: &Facts, status: &Status| told(&findings(facts, Some((status, &routers)), 1_000_065));
    facts.heard.answers.clear();
    facts.links[1].addresses.push("192.0.2.1/24".parse().unwrap());
    assert_eq!(find(&facts, &status), [""; 0], "the agent knows its reals, and has the VIP");
    status.fault = Some("no".to_owned());
    assert_eq!(find(&facts, &status), ["! lb: no"]);
    status.fault = None;
    facts.heard.answers.insert(("192.0.2.1".parse().unwrap(), OTHER));
    assert_eq!(find(&facts, &status), [""; 0], "a backup's VIP has a master");
    facts.heard.answers.extend([("192.0.2.1".parse().unwrap(), REAL), ("192.0.2.40".parse().unwrap(), REAL)]);
    let claim = serde_json::json!({
        "vip": "192.0.2.1", "mac": "02:00:00:00:00:40", "real": "192.0.2.40", "director": null, "addresses": [], "since": 0,
    });
    status.claims.push(serde_json::from_value(claim).unwrap());
    let found = find(&facts, &status);
    assert_eq!(found, ["! VIP 192.0.2.1: real 192.0.2.40 (02:00:00:00:00:40) answers for it too"]);
}
