//! The agent stops, crashes and is replaced; forwarding doesn't notice, until `lb detach` ends it.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::agent::{Agent, binary, lb, list, refusal, status, wait_for_traces};
use lb_tests::client::{Background, Client, Connection, alternate, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, Segment, VIP, nginx, scenario, wait_until};
use lb_userspace::api::State;
use lb_userspace::dataplane::Pins;
use serde_json::Value;

const RR: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";
const BEAT: Duration = Duration::from_millis(2);

/// One who keeps a connection and one who opens a new one each time.
struct Load {
    polled: Background,
    held: Background,
}

impl Load {
    fn start(lab: &Lab) -> Result<Self> {
        let client = Client::new(lab.client());
        // The one connection has its turn before the others begin to alternate.
        let held = client.hold((VIP, 80), BEAT)?;
        Ok(Self { polled: client.poll((VIP, 80), BEAT), held })
    }

    /// Waits until both have gone on for a while.
    fn goes_on(&self) -> Result<()> {
        self.polled.wait_for_answers(50, DEADLINE)?;
        self.held.wait_for_answers(50, DEADLINE)
    }

    /// Checks that neither has missed anything, nor had to send anything again, and that new ones alternated.
    fn finish(self) -> Result<()> {
        let held = self.held.finish();
        held.without_loss()?;
        assert_eq!(held.retransmitted, Some(0), "{held}");
        let polled = self.polled.finish();
        polled.without_loss()?;
        assert!(alternate(polled.answers()), "two in a row");
        Ok(())
    }
}

#[test]
fn a_killed_agent_that_is_started_again_loses_nothing() {
    under_load(|lab, mut agent, load| {
        let before = attached(lab.director())?;
        agent.process().kill()?;
        load.goes_on()?;
        assert_eq!(attached(lab.director())?, before);
        let agent = Agent::start_again(lab.director())?;
        load.goes_on()?;
        agent.wait_until_served()?;
        assert!(agent.log().contains("program adopted, without a gap"));
        let after = attached(lab.director())?;
        assert_eq!(after.link, before.link);
        assert_ne!(after.program, before.program);
        Ok(())
    });
}

#[test]
fn a_stopped_agent_leaves_the_program_forwarding_and_loses_nothing() {
    under_load(|lab, agent, load| {
        let before = attached(lab.director())?;
        agent.stop()?;
        load.goes_on()?;
        assert_eq!(attached(lab.director())?, before);
        assert!(!lab.director().within(|| fs::exists("/run/lb/lb.sock"))??);
        let agent = Agent::start_again(lab.director())?;
        load.goes_on()?;
        agent.stop()?;
        load.goes_on()
    });
}

#[test]
fn another_binary_takes_over_without_a_loss() {
    under_load(|lab, agent, load| {
        let upgraded = lab.director().dir().join("lb-new");
        fs::copy(binary()?, &upgraded)?;
        for _ in 0..3 {
            let before = attached(lab.director())?;
            let agent = Agent::start_binary(lab.director(), &upgraded);
            assert!(agent.is_err(), "two agents run");
            drop(agent);
            assert_eq!(attached(lab.director())?, before);
        }
        agent.stop()?;
        let before = attached(lab.director())?;
        let _agent = Agent::start_binary(lab.director(), &upgraded)?;
        load.goes_on()?;
        let after = attached(lab.director())?;
        assert_eq!(after.link, before.link);
        assert_ne!(after.program, before.program);
        Ok(())
    });
}

#[test]
fn an_upgrade_from_pins_of_another_layout_loses_nothing() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let director = lab.director();
        // By the ring: which real a remembered connection has is forgotten, and one that is open at that moment may move.
        let agent = Agent::start(director, &config(lab, 2).replace("\"rr\"", "\"mh\""))?;
        agent.wait_until_served()?;
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(50, DEADLINE)?;
        agent.stop()?;
        let before = attached(director)?;
        let own = Pins::default();
        let other = "/sys/fs/bpf/lb/0123456789abcdef";
        director.within(|| fs::rename(own.directory(), other))??;
        let told = refusal(director, &binary()?.display().to_string(), &["list"])?;
        assert!(told.contains(other) && told.contains("goes on forwarding"), "{told}");

        let agent = Agent::start_again(director)?;
        polled.wait_for_answers(50, DEADLINE)?;
        agent.wait_until_served()?;
        let log = agent.log();
        assert!(log.contains("1 services and 2 reals are taken over from") && log.contains("start anew"), "{log}");
        let after = attached(director)?;
        assert_eq!(after.link, before.link);
        assert_ne!(after.program, before.program);
        assert!(!director.within(|| fs::exists(other))??);
        polled.finish().without_loss()?;

        // Without a re-read: the other program goes on until a real is found usable.
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(50, DEADLINE)?;
        agent.stop()?;
        director.within(|| fs::rename(own.directory(), other))??;
        director.within(|| fs::remove_file(format!("{other}/services")))??;
        let agent = Agent::start_again(director)?;
        wait_until(DEADLINE, "the take-over", || agent.log().contains("is replaced, without a gap"))?;
        polled.wait_for_answers(50, DEADLINE)?;
        assert!(agent.log().contains("can't be read"));
        polled.finish().without_loss()
    });
}

#[test]
fn an_interface_that_went_does_not_hold_up_an_upgrade() {
    scenario(Lab::builder().place("real-2", Segment::Back), |lab| {
        let _real = nginx::start(lab.real(1))?;
        let director_host = lab.director();
        let web = service("web", format!("{VIP}:80"), RR, [real(lab.real(1).v4(), "")]);
        let agent = Agent::start(director_host, &(director(&["eth1", "eth2"]) + &web))?;
        agent.wait_until_served()?;
        agent.stop()?;
        let other = "/sys/fs/bpf/lb/0123456789abcdef";
        director_host.within(|| fs::rename(Pins::default().directory(), other))??;
        director_host.ip("link delete eth2")?;
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(20, DEADLINE)?;
        let _agent = Agent::start(director_host, &(director(&["eth1"]) + &web))?;
        polled.wait_for_answers(50, DEADLINE)?;
        assert!(!director_host.within(|| fs::exists(other))??);
        assert_eq!(director_host.within(|| Pins::default().linked().map(|links| links.len()))??, 1);
        polled.finish().without_loss()
    });
}

#[test]
fn detaching_removes_the_pins_of_every_layout() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let agent = Agent::start(director, &config(lab, 2))?;
        agent.stop()?;
        director.within(|| fs::rename(Pins::default().directory(), "/sys/fs/bpf/lb/0123456789abcdef"))??;
        let told = lb(director, &["detach"])?;
        assert!(told.contains("detached from interface"), "{told}");
        wait_for_traces(director, &[])
    });
}

/// Runs `test` with the reference lab's agent under load, which must lose nothing.
fn under_load(test: impl FnOnce(&Lab, Agent<'_>, &Load) -> Result<()>) {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, 2))?;
        agent.wait_until_served()?;
        let load = Load::start(lab)?;
        load.goes_on()?;
        test(lab, agent, &load)?;
        load.goes_on()?;
        load.finish()
    });
}

#[test]
fn connections_stay_on_their_reals_over_a_restart() {
    scenario(Lab::builder().reals(3), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let mut agent = Agent::start(lab.director(), &config(lab, 3))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let connections = (0..30).map(|_| client.connect((VIP, 80))).collect::<Result<Vec<_>>>()?;
        let mut asked = connections.into_iter().map(ask).collect::<Result<Vec<_>>>()?;
        assert_eq!(tally(asked.iter().map(|(_, answer)| answer)).into_values().collect::<Vec<_>>(), [10, 10, 10]);
        let counted = agent.service("web")?.counters;
        for _ in 0..2 {
            agent.process().kill()?;
            agent = Agent::start_again(lab.director())?;
            for (connection, before) in &mut asked {
                assert_eq!(connection.ask("/")?.real, before.real);
            }
        }
        // The counters go on, too.
        let after = agent.service("web")?.counters;
        assert_eq!(after.connections, counted.connections);
        assert!(after.packets > counted.packets);
        Ok(())
    });
}

#[test]
fn a_down_real_stays_out_over_a_restart() {
    scenario(Lab::builder(), |lab| {
        let _alive = nginx::start(lab.real(2))?;
        let keys = format!("{RR}\ncheck = {{ type = \"tcp\", interval = \"250ms\", fall = 3 }}");
        let web = service("web", format!("{VIP}:80"), &keys, lab.reals().map(|host| real(host.v4(), "")));
        let mut agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_for_real("web", lab.real(2).v4(), |real| real.state == State::Up)?;
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(20, DEADLINE)?;
        agent.process().kill()?;
        let agent = Agent::start_again(lab.director())?;
        polled.wait_for_answers(50, DEADLINE)?;
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Down)?;
        polled.finish().without_loss()
    });
}

#[test]
fn what_the_configuration_lost_while_no_agent_ran_is_gone_after_the_start() {
    let builder = Lab::builder().place("real-2", Segment::Back);
    scenario(builder, |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let web = |count| {
            let reals = lab.reals().take(count).map(|host| real(host.v4(), ""));
            service("web", format!("{VIP}:80"), RR, reals)
        };
        let other = service("other", format!("{VIP}:81"), RR, [real(lab.real(1).v4(), "")]);
        let agent = Agent::start(lab.director(), &(director(&["eth1", "eth2"]) + &web(2) + &other))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = client.hold((VIP, 80), BEAT)?;
        held.wait_for_answers(10, DEADLINE)?;
        agent.stop()?;
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web(1)))?;
        agent.wait_until_served()?;
        assert_eq!(tally(&client.get_many((VIP, 80), 10)?), [("Real-1".to_owned(), 10)].into());
        assert_eq!(agent.status()?.services.len(), 1);
        wait_until(DEADLINE, "the program to leave eth2", || {
            lab.director().ip("-oneline link show").is_ok_and(|links| links.matches(" xdp").count() == 1)
        })?;
        held.wait_for_answers(10, DEADLINE)?;
        let report = held.finish();
        report.without_loss()?;
        assert_eq!(tally(report.answers()).into_keys().collect::<Vec<_>>(), ["Real-1"]);
        Ok(())
    });
}

#[test]
fn the_list_reads_the_pinned_maps_while_no_agent_runs() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, 2))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        client.get_many((VIP, 80), 10)?;
        agent.stop()?;
        client.get_many((VIP, 80), 10)?;
        let status = status(lab.director())?;
        assert!(!status.agent);
        let [web] = status.services.as_slice() else { panic!("{status:?}") };
        assert_eq!((web.address, web.port, web.scheduler.as_str()), (VIP.into(), Some(80), "rr"));
        assert_eq!(web.counters.connections, 20);
        let reals: Vec<_> =
            web.reals.iter().map(|real| (real.address, real.state, real.counters.connections)).collect();
        let expected: Vec<_> = lab.reals().map(|host| (IpAddr::from(host.v4()), State::Up, 10)).collect();
        assert_eq!(reals, expected);
        let list = list(lab.director(), &[])?;
        assert!(list.contains("NO AGENT RUNS") && list.contains(&format!("TCP  {VIP}:80 rr")), "{list}");
        let told = refusal(lab.director(), &binary()?.display().to_string(), &["reload"])?;
        assert!(told.contains("no agent answers"), "{told}");
        Ok(())
    });
}

#[test]
fn detaching_ends_forwarding_and_leaves_nothing() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let director = lab.director();
        wait_for_traces(director, &[])?;
        let agent = Agent::start(director, &config(lab, 2))?;
        agent.wait_until_served()?;
        wait_for_traces(director, &["/sys/fs/bpf/lb", "/run/lb/lb.sock", &format!("{VIP}/24"), "prog/xdp"])?;

        // Not under a running agent, which would write the maps again.
        let lb_binary = binary()?.display().to_string();
        let told = refusal(director, &lb_binary, &["detach"])?;
        assert!(told.contains("SIGTERM"), "{told}");
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 10)?.len(), 10);

        agent.stop()?;
        lb(director, &["detach"])?;
        wait_for_traces(director, &[])?;
        assert!(lb(director, &["detach"])?.contains("nothing was attached"));
        let told = refusal(director, &lb_binary, &["list"])?;
        assert!(told.contains("lb run"), "{told}");

        // What somebody else had put there before stays.
        director.ip(&format!("address add {VIP}/24 dev eth1"))?;
        let agent = Agent::start_again(director)?;
        agent.wait_until_served()?;
        agent.stop()?;
        lb(director, &["detach"])?;
        wait_for_traces(director, &[&format!("{VIP}/24")])?;
        Ok(())
    });
}

#[test]
fn what_a_killed_agent_left_is_read_and_detached() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let director = lab.director();
        let mut agent = Agent::start(director, &config(lab, 2))?;
        agent.wait_until_served()?;
        agent.process().kill()?;
        // Its socket is still there, and nobody listens on it.
        assert!(!status(director)?.agent);
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 10)?.len(), 10);
        let told = lb(director, &["detach"])?;
        assert!(told.contains("detached from interface") && told.contains(&VIP.to_string()), "{told}");
        wait_for_traces(director, &[])
    });
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, 2))?;
        agent.wait_until_served()?;
        let held = Client::new(lab.client()).hold((VIP, 80), BEAT)?;
        let before = attached(lab.director())?;
        let file = lab.director().dir().join("lb.toml").display().to_string();
        let told = refusal(lab.director(), &binary()?.display().to_string(), &["run", "--config", &file])?;
        assert!(told.contains("another lb agent runs") && told.contains("SIGHUP"), "{told}");
        assert_eq!(attached(lab.director())?, before);
        assert!(agent.status()?.agent);
        held.wait_for_answers(20, DEADLINE)?;
        held.finish().without_loss()
    });
}

/// A service of the lab's first `count` reals, without checks.
fn config(lab: &Lab, count: usize) -> String {
    let reals = lab.reals().take(count).map(|host| real(host.v4(), ""));
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), RR, reals)
}

fn ask(mut connection: Connection) -> Result<(Connection, lb_tests::client::Answer)> {
    let answer = connection.ask("/")?;
    Ok((connection, answer))
}

/// What runs on the director's eth1.
#[derive(Debug, PartialEq, Eq)]
struct Running {
    link: u64,
    program: u64,
}

fn attached(director: &Host) -> Result<Running> {
    let index = director.within(|| fs::read_to_string("/sys/class/net/eth1/ifindex"))??;
    let pin = Pins::default().link(index.trim().parse()?).display().to_string();
    let link: Value = serde_json::from_str(&director.run("bpftool", &["-j", "link", "show", "pinned", &pin])?)?;
    let number = |key: &str| link.get(key).and_then(Value::as_u64).with_context(|| format!("no {key} in {link}"));
    Ok(Running { link: number("id")?, program: number("prog_id")? })
}
