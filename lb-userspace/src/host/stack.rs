//! What stands on and below an interface: bridges, bonds and VLAN devices. Pure.
//!
//! - A bond that has the program runs it on its slaves, and what comes in by one is told by the slave's index.
//! - The kernel's stack takes frames for a bond or bridge that are addressed to the bond's or bridge's own MAC, whatever
//!   slave or port they come in by, and its VLAN devices stand on the bond or bridge.

use std::collections::BTreeSet;

use super::links::Link;

/// Most devices on each other: a loop of netlink's words ends here.
const DEPTH: usize = 8;

/// Indices of a bond's slaves; none of another interface.
pub fn slaves(links: &[Link], index: u32) -> BTreeSet<u32> {
    let is_bond = find(links, index).is_some_and(|link| link.kind.as_deref() == Some("bond"));
    let slaves = links.iter().filter(|link| is_bond && link.controller == Some(index));
    slaves.map(|link| link.index).collect()
}

/// The MAC that frames for this host's stack are addressed to on an interface; `None` if it is of no Ethernet kind.
pub fn mac(links: &[Link], index: u32) -> Option<[u8; 6]> {
    above(links, index).last().and_then(|link| link.mac).or_else(|| find(links, index)?.mac)
}

/// Ids of the VLAN devices on an interface, and on the bond or bridge that it is a part of.
pub fn vlans(links: &[Link], index: u32) -> BTreeSet<u16> {
    let stack: Vec<u32> = above(links, index).into_iter().map(|link| link.index).collect();
    let vlans = links.iter().filter_map(|link| link.vlan);
    let on = vlans.filter(|vlan| vlan.parent.is_some_and(|parent| parent == index || stack.contains(&parent)));
    on.map(|vlan| vlan.id).collect()
}

/// The bond or bridge that an interface is a part of, and the bridge that such a bond is a port of.
fn above(links: &[Link], index: u32) -> Vec<&Link> {
    let controller = |index| {
        let above = find(links, find(links, index)?.controller?)?;
        // A VRF, which is a controller too, leaves its interfaces their MACs.
        matches!(above.kind.as_deref(), Some("bond" | "bridge" | "team")).then_some(above)
    };
    let chain = std::iter::successors(controller(index), |link| controller(link.index));
    chain.take(DEPTH).collect()
}

fn find(links: &[Link], index: u32) -> Option<&Link> {
    links.iter().find(|link| link.index == index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::links::Vlan;

    /// `(index, kind, controller, VLAN on)`; the MAC ends in the index.
    fn link((index, kind, controller, vlan): (u32, &str, Option<u32>, Option<(u32, u16)>)) -> Link {
        Link {
            index,
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            kind: (!kind.is_empty()).then(|| kind.to_owned()),
            controller,
            vlan: vlan.map(|(parent, id)| Vlan { parent: Some(parent), id }),
            ..Link::default()
        }
    }

    #[test]
    fn what_each_interface_is_a_part_of() {
        let links = [
            (1, "", None, None),
            (2, "", Some(20), None),
            (3, "", Some(20), None),
            (4, "", Some(30), None),
            (5, "", Some(40), None),
            (20, "bond", Some(30), None),
            (30, "bridge", None, None),
            (40, "vrf", None, None),
            (50, "vlan", None, Some((1, 7))),
            (51, "vlan", None, Some((20, 8))),
            (52, "vlan", None, Some((30, 9))),
            (60, "bond", None, None),
            // Netlink would have to lie for these two.
            (70, "bridge", Some(71), None),
            (71, "bridge", Some(70), None),
        ]
        .map(link);
        // (interface, slaves, last byte of the MAC, VLANs)
        type Row = (u32, &'static [u32], Option<u8>, &'static [u16]);
        let table: [Row; 9] = [
            (1, &[], Some(1), &[7]),
            (2, &[], Some(30), &[8, 9]),
            (4, &[], Some(30), &[9]),
            (5, &[], Some(5), &[]),
            (20, &[2, 3], Some(30), &[8, 9]),
            (30, &[], Some(30), &[9]),
            (60, &[], Some(60), &[]),
            (70, &[], Some(70), &[]),
            (99, &[], None, &[]),
        ];
        for (index, members, last, ids) in table {
            assert_eq!(slaves(&links, index), members.iter().copied().collect(), "{index}");
            assert_eq!(mac(&links, index).map(|[.., byte]| byte), last, "{index}");
            assert_eq!(vlans(&links, index), ids.iter().copied().collect(), "{index}");
        }
    }
}
