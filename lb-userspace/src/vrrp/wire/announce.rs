//! The frames that move a VIP's traffic here: gratuitous ARP and unsolicited neighbour advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// An Ethernet address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

/// The frame that tells the segment that `address` is at `mac`.
pub fn frame(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(address, mac),
        IpAddr::V6(address) => neighbour_advertisement(address, mac),
    }
}

/// A gratuitous ARP (RFC 5944 §4.6) in the request form: Linux ignores the reply form for an entry that is
/// younger than a second.
pub fn gratuitous_arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend([0x08, 0x06]);
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861 §7.2.6) from the VIP to all nodes, with the override
/// flag and the target's link-layer address.
pub fn neighbour_advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let sum = checksum::with_pseudo_header(address.into(), ALL_NODES.into(), ICMPV6, &message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }

    let mut frame = Vec::with_capacity(86);
    frame.extend(ALL_NODES_MAC);
    frame.extend(mac);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}
