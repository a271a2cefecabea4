//! Questions for who has an address, and what answers them: ARP (RFC 826) and neighbour discovery (RFC 4861), with their
//! Ethernet headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::vrrp::wire::checksum;

/// An Ethernet address.
pub type Mac = [u8; 6];

const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_OF_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REPLY: [u8; 2] = [0, 2];
const IP6: [u8; 2] = [0x86, 0xdd];
pub(super) const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// What comes from farther than the segment has a smaller one.
const HOPS: u8 = 255;
const TARGETS_MAC: u8 = 2;
const SOLICITED: u8 = 0x40;

/// The question for an address, from this MAC and address; `None` where the two are of different families.
pub fn question(target: IpAddr, mac: Mac, own: IpAddr) -> Option<Vec<u8>> {
    match (target, own) {
        (IpAddr::V4(target), IpAddr::V4(own)) => Some(request(target, mac, own)),
        (IpAddr::V6(target), IpAddr::V6(own)) => Some(solicitation(target, mac, own)),
        _ => None,
    }
}

fn request(target: Ipv4Addr, mac: Mac, own: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac, &ARP, &ARP_OF_IPV4, &[0, 1], &mac].concat();
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// To the target's solicited-node group (RFC 4291 §2.7.1).
fn solicitation(target: Ipv6Addr, mac: Mac, own: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(mac);
    let sum = checksum::with_pseudo_header(own.into(), group.into(), ICMPV6, &message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = [&[0x33, 0x33, 0xff, a, b, c][..], &mac, &IP6].concat();
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOPS]);
    frame.extend(own.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// A station says that it has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says {
    /// The address.
    pub address: IpAddr,
    /// The station's MAC address.
    pub mac: Mac,
    /// It was asked. Otherwise it is announced, or the sender of a question.
    pub is_answer: bool,
}

/// What a frame says of who has an address. (Its checksum isn't verified: what is damaged doesn't come twice.)
pub fn heard(frame: &[u8]) -> Option<Says> {
    let rest = frame.get(ETHERNET..)?;
    let source: Mac = *frame.get(6..)?.first_chunk()?;
    let says = match frame.get(12..ETHERNET)? {
        kind if kind == ARP => {
            let mac: Mac = *rest.get(8..)?.first_chunk()?;
            let address: [u8; 4] = *rest.get(14..)?.first_chunk()?;
            rest.starts_with(&ARP_OF_IPV4).then_some(())?;
            Says { address: address.into(), mac, is_answer: rest.get(6..8)? == REPLY }
        }
        kind if kind == IP6 => {
            let (next, hops) = (*rest.get(6)?, *rest.get(7)?);
            let message = rest.get(IPV6..)?;
            (next == ICMPV6 && hops == HOPS && *message.first()? == ADVERTISEMENT).then_some(())?;
            let address: [u8; 16] = *message.get(8..)?.first_chunk()?;
            // The sender may leave its own MAC out where it was asked by unicast alone (RFC 4861 §4.4).
            let option = message.get(24..).filter(|option| option.starts_with(&[TARGETS_MAC, 1]));
            let mac = option.and_then(|option| option.get(2..)?.first_chunk().copied()).unwrap_or(source);
            Says { address: address.into(), mac, is_answer: message.get(4)? & SOLICITED != 0 }
        }
        _ => return None,
    };
    // A group's, or nobody's.
    let [first, ..] = says.mac;
    (first & 1 == 0 && says.mac != [0; 6]).then_some(says)
}

#[cfg(test)]
mod tests {
    use etherparse::{ArpPacketSlice, Icmpv6Slice, Ipv6HeaderSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::vrrp::wire::announce;

    const OWN: Mac = [2, 0, 0, 0, 0, 2];
    const OTHER: Mac = [2, 0, 0, 0, 0, 0x40];

    #[test]
    fn another_parser_reads_the_questions() {
        let frame = question("192.0.2.1".parse().unwrap(), OWN, "192.0.2.2".parse().unwrap()).unwrap();
        let arp = ArpPacketSlice::from_slice(&frame[ETHERNET..]).unwrap();
        assert_eq!((arp.operation().0, arp.sender_hw_addr()), (1, &OWN[..]));
        assert_eq!(
            (arp.sender_protocol_addr(), arp.target_protocol_addr()),
            (&[192, 0, 2, 2][..], &[192, 0, 2, 1][..])
        );
        let (target, own) = ("2001:db8::12:3456".parse::<Ipv6Addr>().unwrap(), "fe80::2".parse::<Ipv6Addr>().unwrap());
        let frame = question(target.into(), OWN, own.into()).unwrap();
        let header = Ipv6HeaderSlice::from_slice(&frame[ETHERNET..]).unwrap();
        assert_eq!(header.destination_addr(), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let message = &frame[ETHERNET + IPV6..];
        assert_eq!(usize::from(header.payload_length()), message.len());
        let icmp = Icmpv6Slice::from_slice(message).unwrap();
        assert!(icmp.is_checksum_valid(header.source(), header.destination()));
        assert_eq!((icmp.type_u8(), &message[8..24]), (SOLICITATION, &target.octets()[..]));
        assert_eq!(question(target.into(), OWN, "192.0.2.2".parse().unwrap()), None);
    }

    fn reply() -> Vec<u8> {
        let mut frame = [&OWN[..], &OTHER, &ARP, &ARP_OF_IPV4, &REPLY, &OTHER, &[192, 0, 2, 1], &OWN].concat();
        frame.extend([192, 0, 2, 2]);
        frame
    }

    fn advertisement(option: &[u8]) -> Vec<u8> {
        let mut frame = [&OWN[..], &OTHER, &IP6, &[0x60, 0, 0, 0, 0, 32, ICMPV6, HOPS], &[0; 32]].concat();
        frame.extend([ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0]);
        frame.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend(option);
        frame
    }

    #[test]
    fn answers_are_read_and_nothing_else_is_one() {
        let says = |address: &str, mac, is_answer| Some(Says { address: address.parse().unwrap(), mac, is_answer });
        let v4 = says("192.0.2.1", OTHER, true);
        let v6 = |last| says("2001:db8::1", [2, 0, 0, 0, 0, last], true);
        let announced = says("192.0.2.1", OTHER, false);
        let changed = |mut frame: Vec<u8>, at: usize, value| {
            frame[at] = value;
            frame
        };
        let table = [
            (reply(), v4),
            // Padded, as short frames are.
            ([reply(), vec![0; 18]].concat(), v4),
            (changed(reply(), 21, 1), announced),
            (announce::frame("192.0.2.1".parse().unwrap(), OTHER), announced),
            (announce::frame("2001:db8::1".parse().unwrap(), OTHER), says("2001:db8::1", OTHER, false)),
            (changed(reply(), 15, 6), None),
            (changed(reply(), 22, 3), None),
            (changed(reply(), 13, 0), None),
            (advertisement(&[2, 1, 2, 0, 0, 0, 0, 9]), v6(9)),
            (advertisement(&[]), v6(0x40)),
            (advertisement(&[1, 1, 2, 0, 0, 0, 0, 9]), v6(0x40)),
            (advertisement(&[2, 1, 2, 0]), v6(0x40)),
            (changed(advertisement(&[]), ETHERNET + 7, 64), None),
            (changed(advertisement(&[]), ETHERNET + 6, 6), None),
            (changed(advertisement(&[]), ETHERNET + IPV6, SOLICITATION), None),
            (Vec::new(), None),
        ];
        for (frame, expected) in table {
            assert_eq!(heard(&frame), expected, "{frame:02x?}");
        }
        for length in 0..reply().len() - 10 {
            assert_eq!(heard(&reply()[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), arp in any::<bool>()) {
            let mut frame = if arp { reply() } else { advertisement(&[]) };
            let from = bytes.len().min(frame.len());
            frame.truncate(from);
            frame.extend(&bytes);
            heard(&frame);
            heard(&bytes);
        }
    }
}
