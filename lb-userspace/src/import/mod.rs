//! `lb import`: a `lb.toml` out of a keepalived.conf, of what `ipvsadm` prints or of `/proc/net/ip_vs`, with a report on
//! every line of it.
//!
//! Pure: text in, text and report out; whoever calls reads files (`include`) for it. [`keepalived`] and [`ipvsadm`]
//! read the two languages into [`lvs`]'s virtual servers and the [`model`]'s virtual routers; [`write`] makes the file
//! of the model. Each of them tells the [`ledger`] what became of the lines that it took; what nobody took is told as
//! unknown, so that no line is lost. The file is then held against `lb check`'s own reader, and what that refuses is
//! left to be finished, with its line.

mod error;
mod format;
pub mod fuzz;
mod ipvsadm;
mod keepalived;
mod ledger;
mod lvs;
mod model;
mod report;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use ledger::Fate;
pub use report::{Entry, Report, Unfinished};

use crate::config;
use ledger::Ledger;
use model::Model;

/// What an import can't know from the text.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The config id that keepalived's `@` conditions are held against: by default the host's name up to its first dot.
    pub host: String,
    /// `director.interfaces`; where it is empty, those that the text puts VIPs on.
    pub interfaces: Vec<String>,
}

/// The files beside the one that is imported.
pub trait Files {
    /// The files that a pattern without braces names, in order; none is no error.
    ///
    /// # Errors
    /// A directory can't be read.
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;

    /// A file's text.
    ///
    /// # Errors
    /// It can't be read.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The text of a `lb.toml`.
    pub toml: String,
    /// What became of each line.
    pub report: Report,
}

/// Larger texts are mistakes.
pub const MAX_BYTES: usize = 16 << 20;

/// Imports a text. `path` is where it came from: for messages, and for what it includes.
///
/// # Errors
/// The text can't be understood as a whole: it is none of theirs, a block or quote isn't closed, a file that it includes
/// can't be read.
pub fn import(path: &Path, text: &str, options: &Options, files: &dyn Files) -> Result<Imported, Error> {
    let mut ledger = Ledger::default();
    let mut model = Model::default();
    let name = path.display().to_string();
    if text.len() > MAX_BYTES {
        let message = format!("it is larger than {} MiB", MAX_BYTES >> 20);
        return Err(Error::whole(name, message, "give a keepalived.conf, or what `ipvsadm-save -n` prints"));
    }
    if text.contains('\0') {
        return Err(Error::whole(name, "it has a zero byte: it is no text", "give the file that keepalived reads"));
    }
    match format::of(text) {
        None => return Err(Error::whole(name, "it has nothing in it to import", "give the file that is in use")),
        Some(format::Format::Save) => ipvsadm::save(&name, text, &mut ledger, &mut model),
        Some(format::Format::Listing) => ipvsadm::listing(&name, text, &mut ledger, &mut model),
        Some(format::Format::Keepalived) => keepalived::read(path, text, options, files, &mut ledger, &mut model)?,
    }
    if !ledger.has_notes() {
        return Err(Error::whole(name, "there is no service in it", "look with `ipvsadm -Ln` whether IPVS has any"));
    }
    if !options.interfaces.is_empty() {
        model.interfaces.clone_from(&options.interfaces);
    }
    model.name_all();
    let toml = write::file(&name, &model);
    let report = ledger.report(options, unfinished(&toml));
    Ok(Imported { toml, report })
}

/// What `lb check` refuses of the file, wherever it is held against.
fn unfinished(toml: &str) -> Vec<Unfinished> {
    let Err(error) = config::parse(Path::new("lb.toml"), toml) else { return Vec::new() };
    let one = |diagnostic: &config::Diagnostic| Unfinished {
        line: error.position(diagnostic).map(|position| position.line),
        message: diagnostic.message.clone(),
        mend: diagnostic.mend.clone(),
    };
    error.diagnostics().iter().map(one).collect()
}

#[cfg(test)]
mod tests;
