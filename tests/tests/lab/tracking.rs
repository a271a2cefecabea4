//! What a virtual router watches moves its priority, or takes it out.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};

fn config(lab: &Lab, priority: u8, more: &str) -> String {
    format!(
        "[director]\ninterfaces = [\"eth1\"]\n\
         [vrrp.web]\ninterface = \"eth1\"\nid = 210\nadvertise = \"100ms\"\npriority = {priority}\n\
         addresses = [\"{VIP}/24\"]\n{more}\n\
         [service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
         check = {{ type = \"tcp\", interval = \"100ms\", timeout = \"90ms\", rise = 1, fall = 2 }}\n\
         reals = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n",
        lab.real(1).v4(),
        lab.real(2).v4(),
    )
}

#[test]
fn a_link_a_script_and_a_service_decide_who_is_master_and_scripts_hear_of_it() {
    scenario(Lab::builder().directors(2), |lab| {
        let mut reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (host_a, host_b) = (lab.host("director-a"), lab.host("director-b"));
        host_a.ip("link add watched type veth peer name other")?;
        host_a.ip("link set other up")?;
        host_a.ip("link set watched up")?;
        let (flag, log) = (host_a.dir().join("flag"), host_a.dir().join("log"));
        fs::write(&flag, "")?;
        let tell = host_a.dir().join("tell");
        fs::write(&tell, format!("echo \"$@\" >> {}\n", log.display()))?;
        let more = format!(
            "track = [\n{{ interface = \"watched\", weight = -150 }},\n\
             {{ script = [\"/usr/bin/test\", \"-e\", \"{}\"], interval = \"200ms\", timeout = \"200ms\", fall = 3, weight = -150 }},\n\
             {{ service = \"web\", healthy = 2 }},\n]\n\
             notify = [\"/bin/sh\", \"{}\"]\n",
            flag.display(),
            tell.display(),
        );
        let mut a = Agent::start(host_a, &config(lab, 200, &more))?;
        let mut b = Agent::start(host_b, &config(lab, 100, ""))?;
        a.wait_for_router("web", "master")?;
        b.wait_for_router("web", "backup")?;
        a.wait_until_served()?;

        host_a.link("other", false)?;
        b.wait_for_router("web", "master")?;
        let routers = a.routers()?;
        assert!(routers[0].why.as_deref().unwrap_or_default().contains("link watched fails"), "{routers:?}");
        assert_eq!((routers[0].priority, routers[0].configured_priority), (50, 200));
        host_a.link("other", true)?;
        a.wait_for_router("web", "master")?;

        fs::remove_file(&flag)?;
        b.wait_for_router("web", "master")?;
        fs::write(&flag, "")?;
        a.wait_for_router("web", "master")?;

        // One of two reals is too few.
        drop(reals.remove(0));
        b.wait_for_router("web", "master")?;
        a.wait_for_router("web", "initialize")?;
        reals.insert(0, nginx::start(lab.real(1))?);
        a.wait_for_router("web", "master")?;

        // Without conditions it stands where it is configured, whatever they say.
        fs::remove_file(&flag)?;
        b.wait_for_router("web", "master")?;
        a.write_config(&config(lab, 200, ""))?;
        a.lb(&["reload"])?;
        a.wait_for_router("web", "master")?;

        let told = || fs::read_to_string(&log).unwrap_or_default();
        let lines = told();
        assert!(lines.starts_with(&format!("backup web {VIP}\nmaster web {VIP}\n")), "{lines}");
        assert!(lines.contains(&format!("initialize web {VIP}\n")), "{lines}");
        a.write_config(&config(lab, 200, &more.replace("-150", "-1")))?;
        a.lb(&["reload"])?;
        a.process().terminate(Duration::from_secs(20))?;
        b.wait_for_router("web", "master")?;
        let ends = || told().lines().last() == Some(&format!("initialize web {VIP}"));
        wait_until(DEADLINE, "the last change to be told", ends)?;
        assert!(b.process().is_running());
        Ok(())
    });
}
