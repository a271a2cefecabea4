//! Machines made up: what is found on each, what would be changed, and what a second look says.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::facts::Running;
use super::files::{self, Content};
use super::*;
use crate::host::links::Link;

const V4: &str = "192.0.2.100";
const V6: &str = "2001:db8::100";

fn vips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|vip| vip.parse().unwrap()).collect()
}

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Link { index, name: name.to_owned(), loopback: name == "lo", up: true, addresses, ..Link::default() }
}

/// A machine as it is installed: one interface, nothing set.
fn machine() -> Facts {
    let links = vec![link(1, "lo", &["127.0.0.1/8", "::1/128"]), link(2, "eth0", &["192.0.2.40/24"])];
    let mut facts = Facts { links, default_route: Some("eth0".to_owned()), ..Facts::default() };
    for scope in ["all", "eth0"] {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            facts.sysctls.insert(format!("net/ipv4/conf/{scope}/{name}"), "0".to_owned());
        }
    }
    facts.sysctls.insert("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0".to_owned());
    facts.running.systemd = true;
    facts
}

fn set(facts: &mut Facts, key: &str, value: u32) {
    facts.sysctls.insert(key.to_owned(), value.to_string());
}

fn with(mut facts: Facts, path: &str, text: &str) -> Facts {
    facts.files.insert(PathBuf::from(path), text.to_owned());
    facts
}

/// The machine of an operator of each kind.
fn machine_of(keeper: Keeper) -> Facts {
    let mut facts = machine();
    let state = "/run/systemd/netif/links/2";
    match keeper {
        Keeper::Netplan => {
            facts.running.networkd = true;
            with(
                facts,
                state,
                "# private\nADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n",
            )
        }
        Keeper::Networkd => {
            facts.running.networkd = true;
            with(facts, state, "NETWORK_FILE=/etc/systemd/network/20-lan.network\n")
        }
        Keeper::NetworkManager => {
            facts.running.network_manager = Some(Some((1, 42)));
            with(facts, "/run/NetworkManager/devices/2", "[device]\nmanaged=true\nconnection-uuid=x\n")
        }
        Keeper::Ifupdown => {
            let facts =
                with(facts, files::INTERFACES, "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n");
            with(facts, "/etc/network/interfaces.d/lan", "auto eth0\niface eth0 inet dhcp\n")
        }
        Keeper::Unit => facts,
        Keeper::None => {
            facts.running.systemd = false;
            facts
        }
    }
}

/// The machine after a plan was carried out.
fn after(mut facts: Facts, plan: &Plan) -> Facts {
    for step in &plan.steps {
        match step {
            Step::Write(file) => {
                let held = facts.files.get(&file.path).cloned().unwrap_or_default();
                let text = match &file.content {
                    Content::Text { text, .. } => text.clone(),
                    Content::Link(_) => MARK.to_owned(),
                    Content::Lines(lines) => files::with_lines(&held, lines),
                };
                facts.files.insert(file.path.clone(), text);
            }
            Step::Remove(path) => drop(facts.files.remove(path).unwrap()),
            Step::Cut(path, text) => drop(facts.files.insert(path.clone(), text.clone())),
            Step::Sysctl { key, value, .. } => set(&mut facts, key, *value),
            Step::Add(vip) => facts.links[0].addresses.push(IpNet::from(*vip)),
            Step::Take(vip) => facts.links[0].addresses.retain(|net| net.addr() != *vip),
        }
    }
    facts
}

fn told(findings: &[crate::findings::Finding]) -> Vec<String> {
    let mark = |bad| if bad { "! " } else { "  " };
    findings.iter().map(|finding| format!("{}{finding}", mark(finding.bad))).collect()
}

const SETTINGS: &str = "  write /etc/sysctl.d/90-lb-real-server.conf
      # Written by `lb real-server apply`; `lb real-server remove` takes it away.
      net.ipv4.conf.all.arp_announce = 2
      net.ipv4.conf.all.arp_ignore = 1
      net.ipv4.conf.eth0.arp_announce = 2
      net.ipv4.conf.eth0.arp_ignore = 1
";
const NOW: &str = "  set net.ipv4.conf.all.arp_announce = 2 (it is 0)
  set net.ipv4.conf.all.arp_ignore = 1 (it is 0)
  set net.ipv4.conf.eth0.arp_announce = 2 (it is 0)
  set net.ipv4.conf.eth0.arp_ignore = 1 (it is 0)
  add 192.0.2.100 to lo
  add 2001:db8::100 to lo
";

/// What keeps the VIPs, as it is shown.
fn golden(keeper: Keeper) -> &'static str {
    match keeper {
        Keeper::Netplan => include_str!("tests/netplan.txt"),
        Keeper::Networkd => include_str!("tests/networkd.txt"),
        Keeper::NetworkManager => include_str!("tests/network-manager.txt"),
        Keeper::Ifupdown => include_str!("tests/ifupdown.txt"),
        Keeper::Unit => include_str!("tests/unit.txt"),
        Keeper::None => "",
    }
}

const KEEPERS: [Keeper; 6] =
    [Keeper::Netplan, Keeper::Networkd, Keeper::NetworkManager, Keeper::Ifupdown, Keeper::Unit, Keeper::None];

#[test]
fn whoever_keeps_the_addresses_is_found_and_gets_his_file_and_all_is_undone() {
    for keeper in KEEPERS {
        let before = machine_of(keeper);
        let both = vips(&[V4, V6]);
        let plan = apply(&before, None, &both, None, None).unwrap();
        let record = plan.record.as_ref().unwrap();
        assert_eq!((record.keeper, record.interface.as_str()), (keeper, "eth0"));
        let shown: String = plan.steps.iter().map(ToString::to_string).collect();
        assert_eq!(shown, format!("{SETTINGS}{}{NOW}", golden(keeper)), "{keeper}");

        // Twice in a row changes nothing, and nothing is wrong then.
        let done = after(before.clone(), &plan);
        let again = apply(&done, Some(record), &both, None, None).unwrap();
        assert_eq!((again.steps, again.record.as_ref()), (Vec::new(), Some(record)), "{keeper}");
        let findings = told(&check(&done, "eth0", &both));
        assert_eq!(findings.len(), usize::from(keeper == Keeper::None), "{findings:?}");

        // One VIP less, and then all of it.
        let less = remove(&done, Some(record), &vips(&[V6])).unwrap();
        let fewer = after(done, &less);
        let left = less.record.unwrap();
        assert_eq!(left.addresses(), vips(&[V4]));
        assert_eq!(apply(&fewer, Some(&left), &vips(&[V4]), None, None).unwrap().steps, [], "{keeper}");
        let last = remove(&fewer, Some(&left), &[]).unwrap();
        assert_eq!((last.steps.first(), last.record.as_ref()), (Some(&Step::Take(V4.parse().unwrap())), None));
        let undone = after(fewer, &last);
        assert_eq!(
            (undone.files, undone.sysctls, undone.links),
            (before.files, before.sysctls, before.links),
            "{keeper}"
        );
    }
}

#[test]
fn a_second_vip_joins_the_first_and_what_was_there_stays() {
    let mut facts = machine_of(Keeper::Networkd);
    facts.links[0].addresses.push("192.0.2.100/32".parse().unwrap());
    set(&mut facts, "net/ipv4/conf/all/arp_ignore", 2);
    let first = apply(&facts, None, &vips(&[V4]), None, None).unwrap();
    assert!(!first.steps.iter().any(|step| matches!(step, Step::Add(_))));
    assert!(!plan::settings(&first).contains_key("net/ipv4/conf/all/arp_ignore"), "it is stricter than it must be");
    let facts = after(facts, &first);
    let second = apply(&facts, first.record.as_ref(), &vips(&["192.0.2.101"]), None, None).unwrap();
    assert_eq!(second.steps.len(), 2, "{:?}", second.steps);
    let facts = after(facts, &second);
    let last = remove(&facts, second.record.as_ref(), &[]).unwrap();
    let taken: Vec<_> = last.steps.iter().filter(|step| matches!(step, Step::Take(_))).collect();
    assert_eq!(taken, [&Step::Take("192.0.2.101".parse().unwrap())], "the first was there before");
    // What somebody has set since stays as he set it.
    let mut facts = facts;
    set(&mut facts, "net/ipv4/conf/eth0/arp_ignore", 2);
    let last = remove(&facts, second.record.as_ref(), &[]).unwrap();
    assert!(!plan::settings(&last).contains_key("net/ipv4/conf/eth0/arp_ignore"));
}

#[test]
fn files_of_others_are_joined_or_left_alone() {
    // Another of networkd's files has `lo`: ours would be passed over.
    let facts = with(machine_of(Keeper::Networkd), "/etc/systemd/network/05-all.network", "[Match]\nName=e* l*\n");
    let plan = apply(&facts, None, &vips(&[V4]), None, None).unwrap();
    let path = "/etc/systemd/network/05-all.network.d/90-lb-real-server.conf";
    let written = plan.steps.iter().any(|step| {
        matches!(step, Step::Write(file) if file.path.as_path() == std::path::Path::new(path)
            && matches!(&file.content, Content::Text { text, .. } if !text.contains("[Match]")))
    });
    assert!(written, "{:?}", plan.steps);
    // One that isn't ours.
    let path = "/etc/netplan/90-lb-real-server.yaml";
    let facts = with(machine_of(Keeper::Netplan), path, "network: {}\n");
    assert_eq!(apply(&facts, None, &vips(&[V4]), None, None), Err(Obstacle::Foreign(PathBuf::from(path))));
    // ifupdown's one file, where it reads no others.
    let own = "auto eth0\niface eth0 inet dhcp";
    let before = with(machine(), files::INTERFACES, own);
    let plan = apply(&before, None, &vips(&[V4]), None, None).unwrap();
    let facts = after(before.clone(), &plan);
    let text = facts.files[&PathBuf::from(files::INTERFACES)].clone();
    assert_eq!(text, format!("{own}\n{}", include_str!("tests/interfaces.txt")));
    assert_eq!(apply(&facts, plan.record.as_ref(), &vips(&[V4]), None, None).unwrap().steps, []);
    let undone = after(facts, &remove(&with(before, files::INTERFACES, &text), plan.record.as_ref(), &[]).unwrap());
    assert_eq!(undone.files[&PathBuf::from(files::INTERFACES)], format!("{own}\n"));
}

#[test]
fn older_network_managers_leave_lo_to_a_unit() {
    for (version, keeper) in
        [(Some((1, 40)), Keeper::Unit), (None, Keeper::Unit), (Some((2, 0)), Keeper::NetworkManager)]
    {
        let mut facts = machine_of(Keeper::NetworkManager);
        facts.running = Running { network_manager: Some(version), ..facts.running };
        assert_eq!(keeper::of(&facts, "eth0"), keeper, "{version:?}");
    }
    // A daemon that runs and hasn't the interface isn't asked.
    let mut facts = machine_of(Keeper::Ifupdown);
    facts.running = Running { networkd: true, network_manager: Some(Some((1, 46))), ..facts.running };
    assert_eq!(keeper::of(&facts, "eth0"), Keeper::Ifupdown);
}

#[test]
fn each_fault_is_found_with_why_and_what_mends_it() {
    let good = || {
        let plan = apply(&machine_of(Keeper::Networkd), None, &vips(&[V4, V6]), None, None).unwrap();
        after(machine_of(Keeper::Networkd), &plan)
    };
    type Change = fn(&mut Facts);
    let table: [(Change, &str); 14] = [
        (|_| {}, ""),
        (
            |facts| facts.links[0].addresses.retain(|net| net.addr().to_string() != V4),
            "! VIP 192.0.2.100: it isn't on lo",
        ),
        (
            |facts| facts.links[0].addresses[2] = "192.0.2.100/24".parse().unwrap(),
            "! VIP 192.0.2.100: it is on lo as 192.0.2.100/24",
        ),
        (
            |facts| facts.links[1].addresses.push("192.0.2.100/24".parse().unwrap()),
            "! VIP 192.0.2.100: it is on eth0 as well, which answers for it",
        ),
        (
            |facts| {
                ["all", "eth0"].iter().for_each(|scope| set(facts, &format!("net/ipv4/conf/{scope}/arp_ignore"), 0))
            },
            "! eth0: it answers ARP for VIPs: arp_ignore is 0, by the larger value of all and eth0",
        ),
        (|facts| set(facts, "net/ipv4/conf/all/arp_ignore", 8), "! eth0: it answers no ARP at all (arp_ignore = 8)"),
        // The larger value counts.
        (|facts| set(facts, "net/ipv4/conf/all/arp_ignore", 0), ""),
        (
            |facts| {
                ["all", "eth0"].iter().for_each(|scope| set(facts, &format!("net/ipv4/conf/{scope}/arp_announce"), 1))
            },
            "! eth0: its ARP requests may come from a VIP: arp_announce is 1, by the larger value of all and eth0",
        ),
        (
            |facts| {
                facts.default_route = Some("eth1".to_owned());
                set(facts, "net/ipv4/conf/all/rp_filter", 1);
            },
            "! eth0: rp_filter is 1 (strict), and the default route is eth1's",
        ),
        (|facts| set(facts, "net/ipv4/conf/all/rp_filter", 1), ""),
        (
            |facts| set(facts, "net/ipv6/conf/lo/disable_ipv6", 1),
            "! lo: it has no IPv6 (net.ipv6.conf.lo.disable_ipv6 = 1)",
        ),
        (
            |facts| facts.files.retain(|path, _| !path.starts_with("/etc/systemd")),
            "  VIP 192.0.2.100, 2001:db8::100: no file of systemd-networkd names it: it is gone after a reboot",
        ),
        (
            |facts| facts.files.retain(|path, _| !path.starts_with("/etc/sysctl.d")),
            "  net.ipv4.conf.all.arp_ignore: no file of /etc/sysctl.d sets it: it is 0 after a reboot",
        ),
        (
            |facts| {
                let text = "net.ipv4.conf.all.arp_ignore=0\nnet/ipv4/conf/eth0/arp_ignore = 0\n";
                facts.files.insert(PathBuf::from("/etc/sysctl.d/99-local.conf"), text.to_owned());
            },
            "  net.ipv4.conf.all.arp_ignore: at boot it is set to 0 by /etc/sysctl.d/99-local.conf",
        ),
    ];
    for (change, expected) in table {
        let mut facts = good();
        change(&mut facts);
        let findings = check(&facts, "eth0", &vips(&[V4, V6]));
        assert_eq!(told(&findings).first().map_or("", String::as_str), expected, "{findings:#?}");
        assert!(findings.iter().all(|finding| finding.why.is_some() && finding.mend.is_some()));
        // And `apply` mends what it says it does.
        let mends =
            findings.iter().any(|found| found.mend.as_ref().is_some_and(|mend| mend.starts_with("`lb real-server")));
        if mends {
            let record = apply(&machine_of(Keeper::Networkd), None, &vips(&[V4, V6]), None, None).unwrap().record;
            let plan = apply(&facts, record.as_ref(), &vips(&[V4, V6]), None, None).unwrap();
            assert_eq!(told(&check(&after(facts, &plan), "eth0", &vips(&[V4, V6]))), [""; 0], "{expected}");
        }
    }
}

#[test]
fn what_boots_set_is_the_last_word_of_the_files() {
    let key = "net/ipv4/conf/eth0.7/rp_filter";
    let mut facts =
        with(machine(), "/usr/lib/sysctl.d/50-default.conf", "-net.ipv4.conf.*.rp_filter = 2\n# x = 1\nbad\n");
    let value = |facts: &Facts| sysctl::at_boot(facts, key).map(|(value, path)| (value, path.display().to_string()));
    assert_eq!(value(&facts), Some((2, "/usr/lib/sysctl.d/50-default.conf".to_owned())));
    facts = with(facts, "/run/sysctl.d/10-vlan.conf", "net.ipv4.conf.eth0/7.rp_filter=0\n");
    assert_eq!(value(&facts), Some((0, "/run/sysctl.d/10-vlan.conf".to_owned())), "a pattern is for all others");
    facts = with(facts, "/etc/sysctl.d/50-default.conf", "");
    facts = with(facts, "/etc/sysctl.d/10-vlan.conf", "net/ipv4/conf/eth0.7/rp_filter=1\n");
    assert_eq!(value(&facts), Some((1, "/etc/sysctl.d/10-vlan.conf".to_owned())));
    assert_eq!(shown(key), key);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_changed() {
    let facts = machine();
    for vip in ["127.0.0.2", "0.0.0.0", "224.0.0.18", "::1", "fe80::1", "ff02::1", "255.255.255.255"] {
        assert!(matches!(apply(&facts, None, &vips(&[vip]), None, None), Err(Obstacle::Vip(..))), "{vip}");
    }
    let asked = |name| interface(&facts, &vips(&["198.51.100.1"]), name);
    assert_eq!(asked(None).unwrap(), "eth0", "by the default route");
    assert!(matches!(asked(Some("eth7")), Err(Obstacle::Interface(_))));
    assert!(matches!(asked(Some("lo")), Err(Obstacle::Interface(_))));
    let alone = Facts { default_route: None, ..machine() };
    assert!(matches!(interface(&alone, &vips(&["198.51.100.1"]), None), Err(Obstacle::Interface(_))));
    assert!(matches!(remove(&facts, None, &vips(&[V4])), Err(Obstacle::NotGiven(..))));
    assert_eq!(remove(&facts, None, &[]).unwrap().steps, []);
}
