//! Where the maps and links are pinned.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Error, layout};

/// Where bpffs is mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// The links' names start so; an interface's index follows.
const LINK: &str = "link-";

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

    /// Whether something is pinned.
    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// The directory of the maps and links.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The interfaces that have a pinned link.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn linked(&self) -> Result<Vec<u32>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::pin(&self.directory, error)),
        };
        let index = |name: &OsStr| name.to_str()?.strip_prefix(LINK)?.parse().ok();
        Ok(entries.filter_map(Result::ok).filter_map(|entry| index(&entry.file_name())).collect())
    }

    /// Moves an interface's link to another directory, whatever program it has.
    ///
    /// # Errors
    /// It can't be moved.
    pub fn hand_over(&self, ifindex: u32, to: &Self) -> Result<(), Error> {
        let path = self.link(ifindex);
        fs::rename(&path, to.link(ifindex)).map_err(|error| Error::pin(path, error))
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
        for ifindex in &linked {
            let path = self.link(*ifindex);
            fs::remove_file(&path).map_err(|error| Error::pin(path, error))?;
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
