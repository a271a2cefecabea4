//! The packet logic of lb: everything that a frame's fate depends on, in one place.
//!
//! The same source runs in the kernel (`lb-ebpf` calls [`balance`] with the BPF maps behind
//! [`Environment`]) and in host tests. Nothing here holds a socket, a map handle or an
//! allocation on the packet path.
//!
//! Layouts in [`maps`] are plain bytes: addresses, ports and MAC addresses in network order, all other
//! integers in the machine's order.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    expect(internal_features, reason = "see atomic.rs")
)]

#[cfg(any(test, feature = "host"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod atomic;
mod balance;
mod environment;
#[cfg(any(test, feature = "host"))]
mod explain;
pub mod flow;
mod hash;
pub mod header;
mod ip;
pub mod maps;
mod packet;
mod parse;
pub mod persist;
mod recall;
mod rewrite;
#[cfg(any(test, feature = "host"))]
pub mod ring;
mod schedule;
mod select;
pub mod slot;
mod stray;
pub mod trace;
mod verdict;

pub use atomic::Word;
pub use balance::balance;
pub use environment::{Environment, Tables};
pub use hash::{Hash, flow_hash, scale, service_hash, source_hash, spread};
pub use ip::{Ip, Ports};
pub use packet::Packet;
pub use parse::{Network, Opens, Parsed, parse_network, parse_transport};
pub use recall::{Answer, Query, recall, settle};
pub use rewrite::{address, retag};
pub use schedule::{Change, EXACT, Load, Scheduler, choose, count_live};
pub use select::{Asked, SAMPLE, is_sampled};
pub use stray::{Owner, Stray, conclude, is_final, query, service, stray};
pub use verdict::{Action, Verdict};

#[cfg(any(test, feature = "host"))]
pub use explain::{Explained, explain};
#[cfg(any(test, feature = "host"))]
pub use hash::sample as hash_sample;
#[cfg(any(test, feature = "host"))]
pub use schedule::entries;
