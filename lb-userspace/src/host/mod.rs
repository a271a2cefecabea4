//! Netlink: links, addresses, routes, neighbours.

pub mod command;
pub mod links;
pub mod neighbour;
pub mod netlink;
pub mod offload;
pub mod privilege;
pub mod stack;
pub mod stations;
pub mod xdp;
