//! What was set at run time, written down so that it outlives the agent and the machine's reboot.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

use crate::host::file;
use crate::planner::overrides::Overrides;

/// What becomes of a file that can't be used when something is set.
const REFUSED: &str = "state.json.refused";

/// The file.
pub(super) fn path() -> PathBuf {
    file::state("state.json")
}

/// What was set. A file that can't be used counts as none, and the log says so.
pub(super) fn read() -> Overrides {
    let path = path();
    read_from(&path).unwrap_or_else(|why| {
        let path = path.display();
        warn!(
            "{path}: {why}: nothing that was set at run time is in force. Mend the file and start again, or set it again: \
             this one is kept as {REFUSED} then"
        );
        Overrides::default()
    })
}

fn read_from(path: &Path) -> Result<Overrides, String> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overrides::default()),
        read => read.map_err(|error| error.to_string())?,
    };
    Overrides::of_noted(serde_json::from_slice(&bytes).map_err(|error| error.to_string())?)
}

/// Replaces the file: whoever reads meanwhile, or after a power cut, has the old or the new one. One that can't be used is set
/// aside, since somebody may want to read what was in it.
///
/// # Errors
/// It can't be written.
pub(super) fn write(overrides: &Overrides) -> io::Result<()> {
    write_to(&path(), overrides)
}

fn write_to(path: &Path, overrides: &Overrides) -> io::Result<()> {
    if overrides.is_empty() && !path.exists() {
        return Ok(());
    }
    if read_from(path).is_err() {
        fs::rename(path, path.with_file_name(REFUSED))?;
    }
    file::replace(path, &overrides.noted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_files_are_told_and_a_missing_one_is_none() {
        let directory = std::env::temp_dir().join(format!("lb-kept-{}", std::process::id()));
        let path = directory.join("state.json");
        assert!(read_from(&path).unwrap().is_empty());
        write_to(&path, &Overrides::default()).unwrap();
        assert!(!path.exists(), "nothing to keep");
        fs::create_dir_all(&directory).unwrap();
        for text in ["", "{", "[]", "{\"version\":1}", "{\"version\":1,\"reals\":[{\"x\":1}]}", "\u{fffd}"] {
            fs::write(&path, text).unwrap();
            assert!(read_from(&path).is_err(), "{text}");
        }
        write_to(&path, &Overrides::default()).unwrap();
        assert!(read_from(&path).unwrap().is_empty());
        assert_eq!(fs::read_to_string(directory.join(REFUSED)).unwrap(), "\u{fffd}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
