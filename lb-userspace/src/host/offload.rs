//! What an interface's hardware does for the kernel, by the names of `ethtool -k`.

use super::netlink::{Netlink, Refusal, attribute, each, find, nested, text};

/// VLAN tags are taken out of received frames, customer's and service's.
pub const VLAN: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];
/// Received packets are merged in a way that can't be undone.
pub const LRO: [&str; 1] = ["rx-lro"];

// linux/ethtool_netlink.h
const FAMILY: &str = "ethtool";
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const WANTED: u16 = 3;
const ACTIVE: u16 = 4;
const NOCHANGE: u16 = 5;
const BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// Those of `names` that are on, and those of them that can't be switched off.
///
/// # Errors
/// The kernel's refusal; EOPNOTSUPP or ENOENT where it can't tell.
pub fn active(ifindex: u32, names: &[&'static str]) -> Result<(Vec<&'static str>, Vec<&'static str>), Refusal> {
    let answers = Netlink::generic()?.ask_family(FAMILY, FEATURES_GET, &header(ifindex))?;
    let among = |set| -> Vec<&'static str> {
        let on: Vec<String> = answers.iter().filter_map(|answer| find(answer, set)).flat_map(bits).collect();
        names.iter().copied().filter(|name| on.iter().any(|held| held == name)).collect()
    };
    let (on, fixed) = (among(ACTIVE), among(NOCHANGE));
    let fixed = on.iter().copied().filter(|name| fixed.contains(name)).collect();
    Ok((on, fixed))
}

/// Switches offloads on or off.
///
/// # Errors
/// The kernel's refusal.
pub fn set(ifindex: u32, names: &[&str], on: bool) -> Result<(), Refusal> {
    let bit = |name: &&str| {
        let mut bit = attribute(BIT_NAME, &[name.as_bytes(), &[0]].concat());
        if on {
            bit.extend(attribute(BIT_VALUE, &[]));
        }
        nested(BIT, &bit)
    };
    let bits: Vec<u8> = names.iter().flat_map(bit).collect();
    let mut request = header(ifindex);
    request.extend(nested(WANTED, &nested(BITS, &bits)));
    Netlink::generic()?.ask_family(FAMILY, FEATURES_SET, &request).map(drop)
}

fn header(ifindex: u32) -> Vec<u8> {
    nested(HEADER, &attribute(HEADER_INDEX, &ifindex.to_ne_bytes()))
}

/// The names of a bit set's members: a list of those that are set.
fn bits(set: &[u8]) -> Vec<String> {
    let listed = find(set, BITS).unwrap_or_default();
    let name = |(_, bit)| find(bit, BIT_NAME).map(text);
    each(listed).filter_map(name).collect()
}
