//! Two directors that share a VIP, the first of them as its master.

use std::time::Duration;

use anyhow::Result;

use crate::agent::Agent;
use crate::directors::{PORT, Router, Way, config, start_reals, wait_until_holds};
use crate::lab::{Host, Lab, VIP, scenario};
use crate::probe::Probe;

/// Director A's priority.
pub const A: u8 = 200;
/// Director B's priority.
pub const B: u8 = 100;
/// Of the addresses' owner (RFC 9568 §5.2.4).
pub const OWNER: u8 = 255;
/// The client stays as busy for this long after a change.
pub const WHILE: Duration = Duration::from_millis(700);

/// Directors A and B, with A as master.
pub struct Pair<'a> {
    /// Their lab.
    pub lab: &'a Lab,
    /// A's agent.
    pub a: Agent<'a>,
    /// B's agent.
    pub b: Agent<'a>,
}

impl<'a> Pair<'a> {
    /// Starts the reals and both agents, and waits until A is master.
    ///
    /// # Errors
    /// One doesn't come up in time.
    pub fn start(lab: &'a Lab, way: Way) -> Result<Self> {
        Self::start_with(lab, way, "")
    }

    /// With one more line in each one's section.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(lab: &'a Lab, way: Way, line: &str) -> Result<Self> {
        Self::start_of(lab, way, [A, B], line)
    }

    /// With other priorities.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_of(lab: &'a Lab, way: Way, [a, b]: [u8; 2], line: &str) -> Result<Self> {
        start_reals(lab)?;
        let [a, b] = [("director-a", a), ("director-b", b)].map(|(name, priority)| {
            Agent::start(lab.host(name), &config(lab, &[Router::web(way, priority).with(line)]))
        });
        let pair = Self { lab, a: a?, b: b? };
        pair.a.wait_until_served()?;
        pair.b.wait_until_served()?;
        pair.a_is_master()?;
        Ok(pair)
    }

    /// Waits for that, and for the VIP to be there alone.
    ///
    /// # Errors
    /// Not within the deadline.
    pub fn a_is_master(&self) -> Result<()> {
        self.a.wait_for_router("web", "master")?;
        self.b.wait_for_router("web", "backup")?;
        wait_until_holds(self.host_a(), VIP, true)?;
        wait_until_holds(self.host_b(), VIP, false).map(drop)
    }

    /// Waits for that; what becomes of A is another thing.
    ///
    /// # Errors
    /// Not within the deadline.
    pub fn b_is_master(&self) -> Result<()> {
        self.b.wait_for_router("web", "master")?;
        wait_until_holds(self.host_b(), VIP, true).map(drop)
    }

    /// Director A.
    #[must_use]
    pub fn host_a(&self) -> &'a Host {
        self.lab.host("director-a")
    }

    /// Director B.
    #[must_use]
    pub fn host_b(&self) -> &'a Host {
        self.lab.host("director-b")
    }

    /// A client that probes the VIP every 2 ms from now on.
    ///
    /// # Errors
    /// It can't be started.
    pub fn probe(&self) -> Result<Probe> {
        Probe::start(self.lab.client(), (VIP, PORT))
    }

    /// Plugs A's cable in again: that costs nothing.
    ///
    /// # Errors
    /// A isn't master in time, or a datagram was lost.
    pub fn returns_by_link(&self) -> Result<()> {
        let probe = self.probe()?;
        self.lab.cable(self.host_a(), true)?;
        self.a_is_master()?;
        probe.wait_until_through(self.host_a())?;
        std::thread::sleep(WHILE);
        probe.finish().without_loss()
    }
}

/// Runs a test over a pair in a lab of its own.
pub fn pair(way: Way, test: impl FnOnce(&mut Pair<'_>) -> Result<()>) {
    scenario(Lab::builder().directors(2), |lab| test(&mut Pair::start(lab, way)?));
}
