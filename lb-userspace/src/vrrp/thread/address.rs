//! Puts VIPs on an interface and takes them off, by netlink: one message, one answer.

use std::io;

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::netlink::Requests;

/// A netlink socket of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Addresses(Requests);

impl Addresses {
    /// Opens the socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Requests::open()?))
    }

    /// Puts the address on the interface; `false` if it was there already. An IPv6 address is usable at once,
    /// without duplicate address detection: VRRP itself has settled whose it is. It is deprecated from the
    /// beginning (RFC 4862 §5.5.4), so that no connection of this host's own has it as its source.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, ENODEV, or what else the kernel says.
    pub fn add(&mut self, interface: u32, address: IpNet) -> io::Result<bool> {
        let mut message = message(interface, address);
        if address.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::CacheInfo(deprecated()));
        }
        match self.0.make(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Takes the address off the interface; it may be gone already.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, or what else the kernel says.
    pub fn remove(&mut self, interface: u32, address: IpNet) -> io::Result<()> {
        match self.0.make(RouteNetlinkMessage::DelAddress(message(interface, address)), 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            result => result,
        }
    }
}

fn message(interface: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.prefix_len = address.prefix_len();
    message.header.index = interface;
    message.header.family = match address {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}

/// Never preferred, valid for ever; the kernel fills in the rest.
fn deprecated() -> CacheInfo {
    let mut cache = CacheInfo::default();
    (cache.ifa_preferred, cache.ifa_valid) = (0, u32::MAX);
    cache
}
