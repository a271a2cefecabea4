//! The Internet checksum (RFC 1071) in the two forms that VRRP speakers use.

use std::net::IpAddr;

/// What a version 3 checksum over IPv4 covers. RFC 9568 §5.2.8 leaves the pseudo-header out for IPv4,
/// RFC 5798 put it in, and the routers in the field still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The message and the pseudo-header of its IP packet.
    PseudoHeader,
    /// The message alone.
    Plain,
}

/// Which forms an instance takes and sends over IPv4 in version 3. Everything else on the wire has one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Send with the pseudo-header, take both.
    #[default]
    Auto,
    /// Send and take only this one.
    Only(Form),
}

impl Policy {
    /// The form that adverts are sent in.
    pub fn sends(self) -> Form {
        match self {
            Self::Auto => Form::PseudoHeader,
            Self::Only(form) => form,
        }
    }

    /// Whether an advert in this form is taken.
    pub fn takes(self, form: Form) -> bool {
        match self {
            Self::Auto => true,
            Self::Only(only) => only == form,
        }
    }
}

/// The checksum of `message` alone, whose own checksum field must be zero to compute it; over a message
/// with its checksum in place the result is 0 when it is right.
pub fn plain(message: &[u8]) -> u16 {
    fold(sum(message))
}

/// As [`plain`], with the pseudo-header of RFC 793 §3.1 or RFC 8200 §8.1 before the message.
pub fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum(&source.octets()) + sum(&destination.octets()),
        _ => sum(&v6_octets(source)) + sum(&v6_octets(destination)),
    };
    fold(addresses + u64::from(protocol) + message.len() as u64 + sum(message))
}

fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The sum of the 16-bit words, an odd last byte padded with zero. 64 bits hold more bytes than a packet has.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&byte| u64::from(byte) << 8);
    words.fold(odd, |sum, word| match word {
        &[high, low] => sum + u64::from(u16::from_be_bytes([high, low])),
        _ => sum,
    })
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(plain(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn an_odd_byte_is_the_high_half_of_a_word() {
        assert_eq!(plain(&[0x12, 0x34, 0x56]), plain(&[0x12, 0x34, 0x56, 0x00]));
    }

    #[test]
    fn a_policy_sends_the_form_that_it_takes() {
        for policy in [Policy::Auto, Policy::Only(Form::Plain), Policy::Only(Form::PseudoHeader)] {
            assert!(policy.takes(policy.sends()));
        }
        assert!(Policy::Auto.takes(Form::Plain));
        assert!(!Policy::Only(Form::PseudoHeader).takes(Form::Plain));
    }
}
