//! Directors that share their state: whoever takes a VIP over goes on with the connections of whoever had it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, lb};
use lb_tests::client::{Client, Connection};
use lb_tests::directors::{Way, start_reals, wait_until_holds};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, scenario, wait_until};
use lb_userspace::api;
use lb_userspace::peers::session::State;

const CONNECTIONS: usize = 200;
const RR: Service = Service { scheduler: "rr", reals: 3 };
const MH: Service = Service { scheduler: "mh", reals: 3 };

/// The directors of a lab share their VIP's one service and their state. `A` is its master.
const NAMES: [&str; 3] = ["director-a", "director-b", "director-c"];
const PRIORITIES: [u8; 3] = [200, 150, 100];

/// What a director's configuration says of the service.
#[derive(Clone, Copy)]
struct Service {
    scheduler: &'static str,
    reals: usize,
}

/// A director's configuration, with the others of `count` as its peers.
fn config(lab: &Lab, number: usize, count: usize, service: Service) -> Result<String> {
    let key = lab.dir().join("peers.key");
    if !key.exists() {
        fs::write(&key, "3b1f00a9c27de45586e1b2a7c04f99d8e6573a1c")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    }
    let Service { scheduler, reals } = service;
    let reals: String = lab.reals().take(reals).map(|real| format!("{{ address = \"{}\" }}, ", real.v4())).collect();
    let others = NAMES.iter().take(count).enumerate().filter(|(other, _)| *other != number);
    let others: Vec<String> = others.map(|(_, name)| format!("\"{}\"", lab.host(name).v4())).collect();
    let Way { version, interval } = Way::V3_100MS;
    Ok(format!(
        "[director]\ninterfaces = [\"eth1\"]\n\n[limits]\nflows = 16384\n\n[peers]\nlisten = \"{}\"\naddresses = [{}]\n\
         key_file = \"{}\"\n\n[vrrp.web]\ninterface = \"eth1\"\nid = 210\nversion = {version}\npriority = {}\n\
         advertise = \"{}\"\naddresses = [\"{VIP}/24\"]\n\n[service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
         scheduler = \"{scheduler}\"\ncheck = {{ type = \"tcp\", interval = \"500ms\", timeout = \"400ms\" }}\n\
         reals = [{reals}]\n",
        host(lab, number).v4(),
        others.join(", "),
        key.display(),
        PRIORITIES.get(number).copied().unwrap_or(1),
        humantime::format_duration(interval),
    ))
}

fn host(lab: &Lab, number: usize) -> &Host {
    lab.host(NAMES.get(number).copied().unwrap_or("director-a"))
}

struct Directors<'a> {
    lab: &'a Lab,
    agents: Vec<Agent<'a>>,
}

impl<'a> Directors<'a> {
    /// Starts one for each of these, which are the same but where directors disagree.
    fn start(lab: &'a Lab, services: &[Service]) -> Result<Self> {
        start_reals(lab)?;
        let start = |(number, service): (usize, &Service)| {
            Agent::start(host(lab, number), &config(lab, number, services.len(), *service)?)
        };
        let agents: Vec<Agent<'_>> = services.iter().enumerate().map(start).collect::<Result<_>>()?;
        let directors = Self { lab, agents };
        directors.is_master(0)?;
        for agent in &directors.agents {
            agent.wait_until_served()?;
            wait_until(DEADLINE, "the peers to have met", || {
                let status = agent.status().ok().and_then(|status| status.peers);
                status.is_some_and(|status| status.peers.iter().all(|peer| peer.state == State::Live))
            })?;
        }
        Ok(directors)
    }

    fn is_master(&self, number: usize) -> Result<()> {
        if let Some(agent) = self.agents.get(number) {
            agent.wait_for_router("web", "master")?;
        }
        wait_until_holds(host(self.lab, number), VIP, true).map(drop)
    }

    /// The power of a director goes: neither its agent nor its cable is there any more.
    fn cut(&mut self, number: usize) -> Result<()> {
        self.lab.cable(host(self.lab, number), false)?;
        self.agents.get_mut(number).context("no such director")?.process().kill()
    }

    /// Connections, each with the real that answers it.
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
        let mut directors = Directors::start(lab, &[RR; 2])?;
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
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("after the power cut")
    });
}

#[test]
fn connections_go_on_over_a_planned_hand_over_and_back() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let directors = Directors::start(lab, &[RR; 2])?;
        let mut connections = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "release", "web"])?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("after the hand-over")?;
        let mut more = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "reclaim", "web"])?;
        directors.is_master(0)?;
        all_go_on(&mut connections).context("after the return")?;
        all_go_on(&mut more).context("those that came meanwhile")
    });
}

#[test]
fn connections_go_on_from_one_director_to_the_next_and_the_next() {
    scenario(Lab::builder().directors(3).reals(3), |lab| {
        let mut directors = Directors::start(lab, &[RR; 3])?;
        let mut connections = directors.connect()?;
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on the second director")?;
        let mut more = directors.connect()?;
        directors.cut(1)?;
        directors.is_master(2)?;
        all_go_on(&mut connections).context("on the third director")?;
        all_go_on(&mut more).context("those that came on the second")
    });
}

#[test]
fn a_reload_that_has_reached_only_the_backup_moves_nothing() {
    scenario(Lab::builder().directors(2).reals(4), |lab| {
        let more = Service { reals: 4, ..MH };
        let mut directors = Directors::start(lab, &[MH, more])?;
        let mut connections = directors.connect()?;
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on a director that has one real more")?;
        // New ones take all four.
        let reals: BTreeSet<String> = directors.connect()?.into_iter().map(|(_, real)| real).collect();
        assert_eq!(reals.len(), 4, "{reals:?}");
        Ok(())
    });
}

#[test]
fn directors_that_disagree_about_a_real_break_its_connections_alone() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let mut directors = Directors::start(lab, &[MH; 2])?;
        // The backup's checks don't reach it; the master's do.
        let lost = lab.real(2);
        host(lab, 1).ip(&format!("route add blackhole {}/32", lost.v4()))?;
        let backup = directors.agents.get(1).context("two")?;
        backup.wait_for_real("web", lost.v4(), |real| real.state == api::State::Down)?;
        let mut connections = directors.connect()?;
        directors.cut(0)?;
        directors.is_master(1)?;
        connections.retain(|(_, real)| real != lost.title());
        assert!(connections.len() < CONNECTIONS, "the master has used it");
        all_go_on(&mut connections).context("of the other reals")
    });
}
