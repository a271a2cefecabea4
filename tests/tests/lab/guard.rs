//! An agent that stays dead: its guard takes the VIPs off the host, by the configuration's word.

use std::net::IpAddr;
use std::time::Duration;

use lb_tests::agent::{Agent, binary, lb, write};
use lb_tests::lab::{DEADLINE, Host, Lab, Segment, VIP, occupy, scenario, wait_until};

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

/// The same, whose VIPs stay.
fn forwards(lab: &Lab) -> String {
    config(lab, "1s").replace("when_agent_dies = \"release\"\nrelease_after = \"1s\"\n", "")
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

#[test]
fn a_reload_takes_the_word_on_what_becomes_of_the_vips() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &forwards(lab))?;
        agent.wait_for_router("web", "master")?;
        let told = agent.reload(&config(lab, "1s"))?;
        assert!(told.contains("when_agent_dies is \"release\" now, after 1s"), "{told}");
        agent.process().kill()?;
        wait_until(DEADLINE, "the guard to release the VIP", || !holds_vip(director))?;

        let mut agent = Agent::start_again(director)?;
        agent.wait_for_router("web", "master")?;
        agent.reload(&forwards(lab))?;
        agent.process().kill()?;
        let end = std::time::Instant::now() + Duration::from_secs(2);
        wait_until(DEADLINE, "a guard's time to pass", || std::time::Instant::now() > end || !holds_vip(director))?;
        assert!(holds_vip(director));
        assert!(lb(director, &["release", "--as-configured"])?.contains("the VIPs stay"));
        assert!(holds_vip(director));
        assert!(lb(director, &["release"])?.contains("removed"));
        assert!(!holds_vip(director));
        Ok(())
    });
}

/// In a user namespace of its own `lb` has every capability, but none over the director's network.
#[test]
fn what_the_kernel_does_not_let_go_of_is_said_and_stays_on_the_list() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &forwards(lab))?;
        agent.wait_for_router("web", "master")?;
        agent.process().kill()?;
        let program = binary()?.display().to_string();
        for verb in ["release", "detach"] {
            let refused = director.output("unshare", &["--user", "--map-root-user", &program, verb])?;
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success(), "{verb}");
            if verb == "release" {
                assert!(said.contains(&format!("{VIP}/24 stays on interface ")), "{said}");
                assert!(said.contains("Operation not permitted"), "{said}");
            }
            assert!(holds_vip(director), "{verb}: {said}");
        }
        let said = lb(director, &["release"])?;
        assert!(said.contains(&format!("removed {VIP}/24")), "{said}");
        assert!(!holds_vip(director));
        assert!(lb(director, &["release"])?.contains("no VIP is held"));
        Ok(())
    });
}

#[test]
fn a_guard_that_was_ended_is_started_again() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &config(lab, "1s"))?;
        agent.wait_for_router("web", "master")?;
        let log = agent.log();
        let guard = log.split("guard ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(guard.parse()?), nix::sys::signal::Signal::SIGKILL)?;
        wait_until(DEADLINE, "another guard", || agent.log().matches("releases the VIPs when").count() == 2)?;
        agent.process().kill()?;
        wait_until(DEADLINE, "the guard to release the VIP", || !holds_vip(director)).map(|_| ())
    });
}

#[test]
fn an_agent_that_only_comes_to_fail_does_not_take_the_duty_from_the_guard() {
    scenario(Lab::builder().place("real-2", Segment::Back), |lab| {
        let director = lab.director();
        let mut agent = Agent::start(director, &config(lab, "2s"))?;
        agent.wait_for_router("web", "master")?;
        agent.process().kill()?;
        // It takes the lock, and then finds another program on eth2.
        let _other = occupy(director, "eth2")?;
        write(director, &config(lab, "2s").replace("[\"eth1\"]", "[\"eth1\", \"eth2\"]"))?;
        let refused = format!("{:#}", Agent::start_again(director).err().expect("it can't start"));
        assert!(refused.contains("another XDP program"), "{refused}");
        wait_until(DEADLINE, "the guard to release the VIP", || !holds_vip(director)).map(|_| ())
    });
}
