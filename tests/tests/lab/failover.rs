//! Two directors and three, with clients that must not notice which of them is master.
//!
//! What must cost nothing is shown to cost nothing: every datagram of a 2 ms probe is answered. How long the gap is
//! where there must be one is the bench's to measure (binary `gaps`); here it only has to end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::agent::{Agent, lb};
use lb_tests::client::Client;
use lb_tests::directors::{PORT, Router, Way, config, holds, start_reals, wait_until_holds};
use lb_tests::lab::{DEADLINE, Frame, Host, Lab, VIP, scenario, wait_until};
use lb_tests::pair::{Pair, WHILE, pair};
use lb_tests::probe::Probe;
use nix::sys::signal::Signal;

fn forget_vip(client: &Host) -> Result<()> {
    client.ip(&format!("neighbour del {VIP} dev eth1")).map(drop)
}

#[test]
fn an_agent_that_was_killed_costs_nothing_and_its_successor_adopts_the_vip() {
    pair(Way::V3_100MS, |pair| {
        let (a, client) = (pair.host_a(), pair.lab.client());
        let changes = a.spawn("ip", ["monitor", "address"])?;
        let http = Client::new(client);
        let held = http.hold((VIP, 80), Duration::from_millis(10))?;
        let probe = pair.probe()?;
        pair.a.process().kill()?;
        // Nobody answers for the VIP but a dead agent's kernel.
        forget_vip(client)?;
        probe.wait_for_answers()?;
        pair.b_is_master()?;
        // Now two do.
        forget_vip(client)?;
        probe.wait_for_answers()?;
        ensure!(holds(a, VIP), "the VIP is gone from its dead agent's host");
        std::thread::sleep(WHILE);
        let log = changes.log();
        ensure!(!log.contains("Deleted"), "the VIP was removed: {log}");

        pair.a = Agent::start_again(a)?;
        pair.a_is_master()?;
        probe.wait_until_through(a)?;
        std::thread::sleep(WHILE);
        probe.finish().without_loss()?;
        let report = held.finish();
        report.without_loss()?;
        assert_eq!(report.retransmitted, Some(0), "{report}");
        Ok(())
    });
}

#[test]
fn a_release_and_a_reclaim_cost_nothing_and_connections_go_on() {
    pair(Way::V3_100MS, |pair| {
        let held = Client::new(pair.lab.client()).hold((VIP, 80), Duration::from_millis(5))?;
        let probe = pair.probe()?;
        for _ in 0..2 {
            pair.a.lb(&["vrrp", "release", "web"])?;
            pair.a.wait_for_router("web", "backup")?;
            pair.b_is_master()?;
            wait_until_holds(pair.host_a(), VIP, false)?;
            probe.wait_until_through(pair.host_b())?;
            pair.a.lb(&["vrrp", "reclaim", "web"])?;
            pair.a_is_master()?;
            probe.wait_until_through(pair.host_a())?;
        }
        probe.finish().without_loss()?;
        let report = held.finish();
        report.without_loss()?;
        assert_eq!(report.retransmitted, Some(0), "{report}");
        Ok(())
    });
}

#[test]
fn a_client_with_a_stale_entry_is_served_for_as_long_as_it_is_stale() {
    pair(Way::V3_100MS, |pair| {
        let client = pair.lab.client();
        client.set_neighbour(VIP.into(), pair.host_a().mac())?;
        let probe = pair.probe()?;
        pair.a.lb(&["vrrp", "release", "web"])?;
        pair.b_is_master()?;
        wait_until_holds(pair.host_a(), VIP, false)?;
        std::thread::sleep(3 * WHILE);
        let report = probe.finish();
        report.without_loss()?;
        assert_eq!(report.through(), [pair.host_a().mac()]);

        // The old master may even be told to stop: its program stays.
        let probe = pair.probe()?;
        assert!(pair.a.process().terminate(DEADLINE)?.success());
        std::thread::sleep(WHILE);
        let report = probe.finish();
        report.without_loss()?;
        assert_eq!(report.through(), [pair.host_a().mac()]);
        Ok(())
    });
}

#[test]
fn a_pulled_cable_is_made_good_by_the_backup_and_its_return_costs_nothing() {
    pair(Way::V3_100MS, |pair| {
        let probe = pair.probe()?;
        pair.lab.cable(pair.host_a(), false)?;
        pair.b_is_master()?;
        probe.wait_until_through(pair.host_b())?;
        // Without a carrier there is nobody to hand over to, and nothing to hold on to.
        wait_until_holds(pair.host_a(), VIP, false)?;
        let report = probe.finish();
        assert!(report.lost() > 0, "{report}");

        pair.returns_by_link()
    });
}

#[test]
fn a_director_that_loses_its_power_is_followed_by_the_backup() {
    pair(Way::V3_100MS, |pair| {
        let probe = pair.probe()?;
        pair.lab.cable(pair.host_a(), false)?;
        pair.a.process().signal(Signal::SIGSTOP)?;
        pair.b_is_master()?;
        probe.wait_until_through(pair.host_b())?;
        let report = probe.finish();
        assert!(report.lost() > 0, "{report}");

        // It was only frozen, and still takes itself for the master when it thaws: it outranks B, so it is.
        let probe = pair.probe()?;
        pair.lab.cable(pair.host_a(), true)?;
        pair.a.process().signal(Signal::SIGCONT)?;
        pair.a_is_master()?;
        probe.wait_until_through(pair.host_a())?;
        probe.finish().without_loss()
    });
}

#[test]
fn an_interface_that_flaps_leaves_one_master() {
    pair(Way::V3_100MS, |pair| {
        let probe = pair.probe()?;
        for pause in [0, 20, 150, 600] {
            pair.host_a().link("eth1", false)?;
            std::thread::sleep(Duration::from_millis(pause));
            pair.host_a().link("eth1", true)?;
            probe.wait_for_answers()?;
            pair.a_is_master()?;
            probe.wait_until_through(pair.host_a())?;
        }
        // It has settled.
        let settled = pair.probe()?;
        std::thread::sleep(WHILE);
        settled.finish().without_loss()
    });
}

/// A second bridge between the switch and some hosts, and the cable that joins the two.
fn split(lab: &Lab, hosts: &[&str]) -> Result<()> {
    let switch = lab.switch();
    switch.ip("link add name far type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
    switch.ip("link set far up")?;
    switch.ip("link add name trunk type veth peer name trunk-far")?;
    switch.ip("link set trunk master front up")?;
    switch.ip("link set trunk-far master far up")?;
    for host in hosts {
        switch.ip(&format!("link set {host} master far"))?;
    }
    wait_until(DEADLINE, "the far bridge to forward", || {
        let ports = switch.run("bridge", &["link", "show"]).unwrap_or_default();
        ports.lines().filter(|line| line.contains("master far")).all(|line| line.contains("state forwarding"))
    })
    .map(drop)
}

#[test]
fn a_split_brain_heals_and_the_winner_announces_again() {
    scenario(Lab::builder().clients(2).directors(2), |lab| {
        split(lab, &["director-b", "client-2", "real-2"])?;
        let pair = Pair::start(lab, Way::V3_100MS)?;
        let near = pair.probe()?;
        let far = Probe::start(lab.host("client-2"), (VIP, PORT))?;
        for probe in [&near, &far] {
            probe.wait_until_through(pair.host_a())?;
        }

        lab.switch().link("trunk", false)?;
        pair.b_is_master()?;
        assert!(holds(pair.host_a(), VIP), "both are masters");
        // Each real is on one side, and so is half the traffic: for some of the flows nobody answers. What counts is
        // that the far client now sends to the far director.
        let entry = || lab.host("client-2").neighbour(VIP.into()).ok().flatten();
        wait_until(DEADLINE, "the far client to turn to B", || entry() == Some(pair.host_b().mac()))?;
        drop((near, far));

        let seen = lab.host("client-2").capture("eth1")?;
        lab.switch().link("trunk", true)?;
        pair.a_is_master()?;
        let mac = pair.host_a().mac();
        seen.wait_for(DEADLINE, "the winner's announcement", |frame| announces(frame, mac.0))?;
        // The reals of the other side come back as well, and then nothing is lost any more.
        pair.a.wait_until_served()?;
        lab.clients().try_for_each(|client| {
            let probe = Probe::start(client, (VIP, PORT))?;
            probe.wait_until_through(pair.host_a())?;
            probe.finish().without_loss()
        })
    });
}

/// A gratuitous ARP for the VIP from this MAC address.
fn announces(frame: &Frame, mac: [u8; 6]) -> bool {
    let Some((0x0806, arp)) = frame.payload() else {
        return false;
    };
    let (sender, target) = (arp.get(14..18), arp.get(24..28));
    arp.get(8..14) == Some(&mac) && sender == target && sender == Some(&VIP.octets())
}

/// Six VIPs, two for each of three directors, whose standbys are different directors: the order of the directors
/// for each.
const SIX: [[&str; 3]; 6] = [
    ["director-a", "director-b", "director-c"],
    ["director-a", "director-c", "director-b"],
    ["director-b", "director-c", "director-a"],
    ["director-b", "director-a", "director-c"],
    ["director-c", "director-a", "director-b"],
    ["director-c", "director-b", "director-a"],
];

fn vip(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(172, 28, 128, 211 + number as u8)
}

fn routers_of(director: &str) -> Vec<Router> {
    let router = |(number, order): (usize, &[&str; 3])| {
        let place = order.iter().position(|name| *name == director).unwrap_or(2);
        let priority = 200 - 50 * place as u8;
        let web = Router::web(Way::V3_100MS, priority).of(vip(number));
        Router { name: format!("vip{number}"), id: 211 + number as u8, ..web }
    };
    SIX.iter().enumerate().map(router).collect()
}

#[test]
fn three_directors_share_six_vips_and_two_survivors_hold_three_each() {
    let vips = || (0..SIX.len()).map(vip);
    let builder = Lab::builder().directors(3).vips(vips().map(IpAddr::from));
    scenario(builder, |lab| {
        start_reals(lab)?;
        let start = |host| Agent::start(host, &config(lab, &routers_of(host.name())));
        let mut agents = lab.directors().map(start).collect::<Result<Vec<_>>>()?;
        let held = |host: &Host| vips().filter(|vip| holds(host, *vip)).count();
        for host in lab.directors() {
            wait_until(DEADLINE, &format!("{} to hold two VIPs", host.name()), || held(host) == 2)?;
        }
        agents.iter().try_for_each(|agent| agent.wait_until_served().map(drop))?;

        let probes = vips().map(|vip| Probe::start(lab.client(), (vip, PORT))).collect::<Result<Vec<_>>>()?;
        let lost = lab.director();
        lab.cable(lost, false)?;
        agents.remove(0).process().kill()?;
        for host in lab.directors().skip(1) {
            wait_until(DEADLINE, &format!("{} to hold three VIPs", host.name()), || held(host) == 3)?;
        }
        for (probe, order) in probes.iter().zip(SIX) {
            let heir = order.iter().find(|name| **name != lost.name()).unwrap_or(&"");
            probe.wait_until_through(lab.host(heir))?;
        }
        for (probe, [first, ..]) in probes.into_iter().zip(SIX) {
            let report = probe.finish();
            assert_eq!(report.lost() > 0, first == lost.name(), "{first}'s: {report}");
        }
        let status = lb(lab.host("director-b"), &["vrrp"])?;
        assert_eq!(status.matches(": MASTER").count(), 3, "{status}");
        Ok(())
    });
}
