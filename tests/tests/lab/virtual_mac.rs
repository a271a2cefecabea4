//! A VIP with the virtual router's own MAC address: clients keep their ARP entry for life, whoever is master.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::agent::{Agent, lb};
use lb_tests::client::Client;
use lb_tests::lab::{Host, Lab, Mac, VIP, VIP6, nginx, scenario, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
const MAC4: Mac = Mac([0, 0, 0x5e, 0, 1, 210]);
const MAC6: Mac = Mac([0, 0, 0x5e, 0, 2, 210]);

fn config(lab: &Lab, priority: u8) -> String {
    let (one, two) = (lab.real(1), lab.real(2));
    let router = |name: &str, vips: &str| {
        format!(
            "[vrrp.{name}]\ninterface = \"eth1\"\nid = 210\nadvertise = \"100ms\"\npriority = {priority}\n\
             addresses = [{vips}]\nvirtual_mac = true\n"
        )
    };
    let service = |name: &str, vip: &str, a: IpAddr, b: IpAddr| {
        format!(
            "[service.{name}]\naddress = \"{vip}:80\"\nprotocol = \"tcp\"\n\
             reals = [{{ address = \"{a}\" }}, {{ address = \"{b}\" }}]\n"
        )
    };
    [
        "[director]\ninterfaces = [\"eth1\"]\n".to_owned(),
        router("web", &format!("\"{VIP}/24\"")),
        router("web6", &format!("\"fe80::210/64\", \"{VIP6}/64\"")),
        service("web", &VIP.to_string(), one.v4().into(), two.v4().into()),
        service("web6", &format!("[{VIP6}]"), one.v6().into(), two.v6().into()),
    ]
    .concat()
}

/// Requests over both families, each of which finds the VIP at its virtual MAC.
fn ask(lab: &Lab) -> Result<()> {
    let client = Client::new(lab.client());
    for (vip, mac) in [(IpAddr::from(VIP), MAC4), (VIP6.into(), MAC6)] {
        for _ in 0..10 {
            client.get((vip, 80)).with_context(|| format!("asking {vip}"))?;
        }
        assert_eq!(lab.client().neighbour(vip)?, Some(mac), "{vip}");
    }
    Ok(())
}

fn connections(agent: &Agent<'_>) -> Result<Vec<u64>> {
    Ok(agent.status()?.services.iter().map(|service| service.counters.connections).collect())
}

fn has_macvlan(host: &Host) -> Result<bool> {
    Ok(host.ip("-d link")?.contains("macvlan"))
}

#[test]
fn a_clients_entry_outlives_its_director() {
    scenario(Lab::builder().directors(2), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (host_a, host_b) = (lab.host("director-a"), lab.host("director-b"));
        // As many distributions have it: the client's route is by the interface, not by the macvlan.
        host_a.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
        let mut a = Agent::start(host_a, &config(lab, 200))?;
        let b = Agent::start(host_b, &config(lab, 100))?;
        for name in ["web", "web6"] {
            a.wait_for_router(name, "master")?;
            b.wait_for_router(name, "backup")?;
        }
        a.wait_until_served()?;
        b.wait_until_served()?;
        ask(lab)?;
        let by_a = connections(&a)?;
        assert!(by_a.iter().all(|count| *count >= 10), "the program took them: {by_a:?}");
        assert_eq!(connections(&b)?, [0, 0]);

        // Killed: the backup takes over with the same MAC.
        a.process().kill()?;
        for name in ["web", "web6"] {
            b.wait_for_router(name, "master")?;
        }
        ask(lab)?;
        // A's kernel may still say something with the virtual MAC (a multicast report of its macvlan): until B's next
        // advert the switch sends to A, whose program forwards too.
        let counted = || connections(&b).is_ok_and(|all| all.iter().all(|count| *count >= 10));
        wait_until(PATIENCE, "B's program to take them", || counted() || ask(lab).is_ok() && counted())?;
        ask(lab)?;

        // Back again: it adopts its VIPs, and is the better one. Then it is stopped in order.
        let mut a = Agent::start_again(host_a)?;
        for name in ["web", "web6"] {
            a.wait_for_router(name, "master")?;
            b.wait_for_router(name, "backup")?;
        }
        ask(lab)?;
        a.process().terminate(PATIENCE)?;
        for name in ["web", "web6"] {
            b.wait_for_router(name, "master")?;
        }
        ask(lab)?;
        assert!(!has_macvlan(host_a)?, "it was handed over");
        Ok(())
    });
}

#[test]
fn a_last_director_keeps_it_until_it_is_detached() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let host = lab.director();
        let mut agent = Agent::start(host, &config(lab, 100))?;
        agent.wait_for_router("web", "master")?;
        agent.wait_for_router("web6", "master")?;
        agent.wait_until_served()?;
        ask(lab)?;
        agent.process().terminate(PATIENCE)?;
        ask(lab)?;
        lb(host, &["detach"])?;
        wait_until(PATIENCE, "the macvlans to be gone", || !has_macvlan(host).unwrap_or(true))?;
        Ok(())
    });
}

#[test]
fn a_backup_that_passes_leaves_packets_to_its_kernel_until_it_is_master() {
    scenario(Lab::builder().directors(2), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (host_a, host_b) = (lab.host("director-a"), lab.host("director-b"));
        let config = |priority| config(lab, priority).replace("virtual_mac = true", "backup = \"pass\"");
        let a = Agent::start(host_a, &config(200))?;
        let b = Agent::start(host_b, &config(100))?;
        a.wait_for_router("web", "master")?;
        b.wait_for_router("web", "backup")?;
        a.wait_until_served()?;
        b.wait_until_served()?;
        // A client that takes the backup for the master.
        lab.client().set_neighbour(VIP.into(), host_b.nic().mac)?;
        let client = Client::new(lab.client()).timeout(Duration::from_millis(500));
        assert!(client.get((VIP, 80)).is_err());
        let standby = |agent| packets(agent, "standby");
        assert!(standby(&b)? > 0);
        a.lb(&["vrrp", "release", "web"])?;
        b.wait_for_router("web", "master")?;
        Client::new(lab.client()).get((VIP, 80))?;
        a.wait_for_router("web", "backup")?;
        lab.client().set_neighbour(VIP.into(), host_a.nic().mac)?;
        assert!(client.get((VIP, 80)).is_err());
        assert!(standby(&a)? > 0);
        // Told to forward, it does so at once.
        a.write_config(&config(200).replace("backup = \"pass\"", ""))?;
        a.lb(&["reload"])?;
        Client::new(lab.client()).get((VIP, 80))?;
        Ok(())
    });
}

fn packets(agent: &Agent<'_>, verdict: &str) -> Result<u64> {
    let verdicts = agent.status()?.verdicts;
    Ok(verdicts.iter().find(|held| held.verdict == verdict).map_or(0, |held| held.packets))
}
