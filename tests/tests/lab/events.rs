//! `lb events`: what happened and why, as it happens and after the agent's end.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary};
use lb_tests::config::{director, real, service};
use lb_tests::directors::Way;
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::pair::pair;
use lb_userspace::api::State;
use lb_userspace::events::Event;

/// What `lb events` says with these arguments, and its exit code.
fn events(host: &Host, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let arguments = [&["events"], arguments].concat();
    let output = host.output(&binary()?.display().to_string(), &arguments)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

fn wait_for_event(host: &Host, text: &str) -> Result<()> {
    let told = || events(host, &["--all"]).is_ok_and(|(told, _)| told.contains(text));
    let waited = wait_until(DEADLINE, text, told);
    waited.map(drop).with_context(|| events(host, &["--all"]).map(|(told, _)| told).unwrap_or_default())
}

#[test]
fn each_change_is_told_with_its_cause_and_is_kept_however_the_agent_ends() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let mut reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let keys = "protocol = \"tcp\"\nring_size = 251\n\
                    check = { type = \"tcp\", interval = \"100ms\", timeout = \"100ms\" }";
        let text = director(&["eth1"]) + "[limits]\nflows = 1024\n";
        let web = |keys: &str| service("web", format!("{VIP}:80"), keys, lab.reals().map(|host| real(host.v4(), "")));
        let mut agent = Agent::start(host, &(text.clone() + &web(keys)))?;
        agent.wait_until_served()?;
        let mut follower = host.spawn(&binary()?, ["events", "--follow", "--last", "0", "--json"])?;
        let (one, two) = (lab.real(1).v4().to_string(), lab.real(2).v4());
        // It hears from here on.
        wait_until(DEADLINE, "the follower to follow", || {
            let _ = agent.lb(&["weight", "web", &one, "7"]);
            let _ = agent.lb(&["weight", "web", &one, "1"]);
            follower.log().contains("weight 7")
        })?;

        drop(reals.pop());
        agent.wait_for_real("web", two, |real| real.state == State::Down)?;
        wait_for_event(host, &format!("service.web real {two}: down: connection refused"))?;
        agent.lb(&["drain", &one])?;
        let out = "service.web: no real takes new connections: `lb drain`";
        wait_for_event(host, &format!("service.web real {one}: draining: `lb drain`"))?;
        wait_for_event(host, out)?;
        agent.lb(&["undrain", &one])?;
        agent.reload(&(text.clone() + &web(&format!("{keys}\nscheduler = \"rr\""))))?;
        wait_for_event(host, "lb: reloaded: service.web: scheduler rr, was mh")?;
        ensure!(agent.reload("[director]\n").is_err());
        wait_for_event(host, "lb: refused, the configuration in force stays: ")?;
        follower.wait_for_log(DEADLINE, "no real takes new connections")?;
        let followed: Vec<Event> = follower.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        ensure!(followed.is_sorted_by(|a, b| a.number < b.number), "{followed:?}");

        // Filters, and all of them at once.
        let (told, code) = events(host, &["--service", "web", "--kind", "service", "--all"])?;
        ensure!(
            code == Some(0) && told.contains(out) && told.lines().all(|line| line.contains("service.web")),
            "{told}"
        );
        let (told, _) = events(host, &["--real", &one, "--since", "1h", "--last", "1"])?;
        ensure!(told.lines().count() == 1 && told.contains("up: `lb undrain`"), "{told}");
        for wrong in [&["--kind", "x"][..], &["--service", "a b"], &["--real", "web"], &["--since", "soon"]] {
            ensure!(events(host, wrong)?.1 == Some(2), "{wrong:?}");
        }

        // Written down within a second; who follows hears of the end.
        let kept = || host.within(|| fs::read_to_string("/run/lb-state/events.json")).ok()?.ok();
        wait_until(DEADLINE, "the last of it to be written down", || {
            kept().is_some_and(|text| text.contains("refused, the configuration"))
        })?;
        agent.process().kill()?;
        let ended = follower.wait(DEADLINE)?;
        ensure!(ended.code() == Some(3), "{ended}: {}", follower.log());
        let (told, code) = events(host, &["--all"])?;
        ensure!(code == Some(3) && told.contains(out), "{code:?} {told}");

        agent.write_config(&(text + &web(keys)))?;
        let agent = Agent::start_again(host)?;
        let (told, code) = events(host, &["--all", "--json"])?;
        let all: Vec<Event> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(code == Some(0) && all.is_sorted_by(|a, b| a.number < b.number), "{told}");
        let told = events(host, &["--all"])?.0;
        ensure!(told.contains(out) && told.contains("the agent before this one ended without a word"), "{told}");
        ensure!(told.contains("the program went on forwarding meanwhile"), "{told}");

        let mut follower = host.spawn(&binary()?, ["events", "-f"])?;
        follower.wait_for_log(DEADLINE, "went on forwarding")?;
        agent.stop()?;
        ensure!(follower.wait(DEADLINE)?.code() == Some(3), "{}", follower.log());
        ensure!(follower.log().contains("lb: stopped: the program goes on forwarding"), "{}", follower.log());
        let agent = Agent::start_again(host)?;
        let told = events(host, &["--kind", "agent", "--last", "2"])?.0;
        ensure!(told.contains("lb: stopped") && !told.contains("without a word"), "{told}");
        agent.stop()
    });
}

#[test]
fn hand_overs_are_told_by_both_directors_also_the_one_at_the_end() {
    pair(Way::V3_100MS, |pair| {
        let (a, b) = (pair.host_a(), pair.host_b());
        pair.a.lb(&["vrrp", "release", "web"])?;
        pair.b_is_master()?;
        wait_for_event(a, "vrrp.web: releasing: released; priority 200; VIPs ")?;
        wait_for_event(a, "vrrp.web: backup: its successor was heard; priority 200")?;
        wait_for_event(b, "vrrp.web: master: the master resigned; priority 100")?;
        pair.a.lb(&["vrrp", "reclaim", "web"])?;
        pair.a_is_master()?;
        ensure!(pair.a.process().terminate(DEADLINE)?.success());
        let (told, code) = events(a, &["--all"])?;
        let end = told.rsplit_once("lb: stops: it was told to").context("no end")?.1;
        ensure!(code == Some(3) && end.contains("vrrp.web: releasing: stopped"), "{told}");
        ensure!(end.contains("initialize: its successor was heard") && end.contains("lb: stopped"), "{told}");
        Ok(())
    });
}
