//! Several checks of a real, what a reload leaves of them, and faults that are the director's own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::agent::{Agent, unwrapped};
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::responder::Http;
use lb_userspace::api::{CheckState, CheckStatus, Checks, RealStatus, State};

#[test]
fn of_two_checks_of_a_real_all_must_be_good_or_any() {
    scenario(Lab::builder(), |lab| {
        let reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let pair = "check = [{ type = \"http\", interval = \"250ms\", fall = 3 }, { type = \"ping\", interval = \"250ms\", \
                    timeout = \"250ms\", fall = 3 }]";
        let (all, any) = (config(lab, pair), config(lab, &format!("{pair}\njoin_checks = \"any\"")));
        let agent = Agent::start(lab.director(), &all)?;
        agent.wait_until_served()?;
        let quiet = lab.real(1);
        quiet.run("sysctl", &["-w", "net.ipv4.icmp_echo_ignore_all=1"])?;
        agent.wait_for_real("web", quiet.v4(), is(State::Down))?;
        let why = agent.real("web", quiet.v4())?.why.context("no reason")?;
        assert_eq!(why, "ping: timed out after 250ms waiting for a response");
        let client = Client::new(lab.client());
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?), [("Real-2".to_owned(), 20)].into());

        // Its page is enough now, at once.
        agent.reload(&any)?;
        assert_eq!(agent.real("web", quiet.v4())?.state, State::Up);
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?).into_values().collect::<Vec<_>>(), [10, 10]);
        reals[0].set_status(503);
        agent.wait_for_real("web", quiet.v4(), is(State::Down))?;
        let told = agent.real("web", quiet.v4())?;
        let why = told.why.context("no reason")?;
        assert_eq!(
            why,
            "http on port 80: status 503, expected 200-299; ping: timed out after 250ms waiting for a response"
        );
        assert!(told.quiesced, "it answers, if wrongly: its connections stay");

        // One that is good is enough.
        quiet.run("sysctl", &["-w", "net.ipv4.icmp_echo_ignore_all=0"])?;
        agent.wait_for_real("web", quiet.v4(), is(State::Up))?;
        Ok(())
    });
}

#[test]
fn a_reload_that_changes_the_pace_of_checks_forgets_nothing() {
    scenario(Lab::builder(), |lab| {
        let _nginx = nginx::start(lab.real(1))?;
        let at = |pace: &str| config(lab, &format!("check = {{ type = \"tcp\", {pace} }}"));
        let mut agent = Agent::start(lab.director(), &at("interval = \"100ms\""))?;
        let (good, dead) = (lab.real(1).v4(), lab.real(2).v4());
        agent.wait_for_real("web", good, is(State::Up))?;
        agent.wait_for_real("web", dead, is(State::Down))?;
        let before = [agent.real("web", good)?, agent.real("web", dead)?];
        // Nothing is asked again within an hour: what is told was kept.
        agent.reload(&at("interval = \"1h\", fall = 9, rise = 9, jitter = 0"))?;
        let after = [agent.real("web", good)?, agent.real("web", dead)?];
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.state, before.since, &before.why), (after.state, after.since, &after.why));
        }
        let lines = agent.log().matches("real ").count();
        // Quick again: the first good answer of the dead one brings it back, as before the reload.
        let _other = nginx::start(lab.real(2))?;
        agent.reload(&at("interval = \"100ms\""))?;
        agent.wait_for_real("web", dead, is(State::Up))?;
        agent.process().wait_for_log(DEADLINE, &format!("real {dead}: up"))?;
        assert_eq!(agent.log().matches("real ").count(), lines + 1, "{}", agent.log());
        Ok(())
    });
}

/// What the agent writes down of its checks.
const RECORDS: &str = "/run/lb-state/checks.json";

#[test]
fn what_the_checks_know_outlives_the_agent() {
    scenario(Lab::builder(), |lab| {
        let _nginx = nginx::start(lab.real(1))?;
        let at = |pace: &str| config(lab, &format!("check = {{ type = \"tcp\", {pace} }}"));
        let quick = at("interval = \"100ms\", rise = 90");
        let mut agent = Agent::start(lab.director(), &quick)?;
        let (good, dead) = (lab.real(1).v4(), lab.real(2).v4());
        agent.wait_for_real("web", good, is(State::Up))?;
        agent.wait_for_real("web", dead, is(State::Down))?;
        let file = "/run/lb-state/checks.json";
        let written = || {
            lab.director()
                .within(|| fs::read_to_string(file))
                .is_ok_and(|text| text.is_ok_and(|text| text.contains("refused")))
        };
        wait_until(DEADLINE, "the state to be written", written)?;
        let before = [agent.real("web", good)?, agent.real("web", dead)?];
        agent.process().kill()?;

        // Another pace is the same question; the first answer comes at once, and would say another time.
        let agent = Agent::start(lab.director(), &at("interval = \"1h\", rise = 90"))?;
        wait_until(DEADLINE, "an answer", || find(&agent, good).is_ok_and(|check| !check.running && check.good > 1))?;
        for (before, real) in before.into_iter().zip([good, dead]) {
            let after = agent.real("web", real)?;
            assert_eq!((before.state, before.since, &before.why), (after.state, after.since, &after.why));
        }
        assert!(!agent.log().contains(&format!("real {dead}: down")), "it is no news: {}", agent.log());

        // Progress goes on.
        let _other = nginx::start(lab.real(2))?;
        agent.reload(&quick)?;
        wait_until(DEADLINE, "it to rise", || find(&agent, dead).is_ok_and(|check| check.have > 20))?;
        let rising = find(&agent, dead)?;
        agent.stop()?;
        let agent = Agent::start_again(lab.director())?;
        let after = find(&agent, dead)?;
        assert_eq!(after.state, CheckState::Rising);
        assert!(after.have >= rising.have && after.good >= rising.good, "{rising:?} {after:?}");
        assert_eq!((after.since, after.bad), (rising.since, rising.bad));
        agent.stop()?;

        // Without what it knew the first answer decides.
        lab.director().within(|| fs::write(RECORDS, "{\"version\":1,\"checks\":[{\"as"))??;
        let agent = Agent::start_again(lab.director())?;
        agent.wait_for_real("web", dead, is(State::Up))?;
        assert_eq!(agent.log().matches("checks.json").count(), 2, "one line, with both names: {}", agent.log());
        assert_eq!(agent.log().lines().filter(|line| line.contains("checks.json")).count(), 1);
        Ok(())
    });
}

/// The one check of a real.
fn find(agent: &Agent<'_>, real: Ipv4Addr) -> Result<CheckStatus> {
    let found = checks(agent)?.checks.into_iter().filter(|check| check.real == real).collect::<Vec<_>>();
    let [check] = found.as_slice() else { bail!("{found:?}") };
    Ok(check.clone())
}

#[test]
fn a_script_sets_the_weight_of_its_real_and_knows_its_service() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (weighed, other) = (lab.real(1).v4(), lab.real(2).v4());
        let file = lab.director().dir().join("code");
        let code = |code: &str| fs::write(&file, format!("code={code}\n"));
        code("52")?;
        let script = format!(
            "weight = 7\ncheck = {{ type = \"script\", user = \"root\", dynamic_weight = true, per_service = true, \
             interval = \"100ms\", command = [\"/bin/sh\", \"-c\", \". {} && [ $LB_SERVICE = web ] && exit $code\"] }}",
            file.display()
        );
        let reals = [real(weighed, &script), real(other, "weight = 50")];
        let text = director(&["eth1"])
            + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"wrr\"", reals);
        let mut agent = Agent::start(lab.director(), &text)?;
        let is = |state, weight| move |real: &RealStatus| (real.state, real.weight) == (state, weight);
        agent.wait_for_real("web", weighed, is(State::Up, 50))?;
        let client = Client::new(lab.client());
        let share = || -> Result<Vec<usize>> { Ok(tally(&client.get_many((VIP, 80), 20)?).into_values().collect()) };
        assert_eq!(share()?, [10, 10]);
        let list = agent.lb(&["list"])?;
        assert!(list.contains("weight set by its check (script on port 80); the file has 7"), "{list}");

        // Good, and no new connections; it is so after a restart, before any check has ended.
        code("2")?;
        agent.wait_for_real("web", weighed, is(State::Quiesced, 0))?;
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?), [("Real-2".to_owned(), 20)].into());
        let written = || lab.director().within(|| fs::read_to_string(RECORDS));
        let written = || written().is_ok_and(|text| text.is_ok_and(|text| text.contains("\"weight\":0,")));
        wait_until(DEADLINE, "the weight to be written", written)?;
        agent.process().kill()?;
        let agent = Agent::start_again(lab.director())?;
        assert!(is(State::Quiesced, 0)(&agent.real("web", weighed)?), "{:?}", agent.real("web", weighed)?);

        // 1 is bad; 0 leaves the weight as it is.
        code("1")?;
        agent.wait_for_real("web", weighed, is(State::Down, 0))?;
        code("27")?;
        agent.wait_for_real("web", weighed, is(State::Up, 25))?;
        code("0")?;
        let asked = find(&agent, weighed)?.good;
        wait_until(DEADLINE, "three more", || find(&agent, weighed).is_ok_and(|check| check.good > asked + 3))?;
        assert!(is(State::Up, 25)(&agent.real("web", weighed)?));
        // What an operator says goes before it.
        agent.lb(&["weight", "web", &weighed.to_string(), "3"])?;
        assert!(is(State::Up, 3)(&agent.real("web", weighed)?));
        agent.lb(&["reset"])?;
        assert!(is(State::Up, 25)(&agent.real("web", weighed)?));
        agent.reload(&text.replace("100ms", "200ms"))?;
        assert!(is(State::Up, 25)(&agent.real("web", weighed)?), "a reload forgets nothing");
        Ok(())
    });
}

/// By a service that remembers no connections, and by one that does.
#[test]
fn a_real_that_answers_no_client_is_found_well_before_its_next_check() {
    for scheduler in ["mh", "rr"] {
        scenario(Lab::builder(), |lab| {
            let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
            let keys = format!(
                "protocol = \"tcp\"\nscheduler = \"{scheduler}\"\n\
                 check = {{ type = \"tcp\", interval = \"1m\", fast = \"200ms\", timeout = \"100ms\", fall = 3 }}"
            );
            let web = service("web", format!("{VIP}:80"), &keys, lab.reals().map(|host| real(host.v4(), "")));
            let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
            let (dead, good) = (lab.real(1).v4(), lab.real(2).v4());
            for real in [dead, good] {
                agent.wait_for_real("web", real, is(State::Up))?;
            }
            let knock = || {
                for _ in 0..10 {
                    // Whether it is answered is not the question.
                    let _ = TcpStream::connect_timeout(&(VIP, 80).into(), Duration::from_millis(100));
                }
            };
            lab.client().within(knock)?;
            lab.real(1)
                .run("nft", &["add table inet lb; add chain inet lb input { type filter hook input priority 0; }"])?;
            lab.real(1).run("nft", &["add rule inet lb input tcp dport 80 tcp flags & (syn|ack) == syn drop"])?;
            let began = Instant::now();
            while agent.real("web", dead)?.state != State::Down {
                ensure!(began.elapsed() < Duration::from_secs(10), "{}", agent.log());
                lab.client().within(knock)?;
            }
            eprintln!("{scheduler}: found after {:?}", began.elapsed());
            let log = agent.log();
            assert!(log.contains(&format!("real {dead}: suspect")), "{log}");
            assert!(!log.contains(&format!("real {good}: suspect")), "{log}");
            assert_eq!(agent.real("web", good)?.state, State::Up);
            Ok(())
        });
    }
}

#[test]
fn every_check_is_listed_with_its_progress() {
    scenario(Lab::builder(), |lab| {
        let reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let keys = "check = { type = \"http\", interval = \"100ms\", rise = 90, fall = 10 }";
        // Another service that asks the same.
        let other = format!("protocol = \"tcp\"\n{}", keys.replace("http\"", "http\", port = 80"));
        let other = service("other", format!("{VIP}:81"), &other, lab.reals().map(|host| real(host.v4(), "")));
        let agent = Agent::start(lab.director(), &(config(lab, keys) + &other))?;
        agent.wait_until_served()?;
        let (bad, good) = (lab.real(1).v4(), lab.real(2).v4());
        let find = |real| find(&agent, real);
        reals[0].set_status(503);
        wait_until(DEADLINE, "it to fall", || find(bad).is_ok_and(|check| check.state == CheckState::Falling))?;
        agent.wait_for_real("web", bad, is(State::Down))?;
        reals[0].set_status(200);
        wait_until(DEADLINE, "it to rise", || find(bad).is_ok_and(|check| check.state == CheckState::Rising))?;
        let rising = find(bad)?;
        assert_eq!((rising.need, rising.services.as_slice()), (90, &["other".to_owned(), "web".to_owned()][..]));
        assert!(rising.have > 0 && rising.why.is_some_and(|why| why.contains("503")));
        let up = find(good)?;
        assert!(up.state == CheckState::Up && up.bad == 0 && up.p50_us.is_some_and(|time| time > 0), "{up:?}");
        let text = agent.lb(&["checks"])?;
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("of other, web; last ") && text.contains("rising "), "{text}");
        assert!(!agent.lb(&["checks", "--failing"])?.contains(&good.to_string()));
        assert!(agent.real("web", good)?.latency_us.is_some_and(|time| time > 0));
        let list = agent.lb(&["list"])?;
        assert!(list.contains("rising, ") && list.contains("of 90 good in a row"), "{list}");
        Ok(())
    });
}

/// A check that is asked at another address, from a named source.
#[test]
fn a_real_is_asked_where_its_check_says() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let (first, second) = (lab.real(1), lab.real(2));
        let (device, own) = (&lab.director().nic().device, lab.director().v4());
        // Real 1 is judged by what real 2 answers, on another port; nobody listens there yet.
        let asked = format!(
            "check = {{ type = \"http\", interval = \"100ms\", address = \"{}\", port = 8080, source = \"{device}\" }}",
            second.v4()
        );
        let web = [real(first.v4(), &asked), real(second.v4(), "")];
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", web);
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_for_real("web", first.v4(), is(State::Down))?;
        assert_eq!(agent.real("web", second.v4())?.state, State::Up, "it has no check");
        let probed = Http::start_at(second, 8080)?;
        agent.wait_for_real("web", first.v4(), is(State::Up))?;
        let established = second.run("ss", &["-Htn", "state", "all", "sport", "=", ":8080"])?;
        assert!(!established.contains(&format!("{VIP}:")), "from {own}, not the VIP: {established}");
        drop(probed);
        agent.wait_for_real("web", first.v4(), is(State::Down))?;
        Ok(())
    });
}

#[test]
fn what_the_directors_own_firewall_forbids_never_counts_against_a_real() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let checked = config(lab, "check = { type = \"tcp\", interval = \"100ms\", fall = 1 }");
        let mut agent = Agent::start(lab.director(), &checked)?;
        agent.wait_until_served()?;
        // As a firewall of its own does, the kernel refuses what is to be sent; not to the neighbour table, which asks no port.
        let real = lab.real(1).v4();
        lab.director().ip(&format!("rule add to {real} ipproto tcp dport 80 prohibit"))?;
        agent.process().wait_for_log(DEADLINE, "health checks can't be made")?;
        let said = agent.log();
        assert!(said.contains("this director's own firewall forbids the connection"), "{said}");
        let count = |count: fn(&CheckStatus) -> u64| {
            Ok::<_, anyhow::Error>(checks(&agent)?.checks.iter().find(|check| check.real == real).map_or(0, count))
        };
        wait_until(DEADLINE, "ten checks that can't be made", || count(|check| check.unasked).is_ok_and(|n| n >= 10))?;
        assert_eq!(count(|check| check.bad)?, 0);
        for verb in ["list", "checks"] {
            let told = unwrapped(&agent.lb(&[verb])?);
            let fault =
                "CHECKS: 1 can't be made, so that their reals stay what they were: this director's own firewall";
            assert!(told.contains(fault), "{told}");
        }
        assert_eq!(agent.real("web", real)?.state, State::Up);
        assert_eq!(tally(&Client::new(lab.client()).get_many((VIP, 80), 20)?).len(), 2);
        lab.director().ip(&format!("rule del to {real} ipproto tcp dport 80 prohibit"))?;
        Ok(())
    });
}

fn config(lab: &Lab, keys: &str) -> String {
    let keys = format!("protocol = \"tcp\"\nscheduler = \"rr\"\n{keys}");
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), &keys, lab.reals().map(|host| real(host.v4(), "")))
}

fn checks(agent: &Agent<'_>) -> Result<Checks> {
    Ok(serde_json::from_str(&agent.lb(&["checks", "--json"])?)?)
}

fn is(state: State) -> impl Fn(&RealStatus) -> bool {
    move |real| real.state == state
}
