//! The demonstration: the reference lab at work, a real killed and back, a director lost and back, and what the client
//! saw of it.
//!
//! Each chapter is a function of the [`Show`] and of the hosts that it is about.

use std::time::Instant;

use anyhow::Result;
use lb_userspace::api::State;
use nix::sys::signal::Signal;

use super::directors::{self, Director, PRIORITIES, tell};
use super::figures::time;
use super::kept;
use super::real;
use super::screen::{say, undisturbed};
use super::show::{BEAT, Show};
use crate::agent::lb;
use crate::lab::{DEADLINE, Host, Lab, Process, Role, VIP, wait_until};

/// Requests in a chapter that ends with their number.
const REQUESTS: usize = 4;

/// Shows it. `started` is when the program was; `keep` leaves the lab up, with a text on how to look into it.
///
/// # Errors
/// This machine can't carry the lab, or what was to be shown didn't happen.
pub fn play(started: Instant, keep: bool) -> Result<()> {
    let lab = Lab::builder().directors(2).build()?;
    introduce(&lab)?;
    let mut reals = lab.reals().map(real::start).collect::<Result<Vec<_>>>()?;
    // The same machines: the agents must not hold on to the lab, which is given away at the end.
    let hosts = directors::hosts(&lab)?;
    let [a, b] = &hosts;
    let (mut a, mut b) = Director::both(a, b)?;
    elect(&mut a, &mut b)?;

    let mut show = Show::begin(lab.client());
    both_answer(&mut show, started)?;
    if let (Some(host), Some(process)) = (lab.reals().last(), reals.last_mut()) {
        a_real_dies(&mut show, &a, host, process)?;
        *process = a_real_returns(&mut show, &a, host)?;
    }
    an_agent_dies(&mut show, &mut a, &b)?;
    a_director_is_stopped(&mut show, &mut a, &b)?;
    a_director_is_lost(&mut show, &lab, &mut a, &b)?;
    a_director_returns(&mut show, &lab, &mut a, &b)?;
    sum_up(show, if b.is_master() { b.host } else { a.host })?;

    if !keep {
        let removed = Instant::now();
        drop((a, b, reals));
        undisturbed(|| lab.close())?;
        return say!("\nThe lab is taken away again ({}).", time(removed.elapsed()));
    }
    undisturbed(|| {
        // What is dropped is killed.
        std::mem::forget((a, b));
        reals.into_iter().for_each(|real| lab.hold(real));
        kept::leave(lab)
    })
}

fn introduce(lab: &Lab) -> Result<()> {
    say!("The reference lab, in network namespaces; its VIP is {VIP}.\n")?;
    let mut priorities = [PRIORITIES.0, PRIORITIES.1].into_iter();
    for host in lab.hosts().iter().filter(|host| !host.nics().is_empty()) {
        let part = match host.role() {
            Role::Client => "asks the VIP twice a second".to_owned(),
            Role::Director => match priorities.next() {
                Some(priority) => format!("`lb run`, packaging/lb.toml with priority {priority}"),
                None => String::new(),
            },
            Role::Real => "has the VIP on `lo`, answers the client directly".to_owned(),
            Role::Router | Role::Switch => String::new(),
        };
        say!("  {:<11} {:<15} {part}", host.name(), host.v4())?;
    }
    say!()
}

fn elect(a: &mut Director<'_>, b: &mut Director<'_>) -> Result<()> {
    say!("VRRP 2 with an advert every second: a director that hears none for 3 s and a")?;
    say!("little (less with a higher priority) takes the VIP.")?;
    let took = wait_until(DEADLINE, "director A to be master", || a.is_master())?;
    a.agent()?.wait_until_served()?;
    b.agent()?.wait_until_served()?;
    say!("\nDirector A takes it, {} after both agents were ready.\n", time(took))
}

fn both_answer(show: &mut Show, started: Instant) -> Result<()> {
    say!("The client asks http://{VIP}/ every {} ms:", BEAT.as_millis())?;
    show.requests("both reals answer", REQUESTS)?;
    match show.first_answer() {
        Some(first) => say!("\nThe first answer came {} after the start of all this.", time(first - started)),
        None => Ok(()),
    }
}

fn a_real_dies(show: &mut Show, director: &Director<'_>, host: &Host, process: &mut Process) -> Result<()> {
    let title = host.title();
    say!("\n{title} is killed. It is checked every 2 s:")?;
    process.kill()?;
    let noticed = show.until(&format!("{title} is dead, unnoticed"), || director.sees(host, State::Down))?;
    say!("\n{title} is removed, {} after it was killed. `lb list` says why:\n", time(noticed))?;
    print(&lb(director.host, &["list"])?)?;
    show.requests(&format!("without {title}"), REQUESTS)
}

fn a_real_returns(show: &mut Show, director: &Director<'_>, host: &Host) -> Result<Process> {
    let title = host.title();
    say!("\n{title} is started again:")?;
    let process = real::start(host)?;
    let noticed = show.until(&format!("{title} is back, unnoticed"), || director.sees(host, State::Up))?;
    say!("\n{title} takes its share again, {} after it listened:", time(noticed))?;
    show.requests("both reals answer again", REQUESTS)?;
    Ok(process)
}

fn an_agent_dies(show: &mut Show, a: &mut Director<'_>, b: &Director<'_>) -> Result<()> {
    say!("\nThe agent of director A is killed (-9). Its pinned program goes on forwarding:")?;
    a.agent()?.process().kill()?;
    show.requests("A's agent is dead", REQUESTS)?;
    tell([a, b])?;
    say!("\nIt is started again, and adopts the VIP that it finds:")?;
    a.start()?;
    show.requests_until("A's agent is back", REQUESTS, || Ok(owns(a, b)))?;
    tell([a, b])
}

fn a_director_is_stopped(show: &mut Show, a: &mut Director<'_>, b: &Director<'_>) -> Result<()> {
    say!("\nDirector A is stopped (SIGTERM). It keeps the VIP until it hears B as master:")?;
    let agent = a.agent()?.process();
    agent.signal(Signal::SIGTERM)?;
    let took = show.until("A hands over to B", || Ok(!agent.is_running() && b.is_master()))?;
    say!("\nDirector B has the VIP, {} later:", time(took))?;
    show.requests("B is master", REQUESTS)?;
    tell([a, b])?;
    say!("\nDirector A is started again, and takes the VIP back from B:")?;
    a.start()?;
    show.until("A takes it back", || Ok(owns(a, b)))?;
    tell([a, b])
}

fn a_director_is_lost(show: &mut Show, lab: &Lab, a: &mut Director<'_>, b: &Director<'_>) -> Result<()> {
    say!("\nDirector A loses its power: no agent, no program, no link, and no farewell:")?;
    lab.cable(a.host, false)?;
    a.agent()?.process().kill()?;
    let took = show.until("A is lost, unnoticed", || Ok(b.is_master()))?;
    say!("\nDirector B takes the VIP, {} after that:", time(took))?;
    show.requests("B forwards", REQUESTS)?;
    let gap = time(show.longest_gap(2));
    say!("\nThe client's gap is {gap}. (Published, of a reboot with keepalived: 3 s.)")?;
    tell([a, b])
}

fn a_director_returns(show: &mut Show, lab: &Lab, a: &mut Director<'_>, b: &Director<'_>) -> Result<()> {
    say!("\nDirector A boots, with nothing of what it had, and starts its agent:")?;
    lb(a.host, &["detach"])?;
    lab.cable(a.host, true)?;
    a.start()?;
    let took = show.until("A is back, as a backup", || Ok(owns(a, b)))?;
    say!("\nDirector A takes the VIP back, {} after its agent was ready:", time(took))?;
    show.requests("A is master", REQUESTS)?;
    tell([a, b])
}

/// Whether both agree that `one` is the master.
fn owns(one: &Director<'_>, other: &Director<'_>) -> bool {
    one.is_master() && !other.is_master()
}

fn sum_up(show: Show, master: &Host) -> Result<()> {
    let summary = show.end();
    say!("\nWhat the client saw:\n")?;
    summary.print()?;
    for (of, verb) in [("the master saw", "list"), ("it says of itself", "vrrp")] {
        say!("\nWhat {of} (`lb {verb}`):\n")?;
        print(&lb(master, &[verb])?)?;
    }
    Ok(())
}

fn print(output: &str) -> Result<()> {
    output.lines().try_for_each(|line| say!("  {line}"))
}
