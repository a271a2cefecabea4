//! Long-lived connections to services while their directors and reals change: who may lose theirs, and that nobody else
//! does.
//!
//! All schedulers are in one lab, as services of it: an agent that starts has its program verified, which takes more of a CPU
//! than thousands of connections do.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use lb_userspace::api::State;

use crate::agent::Agent;
use crate::client::{Client, Connections, Lost};
use crate::config::{real, service};
use crate::directors::holds;
use crate::lab::{Builder, DEADLINE, Host, Lab, VIP, VIP6, nginx, wait_until};
use crate::responder::Http;

/// The virtual routers: one for either family.
const ROUTERS: [&str; 2] = ["v4", "v6"];

/// The priorities of directors A and B.
const PRIORITIES: [u8; 2] = [200, 100];

/// Where the checks ask: apart from the services, so that a check can fail while connections live.
const HEALTH: u16 = 8080;

/// How often each connection asks.
const INTERVAL: Duration = Duration::from_secs(1);

/// New connections to each service after a change.
const MORE: usize = 50;

/// What is configured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each is that of a service of either family, with a VIP of its own.
    pub schedulers: &'static [&'static str],
    /// Reals by number, with their weights.
    pub reals: BTreeMap<u8, u16>,
    /// Time between checks.
    pub check_interval: &'static str,
    /// More keys of whoever has reals, a service or a pool; a line each.
    pub keys: &'static str,
    /// The services have the reals of a pool, one for either family, whose name begins so.
    pub pool: Option<&'static str>,
    /// The schedulers whose services have reals of their own all the same.
    pub apart: &'static [&'static str],
    /// The directors share their state.
    pub exchange: bool,
}

impl Plan {
    /// A lab whose reals have its VIPs.
    #[must_use]
    pub fn lab(&self) -> Builder {
        Lab::builder().vips(self.services().map(|(_, vip)| vip))
    }

    /// The name of the pool of a family.
    fn pool_of(&self, v6: bool) -> String {
        format!("{}-{}", self.pool.unwrap_or_default(), if v6 { "v6" } else { "v4" })
    }

    /// Each service's scheduler and VIP.
    fn services(&self) -> impl Iterator<Item = (&'static str, IpAddr)> {
        (0..).zip(self.schedulers).flat_map(|(place, scheduler)| {
            let v4 = Ipv4Addr::from_bits(VIP.to_bits() + place);
            let v6 = Ipv6Addr::from_bits(VIP6.to_bits() + u128::from(place));
            [(*scheduler, v4.into()), (*scheduler, v6.into())]
        })
    }
}

/// A service and its connections.
struct Row {
    /// `mh-v6`.
    name: String,
    connections: Connections,
}

fn name(scheduler: &str, vip: IpAddr) -> String {
    format!("{scheduler}-{}", if vip.is_ipv6() { "v6" } else { "v4" })
}

/// A lab with its connections.
pub struct Scene<'a> {
    lab: &'a Lab,
    /// What is configured.
    pub plan: Plan,
    agents: [Option<Agent<'a>>; 2],
    rows: Vec<Row>,
    checked: BTreeMap<u8, Http>,
}

impl<'a> Scene<'a> {
    /// Starts nginx on each real, an agent on each director, and opens `count` connections to each service.
    ///
    /// # Errors
    /// One doesn't start.
    pub fn start(lab: &'a Lab, plan: Plan, count: usize) -> Result<Self> {
        let mut checked = BTreeMap::new();
        for (number, real) in (1..).zip(lab.reals()) {
            lab.hold(nginx::start(real)?);
            checked.insert(number, Http::start_at(real, HEALTH)?);
        }
        let mut scene = Self { lab, plan, agents: [None, None], rows: Vec::new(), checked };
        for (place, host) in lab.directors().enumerate().take(2) {
            let agent = Agent::start(host, &scene.config(place)?)?;
            agent.wait_until_served()?;
            if let Some(held) = scene.agents.get_mut(place) {
                *held = Some(agent);
            }
        }
        scene.wait_for_master(0)?;
        let client = Client::new(lab.client());
        let open = |(scheduler, vip)| {
            let connections = Connections::open(&client, (vip, 80), count, INTERVAL)?;
            Ok(Row { name: name(scheduler, vip), connections })
        };
        scene.rows = scene.plan.services().map(open).collect::<Result<_>>()?;
        scene.keeps_all("nothing happens", |_| Ok(()))?;
        Ok(scene)
    }

    /// Runs a change that may cost nobody's connection, and opens some more.
    ///
    /// # Errors
    /// One is lost or moved, or is silent for too long.
    pub fn keeps_all(&mut self, what: &str, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.keeps_all_and(what, |_, _| Ok(()), change)
    }

    /// The same, after which one real gets new connections, or gets none.
    ///
    /// # Errors
    /// It is otherwise, or as [`Self::keeps_all`].
    pub fn keeps_all_with_new_ones(
        &mut self,
        what: &str,
        (number, some): (u8, bool),
        change: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let title = self.lab.real(number).title().to_owned();
        let check = |row: &Row, first: usize| {
            let new = row.connections.living(first);
            ensure!(new.contains_key(&title) == some, "{}: new connections went to {new:?}", row.name);
            Ok(())
        };
        self.keeps_all_and(what, check, change)
    }

    fn keeps_all_and(
        &mut self,
        what: &str,
        check: impl Fn(&Row, usize) -> Result<()>,
        change: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let kept = change(self).and_then(|()| {
            let first: Vec<usize> = self.rows.iter().map(|row| row.connections.count()).collect();
            self.rows.iter().try_for_each(|row| row.connections.join(MORE, INTERVAL))?;
            self.goes_on()?;
            self.all_are_kept()?;
            self.rows.iter().zip(first).try_for_each(|(row, first)| check(row, first))
        });
        kept.map_err(|error| self.explained(what, error))?;
        self.tell(what, "0 reset, 0 moved", start)
    }

    fn all_are_kept(&self) -> Result<()> {
        let broken = self.rows.iter().filter_map(|row| {
            let (lost, moved) = (row.connections.lost(), row.connections.moved());
            let (first, away) = (lost.first()?, moved.len());
            Some(format!("{}: {:?} lost, the first: {first:?}; {away} moved", row.name, by_real(&lost)))
        });
        let broken: Vec<String> = broken.collect();
        ensure!(broken.is_empty(), "{}", broken.join("; "));
        self.none_is_moved()
    }

    /// TCP makes this impossible, unless the client's own side is wrong.
    fn none_is_moved(&self) -> Result<()> {
        let moved: Vec<_> = self.rows.iter().flat_map(|row| row.connections.moved()).collect();
        ensure!(moved.is_empty(), "moved: {moved:?}");
        Ok(())
    }

    /// Runs a change after which the connections of one real must be reset, each by the first packet that it sends then;
    /// and nobody else's. They are opened again.
    ///
    /// # Errors
    /// Others are lost, or of these one isn't, or late.
    pub fn resets_those_of(
        &mut self,
        number: u8,
        what: &str,
        change: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let title = self.lab.real(number).title().to_owned();
        let own = |row: &Row| row.connections.living(0).get(&title).copied().unwrap_or_default();
        let owned: Vec<usize> = self.rows.iter().map(own).collect();
        let reset = change(self).and_then(|()| self.all_are_reset(number, &title, &owned));
        reset.map_err(|error| self.explained(what, error))?;
        self.tell(what, &format!("{} of {title} reset, 0 of others", owned.iter().sum::<usize>()), start)?;
        self.rows.iter().try_for_each(|row| row.connections.reopen())
    }

    fn all_are_reset(&self, number: u8, title: &str, owned: &[usize]) -> Result<()> {
        for row in &self.rows {
            wait_until(DEADLINE, "the first reset", || !row.connections.lost().is_empty())?;
        }
        self.wait_for_state(number, State::Down)?;
        // From here on the maps have been written for a while.
        let mark = Instant::now();
        let before = self.rows.iter().map(|row| row.connections.again()).collect::<Result<Vec<_>>>()?;
        self.goes_on()?;
        for ((row, own), before) in self.rows.iter().zip(owned).zip(before) {
            let lost = row.connections.lost();
            let name = &row.name;
            let others: Vec<_> = lost.iter().filter(|lost| lost.real.as_deref() != Some(title)).collect();
            ensure!(others.is_empty(), "{name}: {} of others are lost; the first: {:?}", others.len(), others.first());
            ensure!(lost.len() == *own, "{name}: {} of {own} connections of {title} are lost", lost.len());
            for lost in &lost {
                ensure!(lost.cause == ErrorKind::ConnectionReset, "{name}: not a reset: {lost:?}");
                let again = lost.again.saturating_sub(before.get(lost.number).copied().unwrap_or(lost.again));
                let sent = again + u32::from(lost.asked.is_some_and(|asked| asked > mark));
                ensure!(sent <= 1, "{name}: reset after {sent} packets only: {lost:?}");
            }
        }
        self.none_is_moved()
    }

    /// An error with what helps to find its cause.
    fn explained(&self, what: &str, error: Error) -> Error {
        let agents = self.agents.iter().flatten();
        let told: Vec<String> = agents.filter_map(|agent| agent.lb(&["list", "--json"]).ok()).collect();
        let living = self.rows.iter().map(|row| format!("{}: {:?}", row.name, row.connections.living(0)));
        let living: Vec<String> = living.collect();
        anyhow!("{what}: {error:#}\nliving: {}\n{}", living.join("; "), told.join("\n"))
    }

    fn tell(&self, what: &str, outcome: &str, start: Instant) -> Result<()> {
        let again = self.rows.iter().map(|row| Ok(row.connections.again()?.iter().sum::<u32>()));
        let again: u32 = again.sum::<Result<u32>>()?;
        let count: usize = self.rows.iter().map(|row| row.connections.count()).sum();
        let took = start.elapsed();
        println!("{what}: {count} connections, {outcome}; {again} segments sent again so far; {took:.1?}");
        Ok(())
    }

    /// Waits until all have been asked and have answered once more.
    ///
    /// # Errors
    /// One is silent for too long.
    pub fn goes_on(&self) -> Result<()> {
        let since = Instant::now();
        let wait = |row: &Row| row.connections.wait_for_a_round(since).map(drop).with_context(|| row.name.clone());
        self.rows.iter().try_for_each(wait)
    }

    /// Has every agent take the plan as it is now.
    ///
    /// # Errors
    /// One refuses.
    pub fn reload(&self) -> Result<()> {
        for (place, agent) in self.agents.iter().enumerate() {
            if let Some(agent) = agent {
                agent.reload(&self.config(place)?)?;
            }
        }
        Ok(())
    }

    /// Lets a real's check fail, or succeed again. The real itself goes on.
    ///
    /// # Errors
    /// Its port is taken.
    pub fn check_of(&mut self, number: u8, succeeds: bool) -> Result<()> {
        if succeeds {
            let answers = Http::start_at(self.lab.real(number), HEALTH)?;
            self.checked.insert(number, answers);
        } else {
            self.checked.remove(&number);
        }
        Ok(())
    }

    /// Waits until every director with an agent sees a real so, in every service.
    ///
    /// # Errors
    /// One doesn't in time.
    pub fn wait_for_state(&self, number: u8, state: State) -> Result<()> {
        let real = self.lab.real(number);
        for agent in self.agents.iter().flatten() {
            for (scheduler, vip) in self.plan.services() {
                let address: IpAddr = if vip.is_ipv6() { real.v6().into() } else { real.v4().into() };
                agent.wait_for_real(&name(scheduler, vip), address, |real| real.state == state)?;
            }
        }
        Ok(())
    }

    /// Cuts a real off, or a director, or joins it again.
    ///
    /// # Errors
    /// The switch has no such port.
    pub fn cable(&self, host: &str, plugged: bool) -> Result<()> {
        self.lab.cable(self.lab.host(host), plugged)
    }

    /// Runs `lb vrrp` with this word on a director, for each virtual router.
    ///
    /// # Errors
    /// It fails.
    pub fn vrrp(&self, place: usize, word: &str) -> Result<()> {
        ROUTERS.iter().try_for_each(|router| self.agent(place)?.lb(&["vrrp", word, router]).map(drop))
    }

    fn agent(&self, place: usize) -> Result<&Agent<'a>> {
        self.agents.get(place).and_then(Option::as_ref).with_context(|| format!("director {place} has no agent"))
    }

    fn take_agent(&mut self, place: usize) -> Result<Agent<'a>> {
        self.agents.get_mut(place).and_then(Option::take).with_context(|| format!("director {place} has no agent"))
    }

    /// Kills a director's agent.
    ///
    /// # Errors
    /// It has none.
    pub fn kill(&mut self, place: usize) -> Result<()> {
        self.take_agent(place)?.process().kill()
    }

    /// Stops a director's agent in order.
    ///
    /// # Errors
    /// It has none, or doesn't stop.
    pub fn stop(&mut self, place: usize) -> Result<()> {
        self.take_agent(place)?.stop()
    }

    /// Starts a director's agent again, with this binary if not the same, and waits until it knows its reals.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn start_again(&mut self, place: usize, binary: Option<PathBuf>) -> Result<()> {
        let host = self.director(place)?;
        let agent = match binary {
            Some(binary) => Agent::start_binary(host, &binary)?,
            None => Agent::start_again(host)?,
        };
        agent.wait_until_served()?;
        if let Some(held) = self.agents.get_mut(place) {
            *held = Some(agent);
        }
        Ok(())
    }

    /// A director's host.
    ///
    /// # Errors
    /// There is none.
    pub fn director(&self, place: usize) -> Result<&'a Host> {
        self.lab.directors().nth(place).with_context(|| format!("there is no director {place}"))
    }

    /// Waits until a director is master of the VIPs and has them.
    ///
    /// # Errors
    /// It isn't in time.
    pub fn wait_for_master(&self, place: usize) -> Result<()> {
        let (agent, host) = (self.agent(place)?, self.director(place)?);
        for router in ROUTERS {
            agent.wait_for_router(router, "master")?;
        }
        for (_, vip) in self.plan.services() {
            wait_until(DEADLINE, &format!("{} to have {vip}", host.name()), || holds(host, vip))?;
        }
        Ok(())
    }

    /// The configuration of the director at `place`.
    fn config(&self, place: usize) -> Result<String> {
        let priority = PRIORITIES.get(place).copied().unwrap_or(1);
        let peers = if self.plan.exchange { self.peers(place)? } else { String::new() };
        let mut text = format!("[director]\ninterfaces = [\"eth1\"]\n\n{peers}");
        for router in ROUTERS {
            let v6 = router == "v6";
            let link_local = v6.then(|| "\"fe80::210/64\"".to_owned());
            let length = if v6 { 64 } else { 24 };
            let vips = self.plan.services().filter(|(_, vip)| vip.is_ipv6() == v6);
            let vips: Vec<String> =
                link_local.into_iter().chain(vips.map(|(_, vip)| format!("\"{vip}/{length}\""))).collect();
            let vips = vips.join(", ");
            text += &format!(
                "[vrrp.{router}]\ninterface = \"eth1\"\nid = 210\npriority = {priority}\nadvertise = \"100ms\"\naddresses = [{vips}]\n\n"
            );
        }
        for v6 in [false, true].into_iter().filter(|_| self.plan.pool.is_some()) {
            let name = self.plan.pool_of(v6);
            text += &format!("[pool.{name}]\n{}\n{}\n", self.check(), self.plan.keys);
            text.extend(self.reals(v6).map(|real| format!("[[pool.{name}.reals]]\n{real}\n")));
        }
        for (scheduler, vip) in self.plan.services() {
            let v6 = vip.is_ipv6();
            let is_pooled = self.plan.pool.is_some() && !self.plan.apart.contains(&scheduler);
            let of = if is_pooled {
                format!("pool = \"{}\"", self.plan.pool_of(v6))
            } else {
                format!("{}\n{}", self.check(), self.plan.keys)
            };
            let keys = format!("protocol = \"tcp\"\nscheduler = \"{scheduler}\"\n{of}");
            let reals = self.reals(v6).filter(|_| !is_pooled);
            text += &service(&name(scheduler, vip), SocketAddr::from((vip, 80)), &keys, reals);
        }
        Ok(text)
    }

    fn check(&self) -> String {
        let interval = self.plan.check_interval;
        format!("check = {{ type = \"tcp\", port = {HEALTH}, interval = \"{interval}\", fall = 3 }}")
    }

    /// Every real as it is configured.
    fn reals(&self, v6: bool) -> impl Iterator<Item = String> {
        self.plan.reals.iter().map(move |(number, weight)| {
            let host = self.lab.real(*number);
            let address: IpAddr = if v6 { host.v6().into() } else { host.v4().into() };
            real(address, &format!("weight = {weight}"))
        })
    }

    /// What joins the director at `place` with the others.
    fn peers(&self, place: usize) -> Result<String> {
        let key = self.lab.dir().join("peers.key");
        if !key.exists() {
            fs::write(&key, "a key that the directors of a lab share\n")?;
            fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        }
        let listen = self.director(place)?.v4();
        let others = self.lab.directors().map(Host::v4).filter(|address| *address != listen);
        let others: Vec<String> = others.map(|address| address.to_string()).collect();
        Ok(format!("[peers]\nlisten = \"{listen}\"\naddresses = {others:?}\nkey_file = {key:?}\n\n"))
    }
}

fn by_real(lost: &[Lost]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for lost in lost {
        *tally.entry(lost.real.clone().unwrap_or_default()).or_default() += 1;
    }
    tally
}
