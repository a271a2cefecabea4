//! What becomes of the connections of a real whose check fails: one that answers wrongly keeps them, one that can't be reached
//! loses them at once, unless `on_failure` says otherwise.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::{Client, Connections, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::responder::Http;
use lb_userspace::api::{RealStatus, State};

/// Where checks ask, apart from the service: a check can fail while connections live.
const HEALTH: u16 = 8080;

/// Connections that live through it all.
const COUNT: usize = 60;

/// How often each asks.
const INTERVAL: Duration = Duration::from_millis(100);

const SCHEDULERS: [&str; 2] = ["rr", "mh"];

/// A service of this scheduler, checked by HTTP at `path` of `port`, with more keys.
fn config(lab: &Lab, scheduler: &str, (port, path): (u16, &str), keys: &str) -> String {
    let keys = format!(
        "protocol = \"tcp\"\nscheduler = \"{scheduler}\"\n{keys}\n\
         check = {{ type = \"http\", port = {port}, path = \"{path}\", interval = \"250ms\", timeout = \"250ms\", rise = 1, fall = 2 }}"
    );
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), &keys, lab.reals().map(|host| real(host.v4(), "")))
}

/// Who answers new connections.
fn answering(client: &Client) -> Result<Vec<String>> {
    Ok(tally(&client.get_many((VIP, 80), 20)?).into_keys().collect())
}

/// All connections live where they were.
fn all_are_kept(connections: &Connections, at: &BTreeMap<String, usize>) -> Result<()> {
    connections.wait_for_a_round(Instant::now())?;
    let (lost, moved) = (connections.lost(), connections.moved());
    ensure!(lost.is_empty() && moved.is_empty(), "lost: {lost:?}; moved: {moved:?}");
    ensure!(connections.living(0) == *at, "{:?}, before: {at:?}", connections.living(0));
    Ok(())
}

fn opened(client: &Client) -> Result<(Connections, BTreeMap<String, usize>)> {
    let connections = Connections::open(client, (VIP, 80), COUNT, INTERVAL)?;
    connections.wait_for_a_round(Instant::now())?;
    let at = connections.living(0);
    ensure!(at.len() == 2, "both reals have some: {at:?}");
    Ok((connections, at))
}

/// Waits until those of `Real-1` are reset, and no other one is lost.
fn those_of_real_1_are_reset(connections: &Connections, at: &BTreeMap<String, usize>) -> Result<()> {
    let own = at.get("Real-1").copied().context("it had none")?;
    wait_until(DEADLINE, "its connections to be reset", || connections.lost().len() >= own)?;
    connections.wait_for_a_round(Instant::now())?;
    let lost = connections.lost();
    ensure!(lost.len() == own, "{} of {own} are lost", lost.len());
    let odd =
        lost.iter().find(|lost| lost.real.as_deref() != Some("Real-1") || lost.cause != ErrorKind::ConnectionReset);
    ensure!(odd.is_none(), "another one's, or no reset: {odd:?}");
    ensure!(connections.moved().is_empty(), "moved: {:?}", connections.moved());
    Ok(())
}

fn is_quiesced(real: &RealStatus) -> bool {
    real.state == State::Down && real.quiesced
}

fn is_removed(real: &RealStatus) -> bool {
    real.state == State::Down && !real.quiesced
}

#[test]
fn one_that_answers_503_keeps_its_connections_and_gets_no_new_ones() {
    for scheduler in SCHEDULERS {
        scenario(Lab::builder(), |lab| {
            let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
            let agent = Agent::start(lab.director(), &config(lab, scheduler, (80, "/health"), ""))?;
            agent.wait_until_served()?;
            let client = Client::new(lab.client());
            let (connections, at) = opened(&client)?;

            nginx::set_ill(lab.real(1), true)?;
            agent.wait_for_real("web", lab.real(1).v4(), is_quiesced)?;
            assert_eq!(answering(&client)?, ["Real-2"], "{scheduler}");
            all_are_kept(&connections, &at)?;
            let list = agent.lb(&["list"])?;
            assert!(list.contains("503") && list.contains("its connections go on, new ones go elsewhere"), "{list}");

            // The next agent doesn't take it for well, nor for dead.
            agent.stop()?;
            let agent = Agent::start_again(lab.director())?;
            agent.wait_for_real("web", lab.real(1).v4(), is_quiesced)?;
            assert_eq!(answering(&client)?, ["Real-2"], "{scheduler}");
            all_are_kept(&connections, &at)?;

            nginx::set_ill(lab.real(1), false)?;
            agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Up)?;
            assert_eq!(answering(&client)?, ["Real-1", "Real-2"], "{scheduler}");
            all_are_kept(&connections, &at)
        });
    }
}

#[test]
fn one_that_refuses_loses_its_connections_at_once_and_nobody_else_does() {
    for scheduler in SCHEDULERS {
        scenario(Lab::builder(), |lab| {
            let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
            let mut checked = lab.reals().map(|host| Http::start_at(host, HEALTH)).collect::<Result<Vec<_>>>()?;
            let agent = Agent::start(lab.director(), &config(lab, scheduler, (HEALTH, "/"), ""))?;
            agent.wait_until_served()?;
            let client = Client::new(lab.client());
            let (connections, at) = opened(&client)?;
            checked.remove(0).stop();
            agent.wait_for_real("web", lab.real(1).v4(), is_removed)?;
            assert_eq!(answering(&client)?, ["Real-2"], "{scheduler}");
            those_of_real_1_are_reset(&connections, &at)
        });
    }
}

#[test]
fn one_without_a_cable_loses_them_whatever_on_failure_says() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, "mh", (80, "/health"), ""))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let (connections, at) = opened(&client)?;
        lab.cable(lab.real(1), false)?;
        agent.wait_for_real("web", lab.real(1).v4(), is_removed)?;
        assert_eq!(answering(&client)?, ["Real-2"]);
        those_of_real_1_are_reset(&connections, &at)
    });
}

#[test]
fn remove_gives_up_those_of_one_that_answers_503() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let keys = "on_failure = \"remove\"";
        let agent = Agent::start(lab.director(), &config(lab, "rr", (80, "/health"), keys))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let (connections, at) = opened(&client)?;
        nginx::set_ill(lab.real(1), true)?;
        agent.wait_for_real("web", lab.real(1).v4(), is_removed)?;
        assert_eq!(answering(&client)?, ["Real-2"]);
        those_of_real_1_are_reset(&connections, &at)
    });
}

#[test]
fn a_real_that_flaps_for_two_seconds_under_quiesce_moves_and_resets_nobody() {
    const FLAPS: Duration = Duration::from_secs(2);
    for scheduler in SCHEDULERS {
        scenario(Lab::builder(), |lab| {
            let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
            let _other = Http::start_at(lab.real(2), HEALTH)?;
            let mut checked = Some(Http::start_at(lab.real(1), HEALTH)?);
            let keys = "on_failure = \"quiesce\"";
            let agent = Agent::start(lab.director(), &config(lab, scheduler, (HEALTH, "/"), keys))?;
            agent.wait_until_served()?;
            let client = Client::new(lab.client());
            let (connections, at) = opened(&client)?;
            let (began, mut flaps) = (Instant::now(), 0);
            while began.elapsed() < FLAPS || flaps < 2 {
                drop(checked.take());
                agent.wait_for_real("web", lab.real(1).v4(), is_quiesced)?;
                checked = Some(Http::start_at(lab.real(1), HEALTH)?);
                agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Up)?;
                flaps += 1;
            }
            all_are_kept(&connections, &at).with_context(|| format!("{scheduler}, {flaps} times"))?;
            assert_eq!(answering(&client)?, ["Real-1", "Real-2"], "{scheduler}");
            all_are_kept(&connections, &at)
        });
    }
}
