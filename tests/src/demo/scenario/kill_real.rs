//! How soon a real's death and return are noticed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_userspace::api::State;

use super::super::REFERENCE;
use super::super::figures::{reason, spread, time};
use super::super::screen::say;
use crate::agent::Agent;
use crate::client::Client;
use crate::lab::{DEADLINE, Lab, VIP};
use crate::responder::Http;

const ROUNDS: usize = 5;
const BEAT: Duration = Duration::from_millis(10);

/// Kills and starts the last real, under a client that asks a hundred times a second.
pub(super) fn play(lab: &Lab) -> Result<()> {
    let mut reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
    let host = lab.reals().last().context("a lab without reals")?;
    let agent = Agent::start(lab.director(), REFERENCE)?;
    agent.wait_until_served()?;
    let asking = Client::new(lab.client()).poll((VIP, 80), BEAT);
    let (mut removals, mut returns) = (Vec::new(), Vec::new());
    say!("Its check, as the reference lab has it: every 2 s, one bad answer is enough.\n")?;
    for round in 1..=ROUNDS {
        // At another moment between two checks each time.
        let moment = 20 + round * 30;
        asking.wait_for_answers(moment, DEADLINE)?;
        drop(reals.pop());
        let killed = Instant::now();
        agent.wait_for_real("web", host.v4(), |real| real.state == State::Down)?;
        let removed = killed.elapsed();
        asking.wait_for_answers(moment, DEADLINE)?;
        reals.push(Http::start(host)?);
        let started = Instant::now();
        agent.wait_for_real("web", host.v4(), |real| real.state == State::Up)?;
        let returned = started.elapsed();
        say!("  {round}: removed after {}, back after {}", time(removed), time(returned))?;
        removals.push(removed);
        returns.push(returned);
    }
    asking.wait_for_answers(20, DEADLINE)?;
    let report = asking.finish();
    for (what, times) in [("kill to `lb list` saying DOWN", removals), ("start to its share of requests", returns)] {
        if let Some(times) = spread(&times) {
            say!("{what}: {times}")?;
        }
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    report.errors().for_each(|error| *reasons.entry(reason(error)).or_default() += 1);
    say!("the client, every {} ms: {report}", BEAT.as_millis())?;
    reasons.into_iter().try_for_each(|(reason, count)| say!("  {count} failed: {reason}"))
}
