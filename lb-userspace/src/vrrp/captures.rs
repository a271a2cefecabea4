//! Every captured frame of tests/fixtures/vrrp is parsed and written again to the same bytes, or refused for
//! the reason named here. keepalived sent the plain ones; the crafted ones are hostile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use etherparse::defrag::IpDefragPool;
use etherparse::{IpNumber, NetSlice, SlicedPacket};
use pcap_file::pcap::PcapReader;

use super::fuzz;
use super::protocol::settings::Settings;
use super::wire::accept::Acceptance;
use super::wire::announce;
use super::wire::checksum::{Form, Policy};
use super::wire::packet::{Advert, Authentication, Body, PROTOCOL, Received, TOS, TTL};
use super::wire::refusal::Refusal;
use crate::vrrp::wire::packet::Version;

const OWN: [u8; 4] = [10, 77, 0, 12];

/// The instance that the crafted cases are aimed at.
fn target(version: Version) -> Settings {
    let addresses = vec!["10.77.0.100/24".parse().unwrap()];
    let mut settings = Settings::new("target", "eth0", 51, version, addresses);
    match version {
        Version::V2 => settings.password = Some("s3cret77".into()),
        Version::V3 => settings.interval = std::time::Duration::from_millis(100),
    }
    settings
}

/// The version 2 cases by their number in the index, the fragments 34 to 36 together as the kernel
/// delivers them.
const CRAFTED_V2: &[(&[u8], &str, Result<(), Refusal>)] = &[
    (&[1], "good prio150", Ok(())),
    (&[2], "wrong password", Err(Refusal::Password)),
    (&[3], "empty pass", Err(Refusal::Password)),
    (&[4], "auth type 0 none, zero auth data", Err(Refusal::AuthenticationType)),
    (&[5], "auth type 0, no auth data at all", Err(Refusal::Length)),
    (&[6], "auth type 2 (AH) in header, no AH", Err(Refusal::AuthenticationType)),
    (&[7], "ttl 254", Err(Refusal::Ttl)),
    (&[8], "ttl 1", Err(Refusal::Ttl)),
    (&[9], "2 VIPs (ours 1)", Ok(())),
    (&[10], "other VIP address", Ok(())),
    (&[11], "0 VIPs", Err(Refusal::AddressCount)),
    (&[12], "count field 2 but 1 address", Err(Refusal::Length)),
    (&[13], "adv_int 2 (ours 1)", Err(Refusal::Interval)),
    (&[14], "bad checksum", Err(Refusal::Checksum)),
    (&[15], "checksum zero", Err(Refusal::Checksum)),
    (&[16], "version 3 packet, valid v3", Err(Refusal::Version)),
    (&[17], "version 4", Err(Refusal::Version)),
    (&[18], "unknown vrid 52", Err(Refusal::Router)),
    (&[19], "vrid 0", Err(Refusal::Router)),
    (&[20], "type 2", Err(Refusal::Type)),
    (&[21], "truncated to 12 bytes", Err(Refusal::Length)),
    (&[22], "truncated to 6 bytes", Err(Refusal::Length)),
    (&[23], "trailing 8 bytes (in IP length)", Err(Refusal::Length)),
    (&[24], "src off-subnet 192.0.2.1", Ok(())),
    (&[25], "unicast dst to B ip", Ok(())),
    (&[26], "mcast ip, unicast mac", Ok(())),
    (&[27], "src = own ip", Err(Refusal::OwnAddress)),
    (&[28], "same prio, src lower (.9)", Ok(())),
    (&[29], "same prio, src higher (.200)", Ok(())),
    (&[30], "lower prio 50", Ok(())),
    (&[31], "prio 0", Ok(())),
    (&[32], "prio 255", Ok(())),
    (&[33], "IP options (NOP)", Ok(())),
    (&[34, 35, 36], "fragmented", Ok(())),
    (&[37], "good prio150 single packet", Ok(())),
];

/// The version 3 cases by their number in the index.
const CRAFTED_V3: &[(&[u8], &str, Result<(), Refusal>)] = &[
    (&[1], "good prio150", Ok(())),
    (&[2], "ttl 254", Err(Refusal::Ttl)),
    (&[3], "2 VIPs (ours 1)", Ok(())),
    (&[4], "other VIP address", Ok(())),
    (&[5], "0 VIPs", Err(Refusal::AddressCount)),
    (&[6], "count field 2 but 1 address", Err(Refusal::Length)),
    (&[7], "adv_int 100cs (ours 10cs)", Ok(())),
    (&[8], "adv_int 1cs (ours 10cs)", Ok(())),
    (&[9], "adv_int 0", Err(Refusal::Interval)),
    (&[10], "adv_int lower prio 50 at 100cs", Ok(())),
    (&[11], "bad checksum", Err(Refusal::Checksum)),
    (&[12], "checksum without pseudo-header", Ok(())),
    (&[13], "unicast dst, correct pseudo-hdr", Ok(())),
    (&[14], "rsvd bits 0xf", Ok(())),
    (&[15], "version 2 packet PASS", Err(Refusal::Version)),
    (&[16], "version 2 packet no auth", Err(Refusal::Version)),
    (&[17], "vrid 52", Err(Refusal::Router)),
    (&[18], "type 2", Err(Refusal::Type)),
    (&[19], "truncated to 8 bytes", Err(Refusal::Length)),
    (&[20], "trailing 8 bytes", Err(Refusal::Length)),
    (&[21], "src off-subnet", Ok(())),
    (&[22], "src own ip", Err(Refusal::OwnAddress)),
    (&[23], "same prio, src lower (.9)", Ok(())),
    (&[24], "same prio, src higher (.200)", Ok(())),
    (&[25], "lower prio 50", Ok(())),
    (&[26], "prio 0", Ok(())),
    (&[27], "prio 255", Ok(())),
    (&[28], "IP options", Ok(())),
];

#[test]
fn each_crafted_advert_is_taken_or_refused_for_its_reason() {
    for (name, version, cases) in [("v2", Version::V2, CRAFTED_V2), ("v3", Version::V3, CRAFTED_V3)] {
        let acceptance = target(version).acceptance().unwrap();
        let frames = frames(&fixtures().join(format!("crafted-{name}-cases.pcap")));
        let index = index(name);
        let covered: Vec<u8> = cases.iter().flat_map(|case| case.0).copied().collect();
        assert_eq!(covered, index.keys().copied().collect::<Vec<_>>(), "{name}: each case once");
        assert_eq!(covered.len(), frames.len());
        for (numbers, what, expected) in cases {
            assert!(index[&numbers[0]].ends_with(what), "{name} {numbers:?}: {what}");
            let mut delivered: Vec<_> = Vec::new();
            let mut pool = IpDefragPool::new();
            for &number in *numbers {
                delivered.extend(Packet::of(&frames[usize::from(number) - 1], &mut pool));
            }
            let [packet] = &delivered[..] else { panic!("{name} {what}: one packet") };
            let verdict = acceptance.accept(&packet.received(), OWN.into());
            assert_eq!(verdict.as_ref().map(drop), expected.as_ref().copied(), "{name}: {what}");
        }
    }
}

#[test]
fn a_configured_checksum_form_is_demanded() {
    let frames = frames(&fixtures().join("crafted-v3-cases.pcap"));
    let verdict = |number: usize, checksum| {
        let packet = Packet::of(&frames[number - 1], &mut IpDefragPool::new()).unwrap();
        let acceptance = Settings { checksum, ..target(Version::V3) }.acceptance().unwrap();
        acceptance.accept(&packet.received(), OWN.into()).map(|advert| match advert.body {
            Body::V3 { checksum, .. } => checksum,
            Body::V2 { .. } => panic!("version 3"),
        })
    };
    let (with, without) = (1, 12);
    assert_eq!(verdict(with, Policy::Auto), Ok(Form::PseudoHeader));
    assert_eq!(verdict(without, Policy::Auto), Ok(Form::Plain));
    assert_eq!(verdict(with, Policy::Only(Form::PseudoHeader)), Ok(Form::PseudoHeader));
    assert_eq!(verdict(without, Policy::Only(Form::PseudoHeader)), Err(Refusal::ChecksumForm));
    assert_eq!(verdict(with, Policy::Only(Form::Plain)), Err(Refusal::ChecksumForm));
    assert_eq!(verdict(without, Policy::Only(Form::Plain)), Ok(Form::Plain));
}

#[test]
fn each_captured_frame_is_written_again_to_the_same_bytes() {
    let mut adverts = 0;
    let mut announcements = 0;
    for path in captures().iter().filter(|path| !is_crafted(path)) {
        let name = path.file_name().unwrap().to_str().unwrap();
        for frame in frames(path) {
            if let Some((address, mac)) = announced(&frame) {
                assert_eq!(announce::frame(address, mac), frame, "{name}");
                announcements += 1;
                continue;
            }
            let packet = Packet::of(&frame, &mut IpDefragPool::new()).unwrap();
            assert_eq!(packet.tos, TOS, "{name}");
            // keepalived leaves unicast IPv6 at the system's hop limit.
            let ttl = if name == "v3-unicast-ipv6-advert.pcap" { 64 } else { TTL };
            assert_eq!(packet.ttl, ttl, "{name}");
            if packet.protocol == IpNumber::AUTHENTICATION_HEADER.0 {
                // The kernel hands AH to nobody who asked for VRRP; the message in it is refused as well.
                let received = Received { payload: &packet.payload[24..], ..packet.received() };
                assert_eq!(Advert::parse(&received), Err(Refusal::AuthenticationType), "{name}");
                continue;
            }
            assert_eq!(packet.protocol, PROTOCOL, "{name}");
            let advert = Advert::parse(&packet.received()).unwrap();
            let again = advert.emit(packet.source, packet.destination).unwrap();
            assert_eq!(again, packet.payload, "{name}");
            adverts += 1;
        }
    }
    assert_eq!((adverts, announcements), (40, 128));
}

#[test]
fn a_capture_means_what_its_name_says() {
    let advert = |name: &str| {
        let frame = &frames(&fixtures().join(name))[0];
        Advert::parse(&Packet::of(frame, &mut IpDefragPool::new()).unwrap().received()).unwrap()
    };
    let v2 = |authentication| Body::V2 { seconds: 1, authentication };
    let v3 = |centiseconds| Body::V3 { centiseconds, checksum: Form::PseudoHeader };
    let password = Authentication::Password(*b"s3cret77");
    let expected = |priority, body, addresses: &[&str]| Advert {
        router: 51,
        priority,
        body,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let one = &["10.77.0.100"];
    let cases = [
        ("v2-pass-advert-prio200-1vip", expected(200, v2(password), one)),
        ("v2-pass-advert-prio0-release", expected(0, v2(password), one)),
        ("v2-noauth-advert-prio200", expected(200, v2(Authentication::None), one)),
        ("v3-ipv4-advert-10cs", expected(200, v3(10), one)),
        ("v3-ipv4-advert-1cs", expected(200, v3(1), one)),
        ("v3-ipv4-advert-prio255-owner", expected(255, v3(100), one)),
        ("v3-ipv6-advert-prio0", expected(0, v3(100), &["fe80::100", "fd77::100"])),
    ];
    for (name, expected) in cases {
        assert_eq!(advert(&format!("{name}.pcap")), expected, "{name}");
    }
}

#[test]
fn a_unicast_peer_may_have_a_low_ttl_and_a_stranger_is_refused() {
    let frame = &frames(&fixtures().join("v3-unicast-ipv6-advert.pcap"))[0];
    let packet = Packet::of(frame, &mut IpDefragPool::new()).unwrap();
    let ours = Advert::parse(&packet.received()).unwrap();
    let accept = |peers: &[IpAddr], minimum_ttl| {
        Acceptance::new(&ours, Policy::Auto, peers, minimum_ttl)
            .accept(&packet.received(), "fd77::12".parse().unwrap())
            .map(drop)
    };
    let peer: IpAddr = "fd77::11".parse().unwrap();
    assert_eq!(accept(&[peer], None), Ok(()));
    assert_eq!(accept(&["fd77::13".parse().unwrap()], None), Err(Refusal::Stranger));
    assert_eq!(accept(&[peer], Some(TTL)), Err(Refusal::Ttl));
    assert_eq!(accept(&[], None), Err(Refusal::Ttl));
}

/// The crafted frames that an instance like the target must refuse.
pub(super) fn refused_frames(version: Version) -> Vec<Vec<u8>> {
    let (name, cases) = match version {
        Version::V2 => ("crafted-v2-cases.pcap", CRAFTED_V2),
        Version::V3 => ("crafted-v3-cases.pcap", CRAFTED_V3),
    };
    let frames = frames(&fixtures().join(name));
    let refused = cases.iter().filter(|case| case.2.is_err());
    refused.flat_map(|case| case.0).map(|&number| frames[usize::from(number) - 1].clone()).collect()
}

#[test]
fn the_fuzz_corpus_holds_every_capture_and_breaks_nothing() {
    let mut seeds = Vec::new();
    for path in captures() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        for (number, frame) in (1..).zip(&frames(&path)) {
            if announced(frame).is_some() {
                continue;
            }
            let Some(packet) = Packet::of(frame, &mut IpDefragPool::new()) else {
                continue;
            };
            seeds.push((format!("{name}-{number}"), fuzz::input(&packet.received())));
        }
    }
    crate::corpus::held("vrrp_advert", seeds).iter().for_each(|bytes| fuzz::exercise(bytes));
}

/// An IP packet as a raw socket would deliver it.
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    tos: u8,
    protocol: u8,
    payload: Vec<u8>,
}

impl Packet {
    /// `None` for a fragment that does not complete its packet.
    fn of(frame: &[u8], pool: &mut IpDefragPool) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let net = sliced.net.as_ref().unwrap();
        match net {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let start = 14 + usize::from(header.ihl()) * 4;
                let end = 14 + usize::from(header.total_len());
                let payload = if ip.is_payload_fragmented() {
                    pool.process_sliced_packet(&sliced, (), ()).unwrap()?.payload
                } else {
                    frame[start..end].to_vec()
                };
                Some(Self {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.ttl(),
                    tos: header.dcp().value() << 2 | header.ecn().value(),
                    protocol: header.protocol().0,
                    payload,
                })
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let end = 54 + usize::from(header.payload_length());
                Some(Self {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    ttl: header.hop_limit(),
                    tos: header.traffic_class(),
                    protocol: header.next_header().0,
                    payload: frame[54..end].to_vec(),
                })
            }
            NetSlice::Arp(_) => panic!("an ARP frame is not a packet"),
        }
    }

    fn received(&self) -> Received<'_> {
        Received { source: self.source, destination: self.destination, ttl: self.ttl, payload: &self.payload }
    }
}

/// The address and the MAC that an ARP or a neighbour advertisement is about.
fn announced(frame: &[u8]) -> Option<(IpAddr, announce::Mac)> {
    let mac = frame[6..12].try_into().unwrap();
    match SlicedPacket::from_ethernet(frame).unwrap().net? {
        NetSlice::Arp(arp) => {
            let octets: [u8; 4] = arp.target_protocol_addr().try_into().unwrap();
            Some((octets.into(), mac))
        }
        NetSlice::Ipv6(ip) if ip.header().next_header() == IpNumber::IPV6_ICMP => {
            Some((ip.header().source_addr().into(), mac))
        }
        _ => None,
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/vrrp")
}

fn captures() -> Vec<PathBuf> {
    let mut captures: Vec<_> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    captures.sort();
    captures
}

fn is_crafted(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("crafted-")
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.unwrap().data.into_owned());
    }
    frames
}

fn index(name: &str) -> BTreeMap<u8, String> {
    let path = fixtures().join(format!("crafted-{name}-cases.index.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let entry = |line: &str| {
        let (number, what) = line.split_once('\t').unwrap();
        (number.parse().unwrap(), what.trim().to_owned())
    };
    text.lines().map(entry).collect()
}
