//! Files of the agent's state: where they are, and how they are replaced.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::Serialize;

/// Where systemd's `StateDirectory=lb` is.
const STATE: &str = "/var/lib/lb";

/// The file of this name in the directory of what outlives the agent: the one that the unit gives, where one does.
#[must_use]
pub fn state(name: &str) -> PathBuf {
    let given = env::var_os("STATE_DIRECTORY").filter(|given| !given.is_empty());
    given.map_or_else(|| PathBuf::from(STATE), PathBuf::from).join(name)
}

/// Replaces a file, and makes its directory: whoever reads meanwhile, or after a power cut, has the old or the new one.
///
/// # Errors
/// It can't be written.
pub fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let staged = path.with_extension("new");
    let file = fs::File::create(&staged)?;
    let mut buffered = io::BufWriter::new(&file);
    serde_json::to_writer_pretty(&mut buffered, value)?;
    io::Write::flush(&mut buffered)?;
    drop(buffered);
    file.sync_all()?;
    fs::rename(staged, path)?;
    fs::File::open(directory)?.sync_all()
}
