//! The keys as documentation: docs/configuration.md's tables and the JSON schema, from the declarations.

use serde_json::{Value as Json, json};

use super::read::{Declared, Keys, schema};
use super::section::File;
use super::section::check::tls::TlsKeys;
use super::section::check::{self, CheckKeys};
use super::section::director::DirectorKeys;
use super::section::fleet::FleetKeys;
use super::section::flows::FlowsKeys;
use super::section::limits::LimitsKeys;
use super::section::metrics::MetricsKeys;
use super::section::peers::PeersKeys;
use super::section::pool::PoolKeys;
use super::section::real::RealKeys;
use super::section::script::ScriptKeys;
use super::section::service::{SCHEDULERS, ServiceKeys, scheduler_doc};
use super::section::sync_group::SyncGroupKeys;
use super::section::vrrp::VrrpKeys;
use super::section::vrrp::announce::AnnounceKeys;
use super::section::vrrp::track::TrackKeys;
use super::section::vrrp::vip::VipKeys;

/// The tables of docs/configuration.md by their names. Each stands there between `<!-- keys: NAME -->` and
/// `<!-- end -->`.
#[must_use]
pub fn tables() -> Vec<(String, String)> {
    let mut tables = vec![
        ("files".to_owned(), table(&File::declared().into_iter().take(2).collect::<Vec<_>>())),
        ("director".to_owned(), table(&DirectorKeys::declared())),
        ("flows".to_owned(), table(&FlowsKeys::declared())),
        ("limits".to_owned(), table(&LimitsKeys::declared())),
        ("peers".to_owned(), table(&PeersKeys::declared())),
        ("metrics".to_owned(), table(&MetricsKeys::declared())),
        ("vrrp".to_owned(), table(&VrrpKeys::declared())),
        ("addresses".to_owned(), table(&VipKeys::declared())),
        ("announce".to_owned(), table(&AnnounceKeys::declared())),
        ("track".to_owned(), table(&TrackKeys::declared())),
        ("sync_group".to_owned(), table(&SyncGroupKeys::declared())),
        ("script".to_owned(), table(&ScriptKeys::declared())),
        ("pool".to_owned(), table(&PoolKeys::declared())),
        ("service".to_owned(), table(&ServiceKeys::declared())),
        ("scheduler".to_owned(), schedulers()),
        ("reals".to_owned(), table(&RealKeys::declared())),
        ("fleet".to_owned(), table(&FleetKeys::declared())),
        ("check".to_owned(), table(&CheckKeys::declared())),
        ("check types".to_owned(), kinds()),
        ("check tls".to_owned(), table(&TlsKeys::declared())),
    ];
    let own = check::kinds().map(|kind| (format!("check {}", kind.word), (kind.declared)()));
    tables.extend(own.filter(|(_, keys)| !keys.is_empty()).map(|(name, keys)| (name, table(&keys))));
    tables
}

/// `page` with each of its tables written anew.
///
/// # Errors
/// The name of a table that the page has no place for.
pub fn rewrite(page: &str) -> Result<String, String> {
    let mut page = page.to_owned();
    for (name, table) in tables() {
        let start = format!("<!-- keys: {name} -->\n");
        let (before, rest) = page.split_once(&start).ok_or_else(|| name.clone())?;
        let (_, after) = rest.split_once("<!-- end -->").ok_or_else(|| name.clone())?;
        page = format!("{before}{start}\n{table}\n<!-- end -->{after}");
    }
    Ok(page)
}

/// A JSON schema of the file, for editors that complete and check TOML by one.
#[must_use]
pub fn json_schema() -> Json {
    let mut file = schema(File::declared());
    let own = own(&file);
    if let Some(on) = file.pointer_mut("/properties/on/additionalProperties") {
        *on = own;
    }
    if let Some(object) = file.as_object_mut() {
        object.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        object.insert("title".to_owned(), json!("The configuration of lb"));
    }
    file
}

/// What a host may have of its own: the same sections, which need have no key. A key's value is whole.
fn own(file: &Json) -> Json {
    let mut own = file.clone();
    let object = own.as_object_mut();
    object.map(|object| object.remove("required"));
    for section in
        own.pointer_mut("/properties").and_then(Json::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        section.as_object_mut().map(|section| section.remove("required"));
        section.pointer_mut("/additionalProperties").and_then(Json::as_object_mut).map(|one| one.remove("required"));
    }
    for key in ["include", "on"] {
        own.pointer_mut("/properties").and_then(Json::as_object_mut).map(|all| all.remove(key));
    }
    own
}

fn table(keys: &[Declared]) -> String {
    let mut table = "| key | default | values | |\n|---|---|---|---|\n".to_owned();
    for key in keys {
        let cells = [format!("`{}`", key.name), key.default.clone(), key.values.clone(), plain(key.doc)];
        table += &format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    table
}

/// A line of doc that was broken in the source.
fn plain(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn schedulers() -> String {
    let mut table = "| scheduler | picks | keeps |\n|---|---|---|\n".to_owned();
    for (word, scheduler) in SCHEDULERS.0 {
        let (picks, keeps) = scheduler_doc(*scheduler);
        table += &format!("| `{word}` | {picks} | {keeps} |\n");
    }
    table
}

fn kinds() -> String {
    let mut table = "| type | wants |\n|---|---|\n".to_owned();
    for kind in check::kinds() {
        table += &format!("| `{}` | {} |\n", kind.word, kind.wants);
    }
    table
}
