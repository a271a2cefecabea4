//! Files of the agent's state: where they are, and how they are replaced.

use std::os::unix::fs::OpenOptionsExt as _;
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
    replace_with(path, 0o666, |out| serde_json::to_writer_pretty(out, value))
}

/// The same of a large file that its owner alone may read, and no people do.
///
/// # Errors
/// It can't be written.
pub fn replace_secret(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace_with(path, 0o600, |out| serde_json::to_writer(out, value))
}

fn replace_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut io::BufWriter<&fs::File>) -> serde_json::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let staged = path.with_extension("new");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
    let mut buffered = io::BufWriter::new(&file);
    write(&mut buffered)?;
    io::Write::flush(&mut buffered)?;
    drop(buffered);
    file.sync_all()?;
    fs::rename(staged, path)?;
    fs::File::open(directory)?.sync_all()
}
