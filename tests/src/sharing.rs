//! Directors that share one service's VIP and, by `[peers]`, their state. The first of them is its master.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::peers::session::State;

use crate::agent::Agent;
use crate::client::{Client, Connection};
use crate::directors::{Way, start_reals, wait_until_holds};
use crate::lab::{DEADLINE, Host, Lab, VIP, wait_until};

/// Connections that [`Sharing::connect`] opens.
pub const CONNECTIONS: usize = 200;

/// The directors' names, in the order of their priorities.
const NAMES: [&str; 3] = ["director-a", "director-b", "director-c"];
const PRIORITIES: [u8; 3] = [200, 150, 100];

/// What a director's configuration says of the service.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its scheduler.
    pub scheduler: &'static str,
    /// So many of the lab's reals.
    pub reals: usize,
    /// More lines of its section.
    pub keys: &'static str,
}

impl Service {
    /// Three reals take turns.
    pub const RR: Self = Self { scheduler: "rr", reals: 3, keys: "" };
    /// Three reals by hash.
    pub const MH: Self = Self { scheduler: "mh", reals: 3, keys: "" };
}

/// The key that they share; it is made when it isn't there yet.
///
/// # Errors
/// The file can't be written.
pub fn key_file(lab: &Lab) -> Result<PathBuf> {
    let key = lab.dir().join("peers.key");
    if !key.exists() {
        fs::write(&key, "3b1f00a9c27de45586e1b2a7c04f99d8e6573a1c")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    }
    Ok(key)
}

/// The configuration of one of `count` directors, with the others and `more` as its peers.
///
/// # Errors
/// The key can't be written.
pub fn config(lab: &Lab, number: usize, count: usize, service: Service, more: &[Ipv4Addr]) -> Result<String> {
    let Service { scheduler, reals, keys } = service;
    let reals: String = lab.reals().take(reals).map(|real| format!("{{ address = \"{}\" }}, ", real.v4())).collect();
    let others = NAMES.iter().take(count).enumerate().filter(|(other, _)| *other != number);
    let others = others.map(|(_, name)| lab.host(name).v4()).chain(more.iter().copied());
    let others: Vec<String> = others.map(|address| format!("\"{address}\"")).collect();
    // Those may never say anything.
    let wait = if more.is_empty() { "" } else { "bulk_wait = \"1s\"\n" };
    let Way { version, interval } = Way::V3_100MS;
    Ok(format!(
        "[director]\ninterfaces = [\"eth1\"]\n\n[limits]\nflows = 16384\n\n[peers]\nlisten = \"{}\"\naddresses = [{}]\n\
         key_file = \"{}\"\n{wait}\n[vrrp.web]\ninterface = \"eth1\"\nid = 210\nversion = {version}\npriority = {}\n\
         advertise = \"{}\"\naddresses = [\"{VIP}/24\"]\n\n[service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
         scheduler = \"{scheduler}\"\n{keys}check = {{ type = \"tcp\", interval = \"500ms\", timeout = \"400ms\" }}\n\
         reals = [{reals}]\n",
        host(lab, number).v4(),
        others.join(", "),
        key_file(lab)?.display(),
        PRIORITIES.get(number).copied().unwrap_or(1),
        humantime::format_duration(interval),
    ))
}

/// The host of a director.
#[must_use]
pub fn host(lab: &Lab, number: usize) -> &Host {
    lab.host(NAMES.get(number).copied().unwrap_or("director-a"))
}

/// The directors of a lab.
pub struct Sharing<'a> {
    lab: &'a Lab,
    /// Their agents.
    pub agents: Vec<Agent<'a>>,
}

impl<'a> Sharing<'a> {
    /// Starts one for each of these, which are the same but where directors disagree.
    ///
    /// # Errors
    /// One doesn't come up.
    pub fn start(lab: &'a Lab, services: &[Service]) -> Result<Self> {
        Self::start_with(lab, services, &[])
    }

    /// The same, with more peers of the first.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(lab: &'a Lab, services: &[Service], more: &[Ipv4Addr]) -> Result<Self> {
        start_reals(lab)?;
        let start = |(number, service): (usize, &Service)| {
            let more = if number == 0 { more } else { &[] };
            Agent::start(host(lab, number), &config(lab, number, services.len(), *service, more)?)
        };
        let agents: Vec<Agent<'_>> = services.iter().enumerate().map(start).collect::<Result<_>>()?;
        let directors = Self { lab, agents };
        directors.is_master(0)?;
        for agent in &directors.agents {
            agent.wait_until_served()?;
        }
        directors.have_met()?;
        Ok(directors)
    }

    /// Waits until each tells the others what changes.
    ///
    /// # Errors
    /// One doesn't in time.
    pub fn have_met(&self) -> Result<()> {
        let others = self.agents.len() - 1;
        for agent in &self.agents {
            wait_until(DEADLINE, "the directors to have met", || {
                let status = agent.status().ok().and_then(|status| status.peers);
                let live = |peers: &[_]| {
                    let states =
                        peers.iter().take(others).map(|peer: &lb_userspace::peers::status::PeerStatus| peer.state);
                    states.filter(|state| *state == State::Live).count()
                };
                status.is_some_and(|status| live(&status.peers) == others)
            })?;
        }
        Ok(())
    }

    /// Waits until a director is master.
    ///
    /// # Errors
    /// It isn't in time.
    pub fn is_master(&self, number: usize) -> Result<()> {
        if let Some(agent) = self.agents.get(number) {
            agent.wait_for_router("web", "master")?;
        }
        wait_until_holds(host(self.lab, number), VIP, true).map(drop)
    }

    /// The power of a director goes: neither its agent nor its cable is there any more.
    ///
    /// # Errors
    /// There is no such director.
    pub fn cut(&mut self, number: usize) -> Result<()> {
        self.lab.cable(host(self.lab, number), false)?;
        self.agents.get_mut(number).context("no such director")?.process().kill()
    }

    /// Connections, each with the real that answers it.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn connect(&self) -> Result<Vec<(Connection, String)>> {
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
///
/// # Errors
/// One doesn't; the text says how many, and of the first why.
pub fn all_go_on(connections: &mut [(Connection, String)]) -> Result<()> {
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
