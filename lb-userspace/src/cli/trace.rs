//! `lb trace`: a packet's way through the program, each decision in order, with the map entry behind it.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use lb_common::Verdict;
use lb_common::header::protocol::{TCP, UDP};
use lb_common::trace::{Names, Step};
use nix::net::if_::if_nametoindex;
use pcap_file::pcap::PcapReader;
use serde::Serialize;

use super::exit::Code;
use super::output::{columns, print, print_json, wrapped};
use crate::agent::{self, mac, plain_address};
use crate::api::{self, Status};
use crate::config::{Protocol, endpoint};
use crate::dataplane::{Hook, Maps, Pins, Traced, Tracer, mac_of};
use crate::host::privilege::{Capability, require};
use crate::verdicts;

pub(super) const AFTER: &str = "\
The packet is run by the kernel through a build of the program that tells its
steps, with the live maps. It is sent nowhere, and nothing is recorded or
counted. Exits with 0 where it would be forwarded, with 1 where it would not.";

/// Which packet.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The client and its port, such as 203.0.113.9:40000.
    #[arg(value_name = "CLIENT:PORT", required_unless_present_any = ["pcap", "frame"], requires = "vip")]
    client: Option<SocketAddr>,
    /// The VIP and its port, such as 192.0.2.1:80.
    #[arg(value_name = "VIP:PORT")]
    vip: Option<SocketAddr>,
    /// The protocol of the packet.
    #[arg(long, short, value_name = "PROTOCOL", default_value = "tcp", value_parser = super::which::protocol)]
    protocol: Protocol,
    /// A packet in the midst of a connection, not one that opens it.
    #[arg(long)]
    goes_on: bool,
    /// The interface that it comes in by, one of [director] interfaces (default: the first).
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// The packets of this file (pcap, of Ethernet) instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client", "frame"])]
    pcap: Option<PathBuf>,
    /// This frame instead, from its Ethernet header on, in hexadecimal.
    #[arg(long, value_name = "HEX", conflicts_with = "client", value_parser = hex)]
    frame: Option<Hex>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Packets of a file that are looked at, at most.
const PACKETS: usize = 1000;

#[derive(Debug, Clone)]
struct Hex(Vec<u8>);

fn hex(text: &str) -> Result<Hex, String> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|sign| !sign.is_whitespace() && *sign != ':')
        .map(|sign| sign.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(sign))
        .collect::<Result<_, _>>()
        .map_err(|sign| format!("`{sign}` is no hexadecimal digit"))?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("half a byte is missing".to_owned());
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    if bytes.len() < 14 { Err("an Ethernet header has 14 bytes".to_owned()) } else { Ok(Hex(bytes)) }
}

/// What is told of one packet.
#[derive(Debug, Serialize)]
struct Told {
    /// A verdict's name.
    verdict: String,
    forwarded: bool,
    steps: Vec<Told1>,
}

#[derive(Debug, Serialize)]
struct Told1 {
    step: String,
    words: [u64; 4],
    text: String,
}

/// Runs the packet, or each of them.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    let status = api::status(&api::socket()).await?;
    require(Capability::Bpf, "a run of the program")?;
    let wanted = arguments.interface.as_deref();
    let on = status.interfaces.iter().find(|held| wanted.is_none_or(|name| held.name == name) && held.mode.is_some());
    let Some((on, hook)) = on.and_then(|on| Some((on, on.mode?))) else {
        let names: Vec<&str> = status.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        bail!("lb doesn't run on {}.\nIt runs on: {}", wanted.unwrap_or("any interface"), names.join(", "));
    };
    let ifindex = if_nametoindex(on.name.as_str()).with_context(|| format!("no interface {}", on.name))?;
    let pins = Pins::default();
    let frames = frames(&arguments, &pins, ifindex)?;
    let names = Entries { status: &status, maps: Maps::open(&pins)? };
    let mut tracer = Tracer::open(&pins, hook, ifindex)?;
    let traced = frames.iter().map(|frame| Ok(told(&tracer.run(frame)?, &names, hook)));
    let all = traced.collect::<Result<Vec<_>>>()?;
    let good = all.iter().all(|told| told.forwarded);
    if arguments.json {
        print_json(&all)?;
    } else {
        let mut out = String::new();
        for (number, told) in (1..).zip(&all) {
            if all.len() > 1 {
                let _ = writeln!(out, "packet {number}");
            }
            render(&mut out, told);
        }
        print(&out)?;
    }
    Ok(if good { Code::Done } else { Code::Failed })
}

fn frames(arguments: &Arguments, pins: &Pins, ifindex: u32) -> Result<Vec<Vec<u8>>> {
    if let Some(Hex(frame)) = &arguments.frame {
        return Ok(vec![frame.clone()]);
    }
    if let Some(path) = &arguments.pcap {
        return read(path);
    }
    let (Some(client), Some(vip)) = (arguments.client, arguments.vip) else { bail!("no packet is named") };
    ensure!(client.is_ipv4() == vip.is_ipv4(), "{client} and {vip} are not of one family");
    let own = mac_of(pins, ifindex)?.context("lb doesn't run on that interface any more")?;
    Ok(vec![built(own, client, vip, arguments.protocol, arguments.goes_on)])
}

fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} can't be opened"))?;
    let mut reader = PcapReader::new(file).with_context(|| format!("{name} is no pcap file"))?;
    ensure!(reader.header().datalink == pcap_file::DataLink::ETHERNET, "{name} has no Ethernet frames");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.with_context(|| format!("{name}: packet {}", frames.len() + 1))?.data.into_owned());
        ensure!(frames.len() <= PACKETS, "{name} has more than {PACKETS} packets");
    }
    ensure!(!frames.is_empty(), "{name} has no packet");
    Ok(frames)
}

/// The frame of a packet from a neighbour whose MAC address is nobody's.
fn built(own: [u8; 6], client: SocketAddr, vip: SocketAddr, protocol: Protocol, goes_on: bool) -> Vec<u8> {
    let mut transport = [client.port().to_be_bytes(), vip.port().to_be_bytes()].concat();
    let number = match protocol {
        Protocol::Tcp => {
            let flags = if goes_on { 0x10 } else { 0x02 };
            transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            TCP
        }
        Protocol::Udp => {
            transport.extend([0, 8, 0, 0]);
            UDP
        }
    };
    let length = transport.len() as u16;
    let (kind, header) = match (client.ip(), vip.ip()) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, number, 0, 0]);
            header.extend(client.octets().into_iter().chain(vip.octets()));
            (0x0800_u16, header)
        }
        (client, vip) => {
            let bytes = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([number, 64]);
            header.extend(bytes(client).into_iter().chain(bytes(vip)));
            (0x86dd, header)
        }
    };
    let mut frame = own.to_vec();
    frame.extend([0x02, 0, 0, 0, 0, 0]);
    frame.extend(kind.to_be_bytes());
    frame.extend(header);
    frame.extend(transport);
    frame
}

fn told(traced: &Traced, names: &Entries<'_>, hook: Hook) -> Told {
    let verdict = traced.steps.iter().find_map(lb_common::trace::Record::verdict);
    let step = |record: &lb_common::trace::Record| {
        let text = match record.verdict() {
            Some(verdict) => format!("{}: {}", verdict.name(), verdicts::words(verdict).meaning),
            None => record.text(names),
        };
        let step = record.step().map_or_else(|| record.code.to_string(), |step: Step| format!("{step:?}"));
        Told1 { step: step.to_lowercase(), words: record.words, text }
    };
    let _ = hook;
    Told {
        verdict: verdict.map_or("?", Verdict::name).to_owned(),
        forwarded: matches!(verdict, Some(Verdict::Forwarded | Verdict::Redirected)),
        steps: traced.steps.iter().map(step).collect(),
    }
}

fn render(out: &mut String, told: &Told) {
    for (number, step) in (1..).zip(&told.steps) {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}", wrapped(&format!("{number:>3}. {}", step.text), columns(), 5));
    }
}

/// What the live maps have behind the steps' numbers, by the names that the agent has for it.
struct Entries<'s> {
    status: &'s Status,
    maps: Maps,
}

impl Names for Entries<'_> {
    fn interface(&self, index: u32) -> String {
        agent::name(index)
    }

    fn service(&self, index: u32) -> String {
        let Ok(entry) = self.maps.service(index) else { return "not there any more".to_owned() };
        let (address, port) = (plain_address(entry.key.address), u16::from_be_bytes(entry.key.port));
        let port = (port != 0).then_some(port);
        let protocol = if entry.key.protocol == TCP { "tcp" } else { "udp" };
        let is_it =
            |held: &&api::ServiceStatus| (held.address, held.port, held.protocol.as_str()) == (address, port, protocol);
        let held = self.status.services.iter().find(is_it);
        let name = held.and_then(|held| held.name.as_deref()).unwrap_or("?");
        let scheduler = held.map_or("?", |held| held.scheduler.as_str());
        format!("service.{name}, {protocol} {}, {scheduler}", endpoint(address, port))
    }

    fn real(&self, index: u32) -> String {
        let Ok(entry) = self.maps.real(index) else { return "not there any more".to_owned() };
        let address = plain_address(entry.address);
        format!("real {address} at {}, by {}", mac(entry.mac), agent::name(entry.ifindex))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_from_hexadecimal_digits() {
        assert_eq!(hex("00:01 02030405060708090a0b0c0d").unwrap().0, (0..14).collect::<Vec<u8>>());
        for wrong in ["0", "zz", "00010203", "000102030405060708090a0b0c0d0"] {
            assert!(hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn built_packets_are_read_by_others() {
        for (client, vip) in [("192.0.2.9:40000", "192.0.2.1:80"), ("[2001:db8::9]:40000", "[2001:db8::1]:80")] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let frame = built([2; 6], client.parse().unwrap(), vip.parse().unwrap(), protocol, false);
                let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
                let ports = match packet.transport.unwrap() {
                    etherparse::TransportSlice::Tcp(tcp) => {
                        assert!(tcp.syn() && !tcp.ack());
                        (tcp.source_port(), tcp.destination_port())
                    }
                    etherparse::TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(ports, (40000, 80));
            }
        }
    }
}
