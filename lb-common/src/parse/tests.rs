//! What holds for any bytes. What single frames parse to is shown by the packet fixtures.

use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn parse(packet: &Packet<'_>) -> Result<Parsed, Verdict> {
    let network = parse_network(packet, 0)?;
    if network.fragment != 0 { Err(Verdict::Fragment) } else { parse_transport(packet, network) }
}

fn read(frame: &[u8]) -> Result<Parsed, Verdict> {
    // Of exactly this size, so that a memory checker sees a read behind it.
    let mut frame = frame.to_vec();
    frame.shrink_to_fit();
    parse(&Packet::from_slice(&mut frame))
}

/// Bytes that lead the parser deep: EtherTypes and protocols that it follows, with other bytes at their sides.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let tags = vec((select(&[ethertype::VLAN, ethertype::SERVICE_VLAN][..]), any::<[u8; 2]>()), 0..=3);
    let ipv4 =
        (any::<[u8; 60]>(), 0x40..=0x4fu8, select(&[1u8, 6, 17, 47][..])).prop_map(|(mut header, first, next)| {
            header[0] = first;
            // No fragment, in half the cases.
            header[6] &= 0x60 * (header[1] & 1);
            header[7] *= header[1] & 1;
            header[9] = next;
            (ethertype::IPV4, header.to_vec())
        });
    let next = || select(&[0u8, 6, 17, 43, 44, 58, 59, 60][..]);
    let extension = (next(), prop_oneof![8 => 0u8..3, 1 => any::<u8>()], any::<[u8; 6]>());
    let ipv6 = (any::<[u8; 38]>(), next(), vec(extension, 0..8)).prop_map(|(mut header, next, extensions)| {
        header[0] = 0x60 | header[0] & 0x0f;
        header[6] = next;
        let chain = extensions.iter().flat_map(|(next, length, rest)| {
            let head = [*next, *length];
            head.into_iter().chain(*rest).chain(core::iter::repeat_n(0, usize::from(*length) * 8))
        });
        let mut bytes = header.to_vec();
        bytes.extend([0, 0]);
        bytes.extend(chain);
        (ethertype::IPV6, bytes)
    });
    let network = prop_oneof![ipv4, ipv6, (any::<u16>(), vec(any::<u8>(), 0..60))];
    (any::<[u8; 12]>(), tags, network, vec(any::<u8>(), 0..60)).prop_map(|(macs, tags, (kind, network), rest)| {
        let mut frame = macs.to_vec();
        for (tag, control) in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend(control);
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(network);
        frame.extend(rest);
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_to_something(frame in vec(any::<u8>(), 0..200)) {
        let _ = read(&frame);
    }

    #[test]
    fn what_lies_behind_a_frame_is_not_read(frame in frames(), behind in any::<u8>()) {
        let length = frame.len();
        let mut longer = frame.clone();
        longer.extend([behind; 2100]);
        let (inside, _) = longer.split_at_mut(length);
        prop_assert_eq!(parse(&Packet::from_slice(inside)), read(&frame));
    }

    #[test]
    fn a_frame_that_is_cut_says_the_same_or_that_it_is_cut(frame in frames()) {
        let whole = read(&frame);
        for length in 0..frame.len() {
            let cut = read(&frame[..length]);
            prop_assert!(cut == whole || cut == Err(Verdict::Truncated), "{length} bytes: {cut:?}, not {whole:?}");
        }
    }

    #[test]
    fn fields_are_the_frames_own(frame in frames()) {
        let holds = |bytes: &[u8]| frame.windows(bytes.len()).any(|window| window == bytes);
        if let Ok(parsed) = read(&frame) {
            prop_assert!(parsed.network.tags <= 2);
            prop_assert!(matches!(parsed.network.protocol, protocol::TCP | protocol::UDP));
            prop_assert_eq!(parsed.opens() == Opens::Unknown, parsed.network.protocol == protocol::UDP);
            prop_assert!(holds(&parsed.ports.0.to_le_bytes()));
            // An IPv4 address is its last four bytes.
            prop_assert!(holds(&parsed.network.client.address()[12..]) && holds(&parsed.network.vip.address()[12..]));
        }
    }
}

/// A length of 0 is that of the frame where the kernel has merged packets, and none elsewhere.
#[test]
fn packets_that_are_merged_to_more_than_their_header_can_say_are_as_long_as_their_frame() {
    let mut v4 = [0; 14 + 20 + 20].to_vec();
    v4[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
    v4[23] = 6;
    v4[46] = 5 << 4;
    let mut v6 = [0; 14 + 40 + 8 + 20].to_vec();
    v6[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
    // Kernels from 5.19 on put a jumbo payload's option there (RFC 2675), to tell that it is one.
    v6[20] = protocol::HOP_BY_HOP;
    v6[54] = 6;
    v6[74] = 5 << 4;
    for (mut frame, headers) in [(v4, 40), (v6, 68)] {
        let packet = Packet::from_slice(&mut frame);
        let parsed = parse_network(&packet, 100_014).and_then(|network| parse_transport(&packet, network)).unwrap();
        assert_eq!((parsed.network.length, parsed.headers), (100_000, headers));
        let unmerged = parse_network(&packet, 0).and_then(|network| parse_transport(&packet, network));
        assert_eq!(unmerged, Err(Verdict::Malformed));
    }
}
