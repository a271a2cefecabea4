//! The program forwards without its agent.

use std::time::Duration;

use anyhow::Result;

use super::super::REFERENCE;
use super::super::figures::time;
use super::super::screen::say;
use crate::agent::Agent;
use crate::client::Client;
use crate::lab::{DEADLINE, Lab, VIP};
use crate::responder::Http;

/// Answers that are waited for in each state of the agent, at [`BEAT`] each.
const ANSWERS: usize = 200;
const BEAT: Duration = Duration::from_millis(5);

/// Kills, starts, stops and starts the agent, under one kept connection and a loop of new ones.
pub(super) fn play(lab: &Lab) -> Result<()> {
    let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
    let mut agent = Agent::start(lab.director(), REFERENCE)?;
    agent.wait_until_served()?;
    let client = Client::new(lab.client());
    let kept = client.hold((VIP, 80), BEAT)?;
    let new = client.poll((VIP, 80), BEAT);
    let both = || kept.wait_for_answers(ANSWERS, DEADLINE).and_then(|()| new.wait_for_answers(ANSWERS, DEADLINE));

    say!("  the agent runs")?;
    both()?;
    say!("  kill -9: nothing but the pinned program is left")?;
    agent.process().kill()?;
    both()?;
    say!("  started: it adopts the maps and replaces the program")?;
    agent = Agent::start_again(lab.director())?;
    both()?;
    say!("  SIGTERM: stopped in order")?;
    agent.process().terminate(DEADLINE)?;
    both()?;
    say!("  started once more")?;
    agent = Agent::start_again(lab.director())?;
    both()?;
    drop(agent);

    say!("\nA request every {} ms, over", BEAT.as_millis())?;
    let again = kept.finish();
    for (what, report) in [("new connections:  ", &new.finish()), ("a kept connection:", &again)] {
        let (answered, all) = (report.answers().count(), report.entries.len());
        let gap = time(report.longest_gap());
        say!("  {what} {answered} of {all} answered, {} lost, longest gap {gap}", all - answered)?;
    }
    match again.retransmitted {
        Some(count) => say!("{:<21}{count} segments had to be sent again", ""),
        None => Ok(()),
    }
}
