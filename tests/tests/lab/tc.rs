//! The program behind the kernel's socket buffers, where a driver has no XDP or the configuration says so: it sees merged
//! packets as they are, and outlives the agent as the native one does. And what the kernel drops behind either.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use lb_tests::agent::{Agent, lb, status, wait_for_traces};
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, in_mode, real, service};
use lb_tests::frame::{self, tcp4};
use lb_tests::lab::{DEADLINE, Host, Lab, Segment, VIP, VIP6, crowd, nginx, scenario, wait_until};
use lb_userspace::dataplane::{Hook, Pins};

const RR: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";
/// What an upload is of.
const UPLOAD: usize = 10_000_000;

/// A service of all reals in this mode.
fn config(lab: &Lab, mode: &str, port: u16) -> String {
    let reals = lab.reals().map(|host| real(host.v4(), ""));
    in_mode(mode, &(director(&["eth1"]) + &service("web", format!("{VIP}:{port}"), RR, reals)))
}

/// A service of an upload to the first real.
fn upload_config(lab: &Lab, vip: IpAddr) -> String {
    let backend = lab.real(1);
    let address: IpAddr = if vip.is_ipv6() { backend.v6().into() } else { backend.v4().into() };
    let service = service("web", SocketAddr::from((vip, 9000)), RR, [real(address, "")]);
    in_mode("generic", &(director(&["eth1"]) + &service))
}

/// Where the program runs on the director's first interface.
fn hook(agent: &Agent<'_>) -> Result<Option<Hook>> {
    Ok(agent.status()?.interfaces.first().and_then(|interface| interface.mode))
}

#[test]
fn an_upload_of_merged_packets_passes_and_is_counted_as_it_came_over_the_wire() {
    // 20 bytes of IP and 32 of TCP with its timestamps.
    uploads(VIP.into(), 52, &[]);
}

/// BIG TCP: packets that are merged to more than the IP header's length field can say, so that it says 0.
#[test]
fn an_upload_of_packets_merged_to_more_than_a_header_can_say_passes_too() {
    uploads(VIP6.into(), 72, &["gso_max_size", "gro_max_size"]);
}

/// Uploads to this VIP by packets with so many bytes of headers, with these sizes of all interfaces raised.
fn uploads(vip: IpAddr, headers: u64, sizes: &[&str]) {
    scenario(Lab::builder().reals(1), |lab| {
        let (client, director, backend) = (lab.client(), lab.director(), lab.real(1));
        for host in [client, director, backend] {
            host.run("ethtool", &["-K", "eth1", "tx", "on", "tso", "on", "gso", "on", "gro", "on"])?;
            let port = &host.nic().port;
            lab.switch().run("ethtool", &["-K", port, "tx", "on", "tso", "on", "gso", "on"])?;
            for size in sizes {
                host.run("ip", &["link", "set", "eth1", size, "200000"])?;
                lab.switch().run("ip", &["link", "set", port, size, "200000"])?;
            }
        }
        if vip.is_ipv6() {
            director.own(vip)?;
        }
        let agent = Agent::start(director, &upload_config(lab, vip))?;
        agent.wait_until_served()?;
        let listener = backend.within(|| TcpListener::bind((vip, 9000)))??;
        let server = thread::spawn(move || -> std::io::Result<usize> {
            let (mut stream, _) = listener.accept()?;
            let mut taken = Vec::new();
            let length = stream.read_to_end(&mut taken)?;
            stream.write_all(b"!")?;
            Ok(length)
        });
        let arrived = || -> Result<u64> {
            let path = "/sys/class/net/eth1/statistics/rx_packets";
            Ok(director.within(|| fs::read_to_string(path))??.trim().parse()?)
        };
        let before = arrived()?;
        let mut stream = client.within(|| TcpStream::connect_timeout(&(vip, 9000).into(), DEADLINE))??;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(&vec![b'x'; UPLOAD])?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_exact(&mut [0])?;
        let taken = server.join().ok().context("the server")??;
        assert_eq!(taken, UPLOAD);
        let frames = arrived()? - before;
        let counted = agent.service("web")?.counters;
        assert_eq!(counted.connections, 1);
        // Acknowledgements have no payload.
        let packets = (UPLOAD as u64).div_ceil(1500 - headers);
        assert!(counted.packets >= packets && counted.packets < packets * 5 / 4, "{counted:?}, not {packets} packets");
        let payload = counted.bytes - headers * counted.packets;
        assert!((UPLOAD as u64..UPLOAD as u64 * 11 / 10).contains(&payload), "{counted:?}: {payload} bytes");
        assert!(frames * 4 < counted.packets, "{frames} frames: nothing was merged");
        assert_eq!(agent.verdict("forwarded")?, counted.packets);
        assert_eq!(agent.verdict("malformed")?, 0);
        Ok(())
    });
}

#[test]
fn headers_in_fragments_are_read() {
    scenario(Lab::builder().reals(1), |lab| {
        let (client, director, backend) = (lab.client(), lab.director(), lab.real(1));
        client.run("ethtool", &["-K", "eth1", "tx", "on", "sg", "on"])?;
        lab.switch().run("ethtool", &["-K", &director.nic().port, "tx", "on", "sg", "on"])?;
        let _real = nginx::start(backend)?;
        let agent = Agent::start(director, &config(lab, "generic", 80))?;
        agent.wait_until_served()?;
        let heard = backend.capture("eth1")?;
        // Nobody answers it.
        let mut sent = tcp4(client.v4().octets(), 4242, VIP.octets(), 80, frame::Segment::Rst);
        let mut expected = sent.clone();
        for (place, bytes) in
            [(&mut sent, [director.mac().0, client.mac().0]), (&mut expected, [backend.mac().0, director.mac().0])]
        {
            place.splice(..12, bytes.concat());
        }
        client.send_in_fragments("eth1", &sent)?;
        heard.wait_for(DEADLINE, "the frame", |frame| frame.bytes == expected)?;
        assert_eq!((agent.verdict("forwarded")?, agent.verdict("truncated")?), (1, 0));
        Ok(())
    });
}

/// Whether the program is at the ingress of the director's eth1 by tcx.
fn has_tcx(director: &Host) -> bool {
    let attached = director.within(|| SchedClassifier::query_tcx("eth1", TcAttachType::Ingress));
    let Ok(Ok((_, programs))) = attached else { return false };
    programs.iter().any(|program| program.name_as_str() == Some("lb_tc"))
}

/// Kills and restarts an agent under traffic, and takes its program off.
fn outlives_its_agent(lab: &Lab) -> Result<()> {
    let director = lab.director();
    let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
    let mut agent = Agent::start(director, &config(lab, "generic", 80))?;
    agent.wait_until_served()?;
    let client = Client::new(lab.client());
    let held = client.hold((VIP, 80), std::time::Duration::from_millis(5))?;
    for _ in 0..2 {
        agent.process().kill()?;
        assert_eq!(client.get_many((VIP, 80), 10)?.len(), 10);
        // It is known without an agent, too.
        let interfaces = status(director)?.interfaces;
        assert_eq!(interfaces.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(), ["eth1"]);
        agent = Agent::start_again(director)?;
        assert!(agent.log().contains("eth1: program adopted, without a gap, tc"), "{}", agent.log());
        assert_eq!(hook(&agent)?, Some(Hook::Tc));
    }
    held.wait_for_answers(20, DEADLINE)?;
    held.finish().without_loss()?;
    // By the ring: which real a remembered connection has is forgotten with another version's pins.
    agent.reload(&config(lab, "generic", 80).replace("\"rr\"", "\"mh\""))?;
    agent.stop()?;
    // Another version's pins: links, filters and what is to be given back go over.
    let polled = client.poll((VIP, 80), std::time::Duration::from_millis(5));
    let other = "/sys/fs/bpf/lb/0123456789abcdef";
    director.within(|| fs::rename(Pins::default().directory(), other))??;
    agent = Agent::start_again(director)?;
    wait_until(DEADLINE, "the take-over", || agent.log().contains("is replaced, without a gap"))?;
    assert_eq!(hook(&agent)?, Some(Hook::Tc));
    assert!(!director.within(|| fs::exists(other))??);
    polled.wait_for_answers(50, DEADLINE)?;
    polled.finish().without_loss()?;
    agent.stop()?;
    let told = lb(director, &["detach"])?;
    assert!(told.contains("detached from interface"), "{told}");
    wait_for_traces(director, &[])
}

#[test]
fn the_tc_program_outlives_its_agent_and_goes_at_detach() {
    scenario(Lab::builder(), |lab| {
        outlives_its_agent(lab)?;
        wait_until(DEADLINE, "the program to leave eth1", || !has_tcx(lab.director())).map(drop)
    });
}

#[test]
fn without_room_for_tcx_it_is_a_filter_that_outlives_its_agent_too() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let _crowd = crowd(director, "eth1")?;
        outlives_its_agent(lab)?;
        assert!(!director.run("tc", &["qdisc", "show", "dev", "eth1"])?.contains("clsact"), "it is left behind");
        // Another's queueing discipline stays.
        director.run("tc", &["qdisc", "add", "dev", "eth1", "clsact"])?;
        let agent = Agent::start_again(director)?;
        let filters = || director.run("tc", &["filter", "show", "dev", "eth1", "ingress"]);
        assert!(filters()?.contains("lb_tc direct-action"), "{}", filters()?);
        agent.stop()?;
        lb(director, &["detach"])?;
        assert!(!filters()?.contains("lb_tc"));
        assert!(director.run("tc", &["qdisc", "show", "dev", "eth1"])?.contains("clsact"));
        Ok(())
    });
}

#[test]
fn another_mode_moves_the_program_without_a_lost_packet() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let mut agent = Agent::start(director, &config(lab, "native", 80))?;
        agent.wait_until_served()?;
        let held = Client::new(lab.client()).hold((VIP, 80), std::time::Duration::from_millis(5))?;
        for (mode, expected) in [("generic", Hook::Tc), ("native", Hook::Native), ("auto", Hook::Native)] {
            agent.process().kill()?;
            agent = Agent::start(director, &config(lab, mode, 80))?;
            assert_eq!(hook(&agent)?, Some(expected));
            wait_until(DEADLINE, "the program to be there alone", || {
                let native = director.ip("-oneline link show dev eth1").is_ok_and(|link| link.contains(" xdp"));
                [native, has_tcx(director)] == [expected == Hook::Native, expected == Hook::Tc]
            })?;
            held.wait_for_answers(20, DEADLINE)?;
        }
        held.finish().without_loss()?;
        agent.stop()?;
        lb(director, &["detach"])?;
        wait_for_traces(director, &[])
    });
}

#[test]
fn a_macvlan_has_no_xdp_and_gets_the_tc_program() {
    scenario(Lab::builder(), |lab| {
        let (director, nic) = (lab.director(), lab.director().nic());
        director.ip("link add link eth1 name mv1 type macvlan mode bridge")?;
        director.ip(&format!("address del {}/24 dev eth1", nic.v4))?;
        // Or the interface below would answer for the VIP.
        director.within(|| fs::write("/proc/sys/net/ipv4/conf/eth1/arp_ignore", "1"))??;
        director.ip("link set mv1 up")?;
        director.ip(&format!("address add {}/24 dev mv1", nic.v4))?;
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(director, &config(lab, "auto", 80).replace("eth1", "mv1"))?;
        agent.wait_until_served()?;
        assert_eq!(hook(&agent)?, Some(Hook::Tc));
        assert!(agent.log().contains("mv1: runs behind the kernel's socket buffers"), "{}", agent.log());
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10]);
        Ok(())
    });
}

#[test]
fn tags_that_hardware_takes_out_are_left_in_while_the_program_is_native() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        director.run("ethtool", &["-K", "eth1", "rxvlan", "on"])?;
        let is_on =
            || Ok::<_, anyhow::Error>(director.run("ethtool", &["-k", "eth1"])?.contains("rx-vlan-offload: on"));
        assert!(is_on()?);
        let mut agent = Agent::start(director, &config(lab, "native", 80))?;
        assert!(!is_on()?);
        let log = agent.log();
        assert!(log.contains("eth1: switched off rx-vlan-hw-parse"), "{log}");
        // It is remembered over a kill.
        agent.process().kill()?;
        let agent = Agent::start_again(director)?;
        agent.stop()?;
        lb(director, &["detach"])?;
        assert!(is_on()?, "it is not switched on again");
        Ok(())
    });
}

#[test]
fn frames_that_the_driver_does_not_take_are_told_by_its_interface() {
    is_told(Segment::Front, |interface, _, unsent| interface == "eth1" && unsent > 0);
}

#[test]
fn frames_that_cannot_be_redirected_are_told_by_an_interface() {
    // Linux 6.3 and later know beforehand that the other interface can't send them.
    is_told(Segment::Back, |interface, refused, unsent| match interface {
        "eth1" => refused > 0,
        _ => unsent > 0,
    });
}

/// A veth takes frames from XDP only where its other end has a program: here it has none.
fn is_told(segment: Segment, is_it: impl Fn(&str, u64, u64) -> bool) {
    scenario(Lab::builder().reals(1).place("real-1", segment), |lab| {
        let (host, backend) = (lab.director(), lab.real(1));
        let devices: Vec<&str> = host.nics().iter().map(|nic| nic.device.as_str()).collect();
        let web = service("web", format!("{VIP}:80"), RR, [real(backend.v4(), "")]);
        let agent = Agent::start(host, &in_mode("native", &(director(&devices) + &web)))?;
        agent.wait_until_served()?;
        assert_eq!(agent.status()?.drops, []);
        assert!(!agent.lb(&["list"])?.contains("NOT SENT"));
        let port = host.nics().iter().find(|nic| nic.segment == segment).context("no such interface")?.port.clone();
        lab.switch().run("rm", &[&format!("/sys/fs/bpf/{port}_xdp")])?;
        let told = || {
            let drops = agent.status().map(|status| status.drops).unwrap_or_default();
            drops.iter().any(|drop| is_it(&drop.interface, drop.refused, drop.unsent))
        };
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // The other end's program goes some time after its pin: until then the real refuses.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Client::new(lab.client()).get_many((VIP, 80), 1);
                }
            });
            let waited = wait_until(DEADLINE, "the dropped frames to be told", told).map(drop);
            done.store(true, Ordering::Relaxed);
            waited
        })?;
        let list = agent.lb(&["list"])?;
        assert!(list.contains("NOT SENT: eth"), "{list}");
        // What was counted stays, and so does the counting.
        let before = agent.status()?.drops;
        agent.stop()?;
        assert_eq!(status(host)?.drops.len(), before.len());
        lb(host, &["detach"])?;
        wait_for_traces(host, &[])
    });
}
