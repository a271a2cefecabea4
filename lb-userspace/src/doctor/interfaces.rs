//! The director's interfaces: whether frames come in, and whether the program can run there.

use super::{Facts, Found};
use crate::config::{Config, Mode};
use crate::host::links::{self, Link};

/// The largest MTU that one page holds with most drivers.
const ONE_PAGE: u32 = 3498;
/// Modes of bonds that XDP can be on (linux, drivers/net/bonding, `bond_xdp_check`).
const XDP_BONDS: [&str; 4] = ["balance-rr", "active-backup", "balance-xor", "802.3ad"];

pub(super) fn find(found: &mut Found, facts: &Facts, config: &Config) {
    for name in &config.director.interfaces {
        match links::named(&facts.links, name) {
            None => found.bad(
                name,
                "it isn't there",
                "nothing is forwarded by it; an agent that runs waits for it",
                "`ip link` has the names; name another one in director.interfaces, or make it",
            ),
            Some(link) => one(found, facts, config, link),
        }
    }
    let mtus = config.director.interfaces.iter().filter_map(|name| links::named(&facts.links, name));
    let mut mtus: Vec<(&str, u32)> = mtus.map(|link| (link.name.as_str(), link.mtu)).collect();
    mtus.sort_by_key(|(_, mtu)| *mtu);
    if let (Some((small, least)), Some((large, most))) = (mtus.first(), mtus.last())
        && least < most
    {
        found.note(
            small,
            format!("its MTU is {least}, that of {large} is {most}"),
            "a packet that comes in by the one and is too large for the other is dropped",
            format!("`ip link set dev {large} mtu {least}`, where reals are behind {small}"),
        );
    }
}

fn one(found: &mut Found, facts: &Facts, config: &Config, link: &Link) {
    let name = &link.name;
    let cable = "nothing comes in by it, and no VIP on it is taken";
    if !link.up {
        found.bad(name, "it is down", cable, format!("`ip link set dev {name} up`"));
    } else if !link.running {
        found.bad(name, "it has no carrier", cable, "look at the cable and at the switch's port");
    }
    let controller = link.controller.and_then(|index| facts.links.iter().find(|link| link.index == index));
    if let Some(bond) = controller.filter(|above| above.kind.as_deref() == Some("bond")) {
        found.bad(
            name,
            format!("it is a slave of {}", bond.name),
            "frames of the other slaves aren't seen, and the VIPs are the bond's",
            format!("name \"{}\" in director.interfaces", bond.name),
        );
    }
    let mode = config.director.mode;
    if mode == Mode::Generic {
        return;
    }
    let nic = facts.nics.get(name).cloned().unwrap_or_default();
    if let Some((what, mend)) = &nic.occupant {
        found.bad(name, what, "an interface has one XDP program: the director doesn't start beside it", mend);
    }
    let bond = nic.bond.as_deref().filter(|bond| !XDP_BONDS.contains(bond));
    if let Some(bond) = bond {
        let why = "the kernel takes no XDP program there";
        let mend = "use 802.3ad, active-backup or balance-xor, or set director.mode = \"generic\"";
        found.add(mode == Mode::Native, name, format!("the bond's mode is {bond}"), why, mend.to_owned());
    }
    let slaves = facts.links.iter().filter(|slave| nic.bond.is_some() && slave.controller == Some(link.index));
    for part in slaves.chain([link]) {
        let Some(nic) = facts.nics.get(&part.name) else { continue };
        if nic.native == Some(false) && bond.is_none() {
            found.add(
                mode == Mode::Native,
                &part.name,
                "its driver runs no XDP programs".to_owned(),
                "the program runs behind the socket buffers there, several times slower",
                "use an interface whose driver does (docs/kernels.md), or say director.mode = \"generic\"".to_owned(),
            );
            continue;
        }
        if nic.lro {
            let mend = format!("`ethtool -K {} lro off`", part.name);
            found.bad(
                &part.name,
                "it merges received packets (LRO)",
                "its driver takes no XDP program beside that",
                mend,
            );
        }
        if nic.takes_tags {
            found.bad(
                &part.name,
                "it takes VLAN tags out of frames, and can't be told not to",
                "the program doesn't see which VLAN a frame is of, and where a real has another one can't set it",
                "set director.mode = \"generic\", where the kernel tells the tag",
            );
        }
        if !facts.kernel.frags && part.mtu > ONE_PAGE {
            found.bad(
                &part.name,
                format!("its MTU is {}, and this kernel has no XDP over frames in fragments", part.mtu),
                "its driver takes no program with an MTU of more than a page",
                format!("`ip link set dev {} mtu {ONE_PAGE}`, or a kernel of 5.18 or later", part.name),
            );
        }
        if nic.queues == 1 && facts.host.processors > 1 && nic.native == Some(true) {
            found.note(
                &part.name,
                format!("frames come in by one queue, and there are {} processors", facts.host.processors),
                "one processor forwards all of them",
                format!("`ethtool -L {} combined {}`, where the driver has more", part.name, facts.host.processors),
            );
        }
    }
}
