//! `vrrp_sync_group`.

use super::global::Globals;
use super::notify::{self, Notify};
use super::track::{self, Named};
use super::tree::Node;
use super::watched;
use super::words::{Context, changed, left, stranger};
use super::{carried, flag, taken};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, Model, Router, plain};

/// `vrrp_sync_group NAME { group { A B } … }`.
pub(super) fn group(node: &Node, globals: &Globals, named: &Named, ledger: &mut Ledger, model: &mut Model) {
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
            "track_script" => track::track_script(child, &named.scripts, &mut track, ledger),
            "track_file" => watched::track(child, &named.files, &mut track, ledger),
            "track_process" => watched::track(child, &named.processes, &mut track, ledger),
            "track_interface" => track::track_interface(child, &mut track, ledger),
            word if notify::WORDS.contains(&word) => notify.read(child, ledger),
            "smtp_alert" if flag(child) == Some(false) => taken(child, 1, ledger),
            _ => stranger(Context::Group, child, ledger),
        }
    }
    let (group, keys) = (plain(name), notify.keys(globals.script_user.as_deref()));
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
        if count == 1 && !keys.is_empty() {
            join(router, &keys, node, ledger);
        }
    }
    if count > 1 && !keys.is_empty() {
        model.groups.push((group, keys));
    }
}

/// The scripts of a group that is none are its member's own.
fn join(router: &mut Router, keys: &[Key], node: &Node, ledger: &mut Ledger) {
    let lines = || node.children.iter().filter(|child| notify::WORDS.contains(&child.word()));
    if router.notify.is_empty() {
        router.notify = keys.to_vec();
        lines().for_each(|line| changed(line, "it hears of the one member: INSTANCE and its name", ledger));
    } else {
        lines().for_each(|line| left(line, "the one member of the group has scripts of its own", ledger));
    }
}
