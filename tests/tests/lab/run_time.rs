//! What is set at run time, with connections that live through it: weights, drains and their deadlines, reals that are disabled;
//! how it outlives the agent, and what a file that can't be used is told.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary};
use lb_tests::client::{Client, Connections, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};
use lb_userspace::api::State;

/// Where the lab's agents write it down: a director's /run is its own.
const STATE: &str = "/run/lb-state/state.json";

/// Connections that live through it all.
const COUNT: usize = 60;

/// How often each asks.
const INTERVAL: Duration = Duration::from_millis(100);

/// A running service of two reals, with connections.
struct Scene<'a> {
    lab: &'a Lab,
    agent: Agent<'a>,
    client: Client,
    connections: Connections,
    /// How many each real has.
    at: BTreeMap<String, usize>,
    /// The first real's address.
    one: String,
}

fn with_scene(scheduler: &str, test: impl FnOnce(Scene<'_>) -> Result<()>) {
    scenario(Lab::builder(), |lab| {
        for host in lab.reals() {
            lab.hold(nginx::start(host)?);
        }
        // Little to walk through: a walk that takes long on a busy machine is followed by a pause that is ten times as long.
        let limits = "[limits]\nflows = 1024\n";
        let keys = format!("protocol = \"tcp\"\nscheduler = \"{scheduler}\"\nring_size = 251");
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let config = director(&["eth1"]) + limits + &service("web", format!("{VIP}:80"), &keys, reals);
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let connections = Connections::open(&client, (VIP, 80), COUNT, INTERVAL)?;
        connections.wait_for_a_round(Instant::now())?;
        let at = connections.living(0);
        ensure!(at.len() == 2, "both reals have some: {at:?}");
        test(Scene { lab, agent, client, connections, at, one: lab.real(1).v4().to_string() })
    });
}

impl Scene<'_> {
    /// Who answers new connections, and how often.
    fn answering(&self, count: usize) -> Result<BTreeMap<String, usize>> {
        Ok(tally(&self.client.get_many((VIP, 80), count)?))
    }

    fn only_real_2_answers(&self) -> Result<()> {
        let answering = self.answering(20)?;
        ensure!(answering.keys().eq(["Real-2"]), "{answering:?}");
        Ok(())
    }

    fn both_answer(&self) -> Result<()> {
        let answering = self.answering(20)?;
        ensure!(answering.len() == 2, "{answering:?}");
        Ok(())
    }

    fn all_are_kept(&self) -> Result<()> {
        self.connections.wait_for_a_round(Instant::now())?;
        let (lost, moved) = (self.connections.lost(), self.connections.moved());
        ensure!(lost.is_empty() && moved.is_empty(), "lost: {lost:?}; moved: {moved:?}");
        Ok(())
    }

    /// Waits until those of the first real are reset, and no other one is lost; opens them again.
    fn its_are_reset(&mut self) -> Result<()> {
        let own = self.at.get("Real-1").copied().context("it had none")?;
        wait_until(DEADLINE, "its connections to be reset", || self.connections.lost().len() >= own)?;
        self.connections.wait_for_a_round(Instant::now())?;
        let lost = self.connections.lost();
        let odd = |lost: &&lb_tests::client::Lost| {
            lost.real.as_deref() != Some("Real-1") || lost.cause != ErrorKind::ConnectionReset
        };
        ensure!(lost.len() == own && !lost.iter().any(|lost| odd(&lost)), "{lost:?}");
        ensure!(self.connections.moved().is_empty(), "{:?}", self.connections.moved());
        self.connections.reopen()?;
        self.connections.wait_for_a_round(Instant::now())?;
        self.at = self.connections.living(0);
        Ok(())
    }

    fn state(&self) -> Result<State> {
        Ok(self.agent.real("web", self.address()?)?.state)
    }

    fn address(&self) -> Result<IpAddr> {
        Ok(self.one.parse()?)
    }

    /// Lets the agent end in order, or kills it; and starts another.
    fn again(self, killed: bool) -> Result<Self> {
        let Self { lab, mut agent, client, connections, at, one } = self;
        if killed {
            agent.process().kill()?;
        } else {
            agent.stop()?;
        }
        let agent = Agent::start_again(lab.director())?;
        Ok(Self { lab, agent, client, connections, at, one })
    }
}

#[test]
fn weights_take_effect_at_once_and_move_nobody() {
    for scheduler in ["wrr", "mh"] {
        with_scene(scheduler, |scene| {
            let said = scene.agent.lb(&["weight", "web", &scene.one, "3"])?;
            assert_eq!(said, format!("service.web: real {}: weight 3; the file says 1\n", scene.one));
            if scheduler == "wrr" {
                assert_eq!(scene.answering(20)?.into_values().collect::<Vec<_>>(), [15, 5]);
            }
            scene.all_are_kept()?;
            let real = scene.agent.real("web", scene.address()?)?;
            assert_eq!((real.weight, real.file_weight, real.set_at_run_time), (3, Some(1), true));
            assert!(scene.agent.lb(&["list"])?.contains("set at run time; the file has weight 1"));

            scene.agent.lb(&["weight", "web", &scene.one, "0"])?;
            assert_eq!(scene.state()?, State::Quiesced);
            scene.only_real_2_answers()?;
            scene.all_are_kept()?;

            // A reload that changes another key leaves it.
            let text = fs::read_to_string(scene.lab.director().dir().join("lb.toml"))?;
            scene.agent.reload(&text.replace("protocol = \"tcp\"", "protocol = \"tcp\"\ndrain_deadline = \"1h\""))?;
            assert_eq!(scene.state()?, State::Quiesced);

            let said = scene.agent.lb(&["weight", "web", &scene.one, "1"])?;
            assert!(said.contains("weight 1, as the file says"), "{said}");
            assert!(!scene.agent.real("web", scene.address()?)?.set_at_run_time);
            scene.both_answer()?;
            scene.all_are_kept()
        });
    }
}

#[test]
fn an_undrained_real_gets_new_connections_again_and_lost_none() {
    for scheduler in ["rr", "mh"] {
        with_scene(scheduler, |scene| {
            scene.agent.lb(&["drain", &scene.one, "--service", "web"])?;
            assert_eq!(scene.state()?, State::Draining);
            scene.only_real_2_answers()?;
            scene.all_are_kept()?;
            // What is left is counted by a walk through the table; a slot's flows are remembered as they speak.
            let own = scene.at.get("Real-1").copied().unwrap_or_default();
            scene.agent.wait_for_real("web", scene.address()?, |real| {
                real.remembered_connections == u64::try_from(own).ok()
            })?;
            let list = scene.agent.lb(&["list"])?;
            assert!(list.contains("draining since") && list.contains("no deadline"), "{list}");
            assert!(list.contains(&format!("{own} ")), "{list}");
            scene.agent.lb(&["undrain", &scene.one])?;
            assert_eq!(scene.state()?, State::Up);
            scene.both_answer()?;
            scene.all_are_kept()
        });
    }
}

#[test]
fn a_disabled_real_takes_nothing_until_it_is_enabled() {
    for scheduler in ["rr", "mh"] {
        with_scene(scheduler, |mut scene| {
            scene.agent.lb(&["disable", &scene.one])?;
            assert_eq!(scene.state()?, State::Disabled);
            scene.its_are_reset()?;
            scene.only_real_2_answers()?;
            assert!(scene.agent.lb(&["list"])?.contains("DISABLED: takes nothing"));
            scene.agent.lb(&["enable", &scene.one])?;
            assert_eq!(scene.state()?, State::Up);
            scene.both_answer()?;
            scene.all_are_kept()
        });
    }
}

#[test]
fn at_its_deadline_a_drain_gives_up_what_is_left() {
    for scheduler in ["rr", "mh"] {
        with_scene(scheduler, |mut scene| {
            scene.agent.lb(&["drain", &scene.one, "--deadline", "1s"])?;
            scene.agent.wait_for_real("web", scene.address()?, |real| real.state == State::Drained)?;
            scene.its_are_reset()?;
            scene.only_real_2_answers()?;
            // It is over in the next agent too.
            let scene = scene.again(true)?;
            assert_eq!(scene.state()?, State::Drained);
            scene.only_real_2_answers()?;
            scene.agent.lb(&["undrain", &scene.one])?;
            // This agent has never asked for its MAC.
            scene.agent.wait_for_real("web", scene.address()?, |real| real.state == State::Up)?;
            scene.both_answer()?;
            scene.all_are_kept()
        });
    }
}

#[test]
fn what_was_set_outlives_the_agent_however_it_ends() {
    for killed in [false, true] {
        with_scene("rr", |scene| {
            scene.agent.lb(&["drain", &scene.one, "--deadline", "10m"])?;
            let two = scene.lab.real(2).v4().to_string();
            scene.agent.lb(&["weight", "web", &two, "7"])?;
            let before = scene.agent.real("web", scene.address()?)?;
            ensure!(before.until.is_some(), "it has a deadline");
            let scene = scene.again(killed)?;
            let after = scene.agent.real("web", scene.address()?)?;
            assert_eq!((after.state, after.until, after.since), (State::Draining, before.until, before.since));
            let other = scene.agent.real("web", scene.lab.real(2).v4())?;
            assert_eq!((other.weight, other.file_weight), (7, Some(1)));
            scene.only_real_2_answers()?;
            scene.all_are_kept()?;

            // What `lb reset` drops is dropped for good.
            let said = scene.agent.lb(&["reset"])?;
            assert_eq!(said.lines().filter(|line| line.ends_with("as the file says")).count(), 2, "{said}");
            let scene = scene.again(killed)?;
            let reals = scene.agent.service("web")?.reals;
            assert!(reals.iter().all(|real| real.state == State::Up && !real.set_at_run_time), "{reals:?}");
            scene.both_answer()?;
            scene.all_are_kept()
        });
    }
}

#[test]
fn a_state_file_that_cannot_be_used_is_told_in_one_line_and_kept() {
    with_scene("rr", |mut scene| {
        scene.agent.lb(&["drain", &scene.one])?;
        let good = read(scene.lab.director(), STATE)?;
        let half = good.get(..good.len() / 2).context("it is empty")?.to_owned();
        let rows = ["", &half, "[1, 2]", "{\"version\": 9, \"reals\": []}", "\u{0}\u{1}"];
        for odd in rows {
            scene.agent.process().kill()?;
            write(scene.lab.director(), STATE, odd)?;
            // What a write left that was cut off.
            write(scene.lab.director(), "/run/lb-state/state.new", "{\"ver")?;
            let agent = Agent::start_again(scene.lab.director())?;
            let log = agent.log();
            let told: Vec<&str> = log.lines().filter(|line| line.contains(STATE)).collect();
            assert_eq!(told.len(), 1, "{odd:?}: {log}");
            assert!(told[0].contains("nothing that was set at run time is in force"), "{told:?}");
            scene = Scene { agent, ..scene };
            scene.both_answer()?;
            scene.all_are_kept()?;
            assert_eq!(read(scene.lab.director(), STATE)?, odd, "nothing was set: it is as it was");
            scene.agent.lb(&["drain", &scene.one])?;
            assert_eq!(read(scene.lab.director(), "/run/lb-state/state.json.refused")?, odd);
            assert_ne!(read(scene.lab.director(), STATE)?, odd);
            scene.only_real_2_answers()?;
        }
        scene.all_are_kept()
    });
}

#[test]
fn what_is_set_for_a_service_of_a_pool_holds_for_all_of_its_services_and_through_a_restart() {
    scenario(Lab::builder(), |lab| {
        for host in lab.reals() {
            lab.hold(nginx::start(host)?);
        }
        let reals = lab.reals().map(|host| format!("{{ address = \"{}\" }}", host.v4()));
        let mut config = director(&["eth1"]);
        config += &format!("[pool.nginx]\nreals = [{}]\n", reals.collect::<Vec<_>>().join(", "));
        for (name, port) in [("web", "80"), ("any", "any")] {
            config += &format!("[service.{name}]\naddress = \"{VIP}:{port}\"\nprotocol = \"tcp\"\npool = \"nginx\"\n");
        }
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let one = lab.real(1).v4();
        let said = agent.lb(&["drain", &one.to_string(), "--service", "any"])?;
        assert!(said.starts_with(&format!("pool.nginx: real {one}: drains: ")), "{said}");
        let drains = |agent: &Agent<'_>| -> Result<()> {
            for service in ["web", "any"] {
                assert_eq!(agent.real(service, one)?.state, State::Draining, "{service}");
            }
            let answering = tally(&Client::new(lab.client()).get_many((VIP, 80), 20)?);
            ensure!(answering.keys().eq(["Real-2"]), "{answering:?}");
            Ok(())
        };
        drains(&agent)?;
        agent.stop()?;
        let agent = Agent::start_again(lab.director())?;
        drains(&agent)?;
        assert_eq!(agent.lb(&["reset", "web"])?, format!("pool.nginx: real {one}: as the file says\n"));
        agent.wait_for_real("any", one, |real| real.state == State::Up)?;
        Ok(())
    });
}

#[test]
fn what_is_no_file_is_told_and_set_aside_too() {
    with_scene("rr", |mut scene| {
        scene.agent.process().kill()?;
        scene.lab.director().within(|| fs::create_dir_all(STATE))??;
        let scene = Scene { agent: Agent::start_again(scene.lab.director())?, ..scene };
        assert_eq!(scene.agent.log().lines().filter(|line| line.contains(STATE)).count(), 1);
        assert!(!scene.agent.lb(&["drain", &scene.one])?.contains("will not outlive"));
        let scene = scene.again(true)?;
        assert_eq!(scene.state()?, State::Draining);
        scene.all_are_kept()
    });
}

#[test]
fn a_state_file_that_cannot_be_written_is_told_and_what_was_set_is_in_force() {
    with_scene("rr", |scene| {
        let director = scene.lab.director();
        director.within(|| fs::create_dir_all("/run/lb-state/state.new"))??;
        let said = scene.agent.lb(&["drain", &scene.one])?;
        assert!(said.contains("it is in force, but will not outlive the agent: /run/lb-state/state.json"), "{said}");
        scene.only_real_2_answers()?;
        scene.all_are_kept()
    });
}

#[test]
fn open_connections_are_active_ones_and_closed_ones_are_gone_in_seconds() {
    with_scene("rr", |scene| {
        scene.answering(50)?;
        for (number, title) in [(1, "Real-1"), (2, "Real-2")] {
            let own = scene.at.get(title).copied().unwrap_or_default();
            scene.agent.wait_for_real("web", scene.lab.real(number).v4(), |real| {
                real.active_connections == u64::try_from(own).ok() && real.inactive_connections == Some(0)
            })?;
        }
        drop(scene.connections);
        for host in scene.lab.reals() {
            let none = |real: &lb_userspace::api::RealStatus| {
                (real.active_connections, real.inactive_connections) == (Some(0), Some(0))
            };
            scene.agent.wait_for_real("web", host.v4(), none)?;
        }
        Ok(())
    });
}

#[test]
fn each_refusal_has_its_words_and_its_exit_code() {
    with_scene("rr", |scene| {
        let program = binary()?.display().to_string();
        let host = scene.lab.director();
        let refused = |words: &str, code: i32, text: &str| {
            let output = host.output(&program, &words.split(' ').collect::<Vec<_>>())?;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(code) && told.contains(text), "{words}: {}: {told}", output.status);
            Ok(())
        };
        let one = &scene.one;
        refused("drain 192.0.2.99", 1, "no service has a real 192.0.2.99.\nReals: 172.28.128.40, 172.28.128.50")?;
        refused(&format!("drain {one} --service wbe"), 1, "there is no service wbe.\nServices: web")?;
        refused(&format!("weight wbe {one} 1"), 1, "there is no service wbe")?;
        refused("reset wbe", 1, "there is no service wbe")?;
        refused("drain real-1", 2, "invalid value 'real-1'")?;
        refused(&format!("drain {one} --deadline soon"), 2, "write it as 10m or 90s")?;
        refused(&format!("weight web {one} 65536"), 2, "65536 is not in 0..=65535")?;
        let reals = scene.agent.service("web")?.reals;
        assert!(reals.iter().all(|real| !real.set_at_run_time), "{reals:?}");
        scene.agent.stop()?;
        for words in ["drain", "undrain", "disable", "enable"] {
            refused(&format!("{words} {one}"), 3, "no agent")?;
        }
        Ok(())
    });
}

fn read(host: &Host, path: &str) -> Result<String> {
    host.within(|| fs::read_to_string(path))?.with_context(|| path.to_owned())
}

fn write(host: &Host, path: &str, text: &str) -> Result<()> {
    host.within(|| fs::write(Path::new(path), text))?.with_context(|| path.to_owned())
}
