//! The address that a check is sent from. Never a VIP: a real behind direct routing has the VIP itself, so its answer
//! would not leave it; and a director that gives the VIP up would lose its checks along with it.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::{Fault, Way};
use crate::config::{Config, Origin};
use crate::health::via;

/// Addresses that no check is sent from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vips(HashSet<IpAddr>);

impl Vips {
    /// The VIPs of virtual routers and the addresses of services: those too may have been put on this host.
    pub fn of(config: &Config) -> Self {
        let routers = config.vrrp.iter().chain(config.observed.iter().flatten());
        let routers = routers.flat_map(|router| &router.addresses).map(|vip| vip.addr());
        Self(routers.chain(config.services.iter().map(|service| service.address)).collect())
    }
}

/// Where a check of this real is to be bound that shall be sent from there.
///
/// # Errors
/// The interface that has no address for it.
pub(super) fn wanted(real: SocketAddr, from: Option<&Origin>, vips: &Vips) -> Result<Option<SocketAddr>, String> {
    match from {
        None => Ok(source(real, vips)),
        Some(Origin::Address(own)) => Ok(Some(SocketAddr::new(*own, 0))),
        Some(Origin::Interface(name)) => best(real, vips, name, |on| on == name).map(Some).ok_or_else(|| name.clone()),
    }
}

/// Where a check of this real is to be bound; `None` where what the kernel chooses by itself is no VIP, or nothing
/// better is there.
fn source(real: SocketAddr, vips: &Vips) -> Option<SocketAddr> {
    let chosen = chosen(real).ok().filter(|chosen| vips.0.contains(chosen))?;
    let carrier = getifaddrs().ok()?.find(|one| address(one.address) == Some(chosen)).map(|one| one.interface_name);
    best(real, vips, carrier.as_deref().unwrap_or_default(), |_| true)
}

/// The first address in the real's subnet, or else the first on the `preferred` interface, or else the first; of those
/// interfaces that will do.
fn best(real: SocketAddr, vips: &Vips, preferred: &str, will_do: impl Fn(&str) -> bool) -> Option<SocketAddr> {
    let own = getifaddrs().ok()?.filter_map(|one| {
        let own = address(one.address)?;
        let is_link_local = matches!(own, IpAddr::V6(own) if own.is_unicast_link_local());
        let fits = own.is_ipv4() == real.is_ipv4() && !own.is_loopback() && !is_link_local;
        if !fits || vips.0.contains(&own) || !will_do(&one.interface_name) {
            return None;
        }
        let net = address(one.netmask).and_then(|mask| IpNet::with_netmask(own, mask).ok());
        let is_beside = net.is_some_and(|net| net.contains(&real.ip()));
        Some((is_beside, one.interface_name == preferred, own))
    });
    let best = own.reduce(|best, next| if (next.0, next.1) > (best.0, best.1) { next } else { best });
    best.map(|(.., own)| SocketAddr::new(own, 0))
}

/// This director's own address to ask a VIP from, by the way to the real.
///
/// # Errors
/// It has none but VIPs that leads there, or none of what the check is to be sent from.
pub(super) fn own(real: IpAddr, from: Option<&Origin>, vips: &Vips) -> Result<IpAddr, Fault> {
    // Which port makes no difference, as long as there is one.
    let real = SocketAddr::new(real, 9);
    let wanted = wanted(real, from, vips).map_err(Fault::NoSource)?;
    let own = wanted.map(|source| source.ip()).or_else(|| chosen(real).ok());
    own.filter(|own| !vips.0.contains(own)).ok_or(Fault::NoOwn)
}

/// A socket for datagrams to a real, and the answers to them.
pub(super) enum Datagrams {
    Kernel(tokio::net::UdpSocket),
    Through(via::Datagrams),
}

impl Datagrams {
    /// A socket that hears the ICMP errors of its datagrams, and takes answers from the real alone.
    ///
    /// # Errors
    /// What this director can't.
    pub(super) async fn new(Way { real, source, through }: Way<'_>) -> Result<Self, Fault> {
        if let Some(road) = through {
            return via::Datagrams::new(road).map(Self::Through).map_err(Fault::Local);
        }
        let socket = tokio::net::UdpSocket::bind(source.unwrap_or_else(|| unspecified(real))).await?;
        socket.connect(real).await?;
        Ok(Self::Kernel(socket))
    }

    /// Sends one.
    ///
    /// # Errors
    /// An ICMP error that came for an earlier one, or what this director can't.
    pub(super) async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Kernel(socket) => socket.send(datagram).await.map(drop),
            Self::Through(socket) => socket.send(datagram).await,
        }
    }

    /// Waits for one, and gives its length; what the buffer has no room for is cut off.
    ///
    /// # Errors
    /// An ICMP error that came.
    pub(super) async fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Kernel(socket) => socket.recv(buffer).await,
            Self::Through(socket) => socket.recv(buffer).await,
        }
    }
}

/// Any address and port.
fn unspecified(real: SocketAddr) -> SocketAddr {
    let any = if real.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(any, 0)
}

/// What the kernel would send from: a datagram's socket knows it without a packet.
fn chosen(real: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(unspecified(real))?;
    socket.connect(real)?;
    Ok(socket.local_addr()?.ip())
}

fn address(storage: Option<SockaddrStorage>) -> Option<IpAddr> {
    let storage = storage?;
    let v4 = storage.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// What a check of each of these reals is bound to, on a host of its own with these addresses in their order.
    fn sources(addresses: &[(&str, &str)], vips: &[&str], reals: &[&str]) -> Option<Vec<Option<String>>> {
        let vips = Vips(vips.iter().map(|vip| vip.parse().unwrap()).collect());
        std::thread::scope(|scope| {
            let host = scope.spawn(|| {
                if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                    crate::skip::skip("an address for checks: needs root");
                    return None;
                }
                let ip = |line: String| assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
                for device in ["eth0", "eth1"] {
                    ip(format!("link add {device} type veth peer name {device}p"));
                    ip(format!("link set {device} up"));
                    ip(format!("link set {device}p up"));
                }
                for (device, address) in addresses {
                    let nodad = if address.contains(':') { " nodad" } else { "" };
                    ip(format!("address add {address} dev {device}{nodad}"));
                }
                ip("route add default via 10.9.0.254 dev eth0".to_owned());
                let source = |real: &&str| {
                    source(SocketAddr::new(real.parse().unwrap(), 80), &vips).map(|source| source.ip().to_string())
                };
                Some(reals.iter().map(source).collect())
            });
            host.join().unwrap()
        })
    }

    #[test]
    fn a_vip_is_never_a_source_where_there_is_another_address() {
        let first =
            [("eth0", "10.9.0.100/24"), ("eth0", "10.9.0.1/24"), ("eth1", "10.8.0.1/24"), ("eth0", "fd09::1/64")];
        let vips = ["10.9.0.100", "fd09::100"];
        // Beside it, behind a gateway, by another interface, over IPv6.
        let reals = ["10.9.0.7", "192.0.2.7", "10.8.0.7", "fd09::7"];
        let Some(chosen) = sources(&first, &vips, &reals) else { return };
        assert_eq!(chosen, [Some("10.9.0.1".to_owned()), Some("10.9.0.1".to_owned()), None, None]);

        let second =
            [("eth0", "10.9.0.1/24"), ("eth0", "10.9.0.100/24"), ("eth0", "fd09::100/64"), ("eth0", "fd09::1/64")];
        let chosen = sources(&second, &vips, &["10.9.0.7", "fd09::7"]).unwrap();
        assert_eq!(chosen[0], None, "the kernel takes the older one");
        assert!(chosen[1].is_none() || chosen[1].as_deref() == Some("fd09::1"));
    }

    #[test]
    fn a_vip_in_a_subnet_of_its_own_is_no_source_either() {
        let addresses = [("eth0", "10.9.0.100/24"), ("eth0", "10.7.0.1/24")];
        let Some(chosen) = sources(&addresses, &["10.9.0.100"], &["10.9.0.7"]) else { return };
        assert_eq!(chosen, [Some("10.7.0.1".to_owned())]);
    }

    #[test]
    fn what_the_check_names_is_the_source() {
        let vips = Vips(["10.9.0.100".parse().unwrap()].into());
        let real: SocketAddr = "10.9.0.7:80".parse().unwrap();
        let host = || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                crate::skip::skip("an interface's address for checks: needs root");
                return;
            }
            let ip = |line: &str| assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
            ip("link add eth0 type veth peer name eth1");
            for line in ["10.9.0.100/24 dev eth0", "10.8.0.1/24 dev eth1", "10.9.0.2/24 dev eth1"] {
                ip(&format!("address add {line}"));
            }
            let from = |name: &str| {
                let wanted = wanted(real, Some(&Origin::Interface(name.to_owned())), &vips);
                wanted.map(|source| source.unwrap().ip().to_string())
            };
            assert_eq!(from("eth1"), Ok("10.9.0.2".to_owned()), "the one in the real's subnet");
            assert_eq!(from("eth0"), Err("eth0".to_owned()), "it has a VIP alone");
            assert_eq!(from("eth9"), Err("eth9".to_owned()));
            let own = "10.8.0.1".parse().unwrap();
            assert_eq!(wanted(real, Some(&Origin::Address(own)), &vips), Ok(Some(SocketAddr::new(own, 0))));
        };
        std::thread::scope(|scope| scope.spawn(host).join().unwrap());
    }

    #[test]
    fn the_owner_of_nothing_but_a_vip_sends_from_that() {
        let Some(chosen) = sources(&[("eth0", "10.9.0.100/24")], &["10.9.0.100"], &["10.9.0.7"]) else { return };
        assert_eq!(chosen, [None]);
    }
}
