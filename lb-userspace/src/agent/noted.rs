//! What an agent writes down for those that come after it: small files of JSON in its directory, replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::RUN;

/// The file of this name.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// What was written down; `None` where nothing was, or nothing that can be read.
pub(super) fn read<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(path(name)).ok()?).ok()
}

/// Removes what was written down, if anything was.
///
/// # Errors
/// The directory can't be written to.
pub(super) fn forget(name: &str) -> io::Result<()> {
    match fs::remove_file(path(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces what was written down: whoever reads meanwhile has the old or the new one.
///
/// # Errors
/// The directory can't be written to.
pub(super) fn write<T: Serialize + ?Sized>(name: &str, value: &T) -> io::Result<()> {
    let staged = path(name).with_extension("new");
    fs::write(&staged, serde_json::to_vec(value).map_err(io::Error::other)?)?;
    fs::rename(staged, path(name))
}
