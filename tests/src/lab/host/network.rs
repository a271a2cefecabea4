//! What a test changes in a host's network: its links, addresses and neighbours.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};

use super::Host;
use crate::lab::address::Mac;
use crate::lab::wait::{DEADLINE, wait_until};

impl Host {
    /// Writes a sysctl of this host's network, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.within(|| fs::write(format!("/proc/sys/{name}"), value))?
            .with_context(|| format!("cannot set {name} to {value} on {}", self.name()))
    }

    /// Takes an interface down or up, as pulling or plugging its cable does.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn link(&self, device: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.ip(&format!("link set {device} {state}")).map(|_| ())
    }

    /// Gives an interface another hardware address.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_mac(&self, device: &str, mac: Mac) -> Result<()> {
        self.ip(&format!("link set {device} address {mac}")).map(|_| ())
    }

    /// Makes `address` one of this host's own on its first interface, answering for it: what a director does with a
    /// VIP that it owns.
    ///
    /// # Errors
    /// When the host has it already.
    pub fn own(&self, address: IpAddr) -> Result<()> {
        self.address("add", address)
    }

    /// Gives `address` up again.
    ///
    /// # Errors
    /// When the host does not have it.
    pub fn disown(&self, address: IpAddr) -> Result<()> {
        self.address("del", address)
    }

    fn address(&self, verb: &str, address: IpAddr) -> Result<()> {
        let device = &self.nic().device;
        let line = match address {
            IpAddr::V4(_) => format!("address {verb} {address}/32 dev {device}"),
            IpAddr::V6(_) if verb == "add" => {
                format!("address {verb} {address}/128 dev {device} nodad")
            }
            IpAddr::V6(_) => format!("address {verb} {address}/128 dev {device}"),
        };
        self.ip(&line).map(|_| ())
    }

    /// Fixes the hardware address that this host sends to for `address`, in place of asking.
    ///
    /// # Errors
    /// When `address` is not on the first interface's link.
    pub fn set_neighbour(&self, address: IpAddr, mac: Mac) -> Result<()> {
        let device = &self.nic().device;
        self.ip(&format!("neighbour replace {address} lladdr {mac} dev {device} nud permanent")).map(|_| ())
    }

    /// The hardware address that this host has found out for `address`.
    ///
    /// # Errors
    /// When `ip` can't be run.
    pub fn neighbour(&self, address: IpAddr) -> Result<Option<Mac>> {
        let shown = self.ip(&format!("neighbour show {address}"))?;
        let mut words = shown.split_whitespace();
        Ok(words.find(|word| *word == "lladdr").and_then(|_| words.next()?.parse().ok()))
    }

    /// Forgets all that this host has found out about its neighbours.
    ///
    /// # Errors
    /// When `ip` can't be run.
    pub fn forget_neighbours(&self) -> Result<()> {
        self.ip("neighbour flush all").map(|_| ())
    }

    /// Waits until something here listens at a TCP port.
    ///
    /// # Errors
    /// When nothing does within ten seconds.
    pub fn wait_for_listener(&self, port: u16) -> Result<()> {
        let what = format!("a listener at port {port} of {}", self.name());
        let listens = || listens(port);
        wait_until(DEADLINE, &what, || self.within(listens).unwrap_or(false)).map(|_| ())
    }
}

/// Whether the kernel's tables of the calling thread's network namespace show a listener.
fn listens(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .any(|table| {
            table.lines().any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let local = fields.next().is_some_and(|local| local.ends_with(&wanted));
                local && fields.nth(1) == Some(LISTEN)
            })
        })
}
