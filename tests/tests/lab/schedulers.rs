//! Least-connection schedulers with real clients and reals: live connections even out by weights.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::{Answer, Client, Connection, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};

/// Open connections, each with what it was answered first.
type Open = Vec<(Connection, Answer)>;

fn config(lab: &Lab, scheduler: &str, weights: &[u32]) -> String {
    let keys = format!("protocol = \"tcp\"\nscheduler = \"{scheduler}\"");
    let reals = lab.reals().zip(weights).map(|(host, weight)| real(host.v4(), &format!("weight = {weight}")));
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), &keys, reals)
}

fn open(client: &Client, count: usize) -> Result<Open> {
    let open = |_| {
        let mut connection = client.connect((VIP, 80))?;
        let answer = connection.ask("/")?;
        Ok((connection, answer))
    };
    (0..count).map(open).collect()
}

fn counts(open: &Open) -> BTreeMap<String, usize> {
    tally(open.iter().map(|(_, answer)| answer))
}

fn even_out(scheduler: &str) {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, scheduler, &[3, 2, 1]))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let mut held = open(&client, 60)?;
        near(&counts(&held), [30, 20, 10]);

        // One real's clients leave, and those who come then go there first.
        let leaving = "Real-1";
        held.retain(|(_, answer)| answer.real != leaving);
        held.extend(open(&client, 60)?);
        near(&counts(&held), [45, 30, 15]);
        for (connection, answer) in &mut held {
            assert_eq!(connection.ask("/")?.real, answer.real, "a connection has moved");
        }
        Ok(())
    });
}

/// A walk through the table that runs meanwhile may put counts off for a moment.
fn near(counts: &BTreeMap<String, usize>, wanted: [usize; 3]) {
    let held: Vec<usize> = counts.values().copied().collect();
    assert!(held.len() == 3 && held.iter().zip(wanted).all(|(held, wanted)| held.abs_diff(wanted) <= 5), "{counts:?}");
}

#[test]
fn wlc_evens_out_by_weights() {
    even_out("wlc");
}

#[test]
fn sed_evens_out_by_weights() {
    even_out("sed");
}

/// Under `rr` nothing is counted: what is open already is found by the walk through the flow table.
#[test]
fn a_service_that_begins_to_count_learns_what_is_open() {
    scenario(Lab::builder().reals(2), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, "rr", &[1, 1]))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let mut held = open(&client, 40)?;
        held.retain(|(_, answer)| answer.real == "Real-1");
        assert_eq!(held.len(), 20);
        agent.reload(&config(lab, "lc", &[1, 1]))?;
        // A walk is followed by a pause of ten times its length, which on a busy machine is long.
        wait_until(6 * DEADLINE, "ten new connections to the real that has none", || {
            let ten = client.get_many((VIP, 80), 10);
            ten.is_ok_and(|ten| ten.iter().all(|answer| answer.real == "Real-2"))
        })?;
        for (connection, answer) in &mut held {
            assert_eq!(connection.ask("/")?.real, answer.real, "a connection has moved");
        }
        Ok(())
    });
}
