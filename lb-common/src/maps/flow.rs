//! The flow table: lines of eight words, and beside each line the keys of its flows.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;
use crate::ip::{Ip, Ports};

/// Value of `flows`: eight remembered flows, a word each, in one cache line. See [`crate::flow`] for the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowLine {
    /// The flows, in no order; 0 is none.
    pub words: [u64; FlowLine::WAYS],
}

impl FlowLine {
    /// Flows in a line.
    pub const WAYS: usize = 8;
}

/// Value of `flow_keys`: whose the flows of a line are. Only an insertion writes here, and the packet path never reads: a key
/// that doesn't hash to its word is half-written, or another flow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowKeys {
    /// In the order of the line's words.
    pub keys: [FlowKey; FlowLine::WAYS],
}

/// What tells a flow from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// The client's address.
    pub client: Address,
    /// The client's port, then the VIP's, in network order.
    pub ports: [u8; 4],
    /// Id of the service.
    pub service: u32,
}

impl FlowKey {
    /// A key as it lies in memory. On the packet path it is never more than words: of bytes the compiler would make a stack
    /// of single ones.
    #[inline(always)]
    pub fn words(client: Ip, ports: Ports, service: u32) -> [u64; 3] {
        let tail = if cfg!(target_endian = "little") {
            u64::from(service) << 32 | u64::from(ports.0)
        } else {
            u64::from(ports.0.swap_bytes()) << 32 | u64::from(service)
        };
        [client.start.to_le(), client.end.to_le(), tail]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_key_s_bytes() {
        let client = [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let ports = [0x9c, 0x40, 0, 80];
        let key: FlowKey = zerocopy::transmute!(FlowKey::words(Ip::from(client), Ports::of(ports), 7));
        assert_eq!(key, FlowKey { client, ports, service: 7 });
    }
}
