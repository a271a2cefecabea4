//! The reference lab's addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};

/// The reference lab's VIP, on the front segment.
pub const VIP: Ipv4Addr = Ipv4Addr::new(172, 28, 128, 210);

/// The VIP's IPv6 sibling.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x28, 0x128, 0, 0, 0, 0, 0x210);

/// A layer-2 segment of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// 172.28.128.0/24 and fd00:28:128::/64; the VIPs and, unless told otherwise, everybody is here.
    Front,
    /// 172.28.129.0/24 and fd00:28:129::/64, for directors with two interfaces.
    Back,
}

impl Segment {
    /// The interface by which a host is on it.
    pub(crate) fn device(self) -> &'static str {
        match self {
            Self::Front => "eth1",
            Self::Back => "eth2",
        }
    }

    /// The switch's bridge for it.
    pub(crate) fn bridge(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    /// The switch's port for a host.
    pub(crate) fn port(self, host: &str) -> String {
        match self {
            Self::Front => host.to_owned(),
            Self::Back => format!("{host}-b"),
        }
    }

    /// The IPv4 address of host `number`.
    pub(crate) fn v4(self, number: u8) -> Ipv4Addr {
        match self {
            Self::Front => Ipv4Addr::new(172, 28, 128, number),
            Self::Back => Ipv4Addr::new(172, 28, 129, number),
        }
    }

    /// The IPv6 address of host `number`, which reads as the IPv4 one does: 40 is `::40`.
    pub(crate) fn v6(self, number: u8) -> Ipv6Addr {
        let segment = match self {
            Self::Front => 0x128,
            Self::Back => 0x129,
        };
        let (hundreds, rest) = (number / 100, number % 100);
        let read_as_hex = u16::from(hundreds) << 8 | u16::from(rest / 10) << 4 | u16::from(rest % 10);
        Ipv6Addr::new(0xfd00, 0x28, segment, 0, 0, 0, 0, read_as_hex)
    }

    /// The hardware address of host `number`: locally administered, with "lb" and the number in it.
    pub(crate) fn mac(self, number: u8) -> Mac {
        let segment = match self {
            Self::Front => 1,
            Self::Back => 2,
        };
        Mac([0x02, b'l', b'b', 0, segment, number])
    }
}

/// The number of the lab's router on each segment.
pub(crate) const ROUTER: u8 = 1;

/// The number of the `index`th client, from 10.
pub(crate) fn client_number(index: u8) -> u8 {
    10 + index
}

/// The number of the `index`th director, from 2.
pub(crate) fn director_number(index: u8) -> u8 {
    2 + index
}

/// The number of the `index`th real: 40, 50, 60 up to 190, then 41, 51 and so on, so that the first ones are those of
/// the reference lab and none meets the VIP.
pub(crate) fn real_number(index: u8) -> u8 {
    40 + 10 * (index % 16) + index / 16
}

/// The most clients, directors and reals whose numbers don't meet.
pub(crate) const MOST_CLIENTS: u8 = 30;
pub(crate) const MOST_DIRECTORS: u8 = 8;
pub(crate) const MOST_REALS: u8 = 160;

/// A hardware address, printed as `02:6c:62:00:01:28`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().unwrap_or_default();
            *byte = u8::from_str_radix(part, 16).with_context(|| format!("{text:?} is not a hardware address"))?;
        }
        ensure!(parts.next().is_none(), "{text:?} has more than six bytes");
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_never_meet() {
        let clients = (0..MOST_CLIENTS).map(client_number);
        let directors = (0..MOST_DIRECTORS).map(director_number);
        let reals = (0..MOST_REALS).map(real_number);
        let all: Vec<_> = clients.chain(directors).chain(reals).chain([ROUTER]).collect();
        let unique: BTreeSet<_> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
        assert!(!unique.contains(&210), "the VIP is nobody's own");
    }

    #[test]
    fn the_reference_lab_has_its_published_addresses() {
        assert_eq!(Segment::Front.v4(real_number(0)).to_string(), "172.28.128.40");
        assert_eq!(Segment::Front.v4(real_number(1)).to_string(), "172.28.128.50");
        assert_eq!(Segment::Front.v6(real_number(1)).to_string(), "fd00:28:128::50");
        assert_eq!(Segment::Front.v6(210), VIP6);
        assert_eq!(Segment::Front.v4(210), VIP);
    }

    #[test]
    fn a_mac_reads_as_it_prints() {
        let mac = Segment::Front.mac(40);
        assert_eq!(mac.to_string(), "02:6c:62:00:01:28");
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        assert!("02:6c:62:00:01".parse::<Mac>().is_err());
        assert!("02:6c:62:00:01:28:00".parse::<Mac>().is_err());
    }
}
