//! By which interface frames leave for a station: down from the one that its route names, by VLAN devices, bridges and bonds.
//! Pure.
//!
//! - A bridge sends by the port that it has learned the station behind. Where nothing was learned and it has one port that
//!   runs, by that. Else only the bridge itself knows how, and only the kernel's stack can send by a bridge:
//!   [`Egress::by_kernel`] has the reason. So it is for a bridge that filters VLANs, too.
//! - A bond sends by its active slave. In modes that spread, which slave is the bond's choice: frames are given to it.

use std::collections::HashMap;

use crate::host::links::Link;
use crate::host::stations::Stations;

/// Most devices on each other: a loop of netlink's words ends here.
const DEPTH: usize = 8;

/// What is known of this host's links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By index.
    pub(super) all: HashMap<u32, Link>,
    pub(super) stations: Stations,
}

/// The interface that frames leave by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Egress<'a> {
    /// The name of the one that the route names.
    pub(super) name: &'a str,
    /// The name of the one that sends.
    pub(super) sender: &'a str,
    pub(super) ifindex: u32,
    pub(super) mac: [u8; 6],
    pub(super) vlan: Option<u16>,
    /// Why the kernel's stack has to find the port, if it has to.
    pub(super) by_kernel: Option<String>,
}

impl<'a> Egress<'a> {
    /// The way by the interface of an index to a station, or as far as the first bridge without one. The reason if there is none.
    pub(super) fn find(links: &'a Links, top: &'a Link, station: Option<[u8; 6]>) -> Result<Self, String> {
        let mut passed = vec![top];
        let (mut vlan, mut by_kernel) = (None, None);
        let mut link = top;
        while passed.len() <= DEPTH {
            let below = if let Some(tag) = link.vlan {
                if vlan.replace(tag.id).is_some() {
                    return Err(format!("{} is a VLAN device on a VLAN device: only one is supported", top.name));
                }
                let below = tag.parent.and_then(|parent| links.all.get(&parent));
                Some(below.ok_or_else(|| {
                    format!("the interface below the VLAN device {} is not in this network namespace", link.name)
                })?)
            } else {
                match (link.kind.as_deref(), station) {
                    (Some("bridge"), Some(station)) => match links.port(link, station) {
                        Ok(port) => Some(port),
                        Err(why) => {
                            by_kernel = Some(why);
                            None
                        }
                    },
                    (Some("bond"), _) => links.active_slave(link),
                    _ => None,
                }
            };
            let Some(below) = below else { break };
            passed.push(below);
            link = below;
        }
        for link in passed.iter().rev() {
            if !link.up {
                return Err(format!("{} is down", link.name));
            }
            if !link.running {
                return Err(format!("{} has no carrier", link.name));
            }
        }
        // Of all below it, what has an address of its own to the stack: the bond, not its slave.
        let source = passed.iter().find(|link| link.vlan.is_none()).unwrap_or(&link);
        let mac = source.mac.ok_or_else(|| format!("{} is no Ethernet interface", source.name))?;
        Ok(Self { name: &top.name, sender: &link.name, ifindex: link.index, mac, vlan, by_kernel })
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let Self { name, sender, by_kernel, .. } = self;
        match by_kernel {
            Some(why) => format!("resolved on {name}, by {sender} as a whole: {why}"),
            // The VLAN device's own is not news.
            None if name == sender || self.vlan.is_some() && name.starts_with(sender) => format!("resolved on {name}"),
            None => format!("resolved on {name}, by {sender}"),
        }
    }
}

impl Links {
    /// The port by which a bridge sends to a station.
    fn port(&self, bridge: &Link, station: [u8; 6]) -> Result<&Link, String> {
        if bridge.filters_vlans {
            return Err(format!("{} filters VLANs", bridge.name));
        }
        if let Some(port) = self.stations.port(bridge.index, station).and_then(|port| self.all.get(&port)) {
            return Ok(port);
        }
        let mut running = self.parts(bridge).filter(|port| port.up && port.running);
        match (running.next(), running.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(format!("{} has not learned by which of its ports", bridge.name)),
        }
    }

    /// The slave by which a bond sends, where it has such a one.
    fn active_slave(&self, bond: &Link) -> Option<&Link> {
        let active = self.all.get(&bond.active?)?;
        (active.controller == Some(bond.index) && active.up && active.running).then_some(active)
    }

    fn parts(&self, whole: &Link) -> impl Iterator<Item = &Link> {
        let index = whole.index;
        self.all.values().filter(move |link| link.controller == Some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::links::Vlan;
    use crate::host::stations::Station;

    const REAL: [u8; 6] = [2, 0, 0, 0, 9, 9];

    fn link(index: u32, name: &str, kind: &str, controller: u32) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            kind: (!kind.is_empty()).then(|| kind.to_owned()),
            controller: (controller > 0).then_some(controller),
            up: true,
            running: true,
            ..Link::default()
        }
    }

    fn vlan(index: u32, name: &str, parent: u32, id: u16, controller: u32) -> Link {
        Link { vlan: Some(Vlan { parent: Some(parent), id }), ..link(index, name, "vlan", controller) }
    }

    fn host() -> Links {
        let mut links = vec![
            link(1, "eth1", "", 10),
            link(2, "eth2", "", 10),
            link(10, "br0", "bridge", 0),
            link(3, "eth3", "", 11),
            link(4, "eth4", "", 11),
            Link { active: Some(3), ..link(11, "bond0", "bond", 0) },
            link(5, "eth5", "", 12),
            link(12, "bond1", "bond", 0),
            vlan(13, "bond0.7", 11, 7, 0),
            vlan(14, "br0.8", 10, 8, 0),
            vlan(15, "bond0.7.9", 13, 9, 0),
            vlan(16, "bond0.5", 11, 5, 17),
            link(17, "br5", "bridge", 0),
            Link { filters_vlans: true, ..link(18, "br1", "bridge", 0) },
            link(19, "eth6", "", 18),
            link(20, "br2", "bridge", 0),
            Link { running: false, ..link(21, "eth7", "", 22) },
            link(22, "br3", "bridge", 0),
            link(23, "a", "bridge", 24),
            link(24, "b", "bridge", 23),
        ];
        links.push(Link { mac: None, ..link(25, "tun0", "tun", 0) });
        let station = |bridge, port| Station { bridge, mac: REAL, vlan: 0, port };
        let stations = [station(10, 2), station(22, 21), station(23, 24), station(24, 23)].into_iter().collect();
        Links { all: links.into_iter().map(|link| (link.index, link)).collect(), stations }
    }

    #[test]
    fn the_way_down_from_each_interface() {
        // (top, sender, last byte of the source MAC, VLAN, words)
        let ways: [(u32, u32, u8, Option<u16>, &str); 9] = [
            (1, 1, 1, None, "resolved on eth1"),
            (10, 2, 10, None, "resolved on br0, by eth2"),
            (11, 3, 11, None, "resolved on bond0, by eth3"),
            (12, 12, 12, None, "resolved on bond1"),
            (13, 3, 11, Some(7), "resolved on bond0.7, by eth3"),
            (14, 2, 10, Some(8), "resolved on br0.8, by eth2"),
            // One port alone: the VLAN device on the bond.
            (17, 3, 17, Some(5), "resolved on br5, by eth3"),
            (18, 18, 18, None, "resolved on br1, by br1 as a whole: br1 filters VLANs"),
            (20, 20, 20, None, "resolved on br2, by br2 as a whole: br2 has not learned by which of its ports"),
        ];
        let host = host();
        for (top, sender, last, vlan, words) in ways {
            let way = Egress::find(&host, &host.all[&top], Some(REAL)).unwrap();
            assert_eq!((way.ifindex, way.mac[5], way.vlan, way.words().as_str()), (sender, last, vlan, words));
        }
        let none = [
            (15, "bond0.7.9 is a VLAN device on a VLAN device: only one is supported"),
            (22, "eth7 has no carrier"),
            (25, "tun0 is no Ethernet interface"),
        ];
        for (top, why) in none {
            assert_eq!(Egress::find(&host, &host.all[&top], Some(REAL)).unwrap_err(), why);
        }
        assert!(Egress::find(&host, &host.all[&23], Some(REAL)).is_ok(), "a loop ends");
        let any = Egress::find(&host, &host.all[&10], None).unwrap();
        assert_eq!((any.ifindex, any.by_kernel), (10, None), "as far as the bridge");
    }

    #[test]
    fn what_changes_is_followed() {
        let mut host = host();
        host.stations.insert(Station { bridge: 10, mac: REAL, vlan: 0, port: 1 });
        host.all.get_mut(&11).unwrap().active = Some(4);
        let way = |host: &Links, top| Egress::find(host, &host.all[&top], Some(REAL)).unwrap().ifindex;
        assert_eq!((way(&host, 10), way(&host, 11), way(&host, 13)), (1, 4, 4));
        host.stations = Stations::default();
        host.all.get_mut(&4).unwrap().running = false;
        assert_eq!((way(&host, 10), way(&host, 11)), (10, 11), "the whole is asked where no part is known");
        host.all.get_mut(&2).unwrap().running = false;
        assert_eq!(way(&host, 10), 1, "the only port that runs");
    }
}
