//! The configuration file: read, checked and explained.
//!
//! Each kind of section is one file of [`section`], which declares its keys once. [`read`] makes of the text the
//! values of those keys, each checked by itself; the sections' rules then look at what clashes, is too much or can't
//! work. Both go on after an error, so that one run names everything that is wrong, by [`report`]. [`machine`] holds an
//! accepted file against a machine, [`words`] says what it asks for, [`reference`] documents the keys.

mod doubts;
mod files;
pub mod fuzz;
pub mod machine;
mod read;
pub mod reference;
mod report;
mod section;
mod words;

use std::io::Read;
use std::path::Path;

pub use doubts::{Obstacle, doubts};
pub use files::{Unusable, check_files};
pub use read::source::{Position, Source, Span};
pub(crate) use read::value::short;
pub use report::{Diagnostic, Error};
pub(crate) use report::{foreign, text::wrap};
pub use section::check::tls::Identity;
pub use section::check::{
    Body, Check, CheckKind, Command, Damping, Dns, Grpc, Header, Http, NOBODY, Origin, Pattern, Ping, Smtp, Tcp, Tls,
    Udp, Via,
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
pub use section::service::{OnFailure, Protocol, Scheduler, Service, ServicePlaces, endpoint};
pub use section::vrrp::announce::Announce;
pub use section::vrrp::password::Password;
pub use section::vrrp::track::{Condition, Script, Track};
pub use section::vrrp::vip::Vip;
pub use section::vrrp::{Backup, Checksum, Vrrp, VrrpPlaces};
pub use section::{Config, Places};
pub use words::{MapMemory, describe};

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
}

/// Whether a section can have this name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    read::value::name(text).is_ok()
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file can't be read, isn't UTF-8, or is refused by [`parse`].
pub fn read(path: &Path) -> Result<Loaded, Error> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::whole_file(
            path,
            format!("is larger than {} MiB", MAX_BYTES >> 20),
            "give lb its own configuration file",
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(path, &text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let mut findings = Findings::default();
            // Up to `good` the lossy text and the bytes are the same, so the offset fits both.
            findings.report(good..good + 1, "this byte isn't UTF-8", "save the file as UTF-8");
            Err(findings.into_error(Source::new(path, &text)))
        }
    }
}

/// Checks `text`; `path` is only named in errors and in [`Config::path`].
///
/// # Errors
/// Everything that is wrong with it: the TOML syntax alone if that is broken, else all unknown keys, bad
/// values and clashes.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Error> {
    let source = Source::new(path, text);
    let mut findings = Findings::default();
    let file = read::file(text, &mut findings);
    let accepted = file.and_then(|file| section::accept(path, &file, &source, &mut findings));
    match accepted {
        Some((config, places)) if findings.is_empty() => Ok(Loaded { config, source, places }),
        _ => Err(findings.into_error(source)),
    }
}

#[cfg(test)]
mod tests;
