//! Why an advert was not taken. A refused advert touches no timer and no state: it is only counted.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// The reason for which an advert was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Shorter or longer than its header says.
    Length,
    /// Not the instance's version, or version 2 over IPv6.
    Version,
    /// Not an advertisement (type 1).
    Type,
    /// A virtual router id that is 0 or not configured on this interface.
    Router,
    /// TTL or hop limit below what the instance demands, 255 with multicast.
    Ttl,
    /// The checksum is wrong in every form.
    Checksum,
    /// The checksum is right in the form that the configuration rules out.
    ChecksumForm,
    /// Version 2 authentication of another type than the instance's.
    AuthenticationType,
    /// Another password.
    Password,
    /// No addresses.
    AddressCount,
    /// An interval of 0, or in version 2 another than the instance's.
    Interval,
    /// Our own address as its source: a loop, or a second host with our address.
    OwnAddress,
    /// Not from a configured peer of a unicast instance.
    Stranger,
}

impl Refusal {
    /// Every reason, in the order of [`Refusals`].
    pub const ALL: [Self; 13] = [
        Self::Length,
        Self::Version,
        Self::Type,
        Self::Router,
        Self::Ttl,
        Self::Checksum,
        Self::ChecksumForm,
        Self::AuthenticationType,
        Self::Password,
        Self::AddressCount,
        Self::Interval,
        Self::OwnAddress,
        Self::Stranger,
    ];

    /// The reason as one word for JSON and metrics.
    pub fn key(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Type => "type",
            Self::Router => "router",
            Self::Ttl => "ttl",
            Self::Checksum => "checksum",
            Self::ChecksumForm => "checksum_form",
            Self::AuthenticationType => "authentication_type",
            Self::Password => "password",
            Self::AddressCount => "address_count",
            Self::Interval => "interval",
            Self::OwnAddress => "own_address",
            Self::Stranger => "stranger",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "its length is not what its header says",
            Self::Version => "it has another VRRP version",
            Self::Type => "it is not an advertisement",
            Self::Router => "no instance here has its virtual router id",
            Self::Ttl => "its TTL is too low: it was routed",
            Self::Checksum => "its checksum is wrong",
            Self::ChecksumForm => "its checksum has the form that `checksum` rules out",
            Self::AuthenticationType => "it has another type of authentication",
            Self::Password => "it has another password",
            Self::AddressCount => "it has no addresses",
            Self::Interval => "it has another advertisement interval",
            Self::OwnAddress => "it has our own address as its source",
            Self::Stranger => "it is not from one of the configured peers",
        })
    }
}

impl std::error::Error for Refusal {}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        let refusal = Self::ALL.into_iter().find(|refusal| refusal.key() == key);
        refusal.ok_or_else(|| de::Error::custom(format!("{key:?} is no reason to refuse an advert")))
    }
}

/// One counter for each reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// One more advert was refused for this reason.
    pub fn count(&mut self, refusal: Refusal) {
        if let Some(counter) = self.0.get_mut(refusal as usize) {
            *counter += 1;
        }
    }

    /// How many adverts were refused for this reason.
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0.get(refusal as usize).copied().unwrap_or_default()
    }

    /// Every reason with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.0)
    }

    /// How many adverts were refused.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A map from [`Refusal::key`] to its count, of those that were counted.
impl Serialize for Refusals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().filter(|(_, count)| *count > 0))
    }
}

impl<'de> Deserialize<'de> for Refusals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut refusals = Self::default();
        for (refusal, count) in BTreeMap::<Refusal, u64>::deserialize(deserializer)? {
            if let Some(counter) = refusals.0.get_mut(refusal as usize) {
                *counter = count;
            }
        }
        Ok(refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_a_key_and_a_text_of_its_own() {
        let mut refusals = Refusals::default();
        for (position, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, position);
            for _ in 0..=position {
                refusals.count(refusal);
            }
        }
        for (position, (refusal, count)) in refusals.iter().enumerate() {
            assert_eq!(count, position as u64 + 1, "{refusal}");
        }
        let keys: std::collections::HashSet<_> = Refusal::ALL.map(Refusal::key).into();
        let texts: std::collections::HashSet<_> = Refusal::ALL.map(|r| r.to_string()).into();
        assert_eq!((keys.len(), texts.len()), (Refusal::ALL.len(), Refusal::ALL.len()));
    }
}
