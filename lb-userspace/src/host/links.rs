//! The interfaces of this network namespace, as the kernel tells them over netlink.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBond, InfoBridge, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alternative names (`ip link property`).
    pub altnames: Vec<String>,
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
    /// The slave that a bond sends by, by index, where its mode has one.
    pub active: Option<u32>,
    /// Set on a bridge that knows VLANs (`vlan_filtering`).
    pub filters_vlans: bool,
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

/// The interface of a name, which may be an alternative one of it.
pub fn named<'a>(links: impl IntoIterator<Item = &'a Link>, name: &str) -> Option<&'a Link> {
    links.into_iter().find(|link| link.name == name || link.altnames.iter().any(|altname| altname == name))
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
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
            ..Self::default()
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
                LinkAttribute::PropList(props) => link.altnames = props.iter().filter_map(altname).collect(),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::Link(index) => parent = Some(*index),
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                            LinkInfo::Data(InfoData::Vlan(data)) => vlan_id = vlan_id_of(data),
                            LinkInfo::Data(InfoData::Bond(data)) => link.active = active_slave_of(data),
                            LinkInfo::Data(InfoData::Bridge(data)) => {
                                link.filters_vlans = data.contains(&InfoBridge::VlanFiltering(true));
                            }
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

fn active_slave_of(data: &[InfoBond]) -> Option<u32> {
    data.iter().find_map(|info| match info {
        InfoBond::ActivePort(index) => Some(*index),
        _ => None,
    })
}

fn altname(prop: &Prop) -> Option<String> {
    match prop {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
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
    }

    #[test]
    fn alternative_names_the_active_slave_and_a_bridges_filter_are_read() {
        let data = vec![
            LinkAttribute::IfName("bond0".to_owned()),
            LinkAttribute::PropList(vec![Prop::AltIfName("lan".to_owned()), Prop::AltIfName("enp1".to_owned())]),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bond),
                LinkInfo::Data(InfoData::Bond(vec![InfoBond::ActivePort(9)])),
            ]),
        ];
        let bond = Link::from_message(&message(LinkFlags::Up, data)).unwrap();
        assert_eq!((bond.kind.as_deref(), bond.active, bond.filters_vlans), (Some("bond"), Some(9), false));
        for (name, is) in [("bond0", true), ("lan", true), ("enp1", true), ("eth0", false)] {
            assert_eq!(named([&bond], name).is_some(), is, "{name}");
        }
        let data =
            LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]))]);
        assert!(Link::from_message(&message(LinkFlags::Up, vec![data])).unwrap().filters_vlans);
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
