//! Taking a lab away, by its name alone: the same for one that is closed, one that was interrupted, and one whose
//! owner was killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::namespace;
use super::process::kill_all;
use super::sys;

/// Labs of this process that are to be taken away when it ends.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Read by whoever is making a lab, written by whoever takes all of them away: what is half made can't be found.
static MAKING: RwLock<()> = RwLock::new(());

const OWNER: &str = "owner";
const KEPT: &str = "kept";

/// A lab's name on this machine, `lbPID-XXXX`, which starts the name of each of its namespaces; and its directory. The
/// owner holds a lock in there for as long as it lives, however it ends.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    dir: PathBuf,
    _lock: File,
}

impl Claim {
    /// Makes a name that no other lab has.
    pub(crate) fn new() -> Result<Self> {
        let random = RandomState::new().hash_one(std::time::Instant::now()) & 0xffff;
        let name = format!("lb{}-{random:04x}", std::process::id());
        let dir = dir(&name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut lock = File::create(dir.join(OWNER))?;
        lock.lock()?;
        // The lock counts for others from the moment that the file isn't empty.
        writeln!(lock, "{}", std::process::id())?;
        live().insert(name.clone());
        Ok(Self { name, dir, _lock: lock })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the lab to itself: neither this process nor a later one takes it away unasked.
    pub(crate) fn keep(&self) -> Result<()> {
        fs::write(self.dir.join(KEPT), "")?;
        live().remove(&self.name);
        Ok(())
    }

    /// Takes the lab away.
    pub(crate) fn remove(&self) -> Result<()> {
        live().remove(&self.name);
        take_away(&self.name)
    }
}

/// Takes every lab of this process away, for a program that is about to end without running its destructors: on
/// SIGINT, or in a panic hook.
pub fn cleanup() {
    let _none_is_made = MAKING.write().unwrap_or_else(PoisonError::into_inner);
    take_own_away();
}

/// Holds [`cleanup`] back for as long as the guard lives.
pub(crate) fn making() -> RwLockReadGuard<'static, ()> {
    MAKING.read().unwrap_or_else(PoisonError::into_inner)
}

fn take_own_away() {
    let names = std::mem::take(&mut *live());
    for name in names {
        if let Err(error) = take_away(&name) {
            eprintln!("lab {name} is not all gone: {error:#}");
        }
    }
}

/// Makes SIGINT and SIGTERM run [`cleanup`] and then end this process, with the status that a shell gives for the
/// signal.
///
/// # Errors
/// When the handlers can't be installed.
pub fn cleanup_on_signal() -> Result<()> {
    let mut arrived =
        sys::signals_to_pipe(&[Signal::SIGINT, Signal::SIGTERM]).context("cannot handle SIGINT and SIGTERM")?;
    let wait = move || {
        let mut signal = [0];
        if arrived.read_exact(&mut signal).is_ok() {
            // Held until the end: no other lab is begun.
            let _none_is_made = MAKING.write().unwrap_or_else(PoisonError::into_inner);
            take_own_away();
            std::process::exit(128 + i32::from(signal[0]));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Takes away the labs whose owner was killed, and returns their names. Those that were kept on purpose stay.
///
/// # Errors
/// When one can't be removed.
pub fn sweep() -> Result<Vec<String>> {
    remove_all(|name| is_abandoned(name) && !dir(name).join(KEPT).exists())
}

/// Takes away the labs that were kept on purpose, and returns their names.
///
/// # Errors
/// When one can't be removed.
pub fn sweep_kept() -> Result<Vec<String>> {
    remove_all(|name| dir(name).join(KEPT).exists())
}

/// Takes a lab away by its name, whoever owns it: a kept one, after its keeper has seen enough.
///
/// # Errors
/// When `lab` is no lab's name, or something can't be removed.
pub fn remove(lab: &str) -> Result<()> {
    ensure!(lab_name(lab) == Some(lab), "{lab:?} is not the name of a lab");
    take_away(lab)
}

fn remove_all(mut condition: impl FnMut(&str) -> bool) -> Result<Vec<String>> {
    let in_temp = fs::read_dir(std::env::temp_dir()).into_iter().flatten();
    let dirs = in_temp.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let labs: BTreeSet<_> =
        dirs.chain(namespace::names()).filter_map(|name| lab_name(&name).map(str::to_owned)).collect();
    let mut removed = Vec::new();
    for name in labs {
        if condition(&name) {
            take_away(&name)?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Ends the processes, then removes the namespaces, then the files.
fn take_away(name: &str) -> Result<()> {
    let start = format!("{name}-");
    let mut namespaces = namespace::names();
    namespaces.retain(|namespace| namespace.starts_with(&start));
    // A process may start another while it is being ended.
    for _ in 0..3 {
        let processes = namespace::processes(&namespaces);
        if processes.is_empty() {
            break;
        }
        kill_all(&processes)?;
    }
    for namespace in &namespaces {
        namespace::remove(namespace)?;
    }
    let dir = dir(name);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a lab's owner is gone: no process has its id, or (the id was given out again) its lock is free.
fn is_abandoned(name: &str) -> bool {
    let pid = name.trim_start_matches("lb").split('-').next();
    if !pid.is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
        return true;
    }
    let owner = dir(name).join(OWNER);
    let claimed = fs::metadata(&owner).is_ok_and(|meta| meta.len() > 0);
    claimed && File::open(&owner).is_ok_and(|file| file.try_lock().is_ok())
}

fn dir(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// The lab's own part of a name: `lb4123-0a5f` of `lb4123-0a5f-client`, nothing of what is no lab's.
fn lab_name(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("lb")?;
    let (pid, rest) = rest.split_once('-')?;
    let random = rest.split('-').next()?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    let is_random = random.len() == 4 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !(is_pid && is_random) {
        return None;
    }
    name.get(.."lb-".len() + pid.len() + random.len())
}

fn live() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_labs_names_are_taken_for_one() {
        assert_eq!(lab_name("lb4123-0a5f-client"), Some("lb4123-0a5f"));
        assert_eq!(lab_name("lb4123-0a5f-real-1"), Some("lb4123-0a5f"));
        assert_eq!(lab_name("lb4123-0a5f"), Some("lb4123-0a5f"));
        for other in ["", "lb", "lb-0a5f", "lb12-xyzw-a", "lb12-0a5", "web", "lbx-0a5f-a", "lb1"] {
            assert_eq!(lab_name(other), None, "{other}");
        }
    }
}
