//! Rates of traffic: `1.5G`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// A text that isn't a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write bits per second as a number and a unit: 400M, 1.5G, 0.1T")]
pub struct RateError;

/// The units, the largest first.
const UNITS: [(char, u64); 5] =
    [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('k', 1_000), ('b', 1)];

/// More would be no network, and less leaves room to multiply.
const MAX: u64 = 1_000_000_000_000_000;

impl Rate {
    /// Bits per second.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// `part` of `whole` of it, to the nearest bit.
    #[must_use]
    pub fn share(self, part: usize, whole: usize) -> Self {
        let whole = whole.max(1) as u128;
        let bits = (u128::from(self.0) * part as u128 + whole / 2) / whole;
        Self(u64::try_from(bits).unwrap_or(u64::MAX))
    }

    /// The largest unit that it has one of.
    pub(super) fn unit(self) -> Unit {
        let unit = UNITS.iter().find(|(_, bits)| self.0 >= *bits);
        unit.map_or(Unit { bits: 1, name: "b/s" }, |&(letter, bits)| Unit {
            bits,
            name: match letter {
                'T' => "Tb/s",
                'G' => "Gb/s",
                'M' => "Mb/s",
                'k' => "kb/s",
                _ => "b/s",
            },
        })
    }

    /// How often it has this unit, with `decimals`, rounded.
    pub(super) fn count(self, unit: Unit, decimals: usize) -> String {
        let scale = (0..decimals).fold(1_u128, |scale, _| scale * 10);
        let bits = u128::from(unit.bits);
        let scaled = (u128::from(self.0) * scale + bits / 2) / bits;
        if decimals == 0 {
            return scaled.to_string();
        }
        format!("{}.{:0decimals$}", scaled / scale, scaled % scale)
    }
}

/// A unit that several rates are shown in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    bits: u64,
    /// `Gb/s`.
    pub(super) name: &'static str,
}

/// In its own unit, with at most three decimals: `1.5 Gb/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit();
        let count = self.count(unit, 3);
        write!(f, "{} {}", count.trim_end_matches('0').trim_end_matches('.'), unit.name)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or(RateError)?;
        let unit = match unit {
            "" => 1,
            unit => {
                let mut chars = unit.chars();
                let letter = chars.next().ok_or(RateError)?;
                if !matches!(chars.as_str(), "" | "b/s" | "bit/s" | "bps") {
                    return Err(RateError);
                }
                let known = UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&letter) && letter != 'b');
                known.ok_or(RateError)?.1
            }
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || part.len() > 12 || number.ends_with('.') {
            return Err(RateError);
        }
        let mut bits = u128::from(whole.parse::<u64>().map_err(|_| RateError)?) * u128::from(unit);
        if !part.is_empty() {
            let scale = (0..part.len()).fold(1_u128, |scale, _| scale * 10);
            bits += u128::from(part.parse::<u64>().map_err(|_| RateError)?) * u128::from(unit) / scale;
        }
        u64::try_from(bits).ok().filter(|bits| (1..=MAX).contains(bits)).map(Self).ok_or(RateError)
    }
}

/// As a number of bits per second.
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        let good = [
            ("1.5G", 1_500_000_000, "1.5 Gb/s"),
            ("1500M", 1_500_000_000, "1.5 Gb/s"),
            ("10g", 10_000_000_000, "10 Gb/s"),
            ("1Gbit/s", 1_000_000_000, "1 Gb/s"),
            ("0.25T", 250_000_000_000, "250 Gb/s"),
            ("64k", 64_000, "64 kb/s"),
            ("1234567", 1_234_567, "1.235 Mb/s"),
            ("7", 7, "7 b/s"),
        ];
        for (text, bits, shown) in good {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bits(), rate.to_string().as_str()), (bits, shown), "{text}");
        }
        for text in
            ["", "G", "-1G", "1.G", ".5G", "1.2.3G", "1X", "1GB", "0", "0.0G", "2000T", "1 G", "99999999999999999999"]
        {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }

    #[test]
    fn shares_are_rounded() {
        let rate = Rate(1000);
        assert_eq!(rate.share(2, 3).bits(), 667);
        assert_eq!(rate.share(3, 3), rate);
        assert_eq!(Rate(2_000_000_000).share(1, 3).count(rate.share(1, 1).unit(), 0), "666667");
    }
}
