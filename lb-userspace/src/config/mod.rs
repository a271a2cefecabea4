//! The configuration: read, checked and explained.
//!
//! [`Texts`] are its files, which are joined to one table as a host reads it. Each kind of section is one file of [`section`], which declares its keys once. [`read`] makes of the text the
//! values of those keys, each checked by itself; the sections' rules then look at what clashes, is too much or can't
//! work. Both go on after an error, so that one run names everything that is wrong, by [`report`]. [`machine`] holds an
//! accepted file against a machine, [`words`] says what it asks for, [`reference`] documents the keys.

mod doubts;
mod files;
pub mod fuzz;
mod gather;
pub mod machine;
mod read;
pub mod reference;
mod report;
mod section;
mod show;
mod words;

use std::path::Path;

pub use doubts::{Here, Obstacle, doubts};
pub use files::{Unusable, check_files};
pub use gather::Texts;
pub use read::source::{Position, Source, Span};
pub(crate) use read::value::short;
pub use report::{Diagnostic, Error};
pub(crate) use report::{foreign, text::wrap};
pub use section::check::tls::Identity;
pub use section::check::{
    Body, Check, CheckKind, Command, Damping, Dns, Grpc, Header, Http, NOBODY, Origin, Owner, Pattern, Ping, Smtp, Tcp,
    Tls, Udp, Version, Via,
};
pub use section::checks::{Checks, Join};
pub use section::director::{Director, Mode, WhenAgentDies};
pub use section::fleet::Fleet;
pub use section::flows::Flows;
pub use section::limits::Limits;
pub use section::notify::Notify;
pub use section::peers::{PORT as PEERS_PORT, Peers};
pub use section::persistence::Persistence;
pub use section::pool::{Pool, PoolPlaces};
pub use section::real::{Real, RealPlaces, Reals};
pub use section::script::Script;
pub use section::service::ports::is_meant;
pub use section::service::{OnFailure, Protocol, Scheduler, Service, ServicePlaces, endpoint};
pub use section::sync_group::SyncGroup;
pub use section::vrrp::announce::Announce;
pub use section::vrrp::password::Password;
pub use section::vrrp::scripts::{On, Scripts, Style};
pub use section::vrrp::track::{Condition, Track};
pub use section::vrrp::vip::Vip;
pub use section::vrrp::{Backup, Checksum, Vrrp, VrrpPlaces};
pub use section::{Config, Places};
pub use show::show;
pub use words::{MapMemory, describe};

use crate::host;
use read::join::Joined;
use report::Findings;

/// A larger file is a mistake (a device, a log): 10,000 reals need less than 1 MiB.
pub const MAX_BYTES: u64 = 64 << 20;

/// An accepted file, with where in its text each thing was said.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Its text, for errors that are found later (see [`machine`]).
    pub source: Source,
    /// Where its items stand in the text.
    pub places: Places,
    /// Whose settings they are.
    pub hosts: Hosts,
}

/// The hosts that a configuration has settings for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Each `[on.HOST]`, with its place.
    pub all: Vec<toml::Spanned<String>>,
    /// The one that it was read as.
    pub own: Option<String>,
    /// The name that it was looked for by; empty where it was read as nobody.
    pub name: String,
}

/// Whether a section, or a port of one, can have this name.
#[must_use]
pub fn is_service(text: &str) -> bool {
    let (section, port) = text.split_once(':').map_or((text, None), |(section, port)| (section, Some(port)));
    read::value::name(section).is_ok() && port.is_none_or(section::service::ports::is_port)
}

/// Reads and checks the file at `path` with what it includes, for this host.
///
/// # Errors
/// The file can't be read, or is refused by [`accept`].
pub fn read(path: &Path) -> Result<Loaded, Error> {
    accept(&Texts::gather(path)?, &host::name())
}

/// Checks the text of one file, for a host that it has nothing of its own for; `path` is only named in errors and in [`Config::path`].
///
/// # Errors
/// As [`accept`] does.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Error> {
    accept(&Texts::one(path, text), "")
}

/// Checks the files' texts as the host of this name reads them, and as every other does that they name: so that all
/// directors refuse the same.
///
/// # Errors
/// Everything that is wrong with them: what can't be read or isn't TOML alone, else all unknown keys, bad values and
/// clashes.
pub fn accept(texts: &Texts, host: &str) -> Result<Loaded, Error> {
    let source = texts.source();
    let mut findings = Findings::default();
    texts.report(&source, &mut findings);
    let joined = findings.is_empty().then(|| Joined::parse(&source, &section::NAMED, &mut findings)).flatten();
    let Some(joined) = joined else { return Err(findings.into_error(source)) };
    let mut seen_by = |host: Option<&str>, way: &str| {
        let mut found = Findings::default();
        let file = read::file(&joined.of(host), &mut found);
        let accepted = section::accept(texts.path(), &file, &source, &mut found);
        findings.add(found, way);
        accepted
    };
    let own = joined.find(host);
    let accepted = seen_by(own, "");
    for other in joined.hosts().map(|host| host.get_ref().as_str()).filter(|other| Some(*other) != own) {
        seen_by(Some(other), &format!("on {}: ", short(other)));
    }
    let hosts = Hosts { all: joined.hosts().cloned().collect(), own: own.map(str::to_owned), name: host.to_owned() };
    match accepted {
        Some((config, places)) if findings.is_empty() => Ok(Loaded { config, source: source.clone(), places, hosts }),
        _ => Err(findings.into_error(source.clone())),
    }
}

#[cfg(test)]
mod tests;
