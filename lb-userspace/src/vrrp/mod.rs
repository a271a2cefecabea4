//! VIP ownership by VRRP: version 2 (RFC 3768, with the PASS authentication of RFC 2338) and version 3
//! (RFC 9568) over IPv4 and IPv6, in three rooms that see only the ones before them.
//!
//! [`wire`] is bytes: adverts, what is taken of them and why not, and the frames that move a VIP's traffic here.
//! [`protocol`] is what one virtual router does, and several together, without a socket or a clock. [`thread`]
//! gives them sockets, time and the host's addresses.

pub mod fuzz;
pub mod protocol;
pub mod thread;
pub mod wire;

#[cfg(test)]
mod captures;

pub use protocol::machine::State;
pub use protocol::{Instance, Machine, Settings, Status};
pub use thread::{Error, Handle, Owner, Runner, UNREADY};
pub use wire::{Acceptance, Advert, Received, Refusal, Refusals};
