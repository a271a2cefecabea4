//! keepalived.conf (keepalived.conf.5).
//!
//! [`source`] makes lines of the text, [`tree`] blocks of the lines; the other files each read one kind of block, and
//! tell of every statement in it what became of it. What none of them knows is in [`words`], or unknown.

mod check;
mod define;
mod global;
mod group;
mod hooks;
mod notify;
mod server;
mod source;
mod together;
mod track;
mod tree;
mod vrrp;
mod watched;
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::ledger::{Fate, Ledger};
use super::model::Model;
use super::{Files, Options};
use global::Globals;
use tree::Node;
use words::{Context, carried, stranger};

/// Reads a file and what it includes.
pub(super) fn read(
    path: &Path,
    text: &str,
    options: &Options,
    files: &dyn Files,
    ledger: &mut Ledger,
    model: &mut Model,
) -> Result<(), Error> {
    let lines = source::Reader::new(&options.host, files, ledger).read(path, text)?;
    let nodes = tree::build(lines, ledger)?;
    if !nodes.is_empty() && !nodes.iter().any(|node| TOP.contains(&node.word())) {
        return Err(Error::whole(
            path.display().to_string(),
            "it has no block of keepalived's and no command of ipvsadm's",
            "give a keepalived.conf, or what `ipvsadm-save -n` or `ipvsadm -Ln` prints",
        ));
    }
    let mut globals = Globals::default();
    let of = |word: &'static str| nodes.iter().filter(move |node| node.word() == word);
    for node in of("global_defs") {
        globals.read(node, ledger, model);
    }
    let mut named = track::Named::default();
    for node in of("vrrp_script") {
        track::script(node, globals.script_user.as_deref(), &mut named.scripts, ledger);
    }
    for node in of("vrrp_track_file").chain(of("track_file")) {
        watched::file(node, &mut named.files, ledger);
    }
    for node in of("vrrp_track_process").chain(of("track_process")) {
        watched::process(node, &mut named.processes, ledger);
    }
    for node in of("vrrp_instance") {
        vrrp::instance(node, &globals, &named, ledger, model);
    }
    for node in of("vrrp_sync_group") {
        group::group(node, &globals, &named, ledger, model);
    }
    track::write(&named.scripts, model);
    let mut groups = BTreeMap::new();
    for node in of("virtual_server_group") {
        server::group(node, &mut groups, ledger);
    }
    for node in of("virtual_server") {
        server::server(node, &groups, ledger, model);
    }
    server::unnamed(&nodes, &groups, ledger);
    for node in nodes.iter().filter(|node| !READ.contains(&node.word())) {
        stranger(Context::Top, node, ledger);
    }
    vrrp::interfaces(model);
    Ok(())
}

/// The blocks that are read.
const READ: [&str; 10] = [
    "global_defs",
    "vrrp_script",
    "vrrp_track_file",
    "track_file",
    "vrrp_track_process",
    "track_process",
    "vrrp_instance",
    "vrrp_sync_group",
    "virtual_server_group",
    "virtual_server",
];

/// What shows that a text is keepalived's.
const TOP: [&str; 12] = [
    "global_defs",
    "vrrp_script",
    "vrrp_instance",
    "vrrp_sync_group",
    "virtual_server_group",
    "virtual_server",
    "static_ipaddress",
    "static_routes",
    "bfd_instance",
    "vrrp_track_process",
    "vrrp_track_file",
    "track_file",
];

/// Seconds with a fraction, as keepalived's timers are.
fn seconds(text: &str) -> Option<Duration> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse::<f64>().ok().filter(|_| plain)?;
    let micros = Duration::try_from_secs_f64(seconds).ok()?.as_micros();
    Some(Duration::from_micros(u64::try_from(micros).ok()?))
}

/// A `<BOOL>`, which is true where it has no word.
fn flag(node: &Node) -> Option<bool> {
    match node.arg() {
        None | Some("on" | "true" | "yes") => Some(true),
        Some("off" | "false" | "no") => Some(false),
        Some(_) => None,
    }
}

/// The number behind a word; else tells that there is none.
fn number<T: std::str::FromStr>(node: &Node, ledger: &mut Ledger) -> Option<T> {
    let read = node.arg().and_then(|text| text.parse().ok());
    if read.is_none() {
        words::left(node, "it has no number that could be read: write it by hand", ledger);
    }
    read
}

/// The time behind a word; else tells that there is none.
fn timer(node: &Node, ledger: &mut Ledger) -> Option<Duration> {
    let read = node.arg().and_then(seconds);
    if read.is_none() {
        words::left(node, "it has no time in seconds that could be read: write it by hand", ledger);
    }
    read
}

/// Tells of words behind those that a statement has.
fn surplus(node: &Node, takes: usize, ledger: &mut Ledger) {
    let more: Vec<String> = node.words.iter().skip(takes + 1).cloned().collect();
    if !more.is_empty() {
        ledger.note(&node.own(), Fate::Unknown, node.what(), format!("\"{}\" isn't known there", more.join(" ")));
    }
}

/// A statement that has been taken, with so many words behind its first.
fn taken(node: &Node, takes: usize, ledger: &mut Ledger) {
    carried(node, ledger);
    surplus(node, takes, ledger);
}
