//! The flow table: lines of eight words, and beside each line the keys of its flows.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

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
