//! A new configuration for a running director: a good one applies whole, a bad one not at all, and traffic goes on.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use lb_tests::agent::{Agent, refusal};
use lb_tests::client::{Background, Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, Segment, VIP, nginx, scenario, wait_until};
use lb_userspace::api::State;
use lb_userspace::dataplane::Pins;
use nix::sys::signal::Signal;

const RR: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";
const WRR: &str = "protocol = \"tcp\"\nscheduler = \"wrr\"";
const BEAT: Duration = Duration::from_millis(2);

#[test]
fn sighup_adds_reals_and_services_changes_weights_and_removes_what_is_gone() {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let head = director(&["eth1"]);
        let one = service("web", vip(80), WRR, [real(lab.real(1).v4(), "")]);
        let mut agent = Agent::start(lab.director(), &(head.clone() + &one))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let polled = client.poll((VIP, 80), BEAT);
        let held = client.hold((VIP, 80), BEAT)?;
        let shares = |count| Ok::<_, anyhow::Error>(tally(&client.get_many((VIP, 80), count)?));

        // Two reals more, of other weights.
        let weights = [(1, 3), (2, 2), (3, 1)];
        let reals = weights.map(|(number, weight)| real(lab.real(number).v4(), &format!("weight = {weight}")));
        agent.write_config(&(head.clone() + &service("web", vip(80), WRR, reals.clone())))?;
        agent.process().signal(Signal::SIGHUP)?;
        agent.process().wait_for_log(DEADLINE, ": reloaded")?;
        agent.wait_until_served()?;
        drop(polled);
        assert_eq!(shares(60)?.into_values().collect::<Vec<_>>(), [30, 20, 10]);

        // A second service, that of the first with one real less.
        let two = service("web", vip(80), WRR, reals[1..].to_vec());
        let other = service("other", vip(81), RR, [real(lab.real(1).v4(), "")]);
        agent.reload(&(head.clone() + &two + &other))?;
        agent.wait_until_served()?;
        assert_eq!(shares(30)?, [("Real-2".to_owned(), 20), ("Real-3".to_owned(), 10)].into());
        assert_eq!(agent.status()?.services.len(), 2);
        // Nothing listens there on the real: its own refusal comes back, by way of the director.
        assert!(client.get((VIP, 81)).is_err());
        assert_eq!(agent.service("other")?.counters.connections, 1);

        // The first service goes, and its port is the director's own again.
        agent.reload(&(head + &other))?;
        let before = agent.verdict("not-service")?;
        assert!(client.get((VIP, 80)).is_err());
        assert!(agent.verdict("not-service")? > before);
        assert_eq!(agent.status()?.services.len(), 1);
        drop(held);
        Ok(())
    });
}

#[test]
fn reloads_under_load_lose_nothing() {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = |weights: &[u32]| {
            let reals = lab.reals().zip(weights).map(|(host, weight)| real(host.v4(), &format!("weight = {weight}")));
            director(&["eth1"]) + &service("web", vip(80), WRR, reals)
        };
        let agent = Agent::start(lab.director(), &config(&[1, 1]))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let (polled, held) = (client.poll((VIP, 80), BEAT), client.hold((VIP, 80), BEAT)?);
        for _ in 0..10 {
            // The third comes and is quiesced: one that is removed takes its connections with it.
            for weights in [&[1, 1, 1][..], &[3, 1, 0]] {
                agent.reload(&config(weights))?;
                polled.wait_for_answers(5, DEADLINE)?;
                held.wait_for_answers(5, DEADLINE)?;
            }
        }
        polled.finish().without_loss()?;
        without_loss(held)
    });
}

#[test]
fn another_check_leaves_every_real_as_it_was_until_it_has_an_answer() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = |check: &str| director(&["eth1"]) + &web(lab, &format!("{RR}\n{check}"), 2);
        let agent = Agent::start(lab.director(), &config(""))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let (polled, held) = (client.poll((VIP, 80), BEAT), client.hold((VIP, 80), BEAT)?);
        polled.wait_for_answers(20, DEADLINE)?;
        // None before, then another pace, another question, another pace of it, and none again.
        for check in [
            "check = { type = \"tcp\", interval = \"10s\" }",
            "check = { type = \"tcp\", interval = \"1s\" }",
            "check = { type = \"http\", path = \"/\", interval = \"1s\" }",
            "check = { type = \"http\", path = \"/\", interval = \"5s\", fall = 2 }",
            "",
        ] {
            let told = agent.reload(&config(check))?;
            assert!(told.contains("service.web: ") && told.contains("check"), "{told}");
            polled.wait_for_answers(30, DEADLINE)?;
            held.wait_for_answers(5, DEADLINE)?;
        }
        polled.finish().without_loss()?;
        without_loss(held)
    });
}

#[test]
fn a_reload_reads_included_files_and_what_holds_on_this_host_alone() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let host = lb_userspace::host::name();
        let folder = lab.director().dir().join("conf.d");
        fs::create_dir_all(&folder)?;
        let web = |weight: u32| {
            let reals = [real(lab.real(1).v4(), "weight = 1"), real(lab.real(2).v4(), &format!("weight = {weight}"))];
            service("web", vip(80), RR, reals)
        };
        fs::write(folder.join("web.toml"), web(0))?;
        let main = format!("include = [\"conf.d/*.toml\"]\n{}", director(&["eth1"]));
        let agent = Agent::start(lab.director(), &main)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let polled = client.poll((VIP, 80), BEAT);
        assert_eq!(tally(&client.get_many((VIP, 80), 10)?).into_values().collect::<Vec<_>>(), [10]);

        // Of this host alone, and of another.
        let mine =
            format!("[on.\"{host}\".service.web]\nscheduler = \"wrr\"\n[on.other.service.web]\nscheduler = \"sh\"\n");
        fs::write(folder.join("zz-hosts.toml"), &mine)?;
        fs::write(folder.join("web.toml"), web(3))?;
        let file = lab.director().dir().join("lb.toml").display().to_string();
        let told = agent.lb(&["check", &file])?;
        let expected = ["service.web: scheduler wrr, was rr", "service.web: real 172.28.128.50: weight 3, was 0"];
        expected.iter().for_each(|line| assert!(told.contains(line), "{told}"));
        let told = agent.lb(&["reload"])?;
        expected.iter().for_each(|line| assert!(told.contains(line), "{told}"));
        agent.wait_until_served()?;
        // Its turns are the next ones' alone.
        polled.finish().without_loss()?;
        assert_eq!(tally(&client.get_many((VIP, 80), 40)?).into_values().collect::<Vec<_>>(), [10, 30]);
        assert!(agent.lb(&["check", "--host", "other", &file])?.contains("TCP  172.28.128.210:80 sh"));

        // A fault is told with its own file and line, by all that read it.
        fs::write(folder.join("zz-hosts.toml"), format!("{mine}\nx = 1\n"))?;
        let binary = lb_tests::agent::binary()?.display().to_string();
        for words in [&["check", &file][..], &["check", "--here", &file], &["reload"]] {
            let told = refusal(lab.director(), &binary, words)?;
            assert!(told.contains("conf.d/zz-hosts.toml:6:1:"), "{told}");
        }
        fs::write(folder.join("zz-hosts.toml"), web(1))?;
        let told = refusal(lab.director(), &binary, &["reload"])?;
        assert!(told.contains("[service.web] is defined") && told.contains("web.toml"), "{told}");
        Ok(())
    });
}

#[test]
fn a_check_says_what_a_reload_would_change_and_which_connections_would_move() {
    scenario(Lab::builder(), |lab| {
        let good = director(&["eth1"]) + &web(lab, "protocol = \"tcp\"", 2);
        let agent = Agent::start(lab.director(), &good)?;
        let file = lab.director().dir().join("new.toml");
        let check = |text: &str| {
            fs::write(&file, text)?;
            agent.lb(&["check", &file.display().to_string()])
        };
        let same = check(&good)?;
        assert!(
            same.ends_with("\n\nFor the agent that runs here this file changes nothing that is in force\n"),
            "{same}"
        );
        let seeded = good.replacen("[director]\n", "[director]\nhash_seed = 7\n", 1);
        assert!(check(&seeded)?.contains("hash_seed changed: connections move"));
        let diff = |text: &str, more: &[&str]| {
            fs::write(&file, text)?;
            agent.lb(&[&["diff", &file.display().to_string()], more].concat())
        };
        assert_eq!(diff(&good, &["--exit-code"])?, "a reload changes nothing that is in force\n");
        let told = diff(&seeded, &[])?;
        assert!(
            told.contains("  service.web: ~0 move to other reals") || told.contains("  service.web: move to"),
            "{told}"
        );
        let one = director(&["eth1"]) + &web(lab, "protocol = \"tcp\"", 1);
        let told = diff(&one, &[])?;
        assert!(told.contains("service.web: real 172.28.128.50 removed"), "{told}");
        assert!(told.contains("service.web, real 172.28.128.50: ~0 stay as long as they live"), "{told}");
        let told = refusal(
            lab.director(),
            &lb_tests::agent::binary()?.display().to_string(),
            &["diff", "--exit-code", &file.display().to_string()],
        );
        assert!(told.is_ok(), "it exits with 1 where something changes");
        // What is shown of it is the same configuration.
        let shown =
            agent.lb(&["config", "show", "--secrets", &lab.director().dir().join("lb.toml").display().to_string()])?;
        assert_eq!(diff(&shown, &["--exit-code"])?, "a reload changes nothing that is in force\n", "{shown}");
        for key in ["scheduler = \"sh\"", "ring_size = 251"] {
            let told = check(&good.replace("protocol = \"tcp\"", &format!("protocol = \"tcp\"\n{key}")))?;
            assert!(told.contains("  service.web: its connections move: they are hashed otherwise"), "{told}");
        }
        let told = check(&(good.clone() + "[limits]\nservices = 7\n"))?;
        assert!(told.contains("note: [limits] has no effect yet"), "{told}");
        assert_eq!(agent.reload(&good)?, "reloaded: nothing that is in force changed\n", "none of it was taken");
        Ok(())
    });
}

#[test]
fn a_reload_says_what_changed_and_what_has_no_effect() {
    scenario(Lab::builder(), |lab| {
        let head = director(&["eth1"]);
        let agent = Agent::start(lab.director(), &(head.clone() + &web(lab, RR, 1)))?;
        let again = agent.reload(&(head.clone() + &web(lab, RR, 1)))?;
        assert_eq!(again, "reloaded: nothing that is in force changed\n");
        let more = head.replacen("[director]\n", "[director]\nmode = \"generic\"\n", 1) + "[limits]\nservices = 7\n";
        let told = agent.reload(&(more + &web(lab, RR, 2)))?;
        assert!(told.contains(&format!("service.web: real {} added", lab.real(2).v4())), "{told}");
        assert!(told.contains("note: [limits] has no effect") && told.contains("note: director.mode has"), "{told}");
        assert!(agent.log().contains(&format!("reload: service.web: real {} added", lab.real(2).v4())));
        Ok(())
    });
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let good = director(&["eth1"]) + &web(lab, RR, 2);
        let mut agent = Agent::start(lab.director(), &good)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = client.hold((VIP, 80), BEAT)?;
        let (maps, list) = (maps(lab.director())?, agent.lb(&["list"])?.lines().count());
        let bad = [
            ("scheduler = \"rrr\"", good.replace("\"rr\"", "\"rrr\"")),
            ("there is no interface eth7", good.replace("[\"eth1\"]", "[\"eth7\"]")),
            ("192.0.2.1", good.replace("172.28.128.40", "192.0.2.1")),
            ("[service", good.replace("[service.web]", "[service.web")),
        ];
        for (words, file) in bad {
            agent.write_config(&file)?;
            let lb = lb_tests::agent::binary()?.display().to_string();
            let told = refusal(lab.director(), &lb, &["reload"])?;
            assert!(told.contains(words), "{told}");
            agent.process().signal(Signal::SIGHUP)?;
            wait_until(DEADLINE, "the log to have both refusals", || agent.log().matches(words).count() >= 2)?;
            assert_eq!(self::maps(lab.director())?, maps);
        }
        assert!(agent.log().contains("reload refused, the configuration in force stays"));
        let told = agent.lb(&["list"])?;
        assert!(told.contains("FAULT: the reload at ") && told.lines().count() == list + 3, "{told}");
        let answers = client.get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10]);
        without_loss(held)
    });
}

#[test]
fn a_file_that_does_not_fit_the_maps_changes_nothing() {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let head = director(&["eth1"]) + "\n[limits]\nservices = 1\nreals = 2\nflows = 1024\n";
        let agent = Agent::start(lab.director(), &(head.clone() + &web(lab, RR, 2)))?;
        agent.wait_until_served()?;
        let maps = maps(lab.director())?;
        let other = service("other", vip(81), RR, [real(lab.real(1).v4(), "")]);
        for (file, limit) in [
            (head.clone() + &web(lab, RR, 3), "reals"),
            (head.clone() + &web(lab, RR, 1) + &other, "services"),
            // The file may ask for more; the maps are as they are.
            (head.replace("services = 1\nreals = 2", "services = 2\nreals = 9") + &web(lab, RR, 3), "reals"),
        ] {
            let told = format!("{:#}", agent.reload(&file).expect_err("it doesn't fit"));
            assert!(told.contains(limit) && told.contains("[limits]"), "{told}");
            assert_eq!(self::maps(lab.director())?, maps);
            // It is remembered until a file is taken.
            let fault = agent.status()?.fault.expect("the refused reload");
            assert!(fault.contains("was refused") && fault.contains(limit), "{fault}");
        }
        agent.reload(&(head.clone() + &web(lab, RR, 2)))?;
        assert_eq!(agent.status()?.fault, None);
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10]);
        Ok(())
    });
}

#[test]
fn every_real_may_have_another_mac_where_the_maps_are_full() {
    scenario(Lab::builder().reals(3), |lab| {
        let head = director(&["eth1"]) + "\n[limits]\nservices = 1\nreals = 4\nflows = 1024\n";
        let config = |part: u8| {
            let reals = lab
                .reals()
                .zip(1..)
                .map(|(host, n)| real(host.v4(), &format!("mac = \"02:00:00:00:{part:02x}:{n:02x}\"")));
            head.clone() + &service("web", vip(80), RR, reals)
        };
        let agent = Agent::start(lab.director(), &config(1))?;
        agent.reload(&config(2))?;
        assert_eq!(agent.status()?.fault, None);
        let mac = agent.real("web", lab.real(3).v4())?.mac;
        assert_eq!(mac.as_deref(), Some("02:00:00:00:02:03"));
        Ok(())
    });
}

#[test]
fn a_weight_of_zero_keeps_connections_and_takes_no_new_ones() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = |weight: u32| {
            let first = real(lab.real(1).v4(), &format!("weight = {weight}"));
            director(&["eth1"]) + &service("web", vip(80), RR, [first, real(lab.real(2).v4(), "")])
        };
        let agent = Agent::start(lab.director(), &reals(1))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = [client.hold((VIP, 80), BEAT)?, client.hold((VIP, 80), BEAT)?];
        agent.reload(&reals(0))?;
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Quiesced)?;
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?), [("Real-2".to_owned(), 20)].into());
        let mut titles = Vec::new();
        for held in held {
            held.wait_for_answers(10, DEADLINE)?;
            let report = held.finish();
            report.without_loss()?;
            titles.extend(tally(report.answers()).into_keys());
        }
        titles.sort();
        assert_eq!(titles, ["Real-1", "Real-2"]);
        Ok(())
    });
}

#[test]
fn an_interface_comes_and_goes_by_reload() {
    scenario(Lab::builder().place("real-2", Segment::Back), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let one = director(&["eth1"]) + &web(lab, RR, 1);
        let both = director(&["eth1", "eth2"]) + &web(lab, RR, 2);
        let agent = Agent::start(lab.director(), &one)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = client.hold((VIP, 80), BEAT)?;
        assert_eq!(programs(lab.director())?, ["eth1"]);
        agent.reload(&both)?;
        agent.wait_until_served()?;
        assert_eq!(programs(lab.director())?, ["eth1", "eth2"]);
        let shares = tally(&client.get_many((VIP, 80), 20)?);
        assert_eq!(shares.into_values().collect::<Vec<_>>(), [10, 10]);
        agent.reload(&one)?;
        wait_until(DEADLINE, "the program to leave eth2", || {
            programs(lab.director()).is_ok_and(|names| names == ["eth1"])
        })?;
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?), [("Real-1".to_owned(), 20)].into());
        without_loss(held)
    });
}

/// Checks that a connection was served without a segment sent twice.
fn without_loss(held: Background) -> Result<()> {
    let report = held.finish();
    report.without_loss()?;
    assert_eq!(report.retransmitted, Some(0), "{report}");
    Ok(())
}

fn vip(port: u16) -> String {
    format!("{VIP}:{port}")
}

/// The reference service with the lab's first `count` reals.
fn web(lab: &Lab, keys: &str, count: usize) -> String {
    service("web", vip(80), keys, lab.reals().take(count).map(|host| real(host.v4(), "")))
}

/// What the maps that the agent writes hold, as text to compare.
fn maps(director: &Host) -> Result<Vec<String>> {
    ["services", "reals", "director", "returns", "ports"]
        .iter()
        .map(|name| {
            director.run("bpftool", &["-j", "map", "dump", "pinned", &Pins::default().map(name).display().to_string()])
        })
        .collect()
}

/// The director's interfaces that run an XDP program.
fn programs(director: &Host) -> Result<Vec<String>> {
    let links = director.ip("-oneline link show")?;
    let with = links.lines().filter(|line| line.contains(" xdp"));
    Ok(with.filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())).collect())
}
