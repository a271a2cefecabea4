//! `lb status`: its screen and its exit code, while all is well and while it isn't.

use anyhow::{Result, ensure};
use lb_tests::agent::{Agent, binary, unwrapped};
use lb_tests::client::Client;
use lb_tests::config::{director, real, service, watched_web};
use lb_tests::directors::Way;
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::pair::pair;
use lb_userspace::api::State;
use serde_json::Value;

fn status(host: &Host, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let output = host.output(&binary()?.display().to_string(), &[&["status"], arguments].concat())?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

fn wait_for_status(host: &Host, code: i32, text: &str) -> Result<()> {
    let is = || status(host, &[]).is_ok_and(|(told, found)| found == Some(code) && told.contains(text));
    let waited = wait_until(DEADLINE, text, is);
    ensure!(waited.is_ok(), "{:?}", status(host, &[])?);
    Ok(())
}

#[test]
fn one_screen_says_whether_all_is_well_and_the_exit_code_too() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let mut reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let mut agent = Agent::start(host, &watched_web(lab))?;
        agent.wait_until_served()?;
        wait_for_status(host, 0, ": all is well\n")?;
        let (text, _) = status(host, &[])?;
        ensure!(text.contains("program on eth1 (native): id "), "{text}");
        ensure!(text.contains(&format!("  {VIP}  MASTER for ")) && text.contains("\nMaps\n  services 1 of "), "{text}");
        ensure!(text.contains("service.web real ") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let quiet = status(host, &["--quiet"])?;
        ensure!(quiet == (String::new(), Some(0)), "{quiet:?}");

        // Rates are there without a wait, of two readings.
        let client = Client::new(lab.client());
        let rates = || -> Option<f64> {
            client.get_many((VIP, 80), 5).ok()?;
            agent.service("web").ok()?.rates.map(|rates| rates.connections).filter(|rate| *rate > 0.0)
        };
        wait_until(DEADLINE, "a rate of connections", || rates().is_some())?;
        let real = agent.real("web", lab.real(1).v4())?;
        ensure!(real.rates.is_some_and(|rates| rates.packets > 0.0 && rates.bytes > rates.packets), "{real:?}");

        // The program is what bpftool knows by the same number and tag.
        let json: Value = serde_json::from_str(&status(host, &["--json"])?.0)?;
        ensure!(json["good"] == true && json["findings"] == serde_json::json!([]), "{json}");
        let program = &json["status"]["program"];
        let shown = host.run("bpftool", &["prog", "show", "id", &program["id"].to_string()])?;
        ensure!(shown.contains(&format!("tag {}", program["tag"].as_str().unwrap_or("?"))), "{shown} {program}");
        let layout = program["layout"].as_str().unwrap_or("?").to_owned();
        ensure!(host.run("ls", &["/sys/fs/bpf/lb"])?.contains(&layout), "{layout}");

        let gone = lab.real(2).v4();
        drop(reals.pop());
        agent.wait_for_real("web", gone, |real| real.state == State::Down)?;
        wait_for_status(host, 1, "service.web: 1 of 2 reals take new connections")?;
        let (text, _) = status(host, &[])?;
        ensure!(text.contains(": 1 TROUBLE\n") && text.contains("-> `lb events --service web`"), "{text}");
        ensure!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        // What a drain does is no trouble.
        reals.push(nginx::start(lab.real(2))?);
        agent.lb(&["drain", &gone.to_string()])?;
        wait_for_status(host, 0, "draining")?;
        // Packets of a service without reals.
        agent.lb(&["disable", &lab.real(1).v4().to_string()])?;
        agent.lb(&["disable", &gone.to_string()])?;
        let refused = || {
            let _ = client.get((VIP, 80));
            status(host, &[]).is_ok_and(|(text, code)| code == Some(1) && text.contains("! verdict refused: "))
        };
        wait_until(DEADLINE, "refused packets to be told", refused)?;

        let kept = || host.within(|| std::fs::read_to_string("/run/lb-state/events.json")).ok()?.ok();
        wait_until(DEADLINE, "the events to be written down", || {
            kept().is_some_and(|text| text.matches("\"disabled\"").count() == 2)
        })?;
        agent.process().kill()?;
        let (text, code) = status(host, &[])?;
        let words = unwrapped(&text);
        ensure!(
            code == Some(3) && words.contains("NO AGENT RUNS") && words.contains("disabled: `lb disable`"),
            "{text}"
        );
        let (text, code) = status(host, &["--json"])?;
        let json: Value = serde_json::from_str(&text)?;
        ensure!(code == Some(3) && json["good"] == false, "{text}");
        Ok(())
    });
}

#[test]
fn a_backup_says_who_is_master() {
    pair(Way::V3_100MS, |pair| {
        let master = pair.host_a().v4();
        wait_for_status(pair.host_b(), 0, "BACKUP for ")?;
        let (text, _) = status(pair.host_b(), &[])?;
        ensure!(unwrapped(&text).contains(&format!("master is {master}")), "{text}");
        Ok(())
    });
}

#[test]
fn a_list_is_of_what_was_asked_for_and_has_colours_on_a_terminal_alone() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let keys = "protocol = \"tcp\"\ncheck = { type = \"tcp\", interval = \"1s\", timeout = \"100ms\" }";
        let reals = || lab.reals().map(|host| real(host.v4(), ""));
        let text = director(&["eth1"])
            + &service("web", format!("{VIP}:80"), keys, reals())
            + &service("dns", format!("{VIP}:53"), "protocol = \"udp\"", reals().take(1));
        let agent = Agent::start(host, &text)?;
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Down)?;
        agent.wait_for_router("web", "master")?;
        let one = lab.real(1).v4().to_string();
        let list = agent.lb(&["list", "web", "--rate"])?;
        ensure!(list.contains(" mh MASTER") && list.contains(" CPS ") && !list.contains(":53"), "{list}");
        ensure!(list.lines().all(|line| line.chars().count() <= 80) && !list.contains('\u{1b}'), "{list}");
        let list = agent.lb(&["list", "--real", &lab.real(2).v4().to_string(), "--json"])?;
        let json: Value = serde_json::from_str(&list)?;
        let services = json["services"].as_array().map(Vec::len);
        ensure!(services == Some(1) && json["services"][0]["vrrp"]["state"] == "master", "{list}");
        ensure!(agent.lb(&["list", "--vip", &VIP.to_string(), "--real", &one])?.matches("-> ").count() == 3);
        for (words, code, text) in [
            (&["wbe"][..], 1, "there is no service wbe.\nServices: "),
            (&["--vip", "10.9.9.9"], 1, "no service has the VIP 10.9.9.9"),
            (&["--stats", "--rate"], 2, "cannot be used with"),
            (&["--client", "10.0.0.0/8"], 2, "--connections"),
        ] {
            let output = host.output(&binary()?.display().to_string(), &[&["list"], words].concat())?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(code) && told.contains(text), "{words:?}: {told}");
        }

        let on_a_terminal = |setting: &str| -> Result<String> {
            let command = format!("stty rows 24 cols 100; {setting} TERM=xterm {} list", binary()?.display());
            host.run("script", &["-q", "-e", "-c", &command, "/dev/null"])
        };
        let list = on_a_terminal("env -u NO_COLOR")?;
        ensure!(
            list.contains("\u{1b}[31m     DOWN since") && list.lines().any(|line| line.trim_end().len() > 80),
            "{list}"
        );
        ensure!(!on_a_terminal("NO_COLOR=1")?.contains('\u{1b}'));
        Ok(())
    });
}
