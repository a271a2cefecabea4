//! Paths that carry less than a segment's frames, and datagrams that no frame carries: with the kernel's own stacks at both
//! ends, errors find the real that must hear of them, and fragments come together.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, in_mode, real, service};
use lb_tests::lab::{Builder, DEADLINE, Host, Lab, Segment, VIP, VIP6, scenario, wait_until};
use lb_tests::responder::Udp;

const PORT: u16 = 9000;
const LENGTH: usize = 10 << 20;
/// Long enough for what a path without errors would never carry, too: then the test says so.
const PATIENCE: Duration = Duration::from_secs(20);
const NARROW: u32 = 1280;

/// A client behind a router.
fn routed() -> Builder {
    Lab::builder().place("client", Segment::Back)
}

#[test]
fn an_upload_over_a_narrow_path_arrives() {
    both_modes(|lab, mode| {
        let _reals = lab.reals().map(Bulk::start).collect::<Result<Vec<_>>>()?;
        // The client hears of it from its router.
        let router = lab.host("router");
        router.ip(&format!("link set eth1 mtu {NARROW}"))?;
        let _agent = started(lab, mode, "tcp")?;
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            let mut stream = connect(lab.client(), vip)?;
            stream.write_all(b"u")?;
            stream.write_all(&vec![7; LENGTH])?;
            stream.shutdown(Shutdown::Write)?;
            let mut told = [0; 8];
            stream.read_exact(&mut told).with_context(|| format!("{vip}: no word on what arrived"))?;
            assert_eq!(u64::from_be_bytes(told), LENGTH as u64, "{vip}");
            assert!(knows(lab.client(), vip)?, "{vip}: the path carries all");
        }
        Ok(())
    });
}

#[test]
fn a_download_over_a_narrow_path_arrives_since_the_real_hears_of_it() {
    both_modes(|lab, mode| {
        let _reals = lab.reals().map(Bulk::start).collect::<Result<Vec<_>>>()?;
        let _agent = started(lab, mode, "tcp")?;
        narrow_to_client(lab)?;
        for (vip, client) in clients(lab) {
            // One connection on each real.
            for _ in lab.reals() {
                let mut stream = connect(lab.client(), vip)?;
                stream.write_all(b"d")?;
                let mut all = Vec::new();
                stream.read_to_end(&mut all).with_context(|| format!("{vip}: {} bytes came", all.len()))?;
                assert_eq!(all.len(), LENGTH, "{vip}");
            }
            for host in lab.reals() {
                assert!(knows(host, client)?, "{} has not heard what the path carries", host.name());
            }
        }
        Ok(())
    });
}

#[test]
fn a_datagram_in_fragments_is_answered_whole() {
    both_modes(|lab, mode| {
        let _reals = lab.reals().map(|host| Udp::start(host, PORT)).collect::<Result<Vec<_>>>()?;
        let agent = started(lab, mode, "udp")?;
        let question: String = ('a'..='z').cycle().take(8 << 10).collect();
        let ask = |vip, port: u16| Client::new(lab.client()).source_port(port).ask_udp((vip, PORT), &question);
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            let answers = (20_000..20_020).map(|port| ask(vip, port)).collect::<Result<Vec<_>>>()?;
            assert!(answers.iter().all(|answer| answer.body.ends_with(&question)), "{vip}: not all of it");
            assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10], "{vip}");
        }
        assert_eq!(agent.verdict("vip-fragment")?, 0);
        narrow_to_client(lab)?;
        for (vip, client) in clients(lab) {
            for (number, host) in (0..).zip(lab.reals()) {
                // The first answer may be lost to what its real learns by that.
                let port = 30_000 + number;
                let answered = || ask(vip, port).is_ok_and(|answer| answer.body.ends_with(&question));
                wait_until(PATIENCE, "a whole answer over the narrow path", answered)?;
                assert!(!client.is_ipv6() || knows(host, client)?, "{} has not heard", host.name());
            }
        }
        Ok(())
    });
}

fn both_modes(test: impl Fn(&Lab, &str) -> Result<()>) {
    for mode in ["native", "generic"] {
        scenario(routed(), |lab| test(lab, mode));
    }
}

/// A director whose VIPs have one service each, over this protocol.
fn started<'a>(lab: &'a Lab, mode: &str, protocol: &str) -> Result<Agent<'a>> {
    let keys = format!("protocol = \"{protocol}\"\nscheduler = \"rr\"");
    let v4 = lab.reals().map(|host| real(host.v4(), ""));
    let v6 = lab.reals().map(|host| real(host.v6(), ""));
    let config = director(&["eth1"])
        + &service("four", format!("{VIP}:{PORT}"), &keys, v4)
        + &service("six", format!("[{VIP6}]:{PORT}"), &keys, v6);
    let agent = Agent::start(lab.director(), &in_mode(mode, &config))?;
    lab.director().own(VIP6.into())?;
    agent.wait_until_served()?;
    Ok(agent)
}

/// Lets the router's link to the client carry less than either end believes: the client has an interface like it, but says
/// that it takes whole segments.
fn narrow_to_client(lab: &Lab) -> Result<()> {
    let (client, router) = (lab.client(), lab.host("router"));
    let device = &client.nic().device;
    router.ip(&format!("link set eth2 mtu {NARROW}"))?;
    client.ip(&format!("link set {device} mtu {NARROW}"))?;
    for (version, any) in [("-4", "default"), ("-6", "::/0")] {
        let shown = client.ip(&format!("{version} route show default"))?;
        let gateway = shown.split_whitespace().nth(2).context("no default route")?.to_owned();
        client.ip(&format!("{version} route replace {any} via {gateway} dev {device} advmss 1440"))?;
    }
    Ok(())
}

/// Each VIP, with the client's address that asks it.
fn clients(lab: &Lab) -> [(IpAddr, IpAddr); 2] {
    [(VIP.into(), lab.client().v4().into()), (VIP6.into(), lab.client().v6().into())]
}

/// Whether a host has heard that the path to another is narrow.
fn knows(host: &Host, other: IpAddr) -> Result<bool> {
    Ok(host.ip(&format!("route get {other}"))?.contains(&format!("mtu {NARROW}")))
}

fn connect(host: &Host, vip: IpAddr) -> Result<TcpStream> {
    let stream = host.within(|| TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), DEADLINE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A TCP server that takes all after a `u` and says how much that was, or sends much after a `d`. It stops when dropped.
struct Bulk {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bulk {
    fn start(host: &Host) -> Result<Self> {
        let listener = host.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that has gone away misses nothing.
                    Ok((stream, _)) => drop(serve(stream)),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    if wish == *b"d" {
        return Ok(stream.write_all(&vec![7; LENGTH])?);
    }
    ensure!(wish == *b"u", "neither up nor down");
    let length = std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(stream.write_all(&length.to_be_bytes())?)
}
