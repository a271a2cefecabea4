//! What reals do together: too few of them hand new connections to the sorry server, one that returns starts slowly, and
//! where most seem ill all are in. No connection that lives is moved by any of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::{Client, Connections, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};
use lb_userspace::api::State;

/// How often each connection asks.
const INTERVAL: Duration = Duration::from_millis(100);

/// A service with these reals, whose check is apart from what clients ask.
fn config<'a>(scheduler: &str, reals: impl Iterator<Item = &'a Host>, fleet: &str) -> String {
    let keys = format!(
        "protocol = \"tcp\"\nscheduler = \"{scheduler}\"\nfleet = {{ {fleet} }}\n\
         check = {{ type = \"http\", path = \"/health\", interval = \"100ms\", timeout = \"100ms\" }}"
    );
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), &keys, reals.map(|host| real(host.v4(), "")))
}

/// Who answers new connections, and how many.
fn answering(client: &Client) -> Result<BTreeMap<String, usize>> {
    Ok(tally(&client.get_many((VIP, 80), 100)?))
}

fn names(answering: BTreeMap<String, usize>) -> Vec<String> {
    answering.into_keys().collect()
}

/// Connections that live through it all, and how many of them each real has.
struct Held {
    connections: Connections,
    at: BTreeMap<String, usize>,
}

impl Held {
    fn open(client: &Client, count: usize) -> Result<Self> {
        let connections = Connections::open(client, (VIP, 80), count, INTERVAL)?;
        connections.wait_for_a_round(Instant::now())?;
        let at = connections.living(0);
        Ok(Self { connections, at })
    }

    /// Opens some more. Who answers those.
    fn join(&mut self, count: usize) -> Result<Vec<String>> {
        let first = self.connections.count();
        self.connections.join(count, INTERVAL)?;
        self.connections.wait_for_a_round(Instant::now())?;
        self.at = self.connections.living(0);
        Ok(names(self.connections.living(first)))
    }

    /// All of them live where they were.
    fn are_kept(&self) -> Result<()> {
        self.connections.wait_for_a_round(Instant::now())?;
        let (lost, moved) = (self.connections.lost(), self.connections.moved());
        ensure!(lost.is_empty() && moved.is_empty(), "lost: {lost:?}; moved: {moved:?}");
        let now = self.connections.living(0);
        ensure!(now == self.at, "{now:?}, before: {:?}", self.at);
        Ok(())
    }
}

fn wait_for_list(agent: &Agent<'_>, words: &str) -> Result<String> {
    wait_until(DEADLINE, words, || agent.lb(&["list"]).is_ok_and(|list| list.contains(words)))?;
    agent.lb(&["list"])
}

#[test]
fn below_its_quorum_the_sorry_server_answers_and_who_returns_starts_slowly_by_slots() {
    below_its_quorum_the_sorry_server_answers_and_who_returns_starts_slowly("mh");
}

#[test]
fn below_its_quorum_the_sorry_server_answers_and_who_returns_starts_slowly_by_turns() {
    below_its_quorum_the_sorry_server_answers_and_who_returns_starts_slowly("rr");
}

fn below_its_quorum_the_sorry_server_answers_and_who_returns_starts_slowly(scheduler: &str) {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (one, sorry) = (lab.real(1), lab.real(3).v4());
        let fleet = format!("quorum = 2, slow_start = \"5s\", sorry = {{ address = \"{sorry}\" }}");
        let agent = Agent::start(lab.director(), &config(scheduler, lab.reals().take(2), &fleet))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let mut held = Held::open(&client, 60)?;
        ensure!(held.at.len() == 2, "all whole from the start: {:?}", held.at);
        assert_eq!(agent.real("web", sorry)?.state, State::Standby);

        nginx::set_ill(one, true)?;
        let list = wait_for_list(&agent, "quorum lost: 1 of 2, sorry server answers")?;
        ensure!(list.contains("sorry server: takes all new connections"), "{list}");
        ensure!(list.contains("healthy, but new connections go to the sorry server"), "{list}");
        assert_eq!(names(answering(&client)?), ["Real-3"]);
        assert_eq!(held.join(20)?, ["Real-3"]);
        held.are_kept()?;

        // The next agent knows that it was so.
        agent.stop()?;
        let agent = Agent::start_again(lab.director())?;
        wait_for_list(&agent, "quorum lost: 1 of 2, sorry server answers")?;
        assert_eq!(names(answering(&client)?), ["Real-3"]);
        held.are_kept()?;

        nginx::set_ill(one, false)?;
        agent.wait_for_real("web", one.v4(), |real| real.slow_start.is_some())?;
        let few = answering(&client)?;
        ensure!(few.len() == 2 && !few.contains_key("Real-3"), "{scheduler}: {few:?}");
        ensure!(few.get("Real-1").is_some_and(|count| *count < 45), "{scheduler}: {few:?}");
        wait_for_list(&agent, "slow start: 60 % of its share")?;
        held.are_kept()?;
        agent.wait_for_real("web", one.v4(), |real| real.state == State::Up && real.slow_start.is_none())?;
        let half = answering(&client)?;
        ensure!(half.len() == 2 && half.get("Real-1").is_some_and(|count| (25..=75).contains(count)), "{half:?}");
        assert_eq!(agent.real("web", sorry)?.state, State::Standby);
        held.are_kept()?;

        let told = agent.lb(&["events", "--all"])?;
        for words in [
            "service.web: quorum lost: 1 of 2",
            &format!("service.web: sorry server takes new connections: {sorry}"),
            "service.web: quorum met again: 2 of 2",
            &format!("service.web: sorry server takes no new connections: {sorry}"),
        ] {
            ensure!(told.contains(words), "{words}:\n{told}");
        }
        Ok(())
    });
}

#[test]
fn where_most_seem_ill_all_are_in() {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let told = lab.director().dir().join("told");
        let notify =
            format!("notify = ['/bin/sh', '-c', 'echo \"$@\" >> {}', 'hook']\n[[service.web.reals]]", told.display());
        let text = config("mh", lab.reals(), "panic_below = 50").replacen("[[service.web.reals]]", &notify, 1);
        let agent = Agent::start(lab.director(), &text)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = Held::open(&client, 60)?;
        nginx::set_ill(lab.real(1), true)?;
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Down)?;
        assert_eq!(names(answering(&client)?), ["Real-2", "Real-3"]);
        nginx::set_ill(lab.real(2), true)?;
        let list = wait_for_list(&agent, "panic: 1 of 3 healthy, all in")?;
        ensure!(list.contains("takes new connections all the same"), "{list}");
        assert_eq!(names(answering(&client)?), ["Real-1", "Real-2", "Real-3"]);
        let status = lab.director().output(&lb_tests::agent::binary()?.display().to_string(), &["status"])?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status.contains("panic: 1 of 3 healthy, all in"), "{status}");
        held.are_kept()?;
        nginx::set_ill(lab.real(2), false)?;
        agent.wait_for_real("web", lab.real(2).v4(), |real| real.state == State::Up)?;
        wait_until(DEADLINE, "the panic to end", || {
            agent.lb(&["events", "--all"]).is_ok_and(|told| told.contains("panic is over"))
        })?;
        assert_eq!(names(answering(&client)?), ["Real-2", "Real-3"]);
        held.are_kept()?;
        let (one, two) = (lab.real(1).v4(), lab.real(2).v4());
        let expected = format!(
            "real down web status 503, expected 200-299; its connections go on {one}\n\
             real down web status 503, expected 200-299; its connections go on {two}\n\
             service panic-begins web 1 of 3 healthy\n"
        );
        let told = || std::fs::read_to_string(&told).unwrap_or_default();
        wait_until(DEADLINE, "the scripts to be told", || told().contains("panic-ends")).with_context(told)?;
        ensure!(told().contains(&expected), "{}", told());
        ensure!(
            agent.log().contains("service.web: panic: all reals take new connections: 1 of 3 healthy"),
            "{}",
            agent.log()
        );
        Ok(())
    });
}
