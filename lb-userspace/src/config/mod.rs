//! The configuration file: read, checked and explained.
//!
//! Text becomes a checked [`Config`] in two steps. [`raw`] reads the shape: which keys stand where, and
//! whether each value by itself is one. [`accept`] looks at the whole: what clashes, what is too much, what
//! can't work. Both go on after an error, so that one run names everything that is wrong. [`system`] then
//! holds an accepted file against a machine.

mod accept;
pub mod describe;
pub mod diagnose;
pub mod model;
mod raw;
mod secret;
mod section;
pub mod source;
mod suggest;
mod syntax;
pub mod system;
mod text;
mod value;

use std::io::Read;
use std::path::Path;

pub use describe::{MapMemory, describe};
pub use diagnose::{Diagnostic, Error};
pub use model::*;
pub use source::Source;

use diagnose::Findings;

/// A larger file is a mistake (a device, a log): 10,000 reals need less than 1 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// An accepted file, with where in its text each thing was said.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Its text and places, for errors that are found later (see [`system`]).
    pub source: Source,
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
    let mut source = Source::new(path, text);
    let mut findings = Findings::default();
    let accepted = raw::read(text, &mut findings).and_then(|file| accept::accept(path, &file, &source, &mut findings));
    match accepted {
        Some((config, places)) if findings.is_empty() => {
            source.places = places;
            Ok(Loaded { config, source })
        }
        _ => Err(findings.into_error(source)),
    }
}

#[cfg(test)]
mod tests;
