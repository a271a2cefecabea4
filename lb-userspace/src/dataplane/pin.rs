//! Where the maps and links are pinned.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lb_common::maps::LAYOUT;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Error;
use super::attach::remove;
use super::changes::Changes;

/// Where bpffs is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The links' names start so, in the driver and behind the socket buffers; an interface's index follows, or a
/// tracepoint's name.
const LINK: &str = "link-";
const TC: &str = "tc-";

/// The directory of one layout version: `/sys/fs/bpf/lb/v1`.
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
        Self { directory: root.join(format!("v{LAYOUT}")), root }
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

    /// Removes everything pinned: the programs stop, the maps go. Returns the interfaces that were served.
    ///
    /// # Errors
    /// A pin can't be removed; the links go first.
    pub fn remove(&self) -> Result<Vec<u32>, Error> {
        let linked = self.linked()?;
        let changed = Changes::open(self)?.map(|changes| changes.interfaces()).unwrap_or_default();
        for ifindex in linked.iter().chain(&changed) {
            self.detach(*ifindex)?;
        }
        if self.root.is_dir() {
            fs::remove_dir_all(&self.root).map_err(|error| Error::pin(&self.root, error))?;
        }
        Ok(linked)
    }
}

/// Ends forwarding: every link and map of this machine's director goes. Returns the indices of the interfaces.
///
/// # Errors
/// A pin can't be removed.
pub fn detach() -> Result<Vec<u32>, Error> {
    Pins::default().remove()
}
