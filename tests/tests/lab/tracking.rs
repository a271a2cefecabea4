//! What a virtual router watches moves its priority, or takes it out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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

#[test]
fn keepalived_s_scripts_run_unchanged_and_files_and_processes_are_tracked() {
    scenario(Lab::builder().directors(2), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (host_a, host_b) = (lab.host("director-a"), lab.host("director-b"));
        let path = |name: &str| host_a.dir().join(name);
        let (number, log, tell) = (path("number"), path("log"), path("tell"));
        fs::write(&tell, format!("#!/bin/sh\necho \"$@\" >> {}\n", log.display()))?;
        fs::set_permissions(&tell, fs::Permissions::from_mode(0o755))?;
        // A name that nothing else on this machine has.
        let program = path("tracked").with_file_name(format!("tracked-{}", std::process::id()));
        fs::copy("/bin/sleep", &program)?;
        let start = || host_a.start("tracked", host_a.command(&program, ["1000"])?);
        let mut tracked = start()?;
        let more = format!(
            "track = [\n{{ script = \"who\", weight = 20 }},\n{{ file = \"{}\", weight = -1, interval = \"100ms\" }},\n\
             {{ process = \"{}\", interval = \"100ms\", weight = -150 }},\n]\n\
             notify = [\"{tell}\", \"own\"]\nnotify_style = \"keepalived\"\nnotify_master = [\"{tell}\", \"up\"]\nnotify_stop = [\"{tell}\", \"end\"]\n\
             [script.who]\ncommand = [\"/bin/sh\", \"-c\", \"test $(id -un) = nobody\"]\nuser = \"nobody\"\ninterval = \"200ms\"\ninit_fail = true\n",
            number.display(),
            program.file_name().unwrap_or_default().display(),
            tell = tell.display(),
        );
        let mut a = Agent::start(host_a, &config(lab, 200, &more))?;
        let b = Agent::start(host_b, &config(lab, 100, ""))?;
        a.wait_for_router("web", "master")?;
        b.wait_for_router("web", "backup")?;
        let is_at = |priority: u8| {
            let at = || a.routers().is_ok_and(|routers| routers[0].priority == priority);
            wait_until(DEADLINE, "the priority that tracking makes", at)
        };
        // The script has the rights of its user.
        is_at(220)?;

        fs::write(&number, "130\n")?;
        b.wait_for_router("web", "master")?;
        is_at(90)?;
        fs::write(&number, "x")?;
        wait_until(DEADLINE, "a word on a number that is none", || a.log().contains("its text is no whole number"))?;
        is_at(90)?;
        fs::remove_file(&number)?;
        a.wait_for_router("web", "master")?;

        tracked.kill()?;
        b.wait_for_router("web", "master")?;
        is_at(70)?;
        tracked = start()?;
        a.wait_for_router("web", "master")?;

        let told = || fs::read_to_string(&log).unwrap_or_default();
        let lines = told();
        let begins = lines.lines().take(3).map(|line| line.rsplit_once(' ').map_or(line, |(words, _)| words));
        assert_eq!(begins.collect::<Vec<_>>(), ["own INSTANCE web BACKUP", "up", "own INSTANCE web MASTER"], "{lines}");
        assert!(
            lines.contains("own INSTANCE web BACKUP 90\n") && lines.contains("own INSTANCE web BACKUP 70\n"),
            "{lines}"
        );
        a.process().terminate(Duration::from_secs(20))?;
        let ends = || told().lines().rev().take(2).eq(["own INSTANCE web STOP 220", "end"]);
        wait_until(DEADLINE, "the last change to be told", ends)?;
        drop(tracked);
        Ok(())
    });
}
