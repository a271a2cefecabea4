//! The advertisement on the wire: RFC 3768 §5.1 (version 2) and RFC 9568 §5.1 (version 3).
//!
//! [`Advert::parse`] takes a checked view of outside bytes to a value and never panics; [`Advert::emit`]
//! is its inverse.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::checksum::{self, Form};
use super::refusal::Refusal;

#[cfg(test)]
mod tests;

/// VRRP's IP protocol number.
pub const PROTOCOL: u8 = 112;
/// The TTL or hop limit that adverts are sent with.
pub const TTL: u8 = 255;
/// The TOS or traffic class that adverts are sent with: network control.
pub const TOS: u8 = 0xc0;
/// Where version 2 and version 3 adverts over IPv4 go.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where version 3 adverts over IPv6 go.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The bytes of version 2's authentication data, present also without authentication.
pub const AUTHENTICATION_LENGTH: usize = 8;

const HEADER: usize = 8;
const ADVERTISEMENT: u8 = 1;
const MAXIMUM_CENTISECONDS: u16 = 0x0fff;

/// The IP layer's view of one received packet.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The IP source.
    pub source: IpAddr,
    /// The IP destination.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What follows the IP header and its options, as long as the IP header says.
    pub payload: &'a [u8],
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 3768.
    V2,
    /// RFC 9568.
    V3,
}

/// Version 2 authentication (RFC 2338 §5.3.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Authentication {
    /// Type 0. Its data is sent as zeros and ignored.
    #[default]
    None,
    /// Type 1: a clear-text password, padded with zeros.
    Password([u8; AUTHENTICATION_LENGTH]),
}

impl fmt::Debug for Authentication {
    /// No log shows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(…)",
        })
    }
}

/// The fields that the versions do not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// Version 2.
    V2 {
        /// The interval in seconds.
        seconds: u8,
        /// Authentication.
        authentication: Authentication,
    },
    /// Version 3.
    V3 {
        /// The interval in hundredths of a second, 1 to 4095.
        centiseconds: u16,
        /// The form of its checksum over IPv4; IPv6 always has the pseudo-header.
        checksum: Form,
    },
}

/// One advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Advert {
    /// Virtual router id, 1 to 255.
    pub router: u8,
    /// 1 to 254; 255 for the addresses' owner, 0 for a master that resigns.
    pub priority: u8,
    /// What belongs to its version.
    pub body: Body,
    /// The virtual router's addresses in their order on the wire, 1 to 255 of one family.
    pub addresses: Vec<IpAddr>,
}

/// Why an [`Advert`] has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The count is one byte and at least 1.
    #[error("an advert carries 1 to 255 addresses, not {0}")]
    Count(usize),
    /// The addresses, the source and the destination must be of one family.
    #[error("an advert's addresses, its source and its destination must be of one family")]
    Family,
    /// Version 2 knows IPv4 alone.
    #[error("VRRP version 2 can't carry IPv6: set version = 3")]
    Version,
    /// Out of the field's range.
    #[error("an advert's interval is 1 to 255 s in version 2, 0.01 to 40.95 s in version 3")]
    Interval,
}

impl Advert {
    /// Its version.
    pub fn version(&self) -> Version {
        match self.body {
            Body::V2 { .. } => Version::V2,
            Body::V3 { .. } => Version::V3,
        }
    }

    /// The interval that its sender advertises at.
    pub fn interval(&self) -> Duration {
        match self.body {
            Body::V2 { seconds, .. } => Duration::from_secs(seconds.into()),
            Body::V3 { centiseconds, .. } => Duration::from_millis(u64::from(centiseconds) * 10),
        }
    }

    /// The virtual router id of a message, before anything else of it was looked at.
    pub fn router_of(payload: &[u8]) -> Option<u8> {
        payload.get(1).copied()
    }

    /// Reads a message that is sound in itself (RFC 3768 §7.1, RFC 9568 §7.1): version, type, router id,
    /// count, exact length, checksum, authentication type, interval. The TTL and all that an instance's
    /// configuration decides is [`crate::vrrp::Acceptance`]'s.
    ///
    /// # Errors
    /// The first check that fails, in that order.
    pub fn parse(received: &Received<'_>) -> Result<Self, Refusal> {
        let message = received.payload;
        let &[kind, router, priority, count, fifth, sixth, _, _, ..] = message else {
            return Err(Refusal::Length);
        };
        let version = match (kind >> 4, received.source) {
            (2, IpAddr::V4(_)) => Version::V2,
            (3, _) => Version::V3,
            _ => return Err(Refusal::Version),
        };
        if kind & 0x0f != ADVERTISEMENT {
            return Err(Refusal::Type);
        }
        if router == 0 {
            return Err(Refusal::Router);
        }
        if count == 0 {
            return Err(Refusal::AddressCount);
        }
        let (addresses, authentication) = split(message, version, received.source, count)?;
        let form = checksum_form(received, version)?;
        let body = match version {
            Version::V2 => {
                let authentication = match fifth {
                    0 => Authentication::None,
                    1 => Authentication::Password(authentication),
                    _ => return Err(Refusal::AuthenticationType),
                };
                Body::V2 { seconds: sixth, authentication }
            }
            // The upper four bits are reserved and ignored (RFC 9568 §5.2.6).
            Version::V3 => {
                Body::V3 { centiseconds: u16::from_be_bytes([fifth, sixth]) & MAXIMUM_CENTISECONDS, checksum: form }
            }
        };
        let advert = Self { router, priority, body, addresses };
        if advert.interval().is_zero() {
            return Err(Refusal::Interval);
        }
        Ok(advert)
    }

    /// The message's bytes, to be sent as IP protocol [`PROTOCOL`] with [`TTL`] and [`TOS`] from `source` to
    /// `destination`, which a version 3 checksum covers.
    ///
    /// # Errors
    /// When the wire has no room for a field; [`crate::vrrp::Settings`] that were checked never lead there.
    pub fn emit(&self, source: IpAddr, destination: IpAddr) -> Result<Vec<u8>, Unsendable> {
        let count = u8::try_from(self.addresses.len())
            .ok()
            .filter(|&count| count != 0)
            .ok_or(Unsendable::Count(self.addresses.len()))?;
        let same_family = |address: &IpAddr| address.is_ipv4() == source.is_ipv4();
        if !same_family(&destination) || !self.addresses.iter().all(same_family) {
            return Err(Unsendable::Family);
        }
        let (kind, timing) = self.timing(source)?;
        let mut message = vec![kind << 4 | ADVERTISEMENT, self.router, self.priority, count];
        message.extend(timing);
        message.extend([0, 0]);
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        let form = match self.body {
            Body::V2 { authentication, .. } => {
                message.extend(match authentication {
                    Authentication::None => [0; AUTHENTICATION_LENGTH],
                    Authentication::Password(password) => password,
                });
                Form::Plain
            }
            Body::V3 { .. } if source.is_ipv6() => Form::PseudoHeader,
            Body::V3 { checksum, .. } => checksum,
        };
        let sum = match form {
            Form::Plain => checksum::plain(&message),
            Form::PseudoHeader => checksum::with_pseudo_header(source, destination, PROTOCOL, &message),
        };
        if let Some(field) = message.get_mut(6..8) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Ok(message)
    }

    /// The version's number and the two bytes before the checksum.
    fn timing(&self, source: IpAddr) -> Result<(u8, [u8; 2]), Unsendable> {
        match self.body {
            Body::V2 { .. } if source.is_ipv6() => Err(Unsendable::Version),
            Body::V2 { seconds: 0, .. } | Body::V3 { centiseconds: 0, .. } => Err(Unsendable::Interval),
            Body::V2 { seconds, authentication } => {
                let kind = match authentication {
                    Authentication::None => 0,
                    Authentication::Password(_) => 1,
                };
                Ok((2, [kind, seconds]))
            }
            Body::V3 { centiseconds, .. } if centiseconds > MAXIMUM_CENTISECONDS => Err(Unsendable::Interval),
            Body::V3 { centiseconds, .. } => Ok((3, centiseconds.to_be_bytes())),
        }
    }
}

/// The addresses and, in version 2, the authentication data of a message of exactly the right length.
fn split(
    message: &[u8],
    version: Version,
    source: IpAddr,
    count: u8,
) -> Result<(Vec<IpAddr>, [u8; AUTHENTICATION_LENGTH]), Refusal> {
    let width = if source.is_ipv4() { 4 } else { 16 };
    let end = HEADER + width * usize::from(count);
    let addresses = message.get(HEADER..end).ok_or(Refusal::Length)?;
    let rest = message.get(end..).ok_or(Refusal::Length)?;
    let authentication = match version {
        Version::V2 => rest.try_into().map_err(|_| Refusal::Length)?,
        Version::V3 if rest.is_empty() => [0; AUTHENTICATION_LENGTH],
        Version::V3 => return Err(Refusal::Length),
    };
    let addresses = if source.is_ipv4() {
        let (addresses, _) = addresses.as_chunks::<4>();
        addresses.iter().map(|&octets| IpAddr::from(octets)).collect()
    } else {
        let (addresses, _) = addresses.as_chunks::<16>();
        addresses.iter().map(|&octets| IpAddr::from(octets)).collect()
    };
    Ok((addresses, authentication))
}

/// The form in which the message's checksum is right.
fn checksum_form(received: &Received<'_>, version: Version) -> Result<Form, Refusal> {
    let Received { source, destination, payload, .. } = *received;
    let pseudo = || checksum::with_pseudo_header(source, destination, PROTOCOL, payload) == 0;
    let plain = || checksum::plain(payload) == 0;
    match version {
        Version::V2 if plain() => Ok(Form::Plain),
        Version::V3 if pseudo() => Ok(Form::PseudoHeader),
        Version::V3 if source.is_ipv4() && plain() => Ok(Form::Plain),
        _ => Err(Refusal::Checksum),
    }
}
