//! The VIPs of a whole file.

use std::collections::HashMap;
use std::net::IpAddr;

/// Every VIP that the file names, and who names it.
pub struct Vips(HashMap<IpAddr, String>);

impl FromIterator<(IpAddr, String)> for Vips {
    fn from_iter<I: IntoIterator<Item = (IpAddr, String)>>(vips: I) -> Self {
        Self(vips.into_iter().collect())
    }
}

impl Vips {
    /// The section that names `address` as a VIP.
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }
}

/// `IPv4` or `IPv6`.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
