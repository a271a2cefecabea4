//! `vrrp_track_file` and `vrrp_track_process`, and the lists that name them.

use std::collections::BTreeMap;

use super::track;
use super::tree::Node;
use super::words::{Context, changed, left, stranger};
use super::{number, surplus, taken};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, quoted};

/// What virtual routers track by its name: the keys of a `track`, and its weight.
pub(super) type Watched = BTreeMap<String, (Vec<Key>, i32)>;

/// `vrrp_track_file NAME { … }`. A weight counts as often as the file's number says; with none, another number than 0 is a fault.
pub(super) fn file(node: &Node, files: &mut Watched, ledger: &mut Ledger) {
    let Some(name) = node.arg() else { return left(node, "a tracked file has a name", ledger) };
    let (mut path, mut weight) = (None, 1);
    for child in &node.children {
        match child.word() {
            "file" => {
                path = child.arg().map(str::to_owned);
                taken(child, 1, ledger);
            }
            "weight" => weight = weight_of(child, ledger).unwrap_or(weight),
            "init_file" => left(child, "no file is made: one that isn't there says 0", ledger),
            _ => stranger(Context::Script, child, ledger),
        }
    }
    match path {
        Some(path) => {
            taken(node, 1, ledger);
            files.insert(name.to_owned(), (vec![("file", quoted(&path))], weight));
        }
        None => left(node, "it names no file", ledger),
    }
}

/// `vrrp_track_process NAME { … }`.
pub(super) fn process(node: &Node, processes: &mut Watched, ledger: &mut Ledger) {
    let Some(name) = node.arg() else { return left(node, "a tracked process has a name", ledger) };
    let (mut program, mut weight, mut quorum) = (None, 0, 1);
    for child in &node.children {
        match child.word() {
            "process" => {
                // What it was started with stands behind its name, in one word or in several.
                let words: Vec<&str> = child.args().into_iter().flat_map(str::split_whitespace).collect();
                program = words.first().map(|word| (*word).to_owned());
                if words.len() > 1 {
                    changed(child, "its name alone counts, whatever it was started with", ledger);
                } else {
                    taken(child, 1, ledger);
                }
            }
            "weight" => weight = weight_of(child, ledger).unwrap_or(weight),
            "quorum" => {
                if let Some(count) = number::<u32>(child, ledger) {
                    quorum = count;
                    taken(child, 1, ledger);
                }
            }
            "quorum_max" => left(child, "it isn't there: more processes than enough are no fault", ledger),
            "delay" | "fork_delay" | "terminate_delay" => {
                changed(child, "processes are looked for at an `interval`, 2s without one", ledger);
            }
            "param_match" | "full_command" => {
                changed(child, "its name alone counts, whatever it was started with", ledger)
            }
            _ => stranger(Context::Script, child, ledger),
        }
    }
    match program {
        Some(program) => {
            taken(node, 1, ledger);
            let mut keys: Vec<Key> = vec![("process", quoted(&program))];
            keys.extend((quorum != 1).then(|| ("count", quorum.to_string())));
            processes.insert(name.to_owned(), (keys, weight));
        }
        None => left(node, "it names no process", ledger),
    }
}

fn weight_of(node: &Node, ledger: &mut Ledger) -> Option<i32> {
    let weight = number::<i32>(node, ledger)?;
    match node.args()[..] {
        [_, "reverse"] => changed(node, "`reverse` isn't there: the weight has the other sign", ledger),
        [_] => taken(node, 1, ledger),
        _ => surplus(node, 1, ledger),
    }
    Some(if node.args().get(1) == Some(&"reverse") { -weight } else { weight })
}

/// `track_file { NAME [weight N] }` or `track_process { … }`, of a virtual router or of its group.
pub(super) fn track(node: &Node, known: &Watched, track: &mut Vec<Vec<Key>>, ledger: &mut Ledger) {
    super::carried(node, ledger);
    for child in &node.children {
        let Some((keys, usual)) = known.get(child.word()) else {
            left(child, format!("there is no vrrp_{} of this name", node.word()), ledger);
            continue;
        };
        let Some((weight, reverse)) = track::weight(child, ledger) else { continue };
        if reverse == Some(true) {
            left(child, "`reverse` isn't there: write the weight with the other sign", ledger);
            continue;
        }
        track::add(keys.clone(), weight.unwrap_or(*usual), child, track, ledger);
    }
}
