//! `lb run --observe`: whoever has the VIP serves it as before, and lb counts what it would have done.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary, list, refusal, status, unwrapped};
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, in_mode, real, service};
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::responder::Http;

const REQUESTS: usize = 40;

/// The protocol of VRRP, where a frame of IPv4 without a tag has it.
const VRRP: Option<&u8> = Some(&112);

#[test]
fn whoever_has_the_vip_serves_it_as_before_and_what_lb_would_do_is_counted() {
    observed("native");
}

#[test]
fn behind_the_socket_buffers_too() {
    observed("generic");
}

fn observed(mode: &str) {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        // In the place of IPVS.
        let _own = Http::start_at(host, 80)?;
        let (vip, client) = (IpAddr::from(VIP), Client::new(lab.client()));
        let sent = lab.switch().capture("director-a")?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals);
        let web = in_mode(mode, &(director(&["eth1"]) + &web));
        let observed = web.replace("id = 210", "id = 210\nvirtual_mac = true");
        host.own(vip)?;
        let agent = Agent::start_observing(host, &observed)?;
        agent.wait_until_served()?;
        let all_pass = || -> Result<()> {
            let answers = tally(&client.get_many((vip, 80), REQUESTS)?);
            ensure!(answers.into_iter().collect::<Vec<_>>() == [("Director-a".to_owned(), REQUESTS)]);
            Ok(())
        };
        all_pass()?;
        let told = agent.status()?;
        ensure!(told.observe);
        let served = agent.service("web")?;
        let shares: Vec<u64> = served.reals.iter().map(|real| real.counters.connections).collect();
        ensure!(shares == [REQUESTS as u64 / 2; 2], "{shares:?}");
        ensure!(agent.verdict("forwarded")? >= 3 * REQUESTS as u64);
        for verb in ["list", "status"] {
            let text = unwrapped(&agent.lb(&[verb])?);
            ensure!(text.contains("OBSERVES ALONE: every frame passes"), "{text}");
        }
        // The VIP and VRRP are others'.
        ensure!(agent.routers()?.is_empty());
        ensure!(!sent.frames().iter().any(|frame| frame.bytes.get(23) == VRRP), "it speaks VRRP");

        // Frames for a virtual MAC of keepalived's.
        host.ip("link add keepalived link eth1 address 00:00:5e:00:01:d2 type macvlan mode bridge")?;
        host.ip("link set keepalived up")?;
        lab.client().set_neighbour(vip, "00:00:5e:00:01:d2".parse()?)?;
        all_pass()?;
        ensure!(agent.service("web")?.counters.connections == 2 * REQUESTS as u64);

        agent.reload(&observed)?;
        all_pass()?;
        ensure!(agent.service("web")?.counters.connections == 3 * REQUESTS as u64);

        // It goes on without its agent, and whoever asks the maps is told.
        agent.stop()?;
        all_pass()?;
        ensure!(status(host)?.observe && unwrapped(&list(host, &[])?).contains("OBSERVES ALONE"));

        // The change-over is a start.
        lab.client().set_neighbour(vip, host.mac())?;
        let agent = Agent::start(host, &web)?;
        agent.wait_until_served()?;
        wait_until(DEADLINE, "the reals' answers", || {
            client.get((vip, 80)).is_ok_and(|answer| answer.real.starts_with("Real"))
        })?;
        ensure!(!agent.status()?.observe);
        agent.stop()?;
        let config = host.dir().join("lb.toml");
        let config = config.to_str().context("a path")?;
        let text = refusal(host, &binary()?.display().to_string(), &["run", "--observe", "--config", config])?;
        ensure!(text.contains("lb forwards on this machine") && text.contains("lb detach"), "{text}");
        ensure!(client.get((vip, 80))?.real.starts_with("Real"));
        Ok(())
    });
}
