//! Reals that die, fall ill, move or lose their cable: how soon clients stop noticing, and what the operator is told.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::agent::Agent;
use lb_tests::client::{Background, Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, Mac, VIP, VIP6, nginx, scenario, wait_until};
use lb_tests::responder::Http;
use lb_userspace::api::{RealStatus, State};
use nix::sys::signal::Signal;

/// Two failures in a row on a machine that stalls now and then are no proof of death.
const CHECKED: &str = "protocol = \"tcp\"\nscheduler = \"rr\"\n\
                       check = { type = \"http\", interval = \"250ms\", timeout = \"250ms\", rise = 1, fall = 3 }";
const UNCHECKED: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";
const BEAT: Duration = Duration::from_millis(10);

#[test]
fn a_killed_real_is_taken_out_and_comes_back_when_it_is_restored() {
    scenario(Lab::builder(), |lab| {
        let mut nginx = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let mut agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(10, DEADLINE)?;

        nginx[0].kill()?;
        let out = agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        eprintln!("a killed real was out of the service after {out:.0?}");
        nothing_is_lost_from_now_on(&polled, 50)?;
        assert_eq!(last_reals(&polled, 30), ["Real-2"]);
        let told = agent.real("web", lab.real(1).v4())?;
        let why = told.why.context("no reason")?;
        assert!(why.contains("refused"), "{why}");
        assert!(told.since.is_some());
        agent.process().wait_for_log(DEADLINE, &format!("real {}: down: {why}", lab.real(1).v4()))?;

        nginx[0] = nginx::start(lab.real(1))?;
        let back = agent.wait_for_real("web", lab.real(1).v4(), is(State::Up))?;
        eprintln!("it was back after {back:.0?}");
        nothing_is_lost_from_now_on(&polled, 50)?;
        assert_eq!(last_reals(&polled, 20), ["Real-1", "Real-2"]);
        Ok(())
    });
}

#[test]
fn a_real_that_answers_503_is_taken_out_and_the_list_says_so() {
    scenario(Lab::builder(), |lab| {
        let reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        reals[0].set_status(503);
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        let answers = client.get_many((VIP, 80), 20)?;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.real == "Real-2"));
        let list = agent.lb(&["list"])?;
        let told = list.lines().skip_while(|line| !line.contains("172.28.128.40:80")).nth(1).unwrap_or_default();
        assert!(told.contains("DOWN since 20") && told.contains("503"), "{list}");
        reals[0].set_status(200);
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Up))?;
        assert_eq!(tally(&client.get_many((VIP, 80), 20)?).into_values().collect::<Vec<_>>(), [10, 10]);
        assert!(!agent.lb(&["list"])?.contains("DOWN"));
        Ok(())
    });
}

#[test]
fn a_real_that_is_frozen_firewalled_or_slow_is_down_in_words_and_comes_back() {
    scenario(Lab::builder(), |lab| {
        let mut server = nginx::start(lab.real(1))?;
        let slow = Http::start(lab.real(2))?;
        let mut agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        let (ill, other) = (lab.real(1).v4(), lab.real(2).v4());
        let firewall = |rule: &str| lab.real(1).run("nft", &[rule]).map(drop);
        firewall("add table inet lb; add chain inet lb input { type filter hook input priority 0; }")?;
        let mut seen = |real, why: &str| {
            agent.wait_for_real("web", real, is(State::Down)).with_context(|| why.to_owned())?;
            agent
                .wait_for_real("web", real, |real| real.why.as_deref() == Some(why))
                .with_context(|| why.to_owned())?;
            agent.process().wait_for_log(DEADLINE, &format!("real {real}: down: {why}")).map(drop)
        };
        // The kernel accepts for it, and nobody reads.
        server.signal(Signal::SIGSTOP)?;
        seen(ill, "timed out after 250ms waiting for a response")?;
        server.signal(Signal::SIGCONT)?;
        slow.set_delay(Duration::from_secs(1));
        seen(other, "timed out after 250ms waiting for a response")?;
        slow.set_delay(Duration::ZERO);
        let rules = [
            ("drop", "timed out after 250ms connecting"),
            ("reject with tcp reset", "connection refused"),
            ("reject with icmpx type admin-prohibited", "no route to host"),
        ];
        for (verdict, why) in rules {
            firewall(&format!("add rule inet lb input tcp dport 80 {verdict}"))?;
            seen(ill, why)?;
            firewall("flush chain inet lb input")?;
        }
        for real in [ill, other] {
            agent.wait_for_real("web", real, is(State::Up))?;
        }
        assert_eq!(
            tally(&Client::new(lab.client()).get_many((VIP, 80), 20)?).into_values().collect::<Vec<_>>(),
            [10, 10]
        );
        Ok(())
    });
}

/// Its web server lives all the while: a ping says nothing of it.
#[test]
fn a_real_that_answers_no_ping_is_taken_out_over_both_families() {
    scenario(Lab::builder(), |lab| {
        let _nginx = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let keys = "protocol = \"tcp\"\nscheduler = \"rr\"\n\
                    check = { type = \"ping\", interval = \"250ms\", fast = \"50ms\", timeout = \"250ms\", fall = 3 }";
        let six = service("six", format!("[{VIP6}]:any"), keys, lab.reals().map(|host| real(host.v6(), "")));
        let mut agent = Agent::start(lab.director(), &(config(lab, keys) + &six))?;
        let quiet = lab.real(1);
        let rows: [(&str, IpAddr, &str); 2] = [
            ("web", quiet.v4().into(), "net.ipv4.icmp_echo_ignore_all"),
            ("six", quiet.v6().into(), "net.ipv6.icmp.echo_ignore_all"),
        ];
        for host in lab.reals() {
            agent.wait_for_real("web", host.v4(), is(State::Up))?;
            agent.wait_for_real("six", host.v6(), is(State::Up))?;
        }
        for (name, address, key) in rows {
            quiet.run("sysctl", &["-w", &format!("{key}=1")])?;
            agent.wait_for_real(name, address, is(State::Down))?;
            let why = agent.real(name, address)?.why.context("no reason")?;
            assert!(why.contains("timed out after 250ms waiting"), "{why}");
            agent
                .process()
                .wait_for_log(DEADLINE, &format!("real {address}: down: {why} ({name}, checked by ping)"))?;
            quiet.run("sysctl", &["-w", &format!("{key}=0")])?;
            agent.wait_for_real(name, address, is(State::Up))?;
        }
        Ok(())
    });
}

#[test]
fn a_real_whose_page_lacks_the_text_is_down_and_the_list_names_it() {
    scenario(Lab::builder(), |lab| {
        let _nginx = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let keys = CHECKED.replace("type = \"http\"", "type = \"http\", body = \"Real-2\"");
        let agent = Agent::start(lab.director(), &config(lab, &keys))?;
        agent.wait_for_real("web", lab.real(2).v4(), is(State::Up))?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        let list = agent.lb(&["list"])?;
        assert!(list.contains("the body has no \"Real-2\""), "{list}");
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert!(answers.iter().all(|answer| answer.real == "Real-2"), "{answers:?}");
        Ok(())
    });
}

#[test]
fn checks_are_sent_from_the_directors_own_address_also_where_a_vip_is_older() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let director = lab.director();
        let (device, own) = (&director.nic().device, director.v4());
        // The kernel's own choice is the first address of the subnet from now on.
        director.ip(&format!("-4 address flush dev {device}"))?;
        director.ip(&format!("address add {VIP}/24 dev {device}"))?;
        director.ip(&format!("address add {own}/24 dev {device}"))?;
        let way = director.ip(&format!("route get {}", lab.real(1).v4()))?;
        assert!(way.contains(&format!("src {VIP} ")), "{way}");
        let agent = Agent::start(director, &config(lab, CHECKED))?;
        for host in lab.reals() {
            agent.wait_for_real("web", host.v4(), is(State::Up))?;
        }
        assert_eq!(tally(&Client::new(lab.client()).get_many((VIP, 80), 20)?).into_values().sum::<usize>(), 20);
        Ok(())
    });
}

#[test]
fn without_a_real_connections_are_refused_at_once_until_one_is_back() {
    scenario(Lab::builder(), |lab| {
        let mut nginx = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        nginx.iter_mut().try_for_each(|nginx| nginx.kill())?;
        for host in lab.reals() {
            agent.wait_for_real("web", host.v4(), is(State::Down))?;
        }
        let before = Instant::now();
        let error = Client::new(lab.client()).timeout(DEADLINE).get((VIP, 80)).expect_err("nobody is there");
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "{error:#}");
        // Not the client's time-out, nor a first segment that was sent again.
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
        assert!(agent.verdict("refused")? > 0);

        let _back = nginx::start(lab.real(2))?;
        agent.wait_for_real("web", lab.real(2).v4(), is(State::Up))?;
        assert_eq!(Client::new(lab.client()).get((VIP, 80))?.real, "Real-2");
        Ok(())
    });
}

#[test]
fn a_stand_in_on_the_director_gets_whole_connections_while_no_real_is_up() {
    scenario(Lab::builder().reals(1), |lab| {
        let mut nginx = nginx::start(lab.real(1))?;
        let agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        nginx.kill()?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        let stand_in = Http::start(lab.director())?;
        let client = Client::new(lab.client()).timeout(DEADLINE);
        let mut connection = client.connect((VIP, 80))?;
        for _ in 0..3 {
            assert_eq!(connection.ask("/")?.real, lab.director().title());
        }
        drop(connection);
        stand_in.stop();
        let _back = nginx::start(lab.real(1))?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Up))?;
        assert_eq!(client.get((VIP, 80))?.real, "Real-1");
        Ok(())
    });
}

#[test]
fn a_client_that_comes_before_the_first_check_ends_is_not_refused() {
    scenario(Lab::builder().reals(1), |lab| {
        let slow = Http::start(lab.real(1))?;
        slow.set_delay(Duration::from_secs(3));
        let checked = "protocol = \"tcp\"\nscheduler = \"mh\"\n\
                       check = { type = \"http\", interval = \"5s\", timeout = \"5s\", rise = 1, fall = 1 }";
        let agent = Agent::start(lab.director(), &config(lab, checked))?;
        let client = Client::new(lab.client()).timeout(DEADLINE);
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| client.get((VIP, 80)));
            wait_until(DEADLINE, "a SYN to be dropped", || agent.verdict("no-real").is_ok_and(|dropped| dropped > 0))?;
            slow.set_delay(Duration::ZERO);
            let answer = answer.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
            assert_eq!(answer.real, "Real-1");
            assert_eq!(agent.verdict("refused")?, 0);
            Ok(())
        })
    });
}

#[test]
fn the_client_of_a_last_real_that_died_is_told_by_a_reset() {
    scenario(Lab::builder().reals(1), |lab| {
        let _nginx = nginx::start(lab.real(1))?;
        let agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        let mut connection = Client::new(lab.client()).timeout(DEADLINE).connect((VIP, 80))?;
        assert_eq!(connection.ask("/")?.real, "Real-1");
        // Of a real whose process dies its own kernel would tell the client.
        lab.cable(lab.real(1), false)?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        let error = connection.ask("/").expect_err("nobody is there");
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionReset), "{error:#}");
        Ok(())
    });
}

#[test]
fn a_real_that_never_answers_for_its_address_takes_no_traffic_and_is_reported() {
    scenario(Lab::builder().reals(1), |lab| {
        let _nginx = nginx::start(lab.real(1))?;
        let reals = [real(lab.real(1).v4(), ""), real("172.28.128.99", "")];
        let web = service("web", format!("{VIP}:80"), UNCHECKED, reals);
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Up))?;
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [20]);
        let missing = agent.real("web", [172, 28, 128, 99])?;
        assert_eq!((missing.state, missing.mac), (State::Down, None));
        assert!(missing.why.is_some_and(|why| why.contains("MAC") || why.contains("ARP")));
        Ok(())
    });
}

#[test]
fn a_live_connection_follows_its_real_to_a_new_mac_address() {
    held_over_a_new_mac(false, false);
}

#[test]
fn a_live_ipv6_connection_follows_its_real_to_a_new_mac_address() {
    held_over_a_new_mac(true, false);
}

#[test]
fn a_live_connection_follows_its_real_to_a_mac_address_that_it_announces() {
    held_over_a_new_mac(false, true);
}

fn held_over_a_new_mac(ipv6: bool, announced: bool) {
    const NEW: Mac = Mac([0x02, b'l', b'b', 0, 9, 40]);
    scenario(Lab::builder().reals(1), |lab| {
        let (director, backend) = (lab.director(), lab.real(1));
        let _nginx = nginx::start(backend)?;
        backend.sysctl("net/ipv4/conf/eth1/arp_notify", if announced { "1" } else { "0" })?;
        let (vip, address, port) = if ipv6 {
            (IpAddr::from(VIP6), IpAddr::from(backend.v6()), format!("[{VIP6}]:80"))
        } else {
            (VIP.into(), backend.v4().into(), format!("{VIP}:80"))
        };
        let web = service("web", port, UNCHECKED, [real(address, "")]);
        let agent = Agent::start(director, &(lb_tests::config::director(&["eth1"]) + &web))?;
        director.own(VIP6.into())?;
        agent.wait_until_served()?;
        // Segments that are sent again and again must not be the client's end.
        let held = Client::new(lab.client()).timeout(3 * DEADLINE).hold((vip, 80), BEAT)?;
        held.wait_for_answers(10, DEADLINE)?;
        backend.set_mac("eth1", NEW)?;
        let new = NEW.to_string();
        let learned = |real: &RealStatus| real.mac.as_ref() == Some(&new) && real.state == State::Up;
        let learned = agent.wait_for_real("web", address, learned)?;
        // No real is taken out for that.
        assert!(!agent.log().contains("takes no traffic"), "{}", agent.log());
        held.wait_for_answers(10, 3 * DEADLINE)?;
        let report = held.finish();
        report.without_loss()?;
        eprintln!("a new MAC address was learned after {learned:.0?} (announced: {announced}): {report}");
        Ok(())
    });
}

#[test]
fn a_real_whose_cable_is_pulled_is_taken_out_and_comes_back() {
    unplugged(CHECKED);
}

#[test]
fn a_real_without_checks_whose_cable_is_pulled_is_taken_out_and_comes_back() {
    unplugged(UNCHECKED);
}

fn unplugged(keys: &str) {
    scenario(Lab::builder(), |lab| {
        let _nginx = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, keys))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client()).timeout(Duration::from_millis(500));
        let polled = client.poll((VIP, 80), BEAT);
        polled.wait_for_answers(10, DEADLINE)?;
        lab.cable(lab.real(1), false)?;
        let out = agent.wait_for_real("web", lab.real(1).v4(), is(State::Down))?;
        eprintln!("an unplugged real was out of the service after {out:.0?}");
        drop(polled);
        let polled = Client::new(lab.client()).poll((VIP, 80), BEAT);
        polled.wait_for_answers(30, DEADLINE)?;
        lab.cable(lab.real(1), true)?;
        agent.wait_for_real("web", lab.real(1).v4(), is(State::Up))?;
        wait_until(DEADLINE, "both reals to answer", || last_reals(&polled, 4).len() == 2)?;
        polled.finish().without_loss()
    });
}

/// The reference service of all the lab's reals.
fn config(lab: &Lab, keys: &str) -> String {
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), keys, lab.reals().map(|host| real(host.v4(), "")))
}

fn is(state: State) -> impl Fn(&RealStatus) -> bool {
    move |real| real.state == state
}

/// Waits for `count` more answers, and that no request that began after the call has failed.
fn nothing_is_lost_from_now_on(polled: &Background, count: usize) -> Result<()> {
    let now = Instant::now();
    polled.wait_for_answers(count, DEADLINE)?;
    let lost: Vec<_> = polled.log().into_iter().filter(|entry| entry.at >= now && entry.outcome.is_err()).collect();
    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), lost.first());
    Ok(())
}

/// Who gave the last `count` answers, each named once.
fn last_reals(polled: &Background, count: usize) -> Vec<String> {
    let log = polled.log();
    let answers: Vec<_> = log.iter().rev().take(count).filter_map(|entry| entry.outcome.as_ref().ok()).collect();
    tally(answers).into_keys().collect()
}
