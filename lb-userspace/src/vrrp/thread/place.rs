//! Where VIPs are put: on their interface, or on a macvlan of it that has the virtual router's MAC address.
//!
//! The macvlan is made when the instance is, and is down unless this host has the VIPs: the network card then takes no
//! frame for the virtual MAC. It only answers ARP and neighbour solicitations and hands up what is for this host;
//! adverts and announcements are sent out of the interface itself with the virtual MAC as their source.
//!
//! - Its mode is `bridge`: in the other modes the kernel would keep the adverts of another director, whose source is the
//!   same MAC, from the interface's own sockets.
//! - `arp_ignore = 1` on the interface, or it would answer for the VIP with its own MAC, and on the macvlan, or it would
//!   answer for the interface's addresses. `arp_announce = 2` on both: no ARP of this host tells the segment that
//!   a VIP is at another MAC. These two stay on the interface.
//! - `rp_filter = 2` on the macvlan: clients are reached by the interface, not by it.
//! - VIPs have a host's prefix length on it, so that the segment's route stays the interface's.

use std::fs;
use std::io;
use std::path::Path;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use nix::net::if_::{if_indextoname, if_nametoindex};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use tracing::debug;

use super::address::Addresses;
use super::netlink::Requests;
use super::socket::interfaces;
use crate::vrrp::protocol::holding::Placed;
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::wire::announce::Mac;

/// Netlink sockets of the network namespace that they were opened in.
#[derive(Debug)]
pub struct Places {
    addresses: Addresses,
    links: Requests,
}

/// The macvlan's name: unique by the interface's index, the family and the router id.
pub fn device(settings: &Settings, interface: u32) -> Option<String> {
    let family = if settings.is_ipv6() { '6' } else { '4' };
    settings.virtual_mac.then(|| format!("lb{family}-{interface:x}-{}", settings.router))
}

fn is_device(name: &str, mac: Mac) -> bool {
    let named = name.starts_with("lb4-") || name.starts_with("lb6-");
    named && matches!(mac, [0, 0, 0x5e, 0, 1 | 2, _])
}

/// Tries every one; the first error is told.
fn every<T>(items: impl IntoIterator<Item = T>, mut change: impl FnMut(T) -> io::Result<()>) -> io::Result<()> {
    let mut first = Ok(());
    for item in items {
        first = first.and(change(item));
    }
    first
}

impl Places {
    /// Opens the sockets.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        Ok(Self { addresses: Addresses::open()?, links: Requests::open()? })
    }

    /// Makes the macvlan, if the instance has one, and leaves one alone that is there.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, EBUSY where the interface is a bridge's port, or what else the kernel says.
    pub fn prepare(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        let Some((name, mac)) = device(settings, interface).zip(settings.mac()) else { return Ok(()) };
        if if_nametoindex(name.as_str()).is_ok() {
            return Ok(());
        }
        let made = RouteNetlinkMessage::NewLink(macvlan(&name, interface, mac));
        self.links.make(made, NLM_F_CREATE | NLM_F_EXCL)?;
        let tuned = tune(settings, &if_indextoname(interface)?.to_string_lossy(), &name);
        if tuned.is_err() {
            let _ = self.forget(settings, interface);
        }
        tuned
    }

    /// Where the instance's VIPs are, or will be.
    ///
    /// # Errors
    /// ENODEV: the macvlan is gone, or the interface that a VIP is to be put on.
    pub fn of(&self, settings: &Settings, interface: u32) -> io::Result<Vec<Placed>> {
        let macvlan = device(settings, interface);
        let place = |&address: &IpNet| {
            if let Some(other) = settings.elsewhere.get(&address.addr()) {
                return Ok(Placed { ifindex: if_nametoindex(other.as_str())?, address });
            }
            Ok(match &macvlan {
                None => Placed { ifindex: interface, address },
                Some(name) => Placed { ifindex: if_nametoindex(name.as_str())?, address: address.addr().into() },
            })
        };
        settings.addresses.iter().map(place).collect()
    }

    /// Puts a VIP where it belongs; `false` if it was there already.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put(&mut self, placed: Placed) -> io::Result<bool> {
        self.addresses.add(placed.ifindex, placed.address)
    }

    /// Takes a VIP off; it may be gone already.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take(&mut self, placed: Placed) -> io::Result<()> {
        self.addresses.remove(placed.ifindex, placed.address)
    }

    /// Sets the instance's macvlan, if it has one, up for its master or down.
    ///
    /// # Errors
    /// What the kernel says; ENODEV where one that is to be up is gone.
    pub fn switch(&mut self, settings: &Settings, interface: u32, on: bool) -> io::Result<()> {
        let Some(name) = device(settings, interface) else { return Ok(()) };
        match if_nametoindex(name.as_str()) {
            Err(_) if !on => Ok(()),
            index => self.set_up(index?, on),
        }
    }

    /// Removes the instance's macvlan, if it has one, with all that is on it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&mut self, settings: &Settings, interface: u32) -> io::Result<()> {
        match device(settings, interface).and_then(|name| if_nametoindex(name.as_str()).ok()) {
            Some(ifindex) => self.delete(ifindex),
            None => Ok(()),
        }
    }

    /// Removes every macvlan that an instance had. Returns their names.
    ///
    /// # Errors
    /// What the kernel says; every one was tried.
    pub fn forget_all(&mut self) -> io::Result<Vec<String>> {
        let all = interfaces()?.into_iter().filter(|(name, interface)| is_device(name, interface.mac));
        let (names, indices): (Vec<String>, Vec<u32>) = all.map(|(name, interface)| (name, interface.index)).unzip();
        every(indices, |index| self.delete(index))?;
        Ok(names)
    }

    fn delete(&mut self, ifindex: u32) -> io::Result<()> {
        match self.links.make(RouteNetlinkMessage::DelLink(link(Some(ifindex))), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }

    fn set_up(&mut self, ifindex: u32, on: bool) -> io::Result<()> {
        let mut link = link(Some(ifindex));
        link.header.flags = if on { LinkFlags::Up } else { LinkFlags::empty() };
        link.header.change_mask = LinkFlags::Up;
        debug!("interface {ifindex}: {}", if on { "up" } else { "down" });
        self.links.make(RouteNetlinkMessage::NewLink(link), 0)
    }
}

/// The link of this index; `None` for a new one.
fn link(ifindex: Option<u32>) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = ifindex.unwrap_or_default();
    link
}

fn macvlan(name: &str, parent: u32, mac: Mac) -> LinkMessage {
    let mut macvlan = link(None);
    macvlan.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(parent),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    macvlan
}

/// What the kernel is to do with the interface and with its new macvlan.
fn tune(settings: &Settings, parent: &str, name: &str) -> io::Result<()> {
    for (device, key, value) in [
        (parent, "arp_ignore", "1"),
        (parent, "arp_announce", "2"),
        (name, "arp_ignore", "1"),
        (name, "arp_announce", "2"),
        (name, "rp_filter", "2"),
    ] {
        sysctl("ipv4", device, key, value)?;
    }
    if !settings.is_ipv6() {
        // Nothing of its own on the segment. A kernel without IPv6 has no such key.
        let _ = sysctl("ipv6", name, "disable_ipv6", "1");
        return Ok(());
    }
    // 1: no link-local address of its own.
    every([("addr_gen_mode", "1"), ("accept_ra", "0"), ("accept_dad", "0")], |(key, value)| {
        sysctl("ipv6", name, key, value)
    })
}

fn sysctl(family: &str, interface: &str, key: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(family).join("conf").join(interface).join(key);
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::wire::packet::Version;

    #[test]
    fn a_device_has_a_name_that_fits_and_is_recognised() {
        let settings = |vip: &str| Settings {
            virtual_mac: true,
            ..Settings::new("web", "eth1", 255, Version::V3, vec![vip.parse().unwrap()])
        };
        for (vip, ifindex, name, mac) in [
            ("192.0.2.1/24", 3, "lb4-3-255", [0, 0, 0x5e, 0, 1, 255]),
            ("2001:db8::1/64", 0xfff_ffff, "lb6-fffffff-255", [0, 0, 0x5e, 0, 2, 255]),
        ] {
            let settings = settings(vip);
            assert_eq!(device(&settings, ifindex).as_deref(), Some(name));
            assert!(name.len() <= 15);
            assert_eq!(settings.mac(), Some(mac));
            assert!(is_device(name, mac) && !is_device(name, [2, 0, 0, 0, 0, 1]) && !is_device("eth1", mac));
            assert_eq!(device(&Settings { virtual_mac: false, ..settings }, ifindex), None);
        }
    }
}
