//! The lab itself: what the tests of the balancer stand on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Result, ensure};
use lb_tests::client::{Client, tally};
use lb_tests::lab::{DEADLINE, Frame, Host, Lab, Port, Segment, VIP, VIP6, nginx, scenario, wait_until};
use lb_tests::responder::{Http, Udp};

const SOON: Duration = Duration::from_millis(500);

#[test]
fn everybody_reaches_everybody_on_the_segment() {
    scenario(Lab::builder().directors(2).reals(3), |lab| {
        let real = Http::start(lab.real(3))?;
        for host in lab.clients().chain(lab.directors()).chain(lab.reals()) {
            let client = Client::new(host);
            for address in [IpAddr::from(lab.real(3).v4()), lab.real(3).v6().into()] {
                assert_eq!(client.get((address, 80))?.real, "Real-3", "{}", host.name());
            }
        }
        assert_eq!(real.served(), 2 * 6);
        Ok(())
    });
}

#[test]
fn labs_run_side_by_side() {
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                scenario(Lab::builder().directors(2), |lab| {
                    let _real = Http::start(lab.real(1))?;
                    for _ in 0..10 {
                        let answer = Client::new(lab.client()).get((lab.real(1).v4(), 80))?;
                        assert_eq!(answer.real, "Real-1");
                    }
                    Ok(())
                });
            });
        }
    });
}

#[test]
fn nginx_answers_as_a_real_over_both_families() {
    scenario(Lab::builder(), |lab| {
        let reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let client = Client::new(lab.client());
        for real in lab.reals() {
            assert_eq!(client.get((real.v4(), 80))?.body, format!("I am {}\n", real.title()));
            assert_eq!(client.get((real.v6(), 80))?.real, real.title());
        }
        drop(reals);
        assert!(client.get((lab.real(1).v4(), 80)).is_err());
        Ok(())
    });
}

#[test]
fn a_real_answers_udp_from_the_address_that_was_asked() {
    scenario(Lab::builder(), |lab| {
        let _real = Udp::start(lab.real(1), 53)?;
        let client = Client::new(lab.client());
        assert_eq!(client.ask_udp((lab.real(1).v4(), 53), "who?")?.body, "I am Real-1: who?");
        // As a director would: the VIP with that real's hardware address.
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            lab.client().set_neighbour(vip, lab.real(1).mac())?;
            assert_eq!(client.ask_udp((vip, 53), "who?")?.real, "Real-1");
        }
        Ok(())
    });
}

#[test]
fn reals_keep_still_about_the_vip_and_answer_at_it() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let client = Client::new(lab.client()).timeout(SOON);
        let seen = lab.client().capture("eth1")?;
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            assert!(client.get((vip, 80)).is_err(), "nobody owns {vip}");
        }
        assert!(seen.count(|frame| frame.outgoing && is_arp(frame)) > 0);
        assert_eq!(seen.count(|frame| !frame.outgoing && is_arp(frame)), 0);
        assert_eq!(lab.client().neighbour(VIP.into())?, None);
        for real in lab.reals() {
            for vip in [IpAddr::from(VIP), VIP6.into()] {
                lab.client().set_neighbour(vip, real.mac())?;
                assert_eq!(client.get((vip, 80))?.real, real.title());
            }
        }
        Ok(())
    });
}

#[test]
fn a_director_can_own_and_disown_the_vip() {
    scenario(Lab::builder(), |lab| {
        let _http = Http::start(lab.director())?;
        let client = Client::new(lab.client()).timeout(SOON);
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            lab.director().own(vip)?;
            assert_eq!(client.get((vip, 80))?.real, "Director-a");
            assert_eq!(lab.client().neighbour(vip)?, Some(lab.director().mac()));
            lab.director().disown(vip)?;
            assert!(client.get((vip, 80)).is_err());
        }
        Ok(())
    });
}

#[test]
fn a_vlan_switch_tags_and_untags_at_its_ports() {
    const CLIENTS: u16 = 10;
    const REALS: u16 = 20;
    let builder = Lab::builder()
        .clients(2)
        .port("client", Port::access(CLIENTS))
        .port("client-2", Port::access(REALS))
        .port("director-a", Port::trunk([CLIENTS, REALS]))
        .port("real-1", Port::split(REALS, CLIENTS))
        .port("real-2", Port::access(REALS));
    scenario(builder, |lab| {
        let _reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let at =
            ["client", "client-2", "director-a", "real-1", "real-2"].map(|name| (name, lab.host(name).capture("eth1")));
        let mut captures = Vec::new();
        for (name, capture) in at {
            captures.push((name, capture?));
        }
        let vlans = |host: &str, from: &Host| -> BTreeSet<Option<u16>> {
            let capture = captures.iter().find(|(name, _)| *name == host);
            let frames = capture.map(|(_, it)| it.frames()).unwrap_or_default();
            let sent_by = |frame: &&Frame| frame.bytes.get(6..12) == Some(&from.mac().0[..]);
            frames.iter().filter(sent_by).map(Frame::vlan).collect()
        };
        let (client, client_2) = (lab.host("client"), lab.host("client-2"));

        let heard = |host: &str, from: &Host, vlan| {
            let what = format!("{host} to hear {} in {vlan:?}", from.name());
            wait_until(DEADLINE, &what, || vlans(host, from) == [vlan].into())
        };

        // Within a VLAN nobody sees a tag.
        assert_eq!(Client::new(client_2).get((lab.real(2).v4(), 80))?.real, "Real-2");
        heard("real-2", client_2, None)?;
        // Between two VLANs nothing passes.
        let outsider = Client::new(client).timeout(SOON);
        assert!(outsider.get((lab.real(2).v4(), 80)).is_err());
        assert_eq!(vlans("real-2", client), [].into());
        // The director sees both with their tags: here their questions who has an address.
        assert_eq!(vlans("director-a", client_2), [Some(REALS)].into());
        assert_eq!(vlans("director-a", client), [Some(CLIENTS)].into());
        // A split port speaks in one and hears the other.
        lab.real(1).send("eth1", &broadcast(lab.real(1), None))?;
        heard("client", lab.real(1), None)?;
        heard("director-a", lab.real(1), Some(CLIENTS))?;
        assert_eq!(vlans("client-2", lab.real(1)), [].into());
        heard("real-1", client_2, None)?;
        assert_eq!(vlans("real-1", client), [].into());
        // What the director sends with a tag arrives without it.
        lab.director().send("eth1", &broadcast(lab.director(), Some(REALS)))?;
        for host in ["client-2", "real-1", "real-2"] {
            heard(host, lab.director(), None)?;
        }
        assert_eq!(vlans("client", lab.director()), [].into());
        // Who is no trunk may not choose a VLAN; the director may not do without one.
        lab.real(2).send("eth1", &broadcast(lab.real(2), Some(CLIENTS)))?;
        lab.director().send("eth1", &broadcast(lab.director(), None))?;
        lab.director().send("eth1", &broadcast(lab.director(), Some(CLIENTS)))?;
        heard("client", lab.director(), None)?;
        assert_eq!(vlans("client", lab.real(2)), [].into());
        Ok(())
    });
}

#[test]
fn hosts_on_two_segments_meet_through_the_router() {
    let builder = Lab::builder().place("real-1", Segment::Back).place("real-2", Segment::Back);
    scenario(builder, |lab| {
        let _real = Http::start(lab.real(1))?;
        assert_eq!(lab.director().nics().len(), 2);
        assert_eq!(lab.real(1).v4().to_string(), "172.28.129.40");
        for from in [lab.client(), lab.director()] {
            let client = Client::new(from);
            assert_eq!(client.get((lab.real(1).v4(), 80))?.real, "Real-1");
            assert_eq!(client.get((lab.real(1).v6(), 80))?.real, "Real-1");
        }
        Ok(())
    });
}

#[test]
fn a_directors_mounts_are_its_own_and_outlive_its_programs() {
    scenario(Lab::builder().directors(2), |lab| {
        let [a, b] = [lab.host("director-a"), lab.host("director-b")];
        let mut agent =
            a.spawn("sh", ["-c", "echo hello; touch /run/lb.sock; mkdir /sys/fs/bpf/lb; exec sleep 1000"])?;
        agent.wait_for_log(DEADLINE, "hello")?;
        wait_until(DEADLINE, "the agent's pin", || a.within(|| Path::new("/sys/fs/bpf/lb").exists()).unwrap_or(false))?;
        agent.kill()?;
        assert!(a.run("ls", &["/sys/fs/bpf", "/run"])?.contains("lb.sock"));
        let others = b.run("ls", &["/sys/fs/bpf", "/run"])?;
        assert!(!others.lines().any(|it| it == "lb" || it == "lb.sock"), "{others}");
        assert!(!Path::new("/run/lb.sock").exists());
        // As a person would look.
        let enter = a.how_to_enter();
        let words: Vec<_> = enter.split(' ').collect();
        let seen = Command::new(words[0]).args(&words[1..]).args(["ls", "/sys/fs/bpf", "/sys/class/net"]).output()?;
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        ensure!(seen.contains("lb\n") && seen.contains("eth1"), "{enter}: {seen}");
        Ok(())
    });
}

#[test]
fn a_restarted_program_has_a_log_of_its_own() {
    scenario(Lab::builder(), |lab| {
        let agent = |word: &str| lab.director().spawn("sh", ["-c", &format!("echo {word}")]);
        agent("first")?.wait_for_log(DEADLINE, "first")?;
        let mut second = agent("second")?;
        assert!(second.wait_for_log(DEADLINE, "first").is_err());
        assert_eq!(second.log(), "second\n");
        Ok(())
    });
}

#[test]
fn a_held_connection_notices_a_pulled_cable() {
    scenario(Lab::builder(), |lab| {
        let real = Http::start(lab.real(1))?;
        let client = Client::new(lab.client());
        let server = (lab.real(1).v4(), 80);

        let quiet = client.hold(server, Duration::from_millis(5))?;
        quiet.wait_for_answers(20, DEADLINE)?;
        let report = quiet.finish();
        report.without_loss()?;
        assert_eq!(report.retransmitted, Some(0), "{report}");
        assert_eq!(tally(report.answers()).len(), 1);

        let disturbed = client.hold(server, Duration::from_millis(5))?;
        disturbed.wait_for_answers(5, DEADLINE)?;
        lab.cable(lab.real(1), false)?;
        let sent = || lab.client().run("ss", &["-tni"]).is_ok_and(|it| it.contains("retrans:1"));
        wait_until(DEADLINE, "a segment to be sent again", sent)?;
        lab.cable(lab.real(1), true)?;
        disturbed.wait_for_answers(5, DEADLINE)?;
        let report = disturbed.finish();
        assert!(report.retransmitted > Some(0), "{report}");

        let broken = client.hold(server, Duration::from_millis(5))?;
        broken.wait_for_answers(5, DEADLINE)?;
        real.stop();
        wait_until(DEADLINE, "the end of the connection", || {
            broken.log().last().is_some_and(|entry| entry.outcome.is_err())
        })?;
        assert!(broken.finish().without_loss().is_err());
        Ok(())
    });
}

#[test]
fn a_responder_can_be_slow_or_unwell() {
    scenario(Lab::builder(), |lab| {
        let real = Http::start(lab.real(1))?;
        let server = (lab.real(1).v4(), 80);
        real.set_status(503);
        assert_eq!(Client::new(lab.client()).get(server)?.status, 503);
        real.set_delay(Duration::from_millis(400));
        let hasty = Client::new(lab.client()).timeout(Duration::from_millis(50));
        assert!(hasty.get(server).is_err());
        Ok(())
    });
}

#[test]
fn a_capture_becomes_a_pcap_file() {
    scenario(Lab::builder(), |lab| {
        let _real = Http::start(lab.real(1))?;
        let capture = lab.switch().capture("client")?;
        Client::new(lab.client()).get((lab.real(1).v4(), 80))?;
        let answer =
            capture.wait_for(DEADLINE, "the answer", |frame| frame.bytes.windows(11).any(|it| it == b"I am Real-1"))?;
        assert_eq!(answer.bytes[6..12], lab.real(1).mac().0);
        drop(capture);
        let file = fs::File::open(lab.switch().dir().join("client.pcap"))?;
        let mut reader = pcap_file::pcap::PcapReader::new(file)?;
        let mut packets = 0;
        while let Some(packet) = reader.next_packet() {
            packet?;
            packets += 1;
        }
        assert!(packets >= 8, "{packets}");
        Ok(())
    });
}

/// A frame from `host` to everybody, of an EtherType for experiments.
fn broadcast(host: &Host, vlan: Option<u16>) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(host.mac().0);
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend([0x88, 0xb5]);
    frame.resize(64, 0);
    frame
}

fn is_arp(frame: &&Frame) -> bool {
    const ARP: u16 = 0x0806;
    let about_the_vip = |arp: &[u8]| arp.windows(4).any(|it| it == VIP.octets());
    frame.payload().is_some_and(|(kind, arp)| kind == ARP && about_the_vip(arp))
}
