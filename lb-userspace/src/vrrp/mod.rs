//! VIP ownership by VRRP: version 2 (RFC 3768, with the PASS authentication of RFC 2338) and version 3
//! (RFC 9568) over IPv4 and IPv6.
//!
//! [`packet`] is the wire, [`accept`] what one instance takes from it and why not ([`refusal`]), [`machine`]
//! the protocol without a socket or a clock, [`announce`] the frames that move a VIP's traffic here, and
//! [`instance`] one virtual router of all these. [`sync`] is what virtual routers do together, [`place`] where their VIPs
//! are put. [`runner`] is the thread that gives them sockets and time.

pub mod accept;
pub mod address;
pub mod announce;
pub mod checksum;
pub mod frame;
pub mod fuzz;
pub mod instance;
pub mod machine;
mod netlink;
pub mod pace;
pub mod packet;
pub mod place;
pub mod refusal;
pub mod runner;
pub mod settings;
pub mod socket;
pub mod sync;
mod syscall;
pub mod tracking;

#[cfg(test)]
mod captures;

pub use accept::Acceptance;
pub use instance::{Instance, Status};
pub use machine::Machine;
pub use packet::{Advert, Received};
pub use refusal::{Refusal, Refusals};
pub use runner::{Error, Handle, Owner, Runner, UNREADY};
pub use settings::Settings;
