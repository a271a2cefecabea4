//! Puts VIPs on an interface and takes them off, by netlink: one message, one answer.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Requests, attribute};

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
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut body = body(interface, address);
        if address.addr().is_ipv6() {
            attribute(&mut body, libc::IFA_CACHEINFO, &deprecated());
        }
        match self.0.make(libc::RTM_NEWADDR, flags, &body) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Takes the address off the interface; it may be gone already.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, or what else the kernel says.
    pub fn remove(&mut self, interface: u32, address: IpNet) -> io::Result<()> {
        match self.0.make(libc::RTM_DELADDR, 0, &body(interface, address)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            result => result,
        }
    }
}

/// struct ifa_cacheinfo (linux/if_addr.h): never preferred, valid for ever; the kernel fills in the rest.
fn deprecated() -> Vec<u8> {
    [0, u32::MAX, 0, 0].iter().flat_map(|field| field.to_ne_bytes()).collect()
}

/// struct ifaddrmsg and its attributes.
fn body(interface: u32, address: IpNet) -> Vec<u8> {
    let (family, octets, nodad) = match address.addr() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec(), 0),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec(), libc::IFA_F_NODAD),
    };
    let mut body = vec![family as u8, address.prefix_len(), nodad as u8, libc::RT_SCOPE_UNIVERSE];
    body.extend(interface.to_ne_bytes());
    attribute(&mut body, libc::IFA_LOCAL, &octets);
    attribute(&mut body, libc::IFA_ADDRESS, &octets);
    body
}
