//! `vrrp_sync_group`.

use super::notify::{self, Notify};
use super::track::{self, Scripts};
use super::tree::Node;
use super::words::{Context, changed, left, stranger};
use super::{carried, flag, taken};
use crate::import::ledger::Ledger;
use crate::import::model::{Model, Router, plain};

/// `vrrp_sync_group NAME { group { A B } … }`.
pub(super) fn group(node: &Node, scripts: &Scripts, ledger: &mut Ledger, model: &mut Model) {
    let Some(name) = node.arg() else { return left(node, "a group has a name", ledger) };
    taken(node, 1, ledger);
    let mut members: Vec<String> = Vec::new();
    let mut track = Vec::new();
    let mut notify = Notify::default();
    for child in &node.children {
        match child.word() {
            "group" => {
                carried(child, ledger);
                for line in &child.children {
                    carried(line, ledger);
                    for member in &line.words {
                        if model.routers.iter().any(|router| router.theirs == *member) {
                            members.push(member.clone());
                        } else {
                            left(line, format!("no instance {member} was carried over"), ledger);
                        }
                    }
                }
            }
            "track_script" => track::track_script(child, scripts, &mut track, ledger),
            "track_interface" => track::track_interface(child, &mut track, ledger),
            word if notify::WORDS.contains(&word) => notify.read(child, ledger),
            "smtp_alert" if flag(child) == Some(false) => taken(child, 1, ledger),
            _ => stranger(Context::Group, child, ledger),
        }
    }
    let group = plain(name);
    let mut is_first = true;
    let of = |router: &Router| {
        members.iter().any(|member| {
            router.theirs == *member || router.sync_group.as_deref() == Some(&format!("{member}-both")[..])
        })
    };
    let count = model.routers.iter().filter(|router| of(router)).count();
    if count == 1 {
        changed(node, "a group of one is none: `sync_group` is left out", ledger);
    }
    for router in model.routers.iter_mut().filter(|router| of(router)) {
        router.sync_group = (count > 1).then(|| group.clone());
        for item in &track {
            if !router.track.iter().any(|known| known.first() == item.first()) {
                router.track.push(item.clone());
            }
        }
        if std::mem::take(&mut is_first) {
            join(router, &notify, name);
        }
    }
}

/// The first member of a group tells the group's scripts: all change state together.
fn join(router: &mut Router, notify: &Notify, group: &str) {
    let priority = router.keys.iter().find(|(key, _)| *key == "priority").and_then(|(_, value)| value.parse().ok());
    let script = notify.script("GROUP", group, priority.unwrap_or(100));
    if script.is_empty() {
        return;
    }
    match router.notify.get_mut(2) {
        Some(own) => *own = format!("{own}; {script}"),
        None => router.notify = notify.argv("GROUP", group, priority.unwrap_or(100)),
    }
}
