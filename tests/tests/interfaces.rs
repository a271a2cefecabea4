//! The director's own interfaces change under a running agent.

use anyhow::Result;
use lb_common::header::ethertype;
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::frame::{Segment, tcp4};
use lb_tests::lab::{DEADLINE, Lab, Mac, VIP, nginx, scenario, wait_until};
use lb_tests::shape::Shape;

#[test]
fn a_directors_changed_mac_is_followed() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals);
        let config = director(&["eth1"]) + &web;
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        client.get((VIP, 80))?;

        lab.director().set_mac("eth1", Mac([0x02, 0xd1, 0, 0, 0, 9]))?;
        lab.client().forget_neighbours()?;
        wait_until(DEADLINE, "requests to be forwarded from the new MAC", || client.get((VIP, 80)).is_ok())?;
        assert_eq!(client.get_many((VIP, 80), 20)?.len(), 20);
        Ok(())
    });
}

#[test]
fn tagged_frames_are_left_alone_where_nothing_says_that_they_are_ours() {
    scenario(Lab::builder(), |lab| {
        let (director_host, client) = (lab.director(), lab.client());
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = |keys: &str| {
            let reals = lab.reals().map(|host| real(host.v4(), keys));
            director(&["eth1"]) + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals)
        };
        let agent = Agent::start(director_host, &config(""))?;
        agent.wait_until_served()?;
        let segment = tcp4(client.v4().octets(), 40000, VIP.octets(), 80, Segment::Syn);
        let segment = segment.addressed_to(director_host.mac().0).sent_by(client.mac().0);
        let counts = |verdict: &str, id: u16| {
            let before = agent.verdict(verdict)?;
            let frame = segment.clone().tagged(ethertype::VLAN, id);
            wait_until(DEADLINE, &format!("a frame of VLAN {id} to be counted as {verdict}"), || {
                client.send("eth1", &frame).is_ok() && agent.verdict(verdict).is_ok_and(|now| now > before)
            })
        };
        counts("other-vlan", 5)?;
        agent.reload(&config("vlan = 5"))?;
        counts("forwarded", 5)?;
        agent.reload(&config(""))?;
        counts("other-vlan", 5)?;
        Ok(())
    });
}
