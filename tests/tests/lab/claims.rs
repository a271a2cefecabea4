//! Who else answers for a VIP: a real that doesn't keep silent, and another director that takes itself for the master.

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, unwrapped};
use lb_tests::config::{real, service, watched_web};
use lb_tests::directors::{Router, Way, config, start_reals};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, VIP6, nginx, scenario, wait_until};
use lb_userspace::api::ClaimStatus;
use lb_userspace::vrrp::wire::announce;

fn claims(agent: &Agent<'_>) -> Vec<ClaimStatus> {
    agent.status().map(|status| status.claims).unwrap_or_default()
}

fn wait_for_claims(agent: &Agent<'_>, count: usize) -> Result<Vec<ClaimStatus>> {
    wait_until(DEADLINE, "who else answers", || claims(agent).len() == count)
        .with_context(|| format!("{:?}", claims(agent)))?;
    Ok(claims(agent))
}

fn set(host: &Host, name: &str, value: &str) -> Result<()> {
    ["all", "eth1"].iter().try_for_each(|scope| host.sysctl(&format!("net/ipv4/conf/{scope}/{name}"), value))
}

#[test]
fn a_real_that_answers_arp_for_the_vip_is_found_and_named() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let capture = lab.client().capture("eth1")?;
        let six = Router { name: "six".to_owned(), id: 211, ..Router::web(Way::V3_100MS, 255).of(VIP6) };
        let of_six =
            service("web6", format!("[{VIP6}]:80"), "protocol = \"tcp\"", lab.reals().map(|host| real(host.v6(), "")));
        let mut agent = Agent::start(lab.director(), &(watched_web(lab) + &six.section() + &of_six))?;
        agent.wait_until_served()?;
        // It is asked as soon as it is master, from an address of its own, and silence is well.
        let own = lab.director().v4().octets();
        let is_question = |bytes: &[u8]| {
            bytes.get(12..14) == Some(&[8, 6])
                && bytes.get(28..32) == Some(&own)
                && bytes.get(38..42) == Some(&VIP.octets())
        };
        capture.wait_for(DEADLINE, "the question", |frame| is_question(&frame.bytes))?;
        ensure!(claims(&agent).is_empty());

        let (ill, mac) = (lab.real(1), lab.real(1).mac().to_string());
        ill.ip(&format!("address add {VIP6}/128 dev eth1 nodad"))?;
        set(ill, "arp_ignore", "0")?;
        // Its first word is asked about at once; else it would be within half a minute.
        for vip in [VIP.into(), VIP6.into()] {
            ill.send("eth1", &announce::frame(vip, ill.mac().0))?;
        }
        let found = wait_for_claims(&agent, 2)?;
        ensure!(found.iter().all(|claim| claim.mac == mac), "{found:?}");
        let told = [VIP.to_string(), VIP6.to_string()];
        let reals = [ill.v4().to_string(), ill.v6().to_string()];
        for (claim, (vip, real)) in found.iter().zip(told.iter().zip(&reals)) {
            ensure!(
                claim.vip.to_string() == *vip && reals.contains(&claim.real.context("no real")?.to_string()),
                "{claim:?} {real}"
            );
            agent.process().wait_for_log(DEADLINE, &format!("VIP {vip}: real "))?;
        }
        let status = lab.director().output(&lb_tests::agent::binary()?.display().to_string(), &["status"])?;
        let text = unwrapped(&String::from_utf8_lossy(&status.stdout));
        ensure!(status.status.code() == Some(1) && text.contains(&format!("({mac}) answers for it too")), "{text}");
        ensure!(text.contains(&format!("`lb real-server check {VIP}` on that real")), "{text}");
        ensure!(agent.lb(&["events", "--kind", "vrrp"])?.contains("answers for it too"));

        // Mended, it is told of no more.
        set(ill, "arp_ignore", "1")?;
        ill.ip(&format!("address del {VIP6}/128 dev eth1"))?;
        wait_for_claims(&agent, 0)?;
        ensure!(agent.lb(&["events", "--kind", "vrrp"])?.contains("doesn't answer for it any more"));
        ensure!(unwrapped(&agent.lb(&["status"])?).contains("all is well"));
        Ok(())
    });
}

#[test]
fn two_masters_find_and_name_each_other() {
    scenario(Lab::builder().directors(2), |lab| {
        start_reals(lab)?;
        let (a, b) = (lab.host("director-a"), lab.host("director-b"));
        let file = |other: &Host, priority| {
            config(lab, &[Router::web(Way::V3_100MS, priority).with(&format!("peers = [\"{}\"]", other.v4()))])
        };
        let agents = [Agent::start(a, &file(b, 200))?, Agent::start(b, &file(a, 100))?];
        agents[0].wait_for_router("web", "master")?;
        agents[1].wait_for_router("web", "backup")?;
        for host in [a, b] {
            host.run("nft", &["add table inet lb; add chain inet lb input { type filter hook input priority 0; }"])?;
            host.run("nft", &["add rule inet lb input ip protocol vrrp drop"])?;
        }
        agents[1].wait_for_router("web", "master")?;
        for (agent, other) in agents.iter().zip([b, a]) {
            let found = wait_for_claims(agent, 1)?;
            ensure!(found[0].director == Some(other.v4().into()) && found[0].real.is_none(), "{found:?}");
        }
        // Who ceases to be master has nothing to tell.
        for host in [a, b] {
            host.run("nft", &["flush chain inet lb input"])?;
        }
        agents[1].wait_for_router("web", "backup")?;
        wait_for_claims(&agents[1], 0)?;
        Ok(())
    });
}
