//! lb and Debian's keepalived, each as the other's backup: how people migrate, one director at a time.
//!
//! Director A runs lb as a whole. On director B keepalived has VRRP, and lb forwards without it.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::directors::{PORT, Router, Way, config, config_without_vrrp, holds, start_reals, wait_until_holds};
use lb_tests::keepalived::{Keepalived, available, instance};
use lb_tests::lab::{Builder, DEADLINE, Host, Lab, VIP, VIP6, nginx, scenario};
use lb_tests::probe::Probe;
use lb_userspace::vrrp::State;
use pcap_file::pcap::PcapReader;

const REFERENCE: &str = include_str!("../../../packaging/lb.toml");

/// One way of running the protocol, in both programs' words.
struct Case {
    way: Way,
    vip: IpAddr,
    password: Option<&'static str>,
    unicast: bool,
}

const V3: Case = Case { way: Way::V3_100MS, vip: IpAddr::V4(VIP), password: None, unicast: false };

impl Case {
    fn router(&self, priority: u8) -> Router {
        Router::web(self.way, priority).of(self.vip)
    }

    fn ours(&self, lab: &Lab, priority: u8) -> String {
        let mut router = self.router(priority);
        if let Some(password) = self.password {
            router = router.with(&format!("password = \"{password}\""));
        }
        if self.unicast {
            router = router.with(&format!("peers = [\"{}\"]", lab.host("director-b").v4()));
        }
        config(lab, &[router])
    }

    fn theirs(&self, lab: &Lab, priority: u8) -> String {
        let peers = if self.unicast { vec![lab.director().v4().into()] } else { Vec::new() };
        instance(&self.router(priority), self.password, &peers)
    }

    fn in_turns(&self) {
        if available() {
            scenario(Lab::builder().directors(2), |lab| self.take_turns(lab));
        }
    }

    fn take_turns(&self, lab: &Lab) -> Result<()> {
        start_reals(lab)?;
        let (a, b) = (lab.director(), lab.host("director-b"));
        let only = |holder: &Host, other: &Host| {
            wait_until_holds(holder, self.vip, true)?;
            wait_until_holds(other, self.vip, false).map(drop)
        };
        let forwarder = Agent::start(b, &config_without_vrrp(lab, &[self.router(1)]))?;
        forwarder.wait_until_served()?;

        // keepalived is there first, and its backup follows it and gives back.
        let keepalived = Keepalived::start(b, &self.theirs(lab, 150))?;
        only(b, a)?;
        let mut lb = Agent::start(a, &self.ours(lab, 100))?;
        lb.wait_until_served()?;
        let probe = Probe::start(lab.client(), (self.vip, PORT))?;
        probe.wait_until_through(b)?;
        lb.wait_for_router("web", "backup")?;
        keepalived.stop(DEADLINE)?;
        only(a, b)?;
        lb.wait_for_router("web", "master")?;
        probe.wait_until_through(a)?;
        let keepalived = Keepalived::start(b, &self.theirs(lab, 150))?;
        only(b, a)?;
        lb.wait_for_router("web", "backup")?;
        probe.wait_until_through(b)?;
        drop(probe);

        // lb has become the better one: it takes the VIP, hands it over when it stops, and takes it back.
        let probe = Probe::start(lab.client(), (self.vip, PORT))?;
        lb.reload(&self.ours(lab, 200))?;
        only(a, b)?;
        probe.wait_until_through(a)?;
        ensure!(lb.process().terminate(DEADLINE)?.success(), "lb failed");
        only(b, a)?;
        probe.wait_until_through(b)?;
        let lb = Agent::start_again(a)?;
        only(a, b)?;
        probe.wait_until_through(a)?;
        probe.finish().without_loss()?;
        let [router] = &lb.routers()?[..] else {
            anyhow::bail!("lb has one virtual router");
        };
        ensure!(router.counters.refused.total() == 0 && router.counters.unsent == 0, "{router:?}");
        keepalived.stop(DEADLINE)
    }
}

#[test]
fn version_2_with_a_password() {
    Case { way: Way::V2_1S, password: Some("PassW0rD"), ..V3 }.in_turns();
}

#[test]
fn version_3_over_ipv4() {
    V3.in_turns();
}

#[test]
fn version_3_over_ipv6() {
    Case { vip: VIP6.into(), ..V3 }.in_turns();
}

#[test]
fn unicast() {
    Case { unicast: true, ..V3 }.in_turns();
}

/// As the reference lab has it on both of its directors.
const REFERENCE_KEEPALIVED: &str = "
vrrp_instance VI_1 {
    state MASTER
    interface eth1
    virtual_router_id 210
    priority 1
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass PassW0rD
    }
    virtual_ipaddress {
        172.28.128.210
    }
}
";

#[test]
fn the_reference_labs_own_configurations_pair_as_they_are() {
    if !available() {
        return;
    }
    scenario(Lab::builder().directors(2), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (a, b) = (lab.director(), lab.host("director-b"));
        let (head, services) = REFERENCE.split_once("[vrrp.web]").context("it has a virtual router")?;
        let (_, services) = services.split_once("[service.web]").context("it has a service")?;
        let forwarder = Agent::start(b, &format!("{head}[service.web]{services}"))?;
        forwarder.wait_until_served()?;

        let keepalived = Keepalived::start(b, REFERENCE_KEEPALIVED)?;
        wait_until_holds(b, VIP, true)?;
        let mut lb = Agent::start(a, REFERENCE)?;
        lb.wait_until_served()?;
        let client = Client::new(lab.client());
        let ask = || client.get_many((VIP, 80), 10).map(drop);
        ask()?;
        keepalived.stop(DEADLINE)?;
        lb.wait_for_router("web", "master")?;
        ask()?;
        // Of equal priority: who is master stays it.
        let keepalived = Keepalived::start(b, &REFERENCE_KEEPALIVED.replace("MASTER", "BACKUP"))?;
        let heard = || lb.routers().is_ok_and(|routers| routers.iter().all(|router| router.state == State::Master));
        ask()?;
        ensure!(heard() && !holds(b, VIP), "keepalived has taken the VIP");
        ensure!(lb.process().terminate(DEADLINE)?.success(), "lb failed");
        wait_until_holds(b, VIP, true)?;
        ensure!(!holds(a, VIP), "lb has kept the VIP");
        ask()?;
        keepalived.stop(DEADLINE)
    });
}

/// The frames of `crafted-v3-cases.pcap` that an instance like theirs must refuse, by their number in the index.
const REFUSED: [usize; 13] = [2, 3, 4, 5, 6, 11, 15, 16, 17, 18, 19, 20, 22];
/// An interval of 0, which keepalived takes for a master's, and then for that master's death.
const INTERVAL_0: usize = 9;

fn frames_of(numbers: impl IntoIterator<Item = usize>) -> Result<Vec<Vec<u8>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vrrp/crafted-v3-cases.pcap");
    let mut reader = PcapReader::new(File::open(path)?)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet?.data.into_owned());
    }
    numbers.into_iter().map(|number| frames.get(number - 1).cloned().context("the capture is too short")).collect()
}

#[test]
fn refused_adverts_at_ten_times_the_rate_change_no_state() {
    scenario(aimed_at(2), |lab| flood(lab, &frames_of(REFUSED.into_iter().chain([INTERVAL_0]))?));
}

#[test]
fn refused_adverts_do_not_silence_lb_for_keepalived() {
    if !available() {
        return;
    }
    scenario(aimed_at(3), |lab| {
        let c = lab.host("director-c");
        let keepalived = Keepalived::start(c, &instance(&aimed(50), None, &[]))?;
        flood(lab, &frames_of(REFUSED)?)?;
        ensure!(!holds(c, TARGET), "keepalived has taken the VIP");
        keepalived.stop(DEADLINE)
    });
}

/// The captures are aimed at this VIP.
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));

fn aimed_at(directors: u8) -> Builder {
    Lab::builder().directors(directors).vips([TARGET])
}

fn aimed(priority: u8) -> Router {
    Router { id: 51, ..Router::web(Way::V3_100MS, priority).of(TARGET) }
}

/// Sends the frames one after the other, ten times as fast as the master advertises. Directors A and B, on which lb
/// runs, must stay what they are.
fn flood(lab: &Lab, frames: &[Vec<u8>]) -> Result<()> {
    for (host, number) in lab.hosts().iter().skip(1).zip(11..) {
        host.ip(&format!("address add 10.77.0.{number}/24 dev eth1"))?;
    }
    start_reals(lab)?;
    let [a, b] = [lab.director(), lab.host("director-b")];
    let master = Agent::start(a, &config(lab, &[aimed(200)]))?;
    master.wait_until_served()?;
    master.wait_for_router("web", "master")?;
    let backup = Agent::start(b, &config(lab, &[aimed(100)]))?;
    backup.wait_until_served()?;
    let states = || [&master, &backup].map(Agent::routers);
    let before = states();
    let probe = Probe::start(lab.client(), (TARGET, PORT))?;

    let start = Instant::now();
    let mut sent = 0;
    for frame in frames.iter().cycle().take_while(|_| start.elapsed() < Duration::from_secs(3)) {
        lab.client().send("eth1", frame)?;
        sent += 1;
        thread::sleep(Duration::from_millis(10));
    }
    for (before, now) in before.into_iter().zip(states()) {
        let ([before], [now]) = (&before?[..], &now?[..]) else {
            anyhow::bail!("each has one virtual router");
        };
        ensure!(
            (before.state, before.counters.elections) == (now.state, now.counters.elections),
            "{before:?}, then {now:?}"
        );
        let refused: u64 = now.counters.refused.total();
        // Some have no router id that anybody would know.
        ensure!(refused >= sent / 2, "{refused} of {sent} are counted: {now:?}");
    }
    ensure!(!holds(b, TARGET), "the backup has taken the VIP");
    let report = probe.finish();
    report.without_loss()?;
    ensure!(report.through() == [a.mac()], "{report}");
    Ok(())
}
