//! This machine: links, addresses, routes and neighbours by netlink, commands, files of the agent.

pub mod clock;
pub mod command;
pub mod file;
pub mod links;
pub mod neighbour;
pub mod netlink;
pub mod offload;
pub mod privilege;
pub mod stack;
pub mod stations;
pub mod xdp;
