//! Directors that share their state: whoever takes a VIP over goes on with the connections of whoever had it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{binary, lb, refusal, unwrapped};
use lb_tests::client::{Client, tally};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, scenario, wait_until};
use lb_tests::sharing::{CONNECTIONS, Service, Sharing, all_go_on, config, host};
use lb_userspace::api;

#[test]
fn connections_that_took_turns_outlive_their_director() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let mut directors = Sharing::start(lab, &[Service::RR; 2])?;
        let mut connections = directors.connect()?;
        all_go_on(&mut connections)?;
        // Both know of each, and which real has it.
        for director in ["director-a", "director-b"].map(|name| lab.host(name)) {
            let listed = lb(director, &["list", "--connections"])?;
            assert_eq!(listed.lines().count(), 1 + CONNECTIONS, "{listed}");
            let real = lab.real(1).v4();
            let of_one = lb(director, &["list", "--connections", "--service", "web", "--real", &real.to_string()])?;
            let held = connections.iter().filter(|(_, title)| *title == lab.real(1).title()).count();
            assert_eq!(of_one.matches(" open ").count(), held, "{of_one}");
            assert!(!lb(director, &["list", "--connections", "--client", "192.0.2.0/24"])?.contains("open"));
        }
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("after the power cut")
    });
}

#[test]
fn a_client_stays_on_its_real_on_the_next_director_too() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let service = Service { keys: "persistence = \"5m\"\n", ..Service::RR };
        let mut directors = Sharing::start(lab, &[service; 2])?;
        let client = Client::new(lab.client());
        let real = client.get((VIP, 80))?.real;
        let stays = |when: &str| {
            let answers = client.get_many((VIP, 80), 20)?;
            ensure!(answers.iter().all(|answer| answer.real == real), "{when}: {:?}", tally(&answers));
            Ok(())
        };
        stays("one after the other")?;
        let address = lab.client().v4().to_string();
        for director in ["director-a", "director-b"].map(|name| lab.host(name)) {
            wait_until(DEADLINE, "it is known who has the client", || {
                lb(director, &["list", "--connections"]).is_ok_and(|listed| listed.contains(" persist "))
            })?;
            let which = lb(director, &["which", &format!("{address}:1"), &format!("{VIP}:80")])?;
            ensure!(which.contains("a new connection goes where its last ones went"), "{which}");
        }
        directors.cut(0)?;
        directors.is_master(1)?;
        stays("on the other director")
    });
}

#[test]
fn connections_go_on_over_a_planned_hand_over_and_back() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let directors = Sharing::start(lab, &[Service::RR; 2])?;
        let mut connections = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "release", "web"])?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("after the hand-over")?;
        let mut more = directors.connect()?;
        lb(lab.host("director-a"), &["vrrp", "reclaim", "web"])?;
        directors.is_master(0)?;
        all_go_on(&mut connections).context("after the return")?;
        all_go_on(&mut more).context("those that came meanwhile")
    });
}

#[test]
fn connections_go_on_from_one_director_to_the_next_and_the_next() {
    scenario(Lab::builder().directors(3).reals(3), |lab| {
        let mut directors = Sharing::start(lab, &[Service::RR; 3])?;
        let mut connections = directors.connect()?;
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on the second director")?;
        let mut more = directors.connect()?;
        directors.cut(1)?;
        directors.is_master(2)?;
        all_go_on(&mut connections).context("on the third director")?;
        all_go_on(&mut more).context("those that came on the second")
    });
}

#[test]
fn a_reload_that_has_reached_only_the_backup_moves_nothing() {
    scenario(Lab::builder().directors(2).reals(4), |lab| {
        let more = Service { reals: 4, ..Service::MH };
        let mut directors = Sharing::start(lab, &[Service::MH, more])?;
        let mut connections = directors.connect()?;
        shows_the_difference(host(lab, 0), host(lab, 1))?;
        shows_the_difference(host(lab, 1), host(lab, 0))?;
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on a director that has one real more")?;
        // New ones take all four.
        let reals: BTreeSet<String> = directors.connect()?.into_iter().map(|(_, real)| real).collect();
        assert_eq!(reals.len(), 4, "{reals:?}");
        Ok(())
    });
}

/// A director's status has the other as its peer, with its lag, and names the service that differs, and for how long.
fn shows_the_difference(director: &Host, other: &Host) -> Result<()> {
    let program = binary()?.display().to_string();
    let differs = format!(
        "peer {}:8849: 1 of the services differ: TCP {VIP}:80 has other reals or weights there, for ",
        other.v4()
    );
    let live = format!("peer {}:8849: live for ", other.v4());
    wait_until(DEADLINE, "the status to tell of the difference", || {
        let told = refusal(director, &program, &["status"]).map(|told| unwrapped(&told)).unwrap_or_default();
        let lag = told.split_once(&live).is_some_and(|(_, rest)| rest.contains(", lag "));
        lag && told.contains(&differs)
    })
    .map(drop)
}

#[test]
fn a_reload_that_has_reached_only_the_master_moves_nothing() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let mut directors = Sharing::start(lab, &[Service::MH; 2])?;
        let mut connections = directors.connect()?;
        let fewer = Service { reals: 2, ..Service::MH };
        let master = directors.agents.first().context("two")?;
        master.reload(&config(lab, 0, 2, fewer, &[])?)?;
        master.wait_for_real("web", lab.real(3).v4(), |real| real.left)?;
        shows_the_difference(host(lab, 1), host(lab, 0))?;
        all_go_on(&mut connections).context("of a real that the master drains")?;
        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on a director that still has it")?;
        let reals: BTreeSet<String> = directors.connect()?.into_iter().map(|(_, real)| real).collect();
        assert_eq!(reals.len(), 3, "{reals:?}");
        Ok(())
    });
}

#[test]
fn directors_that_disagree_about_a_real_break_its_connections_alone() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let mut directors = Sharing::start(lab, &[Service::MH; 2])?;
        // The backup's checks don't reach it; the master's do.
        let lost = lab.real(2);
        host(lab, 1).ip(&format!("route add blackhole {}/32", lost.v4()))?;
        let backup = directors.agents.get(1).context("two")?;
        backup.wait_for_real("web", lost.v4(), |real| real.state == api::State::Down)?;
        let mut connections = directors.connect()?;
        directors.cut(0)?;
        directors.is_master(1)?;
        connections.retain(|(_, real)| real != lost.title());
        assert!(connections.len() < CONNECTIONS, "the master has used it");
        all_go_on(&mut connections).context("of the other reals")
    });
}
