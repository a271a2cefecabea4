//! Directors that come back: from a stop, a kill, a lost link or nothing at all. A return costs nothing, and takes nothing
//! that it may not.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::agent::{Agent, lb};
use lb_tests::client::Client;
use lb_tests::directors::{Way, holds, wait_until_holds};
use lb_tests::lab::{DEADLINE, Lab, VIP, scenario, wait_until};
use lb_tests::pair::{B, OWNER, Pair, WHILE, pair};

fn a_stop_and_a_preempting_return(way: Way) {
    pair(way, |pair| {
        let probe = pair.probe()?;
        let ended = pair.a.process().terminate(DEADLINE)?;
        assert!(ended.success());
        pair.b_is_master()?;
        assert!(!holds(pair.host_a(), VIP));
        probe.wait_until_through(pair.host_b())?;
        std::thread::sleep(WHILE);
        pair.a = Agent::start_again(pair.host_a())?;
        pair.a_is_master()?;
        probe.wait_until_through(pair.host_a())?;
        std::thread::sleep(WHILE);
        probe.finish().without_loss()
    });
}

#[test]
fn an_agent_that_is_stopped_and_returns_costs_nothing() {
    a_stop_and_a_preempting_return(Way::V3_100MS);
}

#[test]
fn an_agent_that_is_stopped_and_returns_costs_nothing_in_version_2() {
    a_stop_and_a_preempting_return(Way::V2_1S);
}

#[test]
fn an_agent_that_returns_within_milliseconds_is_ready_when_it_preempts() {
    a_stop_and_a_preempting_return(Way::V3_10MS);
}

/// With reals that the director must find first, and check: the pins are gone, as after a reboot.
#[test]
fn a_director_that_returns_from_nothing_preempts_only_when_it_can_forward() {
    pair(Way::V3_10MS, |pair| {
        let probe = pair.probe()?;
        let web = Client::new(pair.lab.client()).poll((VIP, 80), Duration::from_millis(10));
        assert!(pair.a.process().terminate(DEADLINE)?.success());
        pair.b_is_master()?;
        probe.wait_until_through(pair.host_b())?;
        lb(pair.host_a(), &["detach"])?;
        pair.a = Agent::start_again(pair.host_a())?;
        pair.a_is_master()?;
        probe.wait_until_through(pair.host_a())?;
        std::thread::sleep(WHILE);
        probe.finish().without_loss()?;
        web.finish().without_loss()
    });
}

/// B has taken the VIP over from A, whose agent was killed: A's is started again, and must not have it back.
fn is_left_alone(pair: &mut Pair<'_>) -> Result<()> {
    let elections =
        |b: &Agent<'_>| Ok::<_, anyhow::Error>(b.routers()?.iter().map(|one| one.counters.elections).sum::<u64>());
    pair.a.process().kill()?;
    pair.b_is_master()?;
    let probe = pair.probe()?;
    let before = elections(&pair.b)?;
    pair.a = Agent::start_again(pair.host_a())?;
    pair.a.wait_for_router("web", "backup")?;
    wait_until_holds(pair.host_a(), VIP, false)?;
    probe.wait_until_through(pair.host_b())?;
    std::thread::sleep(WHILE);
    pair.a.wait_until_served()?;
    probe.finish().without_loss()?;
    assert!(!holds(pair.host_a(), VIP) && holds(pair.host_b(), VIP));
    assert_eq!(elections(&pair.b)?, before, "B was master all the time");
    Ok(())
}

#[test]
fn a_killed_agent_that_must_not_preempt_gives_its_vip_up_when_it_returns() {
    scenario(Lab::builder().directors(2), |lab| {
        is_left_alone(&mut Pair::start_with(lab, Way::V3_100MS, "preempt = false")?)
    });
}

#[test]
fn a_release_is_remembered_by_an_agent_that_was_killed() {
    pair(Way::V3_100MS, |pair| {
        pair.a.lb(&["vrrp", "release", "web"])?;
        pair.b_is_master()?;
        is_left_alone(pair)?;
        ensure!(pair.a.routers()?.iter().all(|router| router.yielded), "the release is forgotten");
        pair.a.lb(&["vrrp", "reclaim", "web"])?;
        pair.a_is_master()
    });
}

#[test]
fn a_director_that_returns_says_which_reals_it_waits_for() {
    pair(Way::V3_100MS, |pair| {
        assert!(pair.a.process().terminate(DEADLINE)?.success());
        pair.b_is_master()?;
        lb(pair.host_a(), &["detach"])?;
        let real = pair.lab.real(2);
        pair.lab.cable(real, false)?;
        pair.a = Agent::start_again(pair.host_a())?;
        let waits = format!("  waits for real {}: ", real.v4());
        wait_until(DEADLINE, &waits, || pair.a.lb(&["vrrp"]).is_ok_and(|told| told.contains(&waits)))?;
        pair.a_is_master()?;
        assert!(!pair.a.lb(&["vrrp"])?.contains("waits for"));
        Ok(())
    });
}

/// Master at once, whoever else is, but not before it knows its reals again.
#[test]
fn an_owner_takes_its_vip_back_only_when_it_can_forward() {
    scenario(Lab::builder().directors(2), |lab| {
        let pair = Pair::start_of(lab, Way::V3_100MS, [OWNER, B], "")?;
        for _ in 0..3 {
            pair.lab.cable(pair.host_a(), false)?;
            pair.b_is_master()?;
            wait_until_holds(pair.host_a(), VIP, false)?;
            pair.returns_by_link()?;
        }
        Ok(())
    });
}
