//! Which station is behind which port of a bridge: the kernel's forwarding entries (FDB), as it tells them over netlink.

use std::collections::{BTreeMap, HashMap};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};

/// A forwarding entry of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The bridge, by index.
    pub bridge: u32,
    /// The station.
    pub mac: [u8; 6],
    /// In this VLAN; 0 on a bridge that knows none.
    pub vlan: u16,
    /// The port that it is behind, by index.
    pub port: u32,
}

impl Station {
    /// What a message says; `None` if it is about something else, such as an address that a device listens to itself.
    #[must_use]
    pub fn from_message(message: &NeighbourMessage) -> Option<Self> {
        if message.header.family != AddressFamily::Bridge {
            return None;
        }
        let (mut bridge, mut mac, mut vlan) = (None, None, 0);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Controller(index) => bridge = Some(*index),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
                NeighbourAttribute::Vlan(id) => vlan = *id,
                _ => {}
            }
        }
        Some(Self { bridge: bridge?, mac: mac?, vlan, port: message.header.ifindex })
    }
}

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stations(HashMap<(u32, [u8; 6]), BTreeMap<u16, u32>>);

impl Stations {
    /// A new entry, or one whose station moved to another port.
    pub fn insert(&mut self, Station { bridge, mac, vlan, port }: Station) {
        self.0.entry((bridge, mac)).or_default().insert(vlan, port);
    }

    /// An entry that is gone, unless the station is behind another port by now.
    pub fn remove(&mut self, Station { bridge, mac, vlan, port }: &Station) {
        if let Some(ports) = self.0.get_mut(&(*bridge, *mac)) {
            if ports.get(vlan) == Some(port) {
                ports.remove(vlan);
            }
            if ports.is_empty() {
                self.0.remove(&(*bridge, *mac));
            }
        }
    }

    /// The port of a bridge that a station is behind, on a bridge that knows no VLANs.
    #[must_use]
    pub fn port(&self, bridge: u32, mac: [u8; 6]) -> Option<u32> {
        self.0.get(&(bridge, mac))?.get(&0).copied()
    }
}

impl FromIterator<Station> for Stations {
    fn from_iter<T: IntoIterator<Item = Station>>(stations: T) -> Self {
        let mut all = Self::default();
        stations.into_iter().for_each(|station| all.insert(station));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_message_of_a_bridge_is_a_station_and_no_other_is() {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = 4;
        message.attributes =
            vec![NeighbourAttribute::LinkLayerAddress(MAC.to_vec()), NeighbourAttribute::Controller(7)];
        let station = Station { bridge: 7, mac: MAC, vlan: 0, port: 4 };
        assert_eq!(Station::from_message(&message), Some(station.clone()));
        message.attributes.push(NeighbourAttribute::Vlan(5));
        assert_eq!(Station::from_message(&message), Some(Station { vlan: 5, ..station }));
        let mut own = message.clone();
        own.attributes.remove(1);
        assert_eq!(Station::from_message(&own), None, "an address of the device itself");
        message.header.family = AddressFamily::Inet;
        assert_eq!(Station::from_message(&message), None);
    }

    #[test]
    fn a_station_that_moved_stays_when_its_old_entry_goes() {
        let station = |port| Station { bridge: 7, mac: MAC, vlan: 0, port };
        let mut stations: Stations = [station(4), Station { vlan: 5, ..station(6) }].into_iter().collect();
        assert_eq!(stations.port(7, MAC), Some(4));
        stations.insert(station(5));
        stations.remove(&station(4));
        assert_eq!((stations.port(7, MAC), stations.port(8, MAC)), (Some(5), None));
        stations.remove(&station(5));
        assert_eq!(stations.port(7, MAC), None);
    }
}
