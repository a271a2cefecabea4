//! The director's own interfaces come, go and change under a running agent.

use std::time::SystemTime;

use tracing::{info, warn};

use super::{Controller, Ownership};
use crate::agent::{start, status};
use crate::host;
use crate::host::links::{self, Link};
use crate::host::stack;
use crate::planner::model::{Awaited, Interface};

/// What is to be done about an interface.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is what it was.
    Keep,
    /// It is this now, and the program runs on it as before.
    Take(Interface),
    /// One of its name is there on which the program doesn't run.
    Attach,
    /// There is none.
    Wait,
}

impl Step {
    /// What follows for the interface of a name, which was `held`. One that was renamed goes on, unless another one has the
    /// name now.
    fn of(name: &str, held: Option<&Interface>, links: &[Link]) -> Self {
        let named = links::named(links, name);
        let Some(held) = held else {
            return if named.is_some() { Self::Attach } else { Self::Wait };
        };
        if named.is_some_and(|named| named.index != held.index) {
            return Self::Attach;
        }
        let Some(link) = links.iter().find(|link| link.index == held.index) else { return Self::Wait };
        let now = Interface {
            device: link.name.clone(),
            mac: stack::mac(links, held.index).unwrap_or(held.mac),
            vlans: stack::vlans(links, held.index),
            slaves: stack::slaves(links, held.index),
            ..held.clone()
        };
        if now == *held { Self::Keep } else { Self::Take(now) }
    }
}

impl Controller {
    /// Follows the director's own interfaces: the program is attached to each that comes, and one that isn't there is waited
    /// for. Whether the maps are to be written.
    pub(super) async fn follow_interfaces(&mut self) -> bool {
        let Ok(links) = host::links::snapshot().await else { return false };
        if self.devices.follow(&links) {
            self.rename_in_routers();
        }
        let mut changed = false;
        for name in &self.model.config.clone().director.interfaces {
            let held = self.model.interfaces.get(name).cloned();
            match Step::of(name, held.as_ref(), &links) {
                Step::Keep => {}
                Step::Take(now) => {
                    held.iter().for_each(|held| say(held, &now));
                    self.model.interfaces.insert(name.clone(), now);
                    changed = true;
                }
                Step::Attach => {
                    changed |= self.give_up(name).await;
                    changed |= self.take_up(name, &links).await;
                }
                Step::Wait => {
                    changed |= self.give_up(name).await;
                    self.wait_for(name, format!("there is no interface {name}"));
                }
            }
        }
        changed
    }

    /// Tells the virtual routers what their alternative names stand for now.
    fn rename_in_routers(&self) {
        let Some(Ownership { routers, tracks, .. }) = &self.routers else { return };
        let named = self.named();
        match routers.reload(&named, &self.model.gates) {
            Ok(()) => tracks.follow(named),
            Err(error) => {
                warn!("an alternative name that virtual routers have stands for another interface: {error:#}")
            }
        }
    }

    /// Attaches the program to an interface that came.
    async fn take_up(&mut self, name: &str, links: &[Link]) -> bool {
        let mode = self.model.config.director.mode;
        let attached = start::attach(&mut *self.dataplane.lock().await, name, mode, links);
        match attached {
            Ok(interface) => {
                info!("{name}: is there, with MAC {} and index {}", status::mac(interface.mac), interface.index);
                self.model.interfaces.insert(name.to_owned(), interface);
                self.model.awaited.remove(name);
                true
            }
            Err(error) => {
                self.wait_for(name, format!("{error:#}"));
                false
            }
        }
    }

    /// Forgets an interface that went, and the pin of the program on it. Whether there was one.
    async fn give_up(&mut self, name: &str) -> bool {
        let Some(gone) = self.model.interfaces.remove(name) else { return false };
        self.detach(&[gone.index]).await;
        true
    }

    fn wait_for(&mut self, name: &str, why: String) {
        let held = self.model.awaited.get(name);
        if held.is_some_and(|held| held.why == why) {
            return;
        }
        warn!("{name}: nothing is forwarded by it, and it is waited for: {why}");
        let since = held.map_or_else(SystemTime::now, |held| held.since);
        self.model.awaited.insert(name.to_owned(), Awaited { since, why });
    }
}

/// Tells what changed.
fn say(before: &Interface, now: &Interface) {
    let name = &now.name;
    if before.device != now.device {
        warn!("{name}: was renamed to {}; the program stays on it, and the configuration should follow", now.device);
    }
    if before.mac != now.mac {
        info!("{name}: its MAC is {} now", status::mac(now.mac));
    }
    if before.vlans != now.vlans {
        info!("{name}: the VLANs on it are {:?} now", now.vlans);
    }
    if before.slaves != now.slaves {
        info!("{name}: the bond's slaves have the indices {:?} now", now.slaves);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dataplane::Hook;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), mac: Some([2, 0, 0, 0, 0, index as u8]), ..Link::default() }
    }

    fn held(index: u32, device: &str, slaves: &[u32]) -> Interface {
        Interface {
            name: "lan".to_owned(),
            device: device.to_owned(),
            index,
            mac: [2, 0, 0, 0, 0, index as u8],
            mode: Hook::Native,
            vlans: BTreeSet::new(),
            slaves: slaves.iter().copied().collect(),
        }
    }

    #[test]
    fn what_follows_from_each_change() {
        let lan = held(3, "lan", &[]);
        let altnamed = Link { altnames: vec!["lan".to_owned()], ..link(3, "enp1s0") };
        let bond = Link { kind: Some("bond".to_owned()), ..link(3, "lan") };
        let slave = |index| Link { controller: Some(3), ..link(index, "slave") };
        let moved = Link { mac: Some([6; 6]), ..link(3, "lan") };
        type Row = (&'static str, Option<Interface>, Vec<Link>, Step);
        let table: [Row; 12] = [
            ("not there", None, vec![link(2, "eth0")], Step::Wait),
            ("comes", None, vec![link(3, "lan")], Step::Attach),
            ("comes by an alternative name", None, vec![altnamed.clone()], Step::Attach),
            ("stays", Some(lan.clone()), vec![link(3, "lan")], Step::Keep),
            ("stays by an alternative name", Some(held(3, "enp1s0", &[])), vec![altnamed], Step::Keep),
            ("goes", Some(lan.clone()), vec![link(2, "eth0")], Step::Wait),
            ("was made again", Some(lan.clone()), vec![link(9, "lan")], Step::Attach),
            ("renamed", Some(lan.clone()), vec![link(3, "wan")], Step::Take(held(3, "wan", &[]))),
            (
                "renamed, and another one has its name",
                Some(lan.clone()),
                vec![link(3, "wan"), link(4, "lan")],
                Step::Attach,
            ),
            ("another MAC", Some(lan.clone()), vec![moved], Step::Take(Interface { mac: [6; 6], ..lan.clone() })),
            ("a slave joins", Some(lan), vec![bond.clone(), slave(5)], Step::Take(held(3, "lan", &[5]))),
            ("a slave leaves", Some(held(3, "lan", &[5, 6])), vec![bond, slave(6)], Step::Take(held(3, "lan", &[6]))),
        ];
        for (what, held, links, expected) in table {
            assert_eq!(Step::of("lan", held.as_ref(), &links), expected, "{what}");
        }
    }
}
