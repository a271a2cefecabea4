//! A multicast advert as a whole frame, for a virtual router that has a MAC address of its own: the segment's
//! switches learn from it where that MAC is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::announce::Mac;
use super::checksum;
use super::packet::{PROTOCOL, TOS, TTL};

/// The frame of an advert from `source` to the group, in the order of the wire. `identification` is IPv4's.
/// `None` when the two are of different families.
pub fn advert(mac: Mac, source: IpAddr, group: IpAddr, identification: u16, advert: &[u8]) -> Option<Vec<u8>> {
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => Some(ipv4(mac, source, group, identification, advert)),
        (IpAddr::V6(source), IpAddr::V6(group)) => Some(ipv6(mac, source, group, advert)),
        _ => None,
    }
}

fn ipv4(mac: Mac, source: Ipv4Addr, group: Ipv4Addr, identification: u16, advert: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, TOS];
    header.extend((20 + advert.len() as u16).to_be_bytes());
    header.extend(identification.to_be_bytes());
    header.extend([0, 0, TTL, PROTOCOL, 0, 0]);
    header.extend(source.octets());
    header.extend(group.octets());
    let sum = checksum::plain(&header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    // RFC 1112 §6.4: the group's lower 23 bits.
    let [_, b, c, d] = group.octets();
    let mut frame = vec![0x01, 0x00, 0x5e, b & 0x7f, c, d];
    frame.extend(mac);
    frame.extend([0x08, 0x00]);
    frame.extend(header);
    frame.extend(advert);
    frame
}

fn ipv6(mac: Mac, source: Ipv6Addr, group: Ipv6Addr, advert: &[u8]) -> Vec<u8> {
    // RFC 2464 §7: the group's lower 32 bits.
    let [.., c, d, e, f] = group.octets();
    let mut frame = vec![0x33, 0x33, c, d, e, f];
    frame.extend(mac);
    frame.extend([0x86, 0xdd]);
    frame.extend((6 << 28 | u32::from(TOS) << 20).to_be_bytes());
    frame.extend((advert.len() as u16).to_be_bytes());
    frame.extend([PROTOCOL, TTL]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(advert);
    frame
}

#[cfg(test)]
mod tests {
    use pcap_file::pcap::PcapReader;

    use super::*;

    #[test]
    fn an_advert_with_a_virtual_mac_is_the_same_as_keepaliveds() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/vrrp");
        for name in ["vmac-v2-pass-advert", "vmac-v3-ipv4-advert", "vmac-v3-ipv6-advert"] {
            let file = std::fs::File::open(folder.join(format!("{name}.pcap"))).unwrap();
            let mut pcap = PcapReader::new(file).unwrap();
            let mut count = 0;
            while let Some(packet) = pcap.next_packet() {
                let mut expected = packet.unwrap().data.to_vec();
                let mac = expected[6..12].try_into().unwrap();
                let built = if expected[12] == 0x08 {
                    let word = |at: usize| <[u8; 4]>::try_from(&expected[at..at + 4]).unwrap();
                    let identification = u16::from_be_bytes([expected[18], expected[19]]);
                    advert(mac, word(26).into(), word(30).into(), identification, &expected[34..])
                } else {
                    let word = |at: usize| <[u8; 16]>::try_from(&expected[at..at + 16]).unwrap();
                    advert(mac, word(22).into(), word(38).into(), 0, &expected[54..])
                };
                if expected[12] == 0x86 {
                    // The kernel's flow label is a hash that nobody reads.
                    expected[15] &= 0xf0;
                    expected[16..18].fill(0);
                }
                assert_eq!(built.unwrap(), expected, "{name}");
                count += 1;
            }
            assert!(count > 0, "{name}");
        }
    }
}
