//! The kernel's own list of addresses, which others change too.

use super::segment::ip;
use super::*;

const VIP: &str = "10.77.0.100/24";

#[test]
fn a_vip_that_is_taken_away_is_put_back_and_not_fought_for_for_ever() {
    let Some(lab) = Lab::new() else { return };
    for vip in [VIP, "fd77::100/64"] {
        let mut high = lab.runner(A, &format!("3 100 200 {vip}"));
        high.wait_for("master");
        let mut low = lab.runner(B, &format!("3 100 100 {vip}"));
        low.wait_for("backup");
        for _ in 0..5 {
            lab.remove(A, vip);
            lab.until("it is put back", || lab.holds(A, vip));
            assert_eq!(high.status_after(Duration::ZERO).state, "master");
        }
        lab.remove(A, vip);
        high.wait_for("initialize");
        low.wait_for("master");
        assert!(!lab.holds(A, vip));
    }
}

#[test]
fn an_address_that_was_there_before_stays() {
    let Some(lab) = Lab::new() else { return };
    lab.ip(A, &format!("addr add {VIP} dev eth0"));
    let mut high = lab.runner(A, &format!("3 100 200 {VIP}"));
    high.wait_for("backup: started");
    high.wait_for("master");
    let mut low = lab.runner(B, &format!("3 100 100 {VIP}"));
    low.wait_for("backup");
    high.command("shutdown");
    assert!(high.ends());
    assert!(lab.holds(A, VIP), "it is the administrator's");
}

#[test]
fn a_router_whose_interface_is_renamed_keeps_no_vip() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, &format!("3 100 200 {VIP}"));
    high.wait_for("master");
    lab.ip(A, "link set eth0 down");
    high.wait_for("initialize");
    lab.ip(A, "link set eth0 up");
    high.wait_for("master");
    lab.ip(A, "link property add dev eth0 altname other");
    lab.ip(A, "link set eth0 name lan0");
    high.wait_for("initialize");
    lab.until("it is gone from lan0", || !lab.holds(A, VIP));
}

#[test]
fn a_macvlan_that_is_set_down_or_deleted_is_mended() {
    let Some(lab) = Lab::new() else { return };
    let mut only = lab.runner(A, &format!("mac 3 100 200 {VIP}"));
    only.wait_for("master");
    let device = || {
        let links = lab.links(A);
        let line = links.lines().find(|line| line.contains("00:00:5e:00:01:33"))?.to_owned();
        let name = line.split_whitespace().nth(1)?.split('@').next()?.to_owned();
        Some((name, line.contains("LOWER_UP")))
    };
    lab.until("it is up", || device().is_some_and(|(_, up)| up));
    for command in ["set NAME down", "del NAME"] {
        let name = device().unwrap().0;
        lab.ip(A, &format!("link {}", command.replace("NAME", &name)));
        lab.until("it is up again", || device().is_some_and(|(_, up)| up) && lab.holds(A, VIP));
    }
    assert_eq!(only.status_after(Duration::ZERO).state, "master");
}

#[test]
fn an_ipv6_vip_is_never_chosen_as_a_source() {
    let Some(lab) = Lab::new() else { return };
    let mut only = lab.runner(A, "3 100 200 fd77::1:100/64");
    only.wait_for("master");
    assert!(lab.holds(A, "fd77::1:100/64"));
    assert!(lab.source(A, "fd77::12").contains("src fd77::11 "), "{}", lab.source(A, "fd77::12"));
}

#[test]
fn a_router_that_was_tracked_out_takes_part_under_another_name() {
    let Some(lab) = Lab::new() else { return };
    let mut only = lab.runner(A, &format!("3 100 200 {VIP}"));
    only.wait_for("master");
    only.command("out");
    only.wait_for("initialize");
    only.command("reload");
    only.wait_for("reloaded");
    only.wait_for("master");
}

/// A second link between both, eth9.
fn link_again(lab: &Lab) {
    lab.ip(A, &format!("link add eth9 type veth peer name eth9 netns {}", lab.name(B)));
    for host in [A, B] {
        lab.ip(host, "link set eth9 up");
    }
}

fn is_on(lab: &Lab, device: &str, vip: &str) -> bool {
    lab.says(A, &format!("-o addr show dev {device} to {vip}")).contains(vip)
}

#[test]
fn a_reload_takes_a_vip_to_another_interface_without_an_election() {
    let Some(lab) = Lab::new() else { return };
    link_again(&lab);
    let mut only = lab.runner(A, "3 100 200 10.77.0.100/24@eth9");
    only.wait_for("master");
    assert!(is_on(&lab, "eth9", "10.77.0.100") && !is_on(&lab, "eth0", "10.77.0.100"));
    only.command("home");
    lab.until("it is on eth0", || is_on(&lab, "eth0", "10.77.0.100") && !is_on(&lab, "eth9", "10.77.0.100"));
    assert_eq!(only.status_after(Duration::ZERO).state, "master");
}

#[test]
fn a_vip_of_another_interface_is_put_and_announced_there_and_goes_with_it() {
    let Some(lab) = Lab::new() else { return };
    link_again(&lab);
    // A gratuitous ARP alone makes an entry.
    let accept = "echo 1 > /proc/sys/net/ipv4/conf/eth9/arp_accept";
    assert!(ip(&["netns", "exec", lab.name(B), "sh", "-c", accept]));
    lab.ip(B, "addr add 203.0.113.1/28 dev eth9");
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24,203.0.113.10/28@eth9");
    high.wait_for("master");
    let on = |device: &str, vip: &str| is_on(&lab, device, vip);
    assert!(on("eth0", "10.77.0.100") && on("eth9", "203.0.113.10"));
    lab.until("it is announced there", || lab.says(B, "neigh show 203.0.113.10 dev eth9").contains("lladdr"));
    lab.ip(A, "addr del 203.0.113.10/28 dev eth9");
    lab.until("it is put back", || on("eth9", "203.0.113.10"));
    lab.ip(A, "link del eth9");
    high.wait_for("initialize");
    lab.until("the other goes too", || !lab.holds(A, "10.77.0.100/24"));
}
