//! The demonstration's two directors, and what they say of who owns the VIP.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use lb_userspace::api::{RouterStatus, State};
use lb_userspace::vrrp;

use super::screen::say;
use crate::agent::{Agent, lb, status};
use crate::lab::{Host, Lab};

/// The configuration of the reference lab's director; its priority is the one that loses.
pub const REFERENCE: &str = include_str!("../../../packaging/lb.toml");

/// The service's name in [`REFERENCE`].
const SERVICE: &str = "web";

/// A director, with or without an agent.
pub(crate) struct Director<'a> {
    pub(crate) host: &'a Host,
    /// `A` or `B`.
    pub(crate) letter: char,
    agent: Option<Agent<'a>>,
}

impl<'a> Director<'a> {
    /// Starts the agents of both directors of the lab: A, which has the higher priority, and B.
    ///
    /// # Errors
    /// One doesn't start.
    pub(crate) fn both(a: &'a Host, b: &'a Host) -> Result<(Self, Self)> {
        let start = |host, letter, priority| {
            let agent = Agent::start(host, &reference(priority)?)?;
            anyhow::Ok(Self { host, letter, agent: Some(agent) })
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| start(b, 'B', PRIORITIES.1));
            let one = start(a, 'A', PRIORITIES.0)?;
            Ok((one, other.join().map_err(|_| anyhow!("the start of {} failed", b.name()))??))
        })
    }

    /// Its agent, while it has one.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn agent(&mut self) -> Result<&mut Agent<'a>> {
        self.agent.as_mut().with_context(|| format!("director {} has no agent", self.letter))
    }

    /// Starts an agent in place of the one that ended.
    ///
    /// # Errors
    /// It isn't ready within the deadline.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.agent = Some(Agent::start_again(self.host)?);
        Ok(())
    }

    /// Whether it owns the VIP, by its own word.
    pub(crate) fn is_master(&self) -> bool {
        self.router().is_some_and(|router| router.state == vrrp::State::Master)
    }

    /// Whether its checks say so of a real.
    ///
    /// # Errors
    /// It doesn't answer.
    pub(crate) fn sees(&self, real: &Host, state: State) -> Result<bool> {
        let status = status(self.host)?;
        let services = status.services.iter().filter(|service| service.name.as_deref() == Some(SERVICE));
        let mut reals = services.flat_map(|service| &service.reals);
        Ok(reals.any(|held| held.address == real.v4() && held.state == state))
    }

    /// Its virtual router; nothing while no agent answers.
    fn router(&self) -> Option<RouterStatus> {
        let routers = lb(self.host, &["vrrp", "--json"]).ok()?;
        serde_json::from_str::<Vec<RouterStatus>>(&routers).ok()?.into_iter().next()
    }
}

/// The priorities of A and B.
pub(crate) const PRIORITIES: (u8, u8) = (2, 1);

/// [`REFERENCE`] with this priority.
fn reference(priority: u8) -> Result<String> {
    const LINE: &str = "\npriority = 1\n";
    ensure!(REFERENCE.contains(LINE), "packaging/lb.toml has no line `{}`", LINE.trim());
    Ok(REFERENCE.replace(LINE, &format!("\npriority = {priority}\n")))
}

/// Prints what `lb vrrp` says on each, in a line.
pub(crate) fn tell(directors: [&Director<'_>; 2]) -> Result<()> {
    let [a, b] = directors.map(|director| {
        let state = director.router().map_or_else(|| "no agent".to_owned(), |router| router.state.to_string());
        format!("{}: {state}", director.letter)
    });
    say!("\n  `lb vrrp` on each: {a}; {b}.")
}

/// The hosts of the two directors.
///
/// # Errors
/// The lab has another number of them.
pub(crate) fn hosts(lab: &Lab) -> Result<[Host; 2]> {
    let hosts: Vec<Host> = lab.directors().cloned().collect();
    hosts.try_into().map_err(|hosts: Vec<_>| anyhow!("{} directors in place of two", hosts.len()))
}
