//! Hashes of flows. Directors that share services must compute the same values, so these functions are
//! part of the pinned layout's name.

use crate::ip::{Ip, Ports};

/// A flow's hash: its high half picks the slot, its low half a line of the flow table.
pub type Hash = u64;

/// An odd constant with a balanced bit pattern (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// A second one, from the finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom
/// number generators, 2014).
const FINALIZER: u64 = 0xbf58_476d_1ce4_e5b9;

/// Hash of a whole flow: client, VIP, both ports and the protocol.
///
/// It is defined over bytes in network order, whatever the machine's order is: see [`Ip`] and [`Ports`].
#[inline(always)]
pub fn flow_hash(seed: u64, client: Ip, vip: Ip, ports: Ports, protocol: u8) -> Hash {
    let tail = (u64::from(ports.0) << 8) | u64::from(protocol);
    let state = mix_address(mix(seed, tail), client);
    finish(mix_address(state, vip))
}

/// Hash of the client's address alone, for the scheduler `sh`.
#[inline(always)]
pub fn source_hash(seed: u64, client: Ip) -> Hash {
    finish(mix_address(mix(seed, 0), client))
}

/// Hash of a service's key, by which it finds its place in `services`.
#[inline(always)]
pub fn service_hash(seed: u64, vip: Ip, tail: u32) -> Hash {
    finish(mix_address(mix(seed, u64::from(tail)), vip))
}

/// Another hash of the same flow, of which no half tells anything of the first's.
#[inline(always)]
pub fn spread(hash: Hash) -> Hash {
    let product = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

/// What these functions make of a known flow, whose change says that they did.
#[cfg(any(test, feature = "host"))]
pub fn sample() -> [Hash; 4] {
    let (client, vip) = (Ip::from([1; 16]), Ip::from([2; 16]));
    let hash = flow_hash(1, client, vip, Ports::of([0, 1, 2, 3]), 6);
    [hash, source_hash(1, client), service_hash(1, vip, 1), spread(hash)]
}

/// Maps a hash onto `0..len` by its high half (Lemire: Fast random integer generation in an interval,
/// 2019), without a division.
#[inline(always)]
pub fn scale(hash: Hash, len: u32) -> u32 {
    (((hash >> 32) * u64::from(len)) >> 32) as u32
}

#[inline(always)]
fn mix_address(state: u64, address: Ip) -> u64 {
    // IPv4 has the same first half always, and most traffic is IPv4: one round less.
    let state = if address.start == 0 { state } else { mix(state, address.start) };
    mix(state, address.end)
}

#[inline(always)]
fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

#[inline(always)]
fn finish(state: u64) -> u64 {
    let product = state.wrapping_mul(FINALIZER);
    product ^ (product >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn v4(address: u32) -> Ip {
        Ip::v4(address.to_be_bytes())
    }

    fn v6(start: u64, end: u64) -> Ip {
        Ip { start: start.swap_bytes(), end: end.swap_bytes() }
    }

    fn ports(source: u16) -> Ports {
        let [a, b] = source.to_be_bytes();
        Ports::of([a, b, 0, 80])
    }

    /// Directors of several versions serve one VIP together, and a restart keeps the flow table.
    #[test]
    fn values_are_what_they_were_in_every_version() {
        let (client, vip) = (v6(0xfd00_0028_0128_0000, 1), v6(0xfd00_0028_0128_0000, 0xd2));
        assert_eq!(flow_hash(0, v4(0x0a00_0001), v4(0xac1c_80d2), ports(40000), 6), 0x9702_10e0_1cc1_0e8e);
        assert_eq!(flow_hash(42, client, vip, Ports::of([0x9c, 0x40, 0, 53]), 17), 0x6a8a_56f5_9b6a_700b);
        assert_eq!(source_hash(7, v4(0x0a00_0001)), 0x1fd1_1d19_de7e_ba74);
        assert_eq!(source_hash(7, client), 0x5c92_1a40_d8cd_8278);
    }

    /// Chi-square of `hashes` over 1024 slots and over 1024 buckets: for 1023 degrees of freedom it stays
    /// below 1250 with a probability of 1 - 1e-6.
    fn assert_even(hashes: impl Iterator<Item = u64> + Clone) {
        for pick in [|h: u64| scale(h, 1024) as usize, |h: u64| (h & 1023) as usize] {
            let mut counts = vec![0u32; 1024];
            let mut total = 0;
            for hash in hashes.clone() {
                counts[pick(hash)] += 1;
                total += 1;
            }
            let expected = f64::from(total) / 1024.0;
            let chi: f64 = counts.iter().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
            assert!(chi < 1250.0, "chi-square {chi}");
        }
    }

    #[test]
    fn ports_of_one_client_spread() {
        assert_even((1024..65535).map(|p| flow_hash(0, v4(0x0a00_0001), v4(0xac1c_80d2), ports(p), 6)));
    }

    #[test]
    fn clients_of_one_port_spread() {
        assert_even((0..100_000).map(|c| flow_hash(0, v4(0x0a00_0000 + c), v4(0xac1c_80d2), ports(5000), 6)));
        assert_even((0..100_000).map(|c| source_hash(7, v4(0x0a00_0000 + c))));
        assert_even((0..100_000).map(|c| source_hash(7, v4(0x0a00_0000 + c * 256))));
    }

    #[test]
    fn ipv6_clients_spread_by_either_half() {
        let vip = v6(0xfd00_0028_0128_0000, 0xd2);
        assert_even((0..100_000).map(|n| flow_hash(0, v6(0xfd00 << 48 | n, 1), vip, ports(9), 17)));
        assert_even((0..100_000).map(|n| flow_hash(0, v6(0xfd00 << 48, n), vip, ports(9), 17)));
    }

    #[test]
    fn the_seed_moves_flows() {
        let moved = (0..10_000u16)
            .filter(|p| {
                let hash = |seed| flow_hash(seed, v4(1), v4(2), ports(*p), 6);
                scale(hash(1), 100) != scale(hash(2), 100)
            })
            .count();
        assert!((9_700..=10_000).contains(&moved), "{moved}");
    }

    #[test]
    fn scale_stays_inside() {
        assert_eq!(scale(u64::MAX, 65537), 65536);
        assert_eq!(scale(0, 65537), 0);
        assert_eq!(scale(u64::MAX, 1), 0);
    }
}
