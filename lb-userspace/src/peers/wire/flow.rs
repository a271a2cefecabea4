//! Connections as records of a fixed size: 20 bytes over IPv4, 44 over IPv6, numbers in network byte order.

use std::net::IpAddr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MOST;
use crate::peers::state::Stage;

/// One connection, with addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Record<A> {
    client: A,
    real: A,
    /// Seconds since its last packet.
    age: U32,
    /// The service's number.
    service: U16,
    client_port: U16,
    /// The VIP's port.
    port: U16,
    stage: u8,
    zero: u8,
}

type Record4 = Record<[u8; 4]>;
type Record6 = Record<[u8; 16]>;

const _: () = assert!(size_of::<Record4>() == 20 && size_of::<Record6>() == 44);

/// A connection, its service by the sender's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The service's number.
    pub service: u16,
    /// The client.
    pub client: (IpAddr, u16),
    /// The VIP's port.
    pub port: u16,
    /// The real, of the client's family.
    pub real: IpAddr,
    /// What became of it.
    pub stage: Stage,
    /// Seconds since its last packet.
    pub age: u32,
}

/// Records of one family, packed: what one message has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    ipv6: bool,
    /// Whole records.
    bytes: Vec<u8>,
}

/// Bytes of records in a message: the rest is the tag and the family.
const ROOM: usize = MOST - 2;

impl Records {
    /// None yet, of this family.
    #[must_use]
    pub fn new(ipv6: bool) -> Self {
        Self { ipv6, bytes: Vec::new() }
    }

    /// Adds one; false when its addresses are of another family.
    pub fn push(&mut self, entry: &Entry) -> bool {
        match (entry.client.0, entry.real, self.ipv6) {
            (IpAddr::V4(client), IpAddr::V4(real), false) => {
                self.bytes.extend_from_slice(record(entry, client.octets(), real.octets()).as_bytes());
            }
            (IpAddr::V6(client), IpAddr::V6(real), true) => {
                self.bytes.extend_from_slice(record(entry, client.octets(), real.octets()).as_bytes());
            }
            _ => return false,
        }
        true
    }

    /// Whether one more doesn't fit in a message.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() + self.size() > ROOM
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.size()
    }

    /// Each of them; `None` for one of a stage that there isn't.
    pub fn iter(&self) -> impl Iterator<Item = Option<Entry>> {
        // One of the two has none.
        let (four, six): (&[u8], &[u8]) = if self.ipv6 { (&[], &self.bytes) } else { (&self.bytes, &[]) };
        let four = <[Record4]>::ref_from_bytes(four).unwrap_or_default();
        let six = <[Record6]>::ref_from_bytes(six).unwrap_or_default();
        four.iter().map(entry).chain(six.iter().map(entry))
    }

    pub(super) fn encode(&self, tag: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.bytes.len());
        out.extend([tag, if self.ipv6 { 6 } else { 4 }]);
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (family, bytes) = bytes.split_first()?;
        let ipv6 = match family {
            4 => false,
            6 => true,
            _ => return None,
        };
        let records = Self { ipv6, bytes: bytes.to_vec() };
        let whole = bytes.len().is_multiple_of(records.size()) && bytes.len() <= ROOM;
        (whole && !bytes.is_empty()).then_some(records)
    }

    fn size(&self) -> usize {
        if self.ipv6 { size_of::<Record6>() } else { size_of::<Record4>() }
    }
}

fn record<A>(entry: &Entry, client: A, real: A) -> Record<A> {
    Record {
        client,
        real,
        age: entry.age.into(),
        service: entry.service.into(),
        client_port: entry.client.1.into(),
        port: entry.port.into(),
        stage: match entry.stage {
            Stage::Open => 0,
            Stage::Closed => 1,
            Stage::Gone => 2,
        },
        zero: 0,
    }
}

fn entry<A: Copy + Into<IpAddr>>(record: &Record<A>) -> Option<Entry> {
    Some(Entry {
        service: record.service.get(),
        client: (record.client.into(), record.client_port.get()),
        port: record.port.get(),
        real: record.real.into(),
        stage: match (record.stage, record.zero) {
            (0, 0) => Stage::Open,
            (1, 0) => Stage::Closed,
            (2, 0) => Stage::Gone,
            _ => return None,
        },
        age: record.age.get(),
    })
}
