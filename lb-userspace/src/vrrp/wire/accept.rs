//! What one instance takes from the wire: the checks of RFC 3768 §7.1 and RFC 9568 §7.1 that its
//! configuration decides, on top of those that [`Advert::parse`] makes.

use std::net::IpAddr;
use std::time::Duration;

use super::checksum::Policy;
use super::packet::{Advert, Authentication, Body, Received, TTL, Version};
use super::refusal::Refusal;

/// One instance's demands on an advert.
///
/// Taken on purpose, since routers in the field send it: sources off the interface's subnet, IP options,
/// version 3's reserved bits, and a unicast destination; a TTL of 255 already says that the sender is on
/// the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    version: Version,
    router: u8,
    authentication: Authentication,
    interval: Duration,
    checksum: Policy,
    minimum_ttl: u8,
    peers: Vec<IpAddr>,
    addresses: Vec<IpAddr>,
}

impl Acceptance {
    /// The demands of an instance that would send `ours`, in version 2 at its interval and with its
    /// authentication. With `peers`, only they are heard.
    pub fn new(ours: &Advert, checksum: Policy, peers: &[IpAddr], minimum_ttl: Option<u8>) -> Self {
        let authentication = match ours.body {
            Body::V2 { authentication, .. } => authentication,
            Body::V3 { .. } => Authentication::None,
        };
        let mut addresses = ours.addresses.clone();
        addresses.sort_unstable();
        Self {
            version: ours.version(),
            router: ours.router,
            authentication,
            interval: ours.interval(),
            checksum,
            minimum_ttl: minimum_ttl.unwrap_or(if peers.is_empty() { TTL } else { 0 }),
            peers: peers.to_vec(),
            addresses,
        }
    }

    /// Reads an advert for this instance. `own` is the address that this instance sends from.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn accept(&self, received: &Received<'_>, own: IpAddr) -> Result<Advert, Refusal> {
        if received.ttl < self.minimum_ttl {
            return Err(Refusal::Ttl);
        }
        if received.source == own {
            return Err(Refusal::OwnAddress);
        }
        if !self.peers.is_empty() && !self.peers.contains(&received.source) {
            return Err(Refusal::Stranger);
        }
        let advert = Advert::parse(received)?;
        if advert.version() != self.version {
            return Err(Refusal::Version);
        }
        if advert.router != self.router {
            return Err(Refusal::Router);
        }
        match advert.body {
            Body::V2 { authentication, .. } => {
                match (self.authentication, authentication) {
                    (Authentication::None, Authentication::None) => {}
                    (Authentication::Password(ours), Authentication::Password(theirs)) => {
                        if ours != theirs {
                            return Err(Refusal::Password);
                        }
                    }
                    _ => return Err(Refusal::AuthenticationType),
                }
                // Version 3 learns the master's interval instead (RFC 9568 §6.1).
                if advert.interval() != self.interval {
                    return Err(Refusal::Interval);
                }
            }
            Body::V3 { checksum, .. } => {
                let one_form_only = received.source.is_ipv6();
                if !one_form_only && !self.checksum.takes(checksum) {
                    return Err(Refusal::ChecksumForm);
                }
            }
        }
        Ok(advert)
    }

    /// Whether an advert names the instance's own addresses. One that doesn't counts in the election all the same
    /// (RFC 9568 §7.1 has it logged): refused, it would leave two masters while a list is changed one director
    /// after the other.
    pub fn has_same_addresses(&self, advert: &Advert) -> bool {
        // Their order is the sender's own affair.
        let mut theirs = advert.addresses.clone();
        theirs.sort_unstable();
        theirs == self.addresses
    }
}
