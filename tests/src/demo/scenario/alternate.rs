//! Round robin over both families.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;

use super::super::REFERENCE;
use super::super::figures::{spread, time};
use super::super::screen::say;
use crate::agent::Agent;
use crate::client::{Client, tally};
use crate::lab::{Lab, VIP, VIP6};
use crate::responder::Http;

const REQUESTS: usize = 1000;

/// Counts who answers, and how often the same real answers twice in a row.
pub(super) fn play(lab: &Lab) -> Result<()> {
    let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
    let reals: String =
        lab.reals().map(|real| format!("[[service.web6.reals]]\naddress = \"{}\"\n", real.v6())).collect();
    let config = format!(
        "{REFERENCE}\n[service.web6]\naddress = \"[{VIP6}]:80\"\nprotocol = \"tcp\"\nscheduler = \"rr\"\n{reals}"
    );
    let agent = Agent::start(lab.director(), &config)?;
    lab.director().own(VIP6.into())?;
    agent.wait_until_served()?;
    let client = Client::new(lab.client());
    for vip in [IpAddr::from(VIP), VIP6.into()] {
        let start = Instant::now();
        let answers = client.get_many((vip, 80), REQUESTS)?;
        let took = start.elapsed();
        let twice = answers.iter().zip(answers.iter().skip(1)).filter(|(one, next)| one.real == next.real).count();
        say!("{vip}: {REQUESTS} requests, one after the other, in {}", time(took))?;
        for (real, count) in tally(&answers) {
            say!("  {real}: {count}")?;
        }
        say!("  the same real twice in a row: {twice} times")?;
        let times: Vec<_> = answers.iter().map(|answer| answer.took).collect();
        if let Some(times) = spread(&times) {
            say!("  connect to last byte: {times}")?;
        }
    }
    Ok(())
}
