//! Checks through the VIP (`via`): what clients would meet is found and named, by the master of the VIP and its backup alike, and
//! nobody hears of it but the real that is asked.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};
use lb_tests::agent::{Agent, unwrapped};
use lb_tests::client::{Client, tally};
use lb_tests::config::{real, service};
use lb_tests::directors::{Router, Way, wait_until_holds};
use lb_tests::lab::{Builder, Capture, DEADLINE, Host, Lab, Mac, VIP, VIP6, nginx, scenario};
use lb_tests::responder::Udp;
use lb_tests::unbound;
use lb_userspace::api::{RealStatus, State};

const UDP_PORT: u16 = 9000;
const PACE: &str = "interval = \"250ms\", timeout = \"200ms\", fall = 2";

/// The services of both VIPs: each kind of check that has `via`, over both families.
const SERVICES: [(&str, &str, u16, &str); 10] = [
    ("web", "http", 80, "v4"),
    ("plain", "tcp", 80, "v4"),
    ("datagram", "udp", UDP_PORT, "v4"),
    ("names", "dns", 53, "v4"),
    ("zones", "dns by tcp", 53, "v4"),
    ("web6", "http", 80, "v6"),
    ("plain6", "tcp", 80, "v6"),
    ("datagram6", "udp", UDP_PORT, "v6"),
    ("names6", "dns", 53, "v6"),
    ("zones6", "dns by tcp", 53, "v6"),
];
/// Those of one family.
const V4: [&str; 5] = ["web", "plain", "datagram", "names", "zones"];
const V6: [&str; 5] = ["web6", "plain6", "datagram6", "names6", "zones6"];

fn config(lab: &Lab, priority: u8, via: &str, mode: &str) -> String {
    let six = Router { name: "six".to_owned(), id: 211, ..Router::web(Way::V3_100MS, priority).of(VIP6) };
    let mut text = format!("[director]\ninterfaces = [\"eth1\"]\nmode = \"{mode}\"\n\n");
    text += &(Router::web(Way::V3_100MS, priority).section() + &six.section());
    for (name, kind, port, family) in SERVICES {
        let of = |host: &Host| if family == "v4" { IpAddr::from(host.v4()) } else { host.v6().into() };
        let vip = if family == "v4" { VIP.to_string() } else { format!("[{VIP6}]") };
        let (protocol, asked) = match kind {
            "udp" => ("udp", "type = \"udp\", send = \"ping\", expect = \"I am\""),
            "dns" => ("udp", "type = \"dns\", name = \"www.example.org\", answer = \"192.0.2.10\""),
            "dns by tcp" => ("tcp", "type = \"dns\", name = \"www.example.org\", transport = \"tcp\""),
            "http" => ("tcp", "type = \"http\""),
            _ => ("tcp", "type = \"tcp\""),
        };
        let keys = format!(
            "protocol = \"{protocol}\"\nscheduler = \"rr\"\n\
             check = {{ {asked}, via = \"{via}\", {PACE} }}"
        );
        // Two services of a port would be one: the second has a port of its own, and asks the first's.
        let (own, keys) = match kind {
            "tcp" => (81, keys.replace(" }", &format!(", port = {port} }}"))),
            _ => (port, keys),
        };
        text += &service(name, format!("{vip}:{own}"), &keys, lab.reals().map(|host| real(of(host), "")));
    }
    text
}

/// A master, a backup, and the reals' servers.
struct Pair<'a> {
    lab: &'a Lab,
    agents: [Agent<'a>; 2],
}

impl<'a> Pair<'a> {
    fn start(lab: &'a Lab, via: &str, mode: &str) -> Result<Self> {
        for host in lab.reals() {
            lab.hold(nginx::start(host)?);
            lab.hold(Udp::start(host, UDP_PORT)?);
            lab.hold(unbound::start(host)?);
        }
        let (a, b) = (lab.host("director-a"), lab.host("director-b"));
        let a = Agent::start(a, &config(lab, 200, via, mode))?;
        for router in ["web", "six"] {
            a.wait_for_router(router, "master")?;
        }
        let agents = [a, Agent::start(b, &config(lab, 100, via, mode))?];
        for agent in &agents {
            agent.wait_until_served()?;
        }
        for router in ["web", "six"] {
            agents[1].wait_for_router(router, "backup")?;
        }
        wait_until_holds(lab.host("director-a"), VIP, true)?;
        wait_until_holds(lab.host("director-b"), VIP, false)?;
        Ok(Self { lab, agents })
    }

    /// Waits until both say that of `Real-1` in these services.
    fn all_say(&self, services: &[&str], stands: impl Fn(&RealStatus) -> bool) -> Result<()> {
        for agent in &self.agents {
            for name in services {
                agent
                    .wait_for_real(name, address(self.lab.real(1), name), &stands)
                    .with_context(|| format!("{name}: {:?}", agent.real(name, address(self.lab.real(1), name))))?;
            }
        }
        Ok(())
    }
}

fn address(host: &Host, service: &str) -> IpAddr {
    if service.ends_with('6') { host.v6().into() } else { host.v4().into() }
}

fn two() -> Builder {
    Lab::builder().directors(2)
}

fn is_up(real: &RealStatus) -> bool {
    real.state == State::Up
}

fn is_down(real: &RealStatus) -> bool {
    real.state == State::Down
}

/// It is down, and for a reason that has this in it.
fn is_down_by(part: &str) -> impl Fn(&RealStatus) -> bool {
    move |real| real.state == State::Down && real.why.as_ref().is_some_and(|why| why.contains(part))
}

#[test]
fn a_real_that_lost_the_vip_is_found_and_named_by_master_and_backup() {
    lost_vip("native");
}

#[test]
fn a_real_that_lost_the_vip_is_found_by_directors_of_mode_generic_too() {
    lost_vip("generic");
}

fn lost_vip(mode: &str) {
    scenario(two(), |lab| {
        let mut pair = Pair::start(lab, "both", mode)?;
        let captures = ["director-a", "director-b"].map(|name| lab.host(name).capture("eth1"));
        let captures: Vec<Capture> = captures.into_iter().collect::<Result<_>>()?;
        let ill = lab.real(1);
        let lost = |vip: IpAddr| format!("answers on its own address, not on the VIP: is {vip} on its lo?");
        ill.ip(&format!("address del {VIP}/32 dev lo"))?;
        pair.all_say(&V4, is_down_by(&lost(VIP.into())))?;
        pair.all_say(&V6, is_up)?;
        ill.ip(&format!("address del {VIP6}/128 dev lo"))?;
        pair.all_say(&V6, is_down_by(&lost(VIP6.into())))?;
        for agent in &mut pair.agents {
            let list = unwrapped(&agent.lb(&["list"])?);
            assert!(list.contains(&lost(VIP.into())) && list.contains(&lost(VIP6.into())), "{list}");
            let line = format!("real {}: down: {}", ill.v4(), lost(VIP.into()));
            agent.process().wait_for_log(DEADLINE, &line)?;
        }
        // Clients don't meet it any more.
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_keys().collect::<Vec<_>>(), ["Real-2"]);
        ill.ip(&format!("address add {VIP}/32 dev lo"))?;
        ill.ip(&format!("address add {VIP6}/128 dev lo"))?;
        pair.all_say(&SERVICES.map(|(name, ..)| name), is_up)?;
        for capture in &captures {
            only_reals_are_asked(lab, capture)?;
        }
        Ok(())
    });
}

/// Whatever a director sends to a VIP goes to a real, as a part of a check: no reset or error of a kernel that
/// knows nothing of its connection.
fn only_reals_are_asked(lab: &Lab, capture: &Capture) -> Result<()> {
    let reals: Vec<Mac> = lab.reals().map(Host::mac).collect();
    let directors: Vec<IpAddr> = lab.directors().flat_map(Host::addresses).collect();
    let mut asked = 0;
    for frame in capture.frames().iter().filter(|frame| frame.outgoing) {
        let Ok(packet) = SlicedPacket::from_ethernet(&frame.bytes) else { continue };
        let Some((source, destination)) = ends(&packet) else { continue };
        if ![IpAddr::from(VIP), VIP6.into()].contains(&destination) || !directors.contains(&source) {
            continue;
        }
        let to: [u8; 6] = frame.bytes.first_chunk().copied().unwrap_or_default();
        ensure!(reals.contains(&Mac(to)), "from {source} to {destination} at {:?}", Mac(to));
        let is_asked = matches!(packet.transport, Some(TransportSlice::Tcp(_) | TransportSlice::Udp(_)));
        ensure!(is_asked, "an error about a check, from {source}: {:?}", packet.transport);
        asked += 1;
    }
    ensure!(asked > 100, "{asked} packets of checks were seen");
    Ok(())
}

fn ends(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        etherparse::NetSlice::Ipv4(net) => {
            Some((net.header().source_addr().into(), net.header().destination_addr().into()))
        }
        etherparse::NetSlice::Ipv6(net) => {
            Some((net.header().source_addr().into(), net.header().destination_addr().into()))
        }
        etherparse::NetSlice::Arp(_) => None,
    }
}

#[test]
fn a_firewall_of_a_real_that_keeps_the_vip_out_is_found_and_named() {
    scenario(two(), |lab| {
        let pair = Pair::start(lab, "both", "native")?;
        let ill = lab.real(1);
        // Else its kernel sends one error a second to each director, always to the same of their checks.
        ill.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        ill.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        let nft = |line: &str| ill.run("nft", &[line]).map(drop);
        nft("add table inet lb; add chain inet lb input { type filter hook input priority 0; }")?;
        nft(&format!(
            "add rule inet lb input ip daddr {VIP} drop; add rule inet lb input ip6 daddr {VIP6} tcp dport 80 drop"
        ))?;
        pair.all_say(&V4, is_down_by(&format!("is {VIP} on its lo? Or does its firewall drop it?")))?;
        pair.all_say(&["web6", "plain6"], is_down_by(&format!("is {VIP6} on its lo? Or does its firewall drop it?")))?;
        pair.all_say(&["datagram6"], is_up)?;
        nft("flush chain inet lb input")?;
        pair.all_say(&SERVICES.map(|(name, ..)| name), is_up)?;
        // One that says so is known at once.
        nft(&format!("add rule inet lb input ip daddr {VIP} reject with icmp type admin-prohibited"))?;
        nft(&format!("add rule inet lb input ip6 daddr {VIP6} reject with icmpv6 type admin-prohibited"))?;
        pair.all_say(&["plain"], is_down_by(&format!("does its firewall refuse {VIP}? (no route to host)")))?;
        pair.all_say(&["datagram"], is_down_by(&format!("does its firewall refuse {VIP}?")))?;
        pair.all_say(&["plain6", "datagram6"], is_down_by(&format!("does its firewall refuse {VIP6}?")))?;
        nft("flush chain inet lb input")?;
        pair.all_say(&SERVICES.map(|(name, ..)| name), is_up)?;
        // Without a server on the VIP it is refused there.
        nft(&format!("add rule inet lb input ip daddr {VIP} tcp dport 80 reject with tcp reset"))?;
        nft(&format!("add rule inet lb input ip daddr {VIP} udp dport {UDP_PORT} reject"))?;
        pair.all_say(
            &["plain", "datagram"],
            is_down_by(&format!("does its server listen on {VIP}? (connection refused)")),
        )?;
        Ok(())
    });
}

#[test]
fn on_the_vip_alone_it_is_the_vip_that_counts() {
    scenario(two(), |lab| {
        let pair = Pair::start(lab, "vip", "native")?;
        let ill = lab.real(1);
        // Its own address is not asked.
        let nft = |line: &str| ill.run("nft", &[line]).map(drop);
        nft("add table inet lb; add chain inet lb input { type filter hook input priority 0; }")?;
        nft(&format!("add rule inet lb input ip daddr {} meta l4proto {{ tcp, udp }} drop", ill.v4()))?;
        ill.ip(&format!("address del {VIP6}/128 dev lo"))?;
        pair.all_say(&V6, is_down_by(&format!("on the VIP {VIP6}: timed out after 200ms")))?;
        pair.all_say(&V4, is_up)?;
        ill.ip(&format!("address del {VIP}/32 dev lo"))?;
        pair.all_say(&V4, is_down)?;
        Ok(())
    });
}
