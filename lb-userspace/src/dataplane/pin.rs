//! Where the maps and links are pinned.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::attach::remove;
use super::changes::{Change, Changes};
use super::{Error, Hook, layout};

/// Where bpffs is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The links' names start so, in the driver and behind the socket buffers; an interface's index follows, or a
/// tracepoint's name.
const LINK: &str = "link-";
const TC: &str = "tc-";

/// The directory of one layout of the maps: `/sys/fs/bpf/lb/DIGEST`, by default this version's.
#[derive(Debug, Clone)]
pub struct Pins {
    root: PathBuf,
    directory: PathBuf,
}

impl Default for Pins {
    fn default() -> Self {
        Self::under(Path::new(BPFFS))
    }
}

impl Pins {
    /// The pins under another mount of bpffs.
    pub fn under(bpffs: &Path) -> Self {
        let root = bpffs.join("lb");
        Self { directory: root.join(layout::digest()), root }
    }

    /// The pins that other versions left.
    pub fn others(&self) -> Vec<Self> {
        let entries = fs::read_dir(&self.root).into_iter().flatten();
        let directories = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let others = directories.filter(|directory| *directory != self.directory && directory.is_dir());
        others.map(|directory| Self { root: self.root.clone(), directory }).collect()
    }

    /// A map's pin.
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The pin of the link of the interface with this index.
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("{LINK}{ifindex}"))
    }

    /// The pin of the link behind the socket buffers of the interface with this index.
    pub fn tc(&self, ifindex: u32) -> PathBuf {
        self.directory.join(format!("{TC}{ifindex}"))
    }

    /// The pin of the link of a program at a tracepoint.
    pub(super) fn watch(&self, tracepoint: &str) -> PathBuf {
        self.directory.join(format!("{LINK}{tracepoint}"))
    }

    /// Whether something is pinned.
    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// The directory of the maps and links.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The interfaces that the program runs on.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn linked(&self) -> Result<Vec<u32>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::pin(&self.directory, error)),
        };
        let index = |name: &OsStr| {
            let name = name.to_str()?;
            name.strip_prefix(LINK).or_else(|| name.strip_prefix(TC))?.parse().ok()
        };
        let mut linked: BTreeSet<u32> =
            entries.filter_map(Result::ok).filter_map(|entry| index(&entry.file_name())).collect();
        linked.extend(Changes::open(self)?.iter().flat_map(Changes::filtered));
        Ok(linked.into_iter().collect())
    }

    /// Takes the program off an interface, and gives back what was changed there.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn detach(&self, ifindex: u32) -> Result<(), Error> {
        remove(&self.link(ifindex))?;
        self.detach_tc(ifindex)?;
        self.restore_offloads(ifindex)
    }

    /// Where a link or a filter that is kept here has a program on an interface.
    pub(super) fn hook(&self, ifindex: u32) -> Hook {
        let filtered = || Changes::open(self).ok().flatten().is_some_and(|held| held.filtered().contains(&ifindex));
        if self.tc(ifindex).exists() || filtered() { Hook::Tc } else { Hook::Native }
    }

    /// Moves an interface's links to another directory, whatever program they have, and what was changed there.
    ///
    /// # Errors
    /// They can't be moved: what was moved stays so, and the next call goes on.
    pub fn hand_over(&self, ifindex: u32, to: &Self) -> Result<(), Error> {
        self.hand_over_changes(ifindex, to)?;
        for (from, to) in [(self.link(ifindex), to.link(ifindex)), (self.tc(ifindex), to.tc(ifindex))] {
            match fs::rename(&from, to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::pin(from, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers elsewhere what was changed on an interface.
    pub(super) fn hand_over_changes(&self, ifindex: u32, to: &Self) -> Result<(), Error> {
        let Some(mut changes) = Changes::open(self)? else { return Ok(()) };
        let Some(change) = changes.of(ifindex) else { return Ok(()) };
        let mut theirs = Changes::make(to)?;
        // First there: who is cut off in between finds it twice, not nowhere.
        let offloads = change.offloads | theirs.of(ifindex).unwrap_or_default().offloads;
        theirs.put(ifindex, Change { offloads, ..change })?;
        changes.put(ifindex, Change::default())
    }

    /// Checks that bpffs is there, and makes the directory.
    ///
    /// # Errors
    /// [`Error::NoBpffs`], or the directory can't be made.
    pub fn prepare(&self) -> Result<(), Error> {
        let mount = self.root.parent().unwrap_or(Path::new(BPFFS));
        let is_bpffs = statfs(mount).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
        if !is_bpffs {
            return Err(Error::NoBpffs { path: mount.to_owned() });
        }
        fs::create_dir_all(&self.directory).map_err(|error| Error::pin(&self.directory, error))
    }

    /// Removes what is pinned in this directory: its links end, its maps go. Returns the interfaces that were served.
    ///
    /// # Errors
    /// A pin can't be removed; the links go first.
    pub fn remove(&self) -> Result<Vec<u32>, Error> {
        let linked = self.linked()?;
        let changed = Changes::open(self)?.map(|changes| changes.interfaces()).unwrap_or_default();
        for ifindex in linked.iter().chain(&changed) {
            self.detach(*ifindex)?;
        }
        if self.directory.is_dir() {
            fs::remove_dir_all(&self.directory).map_err(|error| Error::pin(&self.directory, error))?;
        }
        // The last one takes the root along.
        let _ = fs::remove_dir(&self.root);
        Ok(linked)
    }
}

/// Ends forwarding: every link and map of this machine's director goes, also those of other versions. Returns the
/// indices of the interfaces.
///
/// # Errors
/// A pin can't be removed.
pub fn detach() -> Result<Vec<u32>, Error> {
    let own = Pins::default();
    let mut interfaces = Vec::new();
    for pins in own.others().iter().chain([&own]) {
        interfaces.extend(pins.remove()?);
    }
    Ok(interfaces)
}
