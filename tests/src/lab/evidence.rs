//! What a failed test leaves for its reader: the logs and captures of its lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};

use super::process::tail;

/// Copies every log and capture below `dir` to `target/lab/TEST/`, and prints where they are and how the logs end.
pub(crate) fn keep(dir: &Path) -> Result<()> {
    let current = thread::current();
    let test = current.name().unwrap_or("main").replace("::", ".");
    let to = directory()?.join(&test);
    // What an earlier failure has left is of no use any more, and may not be there.
    let _ = fs::remove_dir_all(&to);
    for file in files(dir) {
        let inside = file.strip_prefix(dir)?.to_string_lossy().replace('/', ".");
        let copy = to.join(inside);
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        fs::copy(&file, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        eprintln!("--- {}", copy.display());
        if is(&copy, "log") {
            let log = fs::read(&copy)?;
            eprintln!("{}", tail(&String::from_utf8_lossy(&log)));
        }
    }
    Ok(())
}

/// `target/lab`, of the target directory that the running program was built in.
fn directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists())
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf);
    Ok(target.join("lab"))
}

/// Logs and captures in the hosts' directories and in the lab's own.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            // Never through a link: the directory is not only ours to fill.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(path),
                Ok(kind) if kind.is_file() && (is(&path, "log") || is(&path, "pcap")) => {
                    found.push(path);
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}
