//! The thread that gives virtual routers sockets, time and the host's addresses.
//!
//! `state` is what it holds, `runner` its loop: it waits for packets, deadlines, orders (`command`, carried out in `obey`) and changes
//! of interfaces (`watch`). A `port` is an interface's sockets, a `slot` one virtual router's place in the
//! loop, `together` its sync groups. [`place`] says where VIPs are put, [`address`] puts them there by `netlink`, `hold` holds
//! them against what the kernel has.

pub mod address;
mod command;
mod hold;
mod netlink;
mod obey;
pub mod place;
mod port;
mod runner;
mod slot;
pub mod socket;
mod state;
mod syscall;
mod together;
mod watch;

#[cfg(test)]
mod lab;

pub use command::{Error, Handle};
pub use state::{Owner, Runner, UNREADY};
