//! Long-lived connections to services while their directors and reals change: who may lose theirs, and that nobody else
//! does.
//!
//! All schedulers are in one lab, as services of it: an agent that starts has its program verified, which takes more of a CPU
//! than thousands of connections do.

mod plan;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use lb_common::Scheduler;
use lb_common::maps::Service;
use lb_userspace::api::{Estimate, ServiceStatus, State};

use crate::agent::Agent;
use crate::client::{Client, Connections, Lost};
use crate::directors::holds;
use crate::lab::{DEADLINE, Host, Lab, nginx, wait_until};
use crate::responder::Http;
use plan::{ROUTERS, name};

pub use plan::Plan;

/// Where the checks ask: apart from the services, so that a check can fail while connections live.
const HEALTH: u16 = 8080;

/// How often each connection asks.
const INTERVAL: Duration = Duration::from_secs(1);

/// New connections to each service after a change.
const MORE: usize = 50;

/// A service and its connections.
struct Row {
    /// `mh-v6`.
    name: String,
    /// Its scheduler goes by the connections that reals have.
    counts: bool,
    connections: Connections,
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
            let agent = Agent::start(host, &scene.plan.config(lab, place)?)?;
            agent.wait_until_served()?;
            if let Some(held) = scene.agents.get_mut(place) {
                *held = Some(agent);
            }
        }
        scene.wait_for_master(0)?;
        let client = Client::new(lab.client());
        let open = |(scheduler, vip)| {
            let connections = Connections::open(&client, (vip, 80), count, INTERVAL)?;
            let scheduled = Scheduler::WORDS.iter().find(|(word, _)| *word == scheduler);
            let counts = scheduled.is_some_and(|(_, scheduler)| scheduler.flags() & Service::COUNTED != 0);
            Ok(Row { name: name(scheduler, vip), counts, connections })
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
            // Whoever has its share already needn't get more.
            let fits = new.contains_key(&title) == some || some && row.counts;
            ensure!(fits, "{}: new connections went to {new:?}", row.name);
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
                agent.reload(&self.plan.config(self.lab, place)?)?;
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

    /// Waits until the estimate of a stateless service's connections is as near to what there is as it says.
    ///
    /// # Errors
    /// It doesn't come so near in time, or there is none.
    pub fn wait_for_estimate(&self, scheduler: &str) -> Result<()> {
        let agent = self.agents.iter().flatten().next().context("no agent runs")?;
        let names: Vec<_> =
            self.plan.services().filter(|(of, _)| *of == scheduler).map(|(of, vip)| name(of, vip)).collect();
        let rows = self.rows.iter().filter(|row| names.contains(&row.name));
        let there: usize = rows.map(|row| row.connections.count()).sum();
        wait_until(DEADLINE, "an estimate of the connections", || {
            let Ok(status) = agent.status() else { return false };
            let of = |service: &ServiceStatus| service.scheduler == scheduler;
            let reals = status.services.iter().filter(|service| of(service)).flat_map(|service| &service.reals);
            let estimate = Estimate::sum(reals.map(|real| real.estimated_connections));
            // Four standard deviations: one time in fifteen thousand it is farther off.
            estimate.is_some_and(|estimate| {
                estimate.active > 0 && estimate.active.abs_diff(there as u64) <= 4 * estimate.error
            })
        })
        .map(drop)
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
}

fn by_real(lost: &[Lost]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for lost in lost {
        *tally.entry(lost.real.clone().unwrap_or_default()).or_default() += 1;
    }
    tally
}
