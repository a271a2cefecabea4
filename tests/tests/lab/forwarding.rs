//! The main job, as clients see it: requests to the VIP are answered by the reals, in the scheduler's order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::{Client, alternate, tally};
use lb_tests::config::{director, in_mode, real, service};
use lb_tests::lab::{DEADLINE, Frame, Host, Lab, Port, Segment, VIP, VIP6, nginx, scenario};
use lb_tests::responder::{Http, Udp};
use lb_userspace::dataplane::Hook;

const REFERENCE: &str = include_str!("../../../packaging/lb.toml");
const TCP: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";

#[test]
fn a_thousand_requests_alternate_exactly_over_both_families() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let web6 = service("web6", format!("[{VIP6}]:80"), TCP, plain(lab, true));
        let agent = Agent::start(lab.director(), &format!("{REFERENCE}{web6}"))?;
        lab.director().own(VIP6.into())?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            let answers = client.get_many((vip, 80), 1000)?;
            assert!(alternate(&answers), "two in a row");
            assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [500, 500]);
        }
        let status = agent.status()?;
        for service in &status.services {
            assert_eq!(service.counters.connections, 1000, "{service:?}");
        }
        Ok(())
    });
}

#[test]
fn datagrams_of_new_clients_alternate_and_those_of_one_stay_together_over_both_families() {
    const KEYS: &str = "protocol = \"udp\"\nscheduler = \"rr\"";
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(|host| Udp::start(host, 53)).collect::<Result<Vec<_>>>()?;
        let dns = service("dns", format!("{VIP}:53"), KEYS, plain(lab, false));
        let dns6 = service("dns6", format!("[{VIP6}]:53"), KEYS, plain(lab, true));
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &dns + &dns6))?;
        lab.director().own(VIP6.into())?;
        agent.wait_until_served()?;
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            // Ports below those that the kernel gives out by itself.
            let ask = |port| Client::new(lab.client()).source_port(port).ask_udp((vip, 53), "who?");
            let new = (20_000..20_100).map(ask).collect::<Result<Vec<_>>>()?;
            assert!(alternate(&new), "two in a row");
            let old = (20_000..20_100).map(ask).collect::<Result<Vec<_>>>()?;
            assert!(new.iter().zip(&old).all(|(new, old)| new.real == old.real), "a flow has moved");
        }
        assert_eq!(agent.service("dns")?.counters.connections, 100);
        Ok(())
    });
}

#[test]
fn datagrams_are_hashed_to_reals_without_memory() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(|host| Udp::start(host, 53)).collect::<Result<Vec<_>>>()?;
        let config =
            director(&["eth1"]) + &service("dns", format!("{VIP}:53"), "protocol = \"udp\"", plain(lab, false));
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let ask = |port| Client::new(lab.client()).source_port(port).ask_udp((VIP, 53), "who?");
        let first = (20_000..20_100).map(ask).collect::<Result<Vec<_>>>()?;
        let again = (20_000..20_100).map(ask).collect::<Result<Vec<_>>>()?;
        assert!(first.iter().zip(&again).all(|(first, again)| first.real == again.real), "a flow has moved");
        let shares = tally(&first);
        assert!(shares.len() == 2 && shares.values().all(|share| *share > 25), "{shares:?}");
        Ok(())
    });
}

#[test]
fn weights_of_three_to_one_give_nginxs_order() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = [real(lab.real(1).v4(), "weight = 3"), real(lab.real(2).v4(), "weight = 1")];
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"wrr\"", reals);
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_until_served()?;
        let answers = Client::new(lab.client()).get_many((VIP, 80), 400)?;
        for (number, round) in answers.chunks(4).enumerate() {
            let order: Vec<&str> = round.iter().map(|answer| answer.real.as_str()).collect();
            assert_eq!(order, ["Real-1", "Real-1", "Real-2", "Real-1"], "round {number}");
        }
        Ok(())
    });
}

#[test]
fn a_service_of_any_port_takes_every_port_that_has_none_of_its_own() {
    scenario(Lab::builder(), |lab| {
        let (all, own) = (lab.real(1), lab.real(2));
        let listening = [(all, 80), (all, 8080), (all, 50_000), (own, 80), (own, 8080), (own, 50_000)];
        let _reals = listening.iter().map(|(host, port)| Http::start_at(host, *port)).collect::<Result<Vec<_>>>()?;
        let any = service("all", format!("{VIP}:any"), "protocol = \"tcp\"", [real(all.v4(), "")]);
        let one = service("own", format!("{VIP}:8080"), "protocol = \"tcp\"", [real(own.v4(), "")]);
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &any + &one))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for (port, expected) in [(80, "Real-1"), (50_000, "Real-1"), (8080, "Real-2")] {
            assert_eq!(client.get((VIP, port))?.real, expected, "port {port}");
        }
        // Direct routing keeps the port: that of nobody is refused by the real itself.
        assert!(client.get((VIP, 81)).is_err());
        assert!(agent.lb(&["list"])?.contains(&format!("{VIP}:any")));
        Ok(())
    });
}

#[test]
fn a_client_stays_on_one_real_by_its_address_alone() {
    scenario(Lab::builder().clients(6), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"sh\"", plain(lab, false));
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_until_served()?;
        let mut used = BTreeSet::new();
        for client in lab.clients() {
            let shares = tally(&Client::new(client).get_many((VIP, 80), 20)?);
            assert_eq!(shares.len(), 1, "{}: {shares:?}", client.name());
            used.extend(shares.into_keys());
        }
        assert_eq!(used.len(), 2, "all clients on {used:?}");
        Ok(())
    });
}

#[test]
fn what_is_not_for_a_service_reaches_the_director_itself() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let _shell = Http::start_at(lab.director(), 22)?;
        let web = service("web", format!("{VIP}:80"), TCP, plain(lab, false));
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &web))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for own in [IpAddr::from(VIP), lab.director().v4().into(), lab.director().v6().into()] {
            assert_eq!(client.get((own, 22))?.real, "Director-a", "{own}");
        }
        for own in [VIP, lab.director().v4()] {
            client.ping(own)?;
        }
        // The director is a host of its segment like any other.
        assert_eq!(Client::new(lab.director()).get((lab.real(1).v4(), 80))?.real, "Real-1");
        assert!(agent.verdict("not-service")? > 0);
        assert!(agent.verdict("other-protocol")? > 0);
        assert_eq!(agent.verdict("forwarded")?, 0);
        assert!(client.get((VIP, 80))?.real.starts_with("Real"));
        Ok(())
    });
}

#[test]
fn a_frame_changes_its_vlan_on_the_way_to_its_real() {
    // A trunk's host can't answer for itself where the kernel has no 802.1Q, so its MAC address is given.
    through_vlans(Port::trunk([10, 20]), Some(20), |lab| lab.client().set_neighbour(VIP.into(), lab.director().mac()));
}

#[test]
fn a_frame_without_a_tag_is_given_that_of_its_real() {
    through_vlans(Port::hybrid(10, [20]), Some(20), |_| Ok(()));
}

#[test]
fn a_frame_loses_its_tag_for_a_real_without_vlan() {
    through_vlans(Port::hybrid(20, [10]), None, |lab| lab.client().set_neighbour(VIP.into(), lab.director().mac()));
}

/// Clients in VLAN 10 of a real that hears VLAN 20; `arrives` is the tag that the director is to send with.
fn through_vlans(port: Port, arrives: Option<u16>, prepare: impl Fn(&Lab) -> Result<()>) {
    for mode in ["native", "generic"] {
        through_vlans_in(mode, port.clone(), arrives, &prepare);
    }
}

fn through_vlans_in(mode: &str, port: Port, arrives: Option<u16>, prepare: impl Fn(&Lab) -> Result<()>) {
    let builder = Lab::builder()
        .reals(1)
        .port("client", Port::access(10))
        .port("director-a", port)
        .port("real-1", Port::split(20, 10));
    scenario(builder, |lab| {
        let backend = lab.real(1);
        let _real = nginx::start(backend)?;
        prepare(lab)?;
        // It asks in one VLAN and would hear the answer in the other.
        backend.set_neighbour(lab.client().v4().into(), lab.client().mac())?;
        let keys = format!("vlan = {}\nmac = \"{}\"", arrives.unwrap_or(0), backend.mac());
        let web = service("web", format!("{VIP}:80"), TCP, [real(backend.v4(), &keys)]);
        let agent = Agent::start(lab.director(), &in_mode(mode, &(director(&["eth1"]) + &web)))?;
        agent.wait_until_served()?;
        let sent = lab.switch().capture("director-a")?;
        let client = Client::new(lab.client());
        let held = client.hold((VIP, 80), Duration::from_millis(2))?;
        // More than a veth takes frames whose other end isn't prepared for them.
        client.get_many((VIP, 80), 300)?;
        let report = held.finish();
        report.without_loss()?;
        assert_eq!(report.retransmitted, Some(0), "{report}");
        let to_real = |frame: &Frame| frame.bytes.starts_with(&backend.mac().0);
        sent.wait_for(DEADLINE, "a frame for the real", to_real)?;
        let tags: BTreeSet<_> = sent.frames().iter().filter(|frame| to_real(frame)).map(Frame::vlan).collect();
        assert_eq!(tags, [arrives].into());
        Ok(())
    });
}

#[test]
fn reals_behind_another_interface_are_redirected_to() {
    scenario(Lab::builder().place("real-2", Segment::Back), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let web = service("web", format!("{VIP}:80"), TCP, plain(lab, false));
        let web6 = service("web6", format!("[{VIP6}]:80"), TCP, plain(lab, true));
        let agent = Agent::start(lab.director(), &(director(&["eth1", "eth2"]) + &web + &web6))?;
        lab.director().own(VIP6.into())?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            let answers = client.get_many((vip, 80), 300)?;
            assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [150, 150]);
        }
        let sent_to = |host: &Host| -> Result<u64> {
            let of = |name, address| Ok::<_, anyhow::Error>(agent.real(name, address)?.counters.packets);
            Ok(of("web", IpAddr::from(host.v4()))? + of("web6", host.v6().into())?)
        };
        assert_eq!(agent.verdict("redirected")?, sent_to(lab.real(2))?);
        assert_eq!(agent.verdict("forwarded")?, sent_to(lab.real(1))?);
        assert!(agent.verdict("redirected")? >= 300);
        Ok(())
    });
}

#[test]
fn the_tc_program_forwards_as_the_native_one_does() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = REFERENCE.replace("mode = \"auto\"", "mode = \"generic\"");
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let answers = Client::new(lab.client()).get_many((VIP, 80), 100)?;
        assert_eq!(tally(&answers), BTreeMap::from(["Real-1", "Real-2"].map(|real| (real.to_owned(), 50))));
        let modes: Vec<_> = agent.status()?.interfaces.into_iter().map(|interface| interface.mode).collect();
        assert_eq!(modes, [Some(Hook::Tc)]);
        assert!(agent.lb(&["list"])?.contains("eth1 (tc)"));
        Ok(())
    });
}

/// All reals with nothing but their address.
fn plain(lab: &Lab, v6: bool) -> Vec<String> {
    let address = |host: &Host| if v6 { IpAddr::from(host.v6()) } else { host.v4().into() };
    lab.reals().map(|host| real(address(host), "")).collect()
}
