//! The director's own interfaces change under a running agent.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_common::header::ethertype;
use lb_tests::agent::Agent;
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::frame::{Segment, tcp4};
use lb_tests::lab::{DEADLINE, Lab, Mac, Nic, Segment as LabSegment, VIP, nginx, scenario, wait_until};
use lb_tests::shape::Shape;
use lb_userspace::api::State;

#[test]
fn a_directors_changed_mac_is_followed() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let web = service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals);
        let config = director(&["eth1"]) + &web;
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        client.get((VIP, 80))?;

        lab.director().set_mac("eth1", Mac([0x02, 0xd1, 0, 0, 0, 9]))?;
        lab.client().forget_neighbours()?;
        wait_until(DEADLINE, "requests to be forwarded from the new MAC", || client.get((VIP, 80)).is_ok())?;
        assert_eq!(client.get_many((VIP, 80), 20)?.len(), 20);
        Ok(())
    });
}

#[test]
fn tagged_frames_are_left_alone_where_nothing_says_that_they_are_ours() {
    scenario(Lab::builder(), |lab| {
        let (director_host, client) = (lab.director(), lab.client());
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = |keys: &str| {
            let reals = lab.reals().map(|host| real(host.v4(), keys));
            director(&["eth1"]) + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals)
        };
        let agent = Agent::start(director_host, &config(""))?;
        agent.wait_until_served()?;
        let segment = tcp4(client.v4().octets(), 40000, VIP.octets(), 80, Segment::Syn);
        let segment = segment.addressed_to(director_host.mac().0).sent_by(client.mac().0);
        let counts = |verdict: &str, id: u16| {
            let before = agent.verdict(verdict)?;
            let frame = segment.clone().tagged(ethertype::VLAN, id);
            wait_until(DEADLINE, &format!("a frame of VLAN {id} to be counted as {verdict}"), || {
                client.send("eth1", &frame).is_ok() && agent.verdict(verdict).is_ok_and(|now| now > before)
            })
        };
        counts("other-vlan", 5)?;
        agent.reload(&config("vlan = 5"))?;
        counts("forwarded", 5)?;
        agent.reload(&config(""))?;
        counts("other-vlan", 5)?;
        Ok(())
    });
}

/// The map of interfaces has an entry for one that is gone, which no write can set: a real that dies meanwhile goes out all
/// the same, and what comes back as another interface is sent by again.
#[test]
fn an_interface_that_is_made_again_is_sent_by_again_and_holds_nothing_up_meanwhile() {
    scenario(Lab::builder().reals(3).place("real-3", LabSegment::Back), |lab| {
        let director_host = lab.director();
        let mut servers = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let checked = |host: &lb_tests::lab::Host| real(host.v4(), "");
        let keys = "protocol = \"tcp\"\nscheduler = \"rr\"\n\
                    check = { type = \"tcp\", interval = \"100ms\", timeout = \"100ms\", fall = 1 }";
        let config = director(&["eth1", "eth2"]) + &service("web", format!("{VIP}:80"), keys, lab.reals().map(checked));
        let agent = Agent::start(director_host, &config)?;
        agent.wait_until_served()?;
        let state = |number: u8| agent.real("web", lab.real(number).v4()).map(|real| real.state);
        wait_until(DEADLINE, "three reals", || {
            (1..=3).all(|number| state(number).is_ok_and(|state| state == State::Up))
        })?;

        let back = director_host.nics().iter().find(|nic| nic.device == "eth2").context("the director has no eth2")?;
        let bridge = unplug(lab, back)?;
        wait_until(DEADLINE, "the real behind eth2 to go", || state(3).is_ok_and(|state| state == State::Down))?;
        servers.remove(0).kill()?;
        wait_until(DEADLINE, "the dead real to go", || state(1).is_ok_and(|state| state == State::Down))?;
        let client = Client::new(lab.client());
        assert_eq!(client.get_many((VIP, 80), 50)?.len(), 50, "all by the second real");

        make(lab, back, &bridge)?;
        wait_until(DEADLINE, "the real behind the new eth2 to come back", || {
            state(3).is_ok_and(|state| state == State::Up)
        })?;
        let sent = || agent.real("web", lab.real(3).v4()).map(|real| real.counters.packets);
        let before = sent()?;
        assert_eq!(client.get_many((VIP, 80), 50)?.len(), 50);
        assert!(sent()? > before, "the real behind the new eth2 has its share");
        Ok(())
    });
}

/// `bond0` comes late at a boot, and a driver that is loaded again takes its interface away.
#[test]
fn an_interface_that_is_not_there_is_waited_for() {
    waited_for("auto");
}

/// Without native XDP.
#[test]
fn an_interface_that_is_not_there_is_waited_for_by_tc() {
    waited_for("generic");
}

fn waited_for(mode: &str) {
    scenario(Lab::builder(), |lab| {
        let director_host = lab.director();
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let config = director(&["eth1"]) + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"", reals);
        let config = config.replacen("[director]\n", &format!("[director]\nmode = \"{mode}\"\n"), 1);
        let nic = director_host.nic().clone();
        let bridge = unplug(lab, &nic)?;
        let agent = Agent::start(director_host, &config)?;
        let awaited = || -> Result<bool> { Ok(agent.status()?.interfaces.iter().any(|one| one.awaited.is_some())) };
        assert!(awaited()?);
        assert!(agent.lb(&["list"])?.contains("WAITED FOR: eth1 since "));
        assert!(
            agent.log().contains("eth1: nothing is forwarded by it, and it is waited for: there is no interface eth1")
        );
        // A file that names it still is no worse for that.
        agent.reload(&config.replace("\"tcp\"", "\"tcp\"\nscheduler = \"rr\""))?;
        std::thread::sleep(Duration::from_secs(2));
        let client = Client::new(lab.client());
        for round in ["comes", "comes again"] {
            make(lab, &nic, &bridge)?;
            lab.client().forget_neighbours()?;
            wait_until(DEADLINE, &format!("requests to be forwarded when eth1 {round}"), || {
                client.get((VIP, 80)).is_ok()
            })
            .with_context(|| format!("{:?}", agent.lb(&["list", "--verdicts"])))?;
            assert!(!awaited()?);
            assert_eq!(client.get_many((VIP, 80), 20)?.len(), 20);
            unplug(lab, &nic)?;
            wait_until(DEADLINE, "eth1 to be waited for", || awaited().unwrap_or(false))?;
        }
        Ok(())
    });
}

#[test]
fn interfaces_are_known_by_their_alternative_names() {
    scenario(Lab::builder(), |lab| {
        let director_host = lab.director();
        director_host.ip("link property add dev eth1 altname front-of-the-balancers")?;
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let name = "front-of-the-balancers";
        let reals = lab.reals().map(|host| real(host.v4(), &format!("interface = \"{name}\"")));
        let config = director(&[name]) + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"", reals);
        let agent = Agent::start(director_host, &config)?;
        agent.wait_until_served()?;
        agent.wait_for_router("web", "master")?;
        let client = Client::new(lab.client());
        assert_eq!(client.get_many((VIP, 80), 10)?.len(), 10);
        // By another of its names it is the same one.
        agent.reload(&config.replace(name, "eth1"))?;
        assert_eq!(client.get_many((VIP, 80), 10)?.len(), 10);
        let forwarded = agent.verdict("forwarded")?;
        client.get((VIP, 80))?;
        assert!(agent.verdict("forwarded")? > forwarded, "the program is still there");
        Ok(())
    });
}

/// The director's interface is a port of a bridge, which has the addresses and a MAC of its own: frames leave by the port
/// that the bridge has learned each real behind, also by one that the director doesn't receive by.
#[test]
fn reals_behind_a_bridge_of_the_director_are_sent_to_by_its_ports() {
    scenario(Lab::builder().reals(3).place("real-3", LabSegment::Back), |lab| {
        bridge(lab)?;
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let config = director(&["eth1"]).replace("interface = \"eth1\"", "interface = \"br0\"")
            + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals);
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let each = || -> Result<()> {
            let answers = client.get_many((VIP, 80), 30)?;
            assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10, 10]);
            Ok(())
        };
        each()?;
        let resolved = |real: u8, port: &str| {
            format!("real {}: ", lab.real(real).v4())
                + &lab.real(real).mac().to_string()
                + &format!(" (resolved on br0, by {port}; web)")
        };
        for (real, port) in [(1, "eth1"), (2, "eth1"), (3, "eth2")] {
            assert!(agent.log().contains(&resolved(real, port)), "{}", resolved(real, port));
        }

        // The real's cable is pulled and plugged in on the other side.
        let switch = lab.switch();
        let back = lab.real(3).nic().port.clone();
        let bridge = switch.within(|| fs::read_link(format!("/sys/class/net/{back}/master")))??;
        let bridge = bridge.file_name().context("no bridge")?.to_string_lossy().into_owned();
        switch.ip(&format!("link set {} master {bridge}", lab.real(1).nic().port))?;
        wait_until(DEADLINE, "the bridge's other port to be sent by", || agent.log().contains(&resolved(1, "eth2")))?;
        wait_until(DEADLINE, "every real to answer again", || client.get_many((VIP, 80), 6).is_ok())?;
        each()
    });
}

/// Native XDP can't send by a bridge whose port for a real isn't known, and says so; the kernel's stack can.
#[test]
fn a_bridge_that_learns_nothing_is_said_to_need_the_generic_mode() {
    scenario(Lab::builder().reals(3).place("real-3", LabSegment::Back), |lab| {
        bridge(lab)?;
        for nic in lab.director().nics() {
            lab.director().ip(&format!("link set {} type bridge_slave learning off", nic.device))?;
        }
        lab.director().ip("link set br0 type bridge fdb_flush")?;
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = lab.reals().map(|host| real(host.v4(), ""));
        let config = director(&["eth1"]).replace("interface = \"eth1\"", "interface = \"br0\"")
            + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"", reals);
        let agent = Agent::start(lab.director(), &config)?;
        wait_until(DEADLINE, "the reals to be said to be behind a bridge as a whole", || {
            let why = agent.real("web", lab.real(1).v4()).ok().and_then(|real| real.why);
            why.is_some_and(|why| why.contains("native XDP can't send by a bridge as a whole"))
        })?;
        assert!(
            agent.log().contains("by br0 as a whole: br0 has not learned by which of its ports"),
            "{}",
            agent.log()
        );
        agent.lb(&["list"])?;
        agent.stop()?;
        lb_tests::agent::lb(lab.director(), &["detach"])?;
        let generic = config.replacen("[director]\n", "[director]\nmode = \"generic\"\n", 1);
        let agent = Agent::start(lab.director(), &generic)?;
        agent.wait_until_served()?;
        assert_eq!(Client::new(lab.client()).get_many((VIP, 80), 20)?.len(), 20);
        Ok(())
    });
}

/// Makes the director's interfaces the ports of a bridge, br0, which gets their addresses.
fn bridge(lab: &Lab) -> Result<()> {
    let host = lab.director();
    host.ip("link add br0 address 02:b0:00:00:00:01 type bridge forward_delay 0 mcast_snooping 0")?;
    for nic in host.nics() {
        host.ip(&format!("address del {}/24 dev {}", nic.v4, nic.device))?;
        host.ip(&format!("link set {} master br0", nic.device))?;
        host.ip(&format!("address add {}/24 dev br0", nic.v4))?;
    }
    host.ip("link set br0 up")?;
    lab.client().forget_neighbours()
}

/// Deletes an interface of the director; returns the bridge in the switch that it was plugged into.
fn unplug(lab: &Lab, nic: &Nic) -> Result<String> {
    let master = lab.switch().within(|| fs::read_link(format!("/sys/class/net/{}/master", nic.port)))??;
    let bridge = master.file_name().context("no bridge")?.to_string_lossy().into_owned();
    lab.director().ip(&format!("link delete {}", nic.device))?;
    Ok(bridge)
}

/// Makes it again, as it was but for its index.
fn make(lab: &Lab, nic: &Nic, bridge: &str) -> Result<()> {
    let (port, device) = (&nic.port, &nic.device);
    // A lab's namespaces have no names of their own for each other: a process stands for its one.
    let inside = lab.director().spawn("sleep", ["1000"])?;
    let namespace = lab.director().within(|| fs::read_link("/proc/thread-self/ns/net"))??;
    wait_until(DEADLINE, "a process to be in the director's namespace", || {
        fs::read_link(format!("/proc/{}/ns/net", inside.id())).is_ok_and(|its| its == namespace)
    })?;
    lab.switch().ip(&format!("link add {port} type veth peer name {device} netns {}", inside.id()))?;
    lab.switch().ip(&format!("link set {port} master {bridge} up"))?;
    lab.plug_again(port)?;
    lab.director().ip(&format!("link set {device} address {}", nic.mac))?;
    lab.director().ip(&format!("link set {device} up"))?;
    lab.director().ip(&format!("address add {}/24 dev {device}", nic.v4))?;
    Ok(())
}
