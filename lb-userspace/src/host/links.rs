//! The interfaces of this network namespace, as the kernel tells them over netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_core::ErrorMessage;

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("can't open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a request, or the connection ended.
    #[error("netlink: {what}: {why}")]
    Request {
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        why: io::Error,
    },
}

impl Error {
    pub(crate) fn request(what: &'static str, error: rtnetlink::Error) -> Self {
        let why = match error {
            rtnetlink::Error::NetlinkError(message) => ErrorMessage::to_io(&message),
            other => io::Error::other(other.to_string()),
        };
        Self::Request { what, why }
    }
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if it is of Ethernet's kind.
    pub mac: Option<[u8; 6]>,
    /// Switched on by the administrator (`IFF_UP`).
    pub up: bool,
    /// On, and has a carrier (`IFF_RUNNING`).
    pub running: bool,
    /// The loopback.
    pub loopback: bool,
    /// Largest packet, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The driver's kind for virtual interfaces: `veth`, `vlan`, `bond`, `bridge`, …; `None` for hardware.
    pub kind: Option<String>,
    /// The bond, bridge or VRF that it is a part of, by index.
    pub controller: Option<u32>,
    /// Set if it is a VLAN device.
    pub vlan: Option<Vlan>,
    /// Its addresses with their prefix lengths. Empty in values that come from a link's own notification.
    pub addresses: Vec<IpNet>,
}

/// What a VLAN device stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the interface below; `None` if that is in another network namespace.
    pub parent: Option<u32>,
    /// VLAN id, 1 to 4094.
    pub id: u16,
}

/// Ids of the VLAN devices on an interface.
pub fn vlans_on(links: &[Link], index: u32) -> BTreeSet<u16> {
    let vlans = links.iter().filter_map(|link| link.vlan).filter(|vlan| vlan.parent == Some(index));
    vlans.map(|vlan| vlan.id).collect()
}

/// All interfaces of the calling thread's network namespace with their addresses, in the order of their indexes.
///
/// # Errors
/// When the kernel can't be asked.
pub async fn snapshot() -> Result<Vec<Link>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
    let connection = tokio::spawn(connection);
    let links = dump(&handle).await;
    connection.abort();
    links
}

/// [`snapshot`] over a connection that is there already.
pub(crate) async fn dump(handle: &rtnetlink::Handle) -> Result<Vec<Link>, Error> {
    let mut links: BTreeMap<u32, Link> = handle
        .link()
        .get()
        .execute()
        .try_filter_map(async |message| Ok(Link::from_message(&message)))
        .map_ok(|link| (link.index, link))
        .try_collect()
        .await
        .map_err(|error| Error::request("listing interfaces", error))?;
    let addresses: Vec<AddressMessage> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(|error| Error::request("listing addresses", error))?;
    for message in addresses {
        if let (Some(address), Some(link)) = (address_of(&message), links.get_mut(&message.header.index)) {
            link.addresses.push(address);
        }
    }
    Ok(links.into_values().collect())
}

impl Link {
    /// What a link message says; `None` for messages of a protocol family (a bridge tells of its ports in such:
    /// a port that leaves its bridge is not an interface that is gone).
    #[must_use]
    pub fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
            mtu: 0,
            kind: None,
            controller: None,
            vlan: None,
            addresses: Vec::new(),
        };
        let mut parent = None;
        let mut elsewhere = false;
        let mut vlan_id = None;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) if !link.loopback => {
                    link.mac = mac.as_slice().try_into().ok();
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::Link(index) => parent = Some(*index),
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                            LinkInfo::Data(InfoData::Vlan(data)) => vlan_id = vlan_id_of(data),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link.vlan = vlan_id.map(|id| Vlan { parent: parent.filter(|_| !elsewhere), id });
        Some(link)
    }
}

fn vlan_id_of(data: &[InfoVlan]) -> Option<u16> {
    data.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

/// On a point-to-point link `IFA_ADDRESS` is the peer's and `IFA_LOCAL` is ours; IPv6 has often only the former.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let mut address: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(any) => address = address.or(Some(*any)),
            _ => {}
        }
    }
    IpNet::new(address?, message.header.prefix_len).ok()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoKind, LinkHeader};

    use super::*;

    fn message(flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader { index: 7, flags, ..LinkHeader::default() };
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_vlan_device_names_its_parent_and_id() {
        let mac = [2, 0, 0, 0, 0, 7];
        let attributes = vec![
            LinkAttribute::IfName("eth0.42".to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(42)])),
            ]),
        ];
        let link = Link::from_message(&message(LinkFlags::Up, attributes.clone())).unwrap();
        assert_eq!(link.vlan, Some(Vlan { parent: Some(3), id: 42 }));
        assert_eq!(link.kind.as_deref(), Some("vlan"));
        assert_eq!((link.mac, link.mtu), (Some(mac), 1500));
        assert!(link.up && !link.running);

        let mut elsewhere = attributes;
        elsewhere.push(LinkAttribute::LinkNetNsId(0));
        let link = Link::from_message(&message(LinkFlags::Up, elsewhere)).unwrap();
        assert_eq!(link.vlan, Some(Vlan { parent: None, id: 42 }));

        let links = [(3, 42), (3, 7), (4, 9)]
            .map(|(parent, id)| Link { vlan: Some(Vlan { parent: Some(parent), id }), ..link.clone() });
        assert_eq!(vlans_on(&links, 3), BTreeSet::from([7, 42]));
        assert_eq!(vlans_on(&links, 5), BTreeSet::new());
    }

    #[test]
    fn a_veth_has_a_peer_but_no_vlan_and_a_tunnel_has_no_mac() {
        let attributes = vec![LinkAttribute::Link(3)];
        assert_eq!(Link::from_message(&message(LinkFlags::Up, attributes)).unwrap().vlan, None);
        let attributes = vec![LinkAttribute::Address(vec![10, 0, 0, 1])];
        assert_eq!(Link::from_message(&message(LinkFlags::Up, attributes)).unwrap().mac, None);
    }

    #[test]
    fn a_bridges_message_about_its_port_is_passed_over() {
        let mut port = message(LinkFlags::Up, vec![]);
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(Link::from_message(&port), None);
    }

    #[tokio::test]
    async fn the_loopback_is_in_the_snapshot() {
        let links = snapshot().await.unwrap();
        let lo = links.iter().find(|link| link.loopback).unwrap();
        assert_eq!(lo.name, "lo");
        assert_eq!(lo.mac, None);
        if lo.up {
            assert!(lo.addresses.contains(&"127.0.0.1/8".parse().unwrap()));
        }
    }
}
