//! One instance's configuration, checked once, and what the other modules take from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::announcing;
use super::machine;
use crate::vrrp::wire::accept::Acceptance;
use crate::vrrp::wire::announce::Mac;
use crate::vrrp::wire::checksum::Policy;
use crate::vrrp::wire::packet::{AUTHENTICATION_LENGTH, Advert, Authentication, Body, Version};

/// A virtual router as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The instance's name, for people.
    pub name: String,
    /// Where adverts are sent and addresses are put.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub router: u8,
    /// Protocol version.
    pub version: Version,
    /// 1 to 254, or 255 for the addresses' owner, which is always master.
    pub priority: u8,
    /// Advertisement interval: whole seconds up to 255 in version 2, 10 ms steps up to 40.95 s in version 3.
    pub interval: Duration,
    /// Version 2 PASS authentication, at most 8 bytes.
    pub password: Option<Password>,
    /// The VIPs, with the prefix length that they are put on the interface with. One family.
    pub addresses: Vec<IpNet>,
    /// VIPs that are put on another interface than the one that adverts go by, with its name.
    pub elsewhere: BTreeMap<IpAddr, String>,
    /// Whether a master of lower priority is displaced.
    pub preempt: bool,
    /// How long a master of lower priority is let be after it was first heard.
    pub preempt_delay: Duration,
    /// Whether other directors are asked for what they know of connections before a master that lives is displaced.
    pub asks: bool,
    /// The form of version 3 checksums over IPv4.
    pub checksum: Policy,
    /// With any, adverts go to these addresses instead of the multicast group.
    pub peers: Vec<IpAddr>,
    /// The lowest TTL or hop limit taken; without it 255 with multicast and any with peers.
    pub minimum_ttl: Option<u8>,
    /// How long a releasing master waits for its successor; without it [`machine::default_handover`].
    pub handover: Option<Duration>,
    /// Gratuitous ARP and unsolicited neighbour advertisements.
    pub announce: announcing::Settings,
    /// Whether the VIPs have the virtual router's own MAC address (RFC 9568 §7.3) instead of the interface's.
    pub virtual_mac: bool,
    /// Whether the instance takes no part while its interface has no link.
    pub tracks_link: bool,
    /// The group whose members are master together or not at all.
    pub sync_group: Option<String>,
}

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<T: Into<String>> From<T> for Password {
    fn from(password: T) -> Self {
        Self(password.into())
    }
}

/// What is wrong with [`Settings`], with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Virtual router id 0.
    #[error("id must be 1 to 255")]
    Router,
    /// Priority 0 is a master that resigns.
    #[error("priority must be 1 to 255 (0 is what a master that resigns sends)")]
    Priority,
    /// Not a version 2 interval.
    #[error("version 2 carries whole seconds, 1s to 255s, not {}: change advertise, or set version = 3", humantime::format_duration(*.0))]
    IntervalV2(Duration),
    /// Not a version 3 interval.
    #[error("version 3 carries steps of 10ms, 10ms to 40.95s, not {}: change advertise", humantime::format_duration(*.0))]
    IntervalV3(Duration),
    /// The field has 8 bytes.
    #[error("the password has {0} bytes, VRRP carries {AUTHENTICATION_LENGTH}: shorten it on every director")]
    PasswordLength(usize),
    /// Version 3 has no authentication.
    #[error("version 3 has no password: remove it, or set version = 2")]
    PasswordV3,
    /// Version 2 is IPv4's.
    #[error("version 2 can't carry the IPv6 address {0}: set version = 3")]
    FamilyV2(IpAddr),
    /// One instance, one family.
    #[error("{0} and {1} are of two families: make an instance for each")]
    Families(IpAddr, IpAddr),
    /// None or too many.
    #[error("an instance has 1 to 255 addresses, not {0}: split it")]
    Count(usize),
    /// Twice the same.
    #[error("the address {0} stands twice: remove one")]
    Twice(IpAddr),
}

impl Settings {
    /// An instance with the protocol's defaults: priority 100, 1 s, preemption without delay.
    pub fn new(name: &str, interface: &str, router: u8, version: Version, addresses: Vec<IpNet>) -> Self {
        Self {
            name: name.to_owned(),
            interface: interface.to_owned(),
            router,
            version,
            priority: 100,
            interval: Duration::from_secs(1),
            password: None,
            addresses,
            elsewhere: BTreeMap::new(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            asks: false,
            checksum: Policy::Auto,
            peers: Vec::new(),
            minimum_ttl: None,
            handover: None,
            announce: announcing::Settings::default(),
            virtual_mac: false,
            tracks_link: true,
            sync_group: None,
        }
    }

    /// The advert that this instance sends with `priority`. IPv6 has its link-local address first
    /// (RFC 9568 §5.2.9).
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn advert(&self, priority: u8) -> Result<Advert, Error> {
        if self.router == 0 {
            return Err(Error::Router);
        }
        if self.priority == 0 {
            return Err(Error::Priority);
        }
        let addresses = self.checked_addresses()?;
        Ok(Advert { router: self.router, priority, body: self.body()?, addresses })
    }

    /// What this instance takes from the wire.
    ///
    /// # Errors
    /// As [`Self::advert`].
    pub fn acceptance(&self) -> Result<Acceptance, Error> {
        let advert = self.advert(self.priority)?;
        Ok(Acceptance::new(&advert, self.checksum, &self.peers, self.minimum_ttl))
    }

    /// What the machine needs to know. `address` is the one that adverts are sent from.
    pub fn machine(&self, address: IpAddr) -> machine::Config {
        machine::Config {
            version: self.version,
            priority: self.priority,
            interval: self.interval,
            preempt: self.preempt,
            preempt_delay: self.preempt_delay,
            asks: self.asks,
            grouped: self.sync_group.is_some(),
            handover: self.handover.unwrap_or_else(|| machine::default_handover(self.interval)),
            address,
        }
    }

    /// Whether the instance speaks IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(|address| address.addr().is_ipv6())
    }

    /// The virtual router's MAC address, if the VIPs have it.
    pub fn mac(&self) -> Option<Mac> {
        let family = if self.is_ipv6() { 2 } else { 1 };
        self.virtual_mac.then_some([0, 0, 0x5e, 0, family, self.router])
    }

    /// Whether both are the same virtual router: interface, family and id.
    pub fn is_same_router(&self, other: &Self) -> bool {
        self.router == other.router && self.port() == other.port()
    }

    /// The interface and the family: instances with the same share their sockets.
    pub fn port(&self) -> (String, bool) {
        (self.interface.clone(), self.is_ipv6())
    }

    fn body(&self) -> Result<Body, Error> {
        match self.version {
            Version::V2 => {
                let seconds = u8::try_from(self.interval.as_secs())
                    .ok()
                    .filter(|&seconds| seconds != 0 && self.interval.subsec_nanos() == 0)
                    .ok_or(Error::IntervalV2(self.interval))?;
                Ok(Body::V2 { seconds, authentication: self.authentication()? })
            }
            Version::V3 if self.password.is_some() => Err(Error::PasswordV3),
            Version::V3 => {
                let centiseconds = u16::try_from(self.interval.as_nanos() / 10_000_000)
                    .ok()
                    .filter(|count| (1..=4095).contains(count))
                    .filter(|_| self.interval.subsec_nanos().is_multiple_of(10_000_000))
                    .ok_or(Error::IntervalV3(self.interval))?;
                Ok(Body::V3 { centiseconds, checksum: self.checksum.sends() })
            }
        }
    }

    fn authentication(&self) -> Result<Authentication, Error> {
        let Some(password) = &self.password else {
            return Ok(Authentication::None);
        };
        let mut field = [0; AUTHENTICATION_LENGTH];
        let bytes = password.0.as_bytes();
        field.get_mut(..bytes.len()).ok_or(Error::PasswordLength(bytes.len()))?.copy_from_slice(bytes);
        Ok(Authentication::Password(field))
    }

    fn checked_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let mut addresses: Vec<IpAddr> = self.addresses.iter().map(IpNet::addr).collect();
        let first = *addresses.first().ok_or(Error::Count(0))?;
        if addresses.len() > usize::from(u8::MAX) {
            return Err(Error::Count(addresses.len()));
        }
        if let Some(&other) = addresses.iter().find(|other| other.is_ipv4() != first.is_ipv4()) {
            return Err(Error::Families(first, other));
        }
        if self.version == Version::V2 && first.is_ipv6() {
            return Err(Error::FamilyV2(first));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(&twice) = addresses.iter().find(|&&address| !seen.insert(address)) {
            return Err(Error::Twice(twice));
        }
        addresses.sort_by_key(|address| match address {
            IpAddr::V6(address) => !address.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        });
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(version: Version, address: &str) -> Settings {
        Settings::new("web", "eth1", 210, version, vec![address.parse().unwrap()])
    }

    fn error(change: impl FnOnce(&mut Settings), version: Version) -> String {
        let mut settings = settings(version, "172.28.128.210/24");
        change(&mut settings);
        settings.acceptance().unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_is_said_with_its_mend() {
        use Version::{V2, V3};
        assert_eq!(error(|s| s.router = 0, V2), "id must be 1 to 255");
        assert!(error(|s| s.priority = 0, V2).starts_with("priority must be 1 to 255"));
        assert_eq!(
            error(|s| s.interval = Duration::from_millis(100), V2),
            "version 2 carries whole seconds, 1s to 255s, not 100ms: change advertise, or set version = 3"
        );
        assert!(error(|s| s.interval = Duration::from_secs(256), V2).contains("1s to 255s"));
        assert!(error(|s| s.interval = Duration::from_millis(15), V3).contains("not 15ms"));
        assert!(error(|s| s.interval = Duration::from_secs(41), V3).contains("40.95s"));
        assert!(error(|s| s.interval = Duration::ZERO, V3).contains("10ms to 40.95s"));
        assert!(error(|s| s.password = Some("123456789".into()), V2).contains("9 bytes"));
        assert!(error(|s| s.password = Some("x".into()), V3).contains("no password"));
        assert!(error(|s| s.addresses.clear(), V2).contains("not 0"));
        assert!(error(|s| s.addresses.push(s.addresses[0]), V2).contains("stands twice"));
        let mixed = error(|s| s.addresses.push("fd00::1/64".parse().unwrap()), V3);
        assert!(mixed.contains("two families"));
        let v6 = settings(V2, "fd00::1/64").acceptance().unwrap_err();
        assert_eq!(v6.to_string(), "version 2 can't carry the IPv6 address fd00::1: set version = 3");
    }

    #[test]
    fn no_debug_output_shows_a_password() {
        let mut settings = settings(Version::V2, "172.28.128.210/24");
        settings.password = Some("PassW0rD".into());
        let advert = settings.advert(100).unwrap();
        let acceptance = settings.acceptance().unwrap();
        for shown in [format!("{settings:?}"), format!("{advert:?}"), format!("{acceptance:?}")] {
            assert!(!shown.contains("PassW0rD") && !shown.contains("80, 97, 115, 115"), "{shown}");
        }
    }

    #[test]
    fn a_link_local_address_is_sent_first() {
        let mut settings = settings(Version::V3, "fd77::100/64");
        settings.addresses.push("fe80::100/64".parse().unwrap());
        let expected: [IpAddr; 2] = ["fe80::100".parse().unwrap(), "fd77::100".parse().unwrap()];
        assert_eq!(settings.advert(100).unwrap().addresses, expected);
    }

    #[test]
    fn the_longest_password_and_the_extreme_intervals_fit() {
        let mut settings = settings(Version::V2, "172.28.128.210/24");
        settings.password = Some("PassW0rD".into());
        settings.interval = Duration::from_secs(255);
        settings.acceptance().unwrap();
        settings.version = Version::V3;
        settings.password = None;
        for milliseconds in [10, 40_950] {
            settings.interval = Duration::from_millis(milliseconds);
            settings.acceptance().unwrap();
        }
    }
}
