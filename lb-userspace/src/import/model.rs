//! What is to be written: sections of a `lb.toml`, most of them as keys with values that are TOML already.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// A key and its value in TOML.
pub(super) type Key = (&'static str, String);

/// The file.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// `director.interfaces`; none where the text names none.
    pub interfaces: Vec<String>,
    /// `[flows]`.
    pub flows: Vec<Key>,
    pub routers: Vec<Router>,
    /// `[sync_group.NAME]` and its keys.
    pub groups: Vec<(String, Vec<Key>)>,
    /// `[script.NAME]` and its keys.
    pub scripts: Vec<(String, Vec<Key>)>,
    pub pools: Vec<Pool>,
    pub services: Vec<Service>,
}

/// `[vrrp.NAME]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Router {
    /// As it is called there.
    pub theirs: String,
    /// NAME, once all are known.
    pub name: String,
    /// What stands above it.
    pub remarks: Vec<String>,
    /// The keys before `addresses`.
    pub keys: Vec<Key>,
    pub addresses: Vec<Vip>,
    pub preempt: Vec<Key>,
    pub announce: Vec<Key>,
    pub sync_group: Option<String>,
    /// Items of `track`.
    pub track: Vec<Vec<Key>>,
    /// The keys of its scripts.
    pub notify: Vec<Key>,
}

/// A VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vip {
    pub address: IpAddr,
    /// With its prefix length, as it was written.
    pub net: String,
    pub interface: Option<String>,
}

/// `[pool.NAME]`.
#[derive(Debug)]
pub(super) struct Pool {
    pub name: String,
    pub remarks: Vec<String>,
    pub side: Side,
    /// Firewall marks whose services aren't known.
    pub mark: Option<Mark>,
}

/// What is known of the services that a firewall marks.
#[derive(Debug)]
pub(super) struct Mark {
    /// The marks, as they are told.
    pub marks: String,
    pub scheduler: &'static str,
    pub kept: Option<Kept>,
}

/// Persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub seconds: u32,
    /// Bits of the client's address that count; `None` for all.
    pub prefix: Option<u8>,
}

/// What a service or a pool has of its reals.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub check: Option<Check>,
    pub quiesce: bool,
    pub fleet: Fleet,
    /// argv.
    pub notify: Vec<String>,
    pub reals: Vec<Real>,
}

/// What its reals do together.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    pub quorum: Option<u32>,
    pub hysteresis: u32,
    pub sorry: Option<IpAddr>,
}

/// `[service.NAME]`.
#[derive(Debug)]
pub(super) struct Service {
    pub name: String,
    pub remarks: Vec<String>,
    pub end: End,
    pub protocol: &'static str,
    pub scheduler: &'static str,
    pub kept: Option<Kept>,
    /// The pool's number in the model, or its own.
    pub side: Result<usize, Side>,
}

/// A VIP and its port; `None` for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub address: IpAddr,
    pub port: Option<u16>,
}

/// A real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Real {
    pub address: IpAddr,
    pub weight: u32,
    /// Its own, where it isn't the others'.
    pub check: Option<Check>,
}

/// `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub kind: &'static str,
    /// The keys of its kind.
    pub keys: Vec<Key>,
    /// None where the kind asks none.
    pub port: Option<u16>,
    pub interval: Duration,
    pub fast: Duration,
    pub timeout: Duration,
    pub fall: u32,
}

impl Model {
    /// Gives sections names of their own.
    pub(super) fn name_all(&mut self) {
        let mut taken = BTreeSet::new();
        for router in &mut self.routers {
            router.name = unique(&router.theirs, &mut taken);
        }
        let mut taken = BTreeSet::new();
        for pool in &mut self.pools {
            pool.name = unique(&pool.name, &mut taken);
        }
        let mut taken = BTreeSet::new();
        for service in &mut self.services {
            let End { address, port } = service.end;
            let port = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
            service.name = unique(&format!("{}-{address}-{port}", service.protocol), &mut taken);
        }
    }
}

/// Bytes of a name at most.
const NAME_BYTES: usize = 63;

/// A name that can stand in a section's header without quotes.
pub(super) fn plain(text: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '-' };
    let name: String = text.chars().map(plain).take(NAME_BYTES).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

fn unique(text: &str, taken: &mut BTreeSet<String>) -> String {
    let name = plain(text);
    let mut tried = name.clone();
    let mut number = 2_u32;
    while !taken.insert(tried.clone()) {
        let end = format!("-{number}");
        tried = name.chars().take(NAME_BYTES - end.len()).collect::<String>() + &end;
        number += 1;
    }
    tried
}

/// A text in TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts in TOML.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// A length of time in TOML.
pub(super) fn time(time: Duration) -> String {
    quoted(&humantime::format_duration(time).to_string())
}
