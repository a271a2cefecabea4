//! Directors that share their state: whoever takes a VIP over goes on with the connections of whoever had it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, lb};
use lb_tests::client::{Client, Connection};
use lb_tests::directors::{Way, start_reals, wait_until_holds};
use lb_tests::lab::{DEADLINE, Lab, VIP, scenario, wait_until};
use lb_userspace::peers::session::State;

const CONNECTIONS: usize = 200;

/// A director's configuration with an `rr` service, a virtual router and the other director as its peer.
fn config(lab: &Lab, own: &str, other: &str, priority: u8) -> Result<String> {
    let key = lab.dir().join("peers.key");
    if !key.exists() {
        fs::write(&key, "3b1f00a9c27de45586e1b2a7c04f99d8e6573a1c")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    }
    let reals: String = lab.reals().map(|real| format!("{{ address = \"{}\" }}, ", real.v4())).collect();
    let Way { version, interval } = Way::V3_100MS;
    Ok(format!(
        "[director]\ninterfaces = [\"eth1\"]\n\n[limits]\nflows = 16384\n\n[peers]\nlisten = \"{}\"\naddresses = [\"{}\"]\nkey_file = \"{}\"\n\n\
         [vrrp.web]\ninterface = \"eth1\"\nid = 210\nversion = {version}\npriority = {priority}\nadvertise = \"{}\"\n\
         addresses = [\"{VIP}/24\"]\n\n[service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\nscheduler = \"rr\"\n\
         check = {{ type = \"tcp\", interval = \"500ms\", timeout = \"400ms\" }}\nreals = [{reals}]\n",
        lab.host(own).v4(),
        lab.host(other).v4(),
        key.display(),
        humantime::format_duration(interval),
    ))
}

struct Directors<'a> {
    lab: &'a Lab,
    a: Agent<'a>,
    b: Agent<'a>,
}

impl<'a> Directors<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        start_reals(lab)?;
        let a = Agent::start(lab.host("director-a"), &config(lab, "director-a", "director-b", 200)?)?;
        let b = Agent::start(lab.host("director-b"), &config(lab, "director-b", "director-a", 100)?)?;
        let directors = Self { lab, a, b };
        directors.a.wait_until_served()?;
        directors.b.wait_until_served()?;
        directors.a_is_master()?;
        for agent in [&directors.a, &directors.b] {
            wait_until(DEADLINE, "the peers to have met", || {
                let status = agent.status().ok().and_then(|status| status.peers);
                status.is_some_and(|status| status.peers.iter().all(|peer| peer.state == State::Live))
            })?;
        }
        Ok(directors)
    }

    fn a_is_master(&self) -> Result<()> {
        self.a.wait_for_router("web", "master")?;
        self.b.wait_for_router("web", "backup")?;
        wait_until_holds(self.lab.host("director-a"), VIP, true).map(drop)
    }

    fn b_is_master(&self) -> Result<()> {
        self.b.wait_for_router("web", "master")?;
        wait_until_holds(self.lab.host("director-b"), VIP, true).map(drop)
    }

    /// Connections that take turns, each with the real that answers it.
    fn connect(&self) -> Result<Vec<(Connection, String)>> {
        let client = Client::new(self.lab.client());
        let open = || {
            let mut connection = client.connect((VIP, 80))?;
            let real = connection.ask("/")?.real;
            Ok((connection, real))
        };
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect::<Result<_>>()?;
        // They are told of in a tenth of a second.
        std::thread::sleep(Duration::from_millis(300));
        Ok(connections)
    }
}

/// Whether all go on, each with its own real.
fn all_go_on(connections: &mut [(Connection, String)]) -> Result<()> {
    let mut lost = Vec::new();
    for (connection, real) in connections.iter_mut() {
        match connection.ask("/") {
            Ok(answer) if answer.real == *real => {}
            Ok(answer) => lost.push(format!("{real} became {}", answer.real)),
            Err(error) => lost.push(format!("{error:#}")),
        }
    }
    let first = lost.first().cloned().unwrap_or_default();
    ensure!(lost.is_empty(), "{} of {} did not go on: {first}", lost.len(), connections.len());
    Ok(())
}

#[test]
fn connections_that_took_turns_outlive_their_director() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let mut directors = Directors::start(lab)?;
        let mut connections = directors.connect()?;
        all_go_on(&mut connections)?;
        // Both know of each, and which real has it.
        for director in ["director-a", "director-b"].map(|name| lab.host(name)) {
            let listed = lb(director, &["list", "--connections"])?;
            assert_eq!(listed.lines().count(), 1 + CONNECTIONS, "{listed}");
            let real = lab.real(1).v4();
            let of_one = lb(director, &["list", "--connections", "--service", "web", "--real", &real.to_string()])?;
            let held = connections.iter().filter(|(_, title)| *title == lab.real(1).title()).count();
            assert_eq!(of_one.matches(" open ").count(), held, "{of_one}");
            assert!(!lb(director, &["list", "--connections", "--client", "192.0.2.0/24"])?.contains("open"));
        }
        // The power goes: neither its agent nor its cable is there any more.
        lab.cable(lab.host("director-a"), false)?;
        directors.a.process().kill()?;
        directors.b_is_master()?;
        all_go_on(&mut connections).context("after the power cut")?;
        Ok(())
    });
}

#[test]
fn connections_go_on_over_a_planned_hand_over_and_back() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let directors = Directors::start(lab)?;
        let mut connections = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "release", "web"])?;
        directors.b_is_master()?;
        all_go_on(&mut connections).context("after the hand-over")?;
        let mut more = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "reclaim", "web"])?;
        directors.a_is_master()?;
        all_go_on(&mut connections).context("after the return")?;
        all_go_on(&mut more).context("those that came meanwhile")?;
        Ok(())
    });
}
