//! An agent that stays dead: its guard takes the VIPs off the host, by the configuration's word.

use std::net::IpAddr;
use std::time::Duration;

use lb_tests::agent::{Agent, lb};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, scenario, wait_until};

/// A director that is master at once, and whose agent is missed after this time.
fn config(lab: &Lab, after: &str) -> String {
    format!(
        "[director]\ninterfaces = [\"eth1\"]\nwhen_agent_dies = \"release\"\nrelease_after = \"{after}\"\n\
         [vrrp.web]\ninterface = \"eth1\"\nid = 210\nversion = 3\npriority = 255\nadvertise = \"100ms\"\n\
         addresses = [\"{VIP}/24\"]\n\
         [service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
         [[service.web.reals]]\naddress = \"{}\"\n",
        lab.real(1).v4()
    )
}

fn holds_vip(host: &Host) -> bool {
    host.ip("-o addr show dev eth1").is_ok_and(|text| text.contains(&IpAddr::from(VIP).to_string()))
}

#[test]
fn a_dead_agents_vip_goes_after_the_time_and_not_before() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &config(lab, "2s"))?;
        agent.wait_for_router("web", "master")?;
        assert!(holds_vip(director));
        agent.process().kill()?;
        assert!(holds_vip(director), "the agent may come back");
        let took = wait_until(DEADLINE, "the guard to release the VIP", || !holds_vip(director))?;
        assert!(took > Duration::from_secs(1), "{took:?}");
        Ok(())
    });
}

#[test]
fn an_agent_that_comes_back_in_time_keeps_its_vip() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &config(lab, "1s"))?;
        agent.wait_for_router("web", "master")?;
        agent.process().kill()?;
        let agent = Agent::start_again(director)?;
        agent.wait_for_router("web", "master")?;
        // Longer than the first agent's guard waits.
        let end = std::time::Instant::now() + Duration::from_secs(2);
        wait_until(DEADLINE, "the guard's time to pass", || std::time::Instant::now() > end || !holds_vip(director))?;
        assert!(holds_vip(director));
        assert!(lb(director, &["release"]).is_err(), "an agent runs");
        Ok(())
    });
}
