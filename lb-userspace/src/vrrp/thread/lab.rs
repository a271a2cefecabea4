//! Runners in network namespaces that share a veth pair: against each other, and against keepalived.
//!
//! Each runner is a process of its own, this test binary again, so that it can be killed as an agent can.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use super::{Owner, Runner};
use crate::vrrp::captures;
use crate::vrrp::protocol::holding::Placed;
use crate::vrrp::protocol::weights::Standing;
use crate::vrrp::thread::place::Places;
use crate::vrrp::wire::packet::Version;
use crate::vrrp::{Settings, Status};

mod adoption;
mod interop;
mod kernel;
mod segment;

use segment::{A, B, Lab, PATIENCE, Process};

#[test]
fn the_higher_priority_is_elected_and_hands_over_when_it_is_stopped() {
    let Some(lab) = Lab::new() else { return };
    for vip in ["10.77.0.100/24", "fd77::100/64"] {
        let mut low = lab.runner(B, &format!("3 100 100 {vip}"));
        low.wait_for("master");
        let mut high = lab.runner(A, &format!("3 100 200 {vip}"));
        high.wait_for("master");
        low.wait_for("backup");
        assert!(lab.holds(A, vip) && !lab.holds(B, vip));

        high.command("shutdown");
        low.wait_for("master: the master resigned");
        high.wait_for("initialize: its successor was heard");
        assert!(high.ends());
        assert!(lab.holds(B, vip) && !lab.holds(A, vip));
        low.command("shutdown");
        low.wait_for("initialize: no successor was heard in time");
        assert!(low.ends());
        assert!(lab.holds(B, vip), "nobody else has it");
        lab.remove(B, vip);
    }
}

#[test]
fn a_released_instance_stays_backup_until_it_reclaims() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    let mut low = lab.runner(B, "3 100 100 10.77.0.100/24");
    low.wait_for("backup");
    high.command("release");
    high.wait_for("releasing");
    high.wait_for("backup: its successor was heard");
    low.wait_for("master");
    high.command("reclaim");
    high.wait_for("master: the master had a lower priority");
    low.wait_for("backup: a master of higher standing was heard");
}

#[test]
fn a_reload_moves_addresses_without_an_election_and_a_removed_instance_hands_over() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    high.command("reload");
    high.wait_for("reloaded");
    assert!(lab.holds(A, "10.77.0.101/24") && !lab.holds(A, "10.77.0.100/24"));
    assert_eq!(high.status_after(Duration::ZERO).state, "master");

    let mut low = lab.runner(B, "3 100 100 10.77.0.101/24");
    low.wait_for("backup");
    high.command("unload");
    high.wait_for("initialize: its successor was heard");
    low.wait_for("master: the master resigned");
    lab.until("only the backup holds it", || lab.holds(B, "10.77.0.101/24") && !lab.holds(A, "10.77.0.101/24"));
}

#[test]
fn tracking_hands_over_and_takes_back() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    let mut low = lab.runner(B, "3 100 100 10.77.0.100/24");
    low.wait_for("backup");
    high.command("out");
    high.wait_for("initialize: its successor was heard");
    high.command("in");
    high.wait_for("backup: started");
    high.wait_for("master: the master had a lower priority");
    high.command("low");
    low.wait_for("master: the master had a lower priority");
    high.wait_for("backup: a master of higher standing was heard");
}

#[test]
fn a_lost_link_is_noticed_and_a_late_interface_is_waited_for() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24");
    high.wait_for("master");
    lab.ip(A, "link set eth0 down");
    high.wait_for("initialize: its interface is gone");
    lab.ip(A, "link set eth0 up");
    high.wait_for("backup: started");
    high.wait_for("master");

    lab.ip(A, "link set eth0 down");
    high.wait_for("initialize");
    lab.ip(A, "link set eth0 name eth9");
    lab.ip(A, "link set eth9 up");
    lab.ip(A, "link set eth9 down");
    lab.ip(A, "link set eth9 name eth0");
    lab.ip(A, "link set eth0 up");
    high.wait_for("master");
}

#[test]
fn a_virtual_mac_is_up_with_its_master_and_gone_with_its_agent() {
    let Some(lab) = Lab::new() else { return };
    let device = |host| {
        let links = lab.links(host);
        links.lines().find(|line| line.contains("00:00:5e:00:01:33")).map(str::to_owned)
    };
    let vip = "10.77.0.100/24";
    let mut low = lab.runner(B, "mac 3 100 100 10.77.0.100/24");
    low.wait_for("master");
    lab.until("the backup's macvlan is up", || device(B).is_some_and(|line| line.contains("LOWER_UP")));
    let mut high = lab.runner(A, "mac 3 100 200 10.77.0.100/24");
    high.wait_for("master: the master had a lower priority");
    low.wait_for("backup");
    let line = device(B).unwrap();
    assert!(!line.contains("LOWER_UP") && line.contains("mode bridge"), "{line}");
    assert!(lab.holds(A, vip) && !lab.holds(B, vip));

    // A killed agent leaves it, for the next one to adopt.
    drop(high);
    assert!(device(A).unwrap().contains("LOWER_UP"));
    let mut high = lab.runner(A, "mac 3 100 200 10.77.0.100/24");
    high.wait_for("master: found its addresses on the interface");
    high.command("shutdown");
    high.wait_for("initialize: its successor was heard");
    assert!(high.ends());
    assert_eq!(device(A), None);
    low.wait_for("master");
    low.command("shutdown");
    assert!(low.ends());
    assert!(lab.holds(B, vip) && device(B).is_some(), "nobody else has it");
}

#[test]
fn a_sync_group_is_master_of_all_or_of_nothing() {
    let Some(lab) = Lab::new() else { return };
    let (first, second) = ("10.77.1.1/16", "10.77.1.2/16");
    let both = |host| lab.holds(host, first) && lab.holds(host, second);
    let none = |host| !lab.holds(host, first) && !lab.holds(host, second);
    let settings = |priority: u8| format!("3 100 {priority} 10.77.0.100/24 - - 2 both");
    let mut high = lab.runner(A, &settings(200));
    lab.until("A has both", || both(A));
    let mut low = lab.runner(B, &settings(100));
    low.wait_for("backup");
    low.wait_for("backup");

    // One is tracked out: the other goes along, and comes back along.
    high.command("out1");
    lab.until("B has both", || both(B) && none(A));
    assert_eq!(high.status_after(Duration::ZERO).state, "initialize,initialize");
    high.command("in1");
    lab.until("A has both again", || both(A) && none(B));

    // A release is the group's, and so is a loss.
    high.command("release1");
    lab.until("B has both after the release", || both(B) && none(A));
    high.command("reclaim1");
    lab.until("A has both after the reclaim", || both(A) && none(B));
    let mut third = lab.runner(B, "3 100 250 10.77.0.100/24 - - 1");
    third.wait_for("master");
    lab.until("A has none: its first was taken", || !lab.holds(A, second));
    assert_eq!(high.status_after(Duration::from_secs(1)).state, "backup,backup", "no flapping");
    drop(third);
    drop(low);
    lab.until("A has both at the end", || both(A));
}

#[test]
fn a_stream_of_refused_adverts_changes_no_state() {
    let Some(lab) = Lab::new() else { return };
    for (version, settings, interval) in [
        (Version::V2, "2 1000 PRIORITY 10.77.0.100/24 s3cret77", Duration::from_secs(1)),
        (Version::V3, "3 100 PRIORITY 10.77.0.100/24", Duration::from_millis(100)),
    ] {
        // The crafted frames are aimed at 10.77.0.12.
        let mut master = lab.runner(B, &settings.replace("PRIORITY", "100"));
        master.wait_for("master");
        let mut backup = lab.runner(A, &settings.replace("PRIORITY", "50"));
        backup.wait_for("backup");
        let frames = captures::refused_frames(version);
        let before = backup.status_after(Duration::ZERO).received;
        let sent = lab.flood(A, &frames, interval / 10, 5 * interval);
        let seen = master.status_after(Duration::ZERO);
        assert_eq!(seen.state, "master");
        // Those of another router id, or too short to have one, reach no instance.
        assert!(seen.refused >= sent * 3 / 4, "{seen:?} of {sent}");
        let heard = backup.status_after(Duration::ZERO);
        assert_eq!(heard.state, "backup");
        assert!(heard.received >= before + 4, "the master was silenced: {heard:?}");
        // As fast as a host can.
        lab.flood(A, &frames, Duration::ZERO, 5 * interval);
        assert_eq!(master.status_after(Duration::ZERO).state, "master");
        let flooded = backup.status_after(Duration::ZERO);
        assert_eq!(flooded.state, "backup");
        assert!(flooded.received >= heard.received + 4, "the master was silenced: {flooded:?}");
    }
}

#[test]
fn every_router_id_of_an_interface_is_served_by_one_thread() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 100 200 10.77.0.100/24 - - 255");
    let mut low = lab.runner(B, "3 100 100 10.77.0.100/24 - - 255");
    let in_state = |process: &mut Process, state: &str| process.status_after(Duration::from_millis(100)).count(state);
    let end = Instant::now() + PATIENCE;
    while in_state(&mut high, "master") < 255 || in_state(&mut low, "backup") < 255 {
        assert!(Instant::now() < end);
    }
    assert!(lab.holds(A, "10.77.1.255/24") && !lab.holds(B, "10.77.1.255/24"));
    high.command("shutdown");
    assert!(high.ends());
    // One that is starved of the CPU meanwhile is followed by the timer.
    let end = Instant::now() + PATIENCE;
    while in_state(&mut low, "master") < 255 {
        assert!(Instant::now() < end);
    }
    assert!(lab.holds(B, "10.77.1.255/24"));
}

/// What [`Lab::runner`] starts; as a test of its own it has nothing to do.
#[test]
fn a_runner_in_a_process_of_its_own() {
    let Ok(arguments) = std::env::var("LB_VRRP_LAB") else {
        return;
    };
    let mut arguments = arguments.split_whitespace();
    let mut next = || arguments.next();
    let version = if next() == Some("2") { Version::V2 } else { Version::V3 };
    let interval = Duration::from_millis(next().unwrap().parse().unwrap());
    let priority = next().unwrap().parse().unwrap();
    // ADDRESS/LENGTH, or ADDRESS/LENGTH@INTERFACE.
    let vips: Vec<&str> = next().unwrap().split(',').collect();
    let nets = vips.iter().map(|vip| vip.split('@').next().unwrap().parse().unwrap()).collect();
    let password = next().filter(|&password| password != "-").map(str::to_owned);
    let peers = next().filter(|&peer| peer != "-").map(|peer| peer.parse().unwrap());
    let mut settings = Settings::new("web", "eth0", 51, version, nets);
    let placed = settings.addresses.iter().zip(&vips);
    let elsewhere = placed.filter_map(|(net, vip)| Some((net.addr(), vip.split_once('@')?.1.to_owned()))).collect();
    settings.elsewhere = elsewhere;
    (settings.priority, settings.interval) = (priority, interval);
    (settings.password, settings.peers) = (password.map(Into::into), peers.into_iter().collect());
    settings.virtual_mac = std::env::var_os("LB_VRRP_LAB_MAC").is_some();
    settings.preempt = std::env::var_os("LB_VRRP_LAB_MEEK").is_none();
    let mut all = vec![settings.clone()];
    if let Some(count) = next() {
        let nth = |router: u8| Settings {
            name: format!("web{router}"),
            router,
            addresses: vec![format!("10.77.1.{router}/16").parse().unwrap()],
            ..settings.clone()
        };
        let group = next().map(str::to_owned);
        all = (1..=count.parse().unwrap()).map(nth).map(|one| Settings { sync_group: group.clone(), ..one }).collect();
    }
    let owner = Printing(Places::open().unwrap());
    let (runner, handle) = Runner::new(owner, all).unwrap();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "out1" => handle.stand("web1", Standing::Out, "lab".into()).unwrap(),
                "in1" => handle.stand("web1", Standing::Priority(settings.priority), "lab".into()).unwrap(),
                "release1" => handle.release("web1").unwrap(),
                "reclaim1" => handle.reclaim("web1").unwrap(),
                "release" => handle.release("web").unwrap(),
                "reclaim" => handle.reclaim("web").unwrap(),
                "shutdown" => handle.shut_down().unwrap(),
                "reload" => {
                    let moved = Settings {
                        name: "renamed".into(),
                        addresses: vec!["10.77.0.101/24".parse().unwrap()],
                        ..settings.clone()
                    };
                    handle.reload(vec![moved]).unwrap();
                    println!("lab reloaded");
                }
                "out" => handle.stand("web", Standing::Out, "lab".into()).unwrap(),
                "in" => {
                    let standing = Standing::Priority(settings.priority);
                    handle.stand("web", standing, "lab".into()).unwrap();
                }
                "low" => {
                    let standing = Standing::Priority(50);
                    handle.stand("web", standing, "lab".into()).unwrap();
                }
                "home" => {
                    handle.reload(vec![Settings { elsewhere: BTreeMap::new(), ..settings.clone() }]).unwrap();
                }
                "unload" => handle.reload(Vec::new()).unwrap(),
                _ => {
                    let all = handle.status().unwrap();
                    let received: u64 = all.iter().map(|one| one.counters.received).sum();
                    let refused: u64 = all.iter().map(|one| one.counters.refused.total()).sum();
                    let states: Vec<_> = all.iter().map(|one| one.state.to_string()).collect();
                    println!("lab status {} {received} {refused}", states.join(","));
                }
            }
        }
    });
    runner.run().unwrap();
}

/// What the runners of a host have put there, for the next one.
fn list() -> String {
    std::env::var("LB_VRRP_LAB_LIST").unwrap()
}

struct Printing(Places);

impl Owner for Printing {
    fn prepare(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        self.0.prepare(settings, interface)
    }

    fn gate(&mut self, _: &Settings, _: Option<u32>, _: bool) {}

    fn places(&self, settings: &Settings, interface: u32) -> io::Result<Vec<Placed>> {
        self.0.of(settings, interface)
    }

    fn switch(&mut self, settings: &Settings, interface: u32, on: bool) -> io::Result<()> {
        self.0.switch(settings, interface, on)
    }

    fn put(&mut self, placed: Placed) -> io::Result<bool> {
        let put = self.0.put(placed);
        if std::env::var_os("LB_VRRP_LAB_DIES").is_some() {
            std::process::abort();
        }
        put
    }

    fn take(&mut self, placed: Placed) -> io::Result<()> {
        self.0.take(placed)
    }

    fn noted(&self) -> Vec<Placed> {
        let list = std::fs::read_to_string(list()).unwrap_or_default();
        let entry = |line: &str| {
            let (ifindex, address) = line.split_once(' ').unwrap();
            Placed { ifindex: ifindex.parse().unwrap(), address: address.parse().unwrap() }
        };
        list.lines().map(entry).collect()
    }

    fn note(&mut self, placed: &[Placed]) {
        let lines: String = placed.iter().map(|one| format!("{} {}\n", one.ifindex, one.address)).collect();
        // At once: a runner that is killed meanwhile leaves the old list or the new one.
        std::fs::write(list() + "-new", lines).unwrap();
        std::fs::rename(list() + "-new", list()).unwrap();
    }

    fn released(&self) -> BTreeSet<String> {
        let list = std::fs::read_to_string(list() + "-released").unwrap_or_default();
        list.lines().map(str::to_owned).collect()
    }

    fn note_released(&mut self, names: &BTreeSet<String>) {
        std::fs::write(list() + "-released", Vec::from_iter(names.iter().map(String::as_str)).join("\n")).unwrap();
    }

    fn forget(&mut self, settings: &Settings, interface: u32) {
        self.0.forget(settings, interface).unwrap();
    }

    fn entered(&mut self, status: &Status) {
        println!("lab {}: {}", status.state, status.cause);
    }
}
