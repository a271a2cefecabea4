//! Sets of bits inside other maps' values.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::header::Mac;
use crate::ip::Ip;

/// A set of VLAN ids, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Vlans {
    /// The bits, those of the lowest ids first.
    pub words: [u32; Vlans::WORDS],
}

impl Vlans {
    /// Length in words of 32 bits: an id has 12 (IEEE 802.1Q §9.6).
    pub const WORDS: usize = 128;
    /// No VLAN: what an access port carries.
    pub const NONE: Self = Self { words: [0; Self::WORDS] };
    /// Every VLAN.
    pub const ALL: Self = Self { words: [u32::MAX; Self::WORDS] };

    /// Whether this VLAN is one of them.
    #[inline(always)]
    pub fn holds(&self, id: u16) -> bool {
        // The compiler knows that a tag's id has 12 bits, and would leave out the mask in `word`; older verifiers (Linux
        // 6.12 is one) forget it over the change of byte order.
        let id = core::hint::black_box(id);
        self.words.get(Self::word(id)).is_some_and(|word| word & Self::bit(id) != 0)
    }

    /// Puts in a VLAN; of an id only the low 12 bits count.
    pub fn insert(&mut self, id: u16) {
        if let Some(word) = self.words.get_mut(Self::word(id)) {
            *word |= Self::bit(id);
        }
    }

    #[inline(always)]
    fn word(id: u16) -> usize {
        usize::from(id >> 5) & (Self::WORDS - 1)
    }

    #[inline(always)]
    fn bit(id: u16) -> u32 {
        1 << (id & 31)
    }
}

impl Extend<u16> for Vlans {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, ids: I) {
        ids.into_iter().for_each(|id| self.insert(id));
    }
}

impl FromIterator<u16> for Vlans {
    fn from_iter<I: IntoIterator<Item = u16>>(ids: I) -> Self {
        let mut vlans = Self::NONE;
        vlans.extend(ids);
        vlans
    }
}

/// A set that may say yes wrongly, but never no: one bit for each member (Bloom, 1970, with one hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Filter {
    /// The bits.
    pub words: [u64; Filter::WORDS],
}

impl Filter {
    /// Length in words of 64 bits.
    pub const WORDS: usize = 64;

    /// The set without members.
    pub const EMPTY: Self = Self { words: [0; Self::WORDS] };

    /// Whether a member with this fingerprint may be in the set.
    #[inline(always)]
    pub fn may_hold(&self, fingerprint: u64) -> bool {
        let (word, bit) = Self::place(fingerprint);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts in a member.
    pub fn insert(&mut self, fingerprint: u64) {
        let (word, bit) = Self::place(fingerprint);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline(always)]
    fn place(fingerprint: u64) -> (usize, u64) {
        let spread = fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        ((spread as usize >> 6) & (Self::WORDS - 1), 1 << (spread & 63))
    }

    /// A VIP's fingerprint.
    #[inline(always)]
    pub fn of_address(address: Ip) -> u64 {
        address.start.rotate_left(17) ^ address.end
    }

    /// A MAC address's fingerprint.
    #[inline(always)]
    pub fn of_mac(mac: Mac) -> u64 {
        let [a, b, c, d, e, f] = mac;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_told_apart() {
        let vlans: Vlans = [1, 31, 32, 4094].into_iter().collect();
        let held: alloc::vec::Vec<u16> = (0..4096).filter(|id| vlans.holds(*id)).collect();
        assert_eq!(held, [1, 31, 32, 4094]);
        assert!((0..4096).all(|id| Vlans::ALL.holds(id) && !Vlans::NONE.holds(id)));
    }

    #[test]
    fn a_filter_never_loses_a_member() {
        let mut filter = Filter::EMPTY;
        let vip = |n: u8| Filter::of_address(Ip::v4([172, 28, 128, n]));
        for n in 0..100 {
            filter.insert(vip(n));
        }
        assert!((0..100).all(|n| filter.may_hold(vip(n))));
        let wrong = (100..=255).filter(|n| filter.may_hold(vip(*n))).count();
        assert!(wrong < 20, "{wrong} of 156 strangers pass");
    }
}
