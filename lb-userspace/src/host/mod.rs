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

/// This machine's name, as `uname -n` prints it; empty where it has none that is text.
#[must_use]
pub fn name() -> String {
    nix::sys::utsname::uname().ok().and_then(|names| names.nodename().to_str().map(str::to_owned)).unwrap_or_default()
}
