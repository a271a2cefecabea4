//! The director's own interfaces change under a running agent.

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, Mac, VIP, nginx, scenario, wait_until};

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
