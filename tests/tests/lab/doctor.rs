//! `lb doctor` before and during service, on a segment that is well and on one that isn't.

use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use lb_tests::agent::{Agent, binary, unwrapped, wait_for_traces, write};
use lb_tests::directors::{Router, Way, config, start_reals};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, occupy, scenario};
use serde_json::Value;

fn doctor(host: &Host, file: &str, words: &[&str]) -> Result<(String, Option<i32>)> {
    let arguments = [&["doctor", "--config", file], words].concat();
    let output = host.output_within(DEADLINE, &binary()?.display().to_string(), &arguments)?;
    let told = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&told).into_owned(), output.status.code()))
}

#[test]
fn what_costs_traffic_is_found_before_a_director_starts_and_while_it_runs() {
    scenario(Lab::builder().directors(2), |lab| {
        start_reals(lab)?;
        let (host, other) = (lab.host("director-a"), lab.host("director-b"));
        let text = config(lab, &[Router::web(Way::V3_100MS, 200)]);
        let file = write(host, &text)?.display().to_string();
        let (told, code) = doctor(host, &file, &[])?;
        ensure!(code == Some(0) && told.contains("nothing bad was found") && told.contains("no agent runs"), "{told}");
        let (told, code) = doctor(host, "/nowhere/lb.toml", &[])?;
        ensure!(code == Some(1) && told.contains("! lb.toml: ") && told.contains("/nowhere/lb.toml"), "{told}");

        // Much at once.
        let (silent, loud) = (lab.real(1), lab.real(2));
        silent.link("eth1", false)?;
        for scope in ["all", "eth1"] {
            loud.sysctl(&format!("net/ipv4/conf/{scope}/arp_ignore"), "0")?;
        }
        host.ip(&format!("address add {VIP}/32 dev lo"))?;
        let occupant: OwnedFd = occupy(host, "eth1")?;
        let stranger = Router::web(Way::V3_100MS, 255).of([172, 28, 128, 211]);
        let stranger = Agent::start(other, &config(lab, &[stranger]))?;
        let (told, code) = doctor(host, &file, &[])?;
        let words = unwrapped(&told);
        for part in [
            format!("! real {}: nobody answers for it on eth1", silent.v4()),
            format!("! VIP {VIP}: real {} ({}) answers for it", loud.v4(), loud.mac()),
            format!("`lb real-server check {VIP}` on that real says what to set"),
            format!("! VIP {VIP}: it is on lo, and belongs on eth1"),
            "! eth1: another XDP program is there: id ".to_owned(),
            format!("! vrrp.web: {} has id 210 for 172.28.128.211", other.v4()),
        ] {
            ensure!(words.contains(&part), "{part:?} is not in:\n{told}");
        }
        ensure!(code == Some(1) && words.contains("5 TROUBLES, "), "{told}");
        ensure!(told.lines().all(|line| line.chars().count() <= 80), "{told}");

        // Mended.
        stranger.stop()?;
        lb_tests::agent::lb(other, &["detach"])?;
        drop(occupant);
        host.ip(&format!("address del {VIP}/32 dev lo"))?;
        // Nothing of it is the doctor's.
        wait_for_traces(host, &[])?;
        silent.link("eth1", true)?;
        loud.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        let agent = Agent::start(host, &text)?;
        agent.wait_until_served()?;
        let (told, code) = doctor(host, &file, &[])?;
        ensure!(code == Some(0) && told.contains("; an agent runs"), "{told}");
        ensure!(doctor(host, &file, &["--quiet"])? == (String::new(), Some(0)));
        let (told, code) = doctor(host, &file, &["--json"])?;
        let json: Value = serde_json::from_str(&told)?;
        let is_whole = |finding: &Value| finding["why"].is_string() && finding["mend"].is_string();
        ensure!(code == Some(0) && json["good"] == true && json["agent"] == true, "{told}");
        ensure!(json["findings"].as_array().is_some_and(|all| all.iter().all(is_whole)), "{told}");
        // And what the agent knows is told with it.
        silent.link("eth1", false)?;
        agent.wait_for_real("web-web", silent.v4(), |real| real.state == lb_userspace::api::State::Down)?;
        let (told, code) = doctor(host, &file, &[])?;
        ensure!(code == Some(1) && unwrapped(&told).contains("! service.web-web: 1 of 2 reals take new"), "{told}");
        Ok(())
    });
}
