//! The demonstration: the reference lab at work, a real killed and back, and what the client saw of it.
//!
//! Each chapter is a function of the [`Show`] and of the hosts that it is about.

use std::time::Instant;

use anyhow::Result;
use lb_userspace::api::State;

use super::figures::time;
use super::kept;
use super::real;
use super::screen::{say, undisturbed};
use super::show::{BEAT, Show};
use crate::agent::{Agent, lb};
use crate::lab::{Host, Lab, Process, Role, VIP};

/// The configuration of the reference lab's director.
pub const REFERENCE: &str = include_str!("../../../packaging/lb.toml");

/// The service's name in [`REFERENCE`].
const SERVICE: &str = "web";

/// Requests in a chapter that ends with their number.
const REQUESTS: usize = 6;

/// Shows it. `started` is when the program was; `keep` leaves the lab up, with a text on how to look into it.
///
/// # Errors
/// This machine can't carry the lab, or what was to be shown didn't happen.
pub fn play(started: Instant, keep: bool) -> Result<()> {
    let lab = Lab::builder().build()?;
    introduce(&lab)?;
    let mut reals = lab.reals().map(real::start).collect::<Result<Vec<_>>>()?;
    // The same machine: the agent must not hold on to the lab, which is given away at the end.
    let director = lab.director().clone();
    let agent = Agent::start(&director, REFERENCE)?;
    agent.wait_until_served()?;

    let mut show = Show::begin(lab.client());
    both_answer(&mut show, started)?;
    if let (Some(host), Some(process)) = (lab.reals().last(), reals.last_mut()) {
        a_real_dies(&mut show, &agent, host, process)?;
        *process = a_real_returns(&mut show, &agent, host)?;
    }
    sum_up(show, lab.director())?;

    if !keep {
        let removed = Instant::now();
        drop((agent, reals));
        undisturbed(|| lab.close())?;
        return say!("\nThe lab is taken away again ({}).", time(removed.elapsed()));
    }
    undisturbed(|| {
        // What is dropped is killed.
        std::mem::forget(agent);
        reals.into_iter().for_each(|real| lab.hold(real));
        kept::leave(lab)
    })
}

fn introduce(lab: &Lab) -> Result<()> {
    say!("The reference lab, in network namespaces; its VIP is {VIP}.\n")?;
    let vip = "has the VIP on `lo`, answers the client directly";
    for host in lab.hosts().iter().filter(|host| !host.nics().is_empty()) {
        let part = match host.role() {
            Role::Client => "asks the VIP twice a second",
            Role::Director => "owns the VIP, runs `lb` with packaging/lb.toml",
            Role::Real => vip,
            Role::Router | Role::Switch => "",
        };
        say!("  {:<11} {:<15} {part}", host.name(), host.v4())?;
    }
    say!()
}

fn both_answer(show: &mut Show, started: Instant) -> Result<()> {
    say!("The client asks http://{VIP}/ every {} ms:", BEAT.as_millis())?;
    show.requests("both reals answer", REQUESTS)?;
    match show.first_answer() {
        Some(first) => say!("\nThe first answer came {} after the start of all this.", time(first - started)),
        None => Ok(()),
    }
}

fn a_real_dies(show: &mut Show, agent: &Agent<'_>, host: &Host, process: &mut Process) -> Result<()> {
    let title = host.title();
    say!("\n{title} is killed. It is checked every 2 s:")?;
    process.kill()?;
    let noticed = show.until(&format!("{title} is dead, unnoticed"), || stands(agent, host, State::Down))?;
    say!("\n{title} is removed, {} after it was killed. `lb list` says why:\n", time(noticed))?;
    print(&agent.lb(&["list"])?)?;
    show.requests(&format!("without {title}"), REQUESTS)
}

fn a_real_returns(show: &mut Show, agent: &Agent<'_>, host: &Host) -> Result<Process> {
    let title = host.title();
    say!("\n{title} is started again:")?;
    let process = real::start(host)?;
    let noticed = show.until(&format!("{title} is back, unnoticed"), || stands(agent, host, State::Up))?;
    say!("\n{title} takes its share again, {} after it listened:", time(noticed))?;
    show.requests("both reals answer again", REQUESTS)?;
    Ok(process)
}

fn sum_up(show: Show, director: &Host) -> Result<()> {
    let summary = show.end();
    say!("\nWhat the client saw:\n")?;
    summary.print()?;
    say!("\n  Longest time between two answers: {}.", time(summary.report.longest_gap()))?;
    say!("\nWhat the director saw (`lb list`):\n")?;
    print(&lb(director, &["list"])?)
}

/// Whether `lb list` says so of a real.
fn stands(agent: &Agent<'_>, host: &Host, state: State) -> Result<bool> {
    let status = agent.status()?;
    let services = status.services.iter().filter(|service| service.name.as_deref() == Some(SERVICE));
    let mut reals = services.flat_map(|service| &service.reals);
    Ok(reals.any(|real| real.address == host.v4() && real.state == state))
}

fn print(output: &str) -> Result<()> {
    output.lines().try_for_each(|line| say!("  {line}"))
}
