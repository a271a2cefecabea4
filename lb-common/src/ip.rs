//! Addresses and ports as the packet path holds them.
//!
//! The maps have bytes. Of an array of 16 bytes the compiler makes 16 values, each in a register of its own while
//! there is one, and on the stack after that; two words stay two registers from the frame to the hash and to the key
//! of a map. The bytes are the same: a word is read and written as it lies in memory.

use crate::maps::Address;

/// An IP address in two words; IPv4 stands in its IPv4-mapped form, as in the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// The first eight bytes, the first of them lowest.
    pub start: u64,
    /// The other eight, likewise.
    pub end: u64,
}

impl Ip {
    /// Of an IPv4 address in network order.
    #[inline(always)]
    pub fn v4(address: [u8; 4]) -> Self {
        Self { start: 0, end: u64::from(u32::from_le_bytes(address)) << 32 | u64::from(MAPPED) }
    }

    /// As the maps hold it.
    #[inline(always)]
    pub fn address(self) -> Address {
        let halves = [self.start.to_le_bytes(), self.end.to_le_bytes()];
        zerocopy::transmute!(halves)
    }

    /// Whether it is an IPv4 address in its mapped form (RFC 4291 §2.5.5.2).
    #[inline(always)]
    pub fn is_mapped(self) -> bool {
        self.start == 0 && self.end as u32 == MAPPED
    }
}

impl From<Address> for Ip {
    #[inline(always)]
    fn from(address: Address) -> Self {
        let [start, end]: [[u8; 8]; 2] = zerocopy::transmute!(address);
        Self { start: u64::from_le_bytes(start), end: u64::from_le_bytes(end) }
    }
}

/// Bytes 8 to 11 of a mapped address, as the low half of its second word: two of zeros, two of ones.
const MAPPED: u32 = 0xffff_0000;

/// The source and the destination port of a packet in one word, each as the wire has it: the source's first byte
/// lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub u32);

impl Ports {
    /// Of the first four bytes of a TCP or UDP header.
    #[inline(always)]
    pub fn of(both: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(both))
    }

    /// The destination port in network order, as a service's key has it.
    #[inline(always)]
    pub fn destination(self) -> [u8; 2] {
        ((self.0 >> 16) as u16).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::mapped;

    #[test]
    fn words_are_the_bytes_of_the_maps() {
        let v6 = [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        assert_eq!(Ip::from(v6).address(), v6);
        assert_eq!(Ip::v4([172, 28, 128, 210]).address(), mapped([172, 28, 128, 210]));
        assert_eq!(Ip::from(mapped([10, 0, 0, 1])), Ip::v4([10, 0, 0, 1]));
        assert_eq!(Ports::of([0x9c, 0x40, 0, 80]).destination(), 80u16.to_be_bytes());
    }

    #[test]
    fn only_the_mapped_form_of_an_ipv4_address_is_mapped() {
        assert!(Ip::v4([0; 4]).is_mapped() && Ip::v4([255; 4]).is_mapped());
        for byte in 0..12 {
            let mut other = mapped([10, 0, 0, 1]);
            other[byte] ^= 1;
            assert!(!Ip::from(other).is_mapped(), "{other:x?}");
        }
    }
}
