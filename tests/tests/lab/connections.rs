//! No connection is ever moved: thousands of them, each asking once a second, live through every change of a running
//! director. Those that a change may cost are reset at once; no other one is reset, moved or silent.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use lb_tests::agent::binary;
use lb_tests::lab::scenario;
use lb_tests::long_lived::{Plan, Scene};
use lb_userspace::api::State;

/// Connections to each service; more are opened as it goes.
const COUNT: usize = 2000;

/// The same to each service of a pool, whose rings are those of the others.
const POOLED: usize = 250;

/// A service of either family has each.
const SCHEDULERS: &[&str] = &["mh", "rr"];

/// Those that count connections: apart, for two cores can't keep more connections talking.
const COUNTED: &[&str] = &["wlc"];

/// Takes the CPUs for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `test` with connections to a service of each scheduler and family.
fn scene(directors: u8, schedulers: &'static [&'static str], test: impl FnOnce(&mut Scene<'_>) -> Result<()>) {
    scene_of(directors, schedulers, (None, COUNT), test);
}

/// The same with services of a pool, if one is named, and so many connections to each.
fn scene_of(
    directors: u8,
    schedulers: &'static [&'static str],
    (pool, count): (Option<&'static str>, usize),
    test: impl FnOnce(&mut Scene<'_>) -> Result<()>,
) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let reals = BTreeMap::from([(1, 1), (2, 1), (3, 1)]);
    // A real whose check fails for a while keeps its connections.
    let keys = "on_failure = \"quiesce\"";
    // Directors share their connections.
    let exchange = directors > 1;
    let plan = Plan { schedulers, reals, check_interval: "250ms", keys, pool, apart: &[], exchange };
    scenario(plan.lab().directors(directors).reals(4), |lab| test(&mut Scene::start(lab, plan, count)?));
}

fn fourth_joins(scene: &mut Scene<'_>) -> Result<()> {
    scene.plan.reals.insert(4, 1);
    scene.reload()?;
    scene.wait_for_state(4, State::Up)
}

fn second_quiesces(scene: &mut Scene<'_>) -> Result<()> {
    scene.plan.reals.insert(2, 0);
    scene.reload()?;
    scene.wait_for_state(2, State::Quiesced)
}

/// The second and the third.
fn both_return(scene: &mut Scene<'_>) -> Result<()> {
    scene.plan.reals.insert(2, 1);
    scene.plan.reals.insert(3, 2);
    scene.reload()?;
    scene.wait_for_state(3, State::Up)
}

/// The first's.
fn check_fails(scene: &mut Scene<'_>) -> Result<()> {
    scene.check_of(1, false)?;
    scene.wait_for_state(1, State::Down)
}

/// The first's.
fn check_succeeds(scene: &mut Scene<'_>) -> Result<()> {
    scene.check_of(1, true)?;
    scene.wait_for_state(1, State::Up)
}

/// Its cable is back.
fn fourth_returns(scene: &mut Scene<'_>) -> Result<()> {
    scene.cable("real-4", true)?;
    scene.wait_for_state(4, State::Up)
}

#[test]
fn one_director() {
    changes_of_one_director(SCHEDULERS);
}

#[test]
fn one_director_that_counts() {
    changes_of_one_director(COUNTED);
}

fn changes_of_one_director(schedulers: &'static [&'static str]) {
    scene(1, schedulers, |scene| {
        if schedulers.contains(&"mh") {
            scene.wait_for_estimate("mh")?;
        }
        scene.keeps_all_with_new_ones("a real is added", (4, true), fourth_joins)?;
        scene.keeps_all("a weight is changed", |scene| {
            scene.plan.reals.insert(1, 3);
            scene.reload()
        })?;
        scene.keeps_all_with_new_ones("a real has weight 0", (2, false), second_quiesces)?;
        scene.keeps_all_with_new_ones("a real leaves the configuration", (3, false), |scene| {
            scene.plan.reals.remove(&3);
            scene.reload()
        })?;
        scene.keeps_all("the agent is killed", |scene| scene.kill(0))?;
        scene.keeps_all("it is started again", |scene| scene.start_again(0, None))?;
        scene.keeps_all_with_new_ones("both reals are back", (3, true), both_return)?;
        scene.keeps_all("another key changes", |scene| {
            scene.plan.check_interval = "200ms";
            scene.reload()
        })?;
        scene.keeps_all("the agent is upgraded", |scene| {
            let upgraded = scene.director(0)?.dir().join("lb-new");
            fs::copy(binary()?, &upgraded)?;
            scene.stop(0)?;
            scene.goes_on()?;
            scene.start_again(0, Some(upgraded))
        })?;
        scene.keeps_all("a real's check fails", check_fails)?;
        scene.keeps_all("its check succeeds", check_succeeds)?;
        scene.resets_those_of(4, "a real dies", |scene| scene.cable("real-4", false))?;
        scene.keeps_all_with_new_ones("it is back", (4, true), fourth_returns)
    });
}

/// The services of each family share their reals, and those with a ring of one size share the ring.
#[test]
fn a_pool() {
    scene_of(1, SCHEDULERS, (Some("web"), POOLED), |scene| {
        scene.keeps_all_with_new_ones("a real joins the pool", (4, true), fourth_joins)?;
        scene.keeps_all_with_new_ones("a real of it has weight 0", (2, false), second_quiesces)?;
        scene.keeps_all_with_new_ones("a real leaves it, and drains", (3, false), |scene| {
            scene.plan.reals.remove(&3);
            scene.reload()
        })?;
        scene.keeps_all("the pool is renamed", |scene| {
            scene.plan.pool = Some("site");
            scene.reload()
        })?;
        // While two of its reals drain: slots have bases, and flows are remembered.
        scene.keeps_all("services leave the pool", |scene| {
            scene.plan.apart = &["rr"];
            scene.reload()
        })?;
        scene.keeps_all("the agent is killed and started again", |scene| {
            scene.kill(0)?;
            scene.start_again(0, None)
        })?;
        scene.keeps_all("they are back, and others leave it", |scene| {
            scene.plan.apart = &["mh"];
            scene.reload()
        })?;
        scene.keeps_all("all are back", |scene| {
            scene.plan.apart = &[];
            scene.reload()
        })?;
        scene.keeps_all("there is no pool any more", |scene| {
            scene.plan.pool = None;
            scene.reload()
        })?;
        scene.keeps_all("and there is one again", |scene| {
            scene.plan.pool = Some("web");
            scene.reload()
        })?;
        scene.keeps_all_with_new_ones("both reals are back", (3, true), both_return)?;
        scene.keeps_all_with_new_ones("a real's check fails, once for all services", (1, false), check_fails)?;
        scene.keeps_all_with_new_ones("its check succeeds", (1, true), check_succeeds)?;
        scene.resets_those_of(4, "a real of it dies", |scene| scene.cable("real-4", false))?;
        scene.keeps_all_with_new_ones("it returns", (4, true), fourth_returns)
    });
}

#[test]
fn two_directors() {
    scene(2, SCHEDULERS, vips_go_to_and_fro);
}

#[test]
fn two_directors_that_count() {
    scene(2, COUNTED, vips_go_to_and_fro);
}

fn vips_go_to_and_fro(scene: &mut Scene<'_>) -> Result<()> {
    scene.keeps_all_with_new_ones("a real is added", (4, true), fourth_joins)?;
    scene.keeps_all("the master hands over", |scene| {
        scene.vrrp(0, "release")?;
        scene.wait_for_master(1)
    })?;
    scene.keeps_all("it takes the VIP back", |scene| {
        scene.vrrp(0, "reclaim")?;
        scene.wait_for_master(0)
    })?;
    scene.keeps_all("the master's agent is killed", |scene| {
        scene.kill(0)?;
        scene.wait_for_master(1)
    })?;
    scene.keeps_all("it is started again", |scene| {
        scene.start_again(0, None)?;
        scene.wait_for_master(0)
    })?;
    scene.keeps_all("the master is upgraded", |scene| {
        scene.stop(0)?;
        scene.wait_for_master(1)?;
        scene.goes_on()?;
        scene.start_again(0, None)?;
        scene.wait_for_master(0)
    })?;
    scene.keeps_all("the master loses its power", |scene| {
        scene.cable("director-a", false)?;
        scene.kill(0)?;
        scene.wait_for_master(1)
    })?;
    scene.keeps_all("it boots", |scene| {
        // Nothing is left in its memory.
        lb_tests::agent::lb(scene.director(0)?, &["detach"])?;
        scene.cable("director-a", true)?;
        scene.start_again(0, None)?;
        scene.wait_for_master(0)
    })
}
