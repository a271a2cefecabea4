//! What is inside a virtual machine: busybox, this machine's own programs with their libraries, and kernel modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::setup::packages;
use crate::shell;

use super::archive::Archive;
use super::kernel::Fetched;

/// The first process of a machine without a disk.
pub(super) const INIT: &str = "init";

/// A guest in the making.
pub(super) struct Guest<'a> {
    checkout: &'a Checkout,
    archive: Archive,
    /// Paths that are in it.
    held: BTreeSet<PathBuf>,
}

impl<'a> Guest<'a> {
    /// One with busybox, bash, these programs, these modules with what they need, and the first process: this file of tests/vm.
    ///
    /// # Errors
    /// A program isn't on this machine.
    pub(super) fn new(
        checkout: &'a Checkout,
        kernel: &Fetched,
        programs: &[&str],
        modules: &[&str],
        init: &str,
    ) -> Result<Self> {
        let mut guest = Self { checkout, archive: Archive::new(), held: BTreeSet::new() };
        for directory in ["bin", "proc", "sys", "dev", "tmp", "run", "etc", "lib", "lib/modules", "job"] {
            guest.directory(Path::new(directory));
        }
        for program in ["busybox", "bash"].iter().chain(programs) {
            let path = packages::find(program).with_context(|| format!("{program} is not on this machine"))?;
            guest.program(&path, &format!("bin/{program}"))?;
        }
        let applets = shell::read(checkout.command("busybox").arg("--list"))?;
        for applet in applets.lines().filter(|applet| !programs.contains(applet) && *applet != "busybox") {
            guest.archive.link(&format!("bin/{applet}"), "busybox");
        }
        guest.modules(kernel, modules)?;
        let init = checkout.root().join("tests/vm").join(init);
        guest.archive.file("init", &fs::read(&init).with_context(|| format!("reading {}", init.display()))?);
        Ok(guest)
    }

    /// Adds a program of the job's, with its libraries and without its debug information.
    ///
    /// # Errors
    /// It isn't there.
    pub(super) fn job_program(&mut self, path: &Path, name: &str) -> Result<()> {
        let stripped = self.checkout.target("vm").join(format!("{name}.stripped"));
        shell::run(self.checkout.command("strip").arg("-o").arg(&stripped).arg(path))?;
        self.program(&stripped, &format!("job/{name}"))?;
        fs::remove_file(&stripped).with_context(|| format!("removing {}", stripped.display()))
    }

    /// Adds a file of the job's.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn job_file(&mut self, path: &Path, name: &str) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.archive.file(&format!("job/{name}"), &content);
        Ok(())
    }

    /// The archive for the kernel.
    pub(super) fn finish(self) -> Vec<u8> {
        self.archive.finish()
    }

    fn program(&mut self, path: &Path, name: &str) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.archive.file(name, &content);
        for library in libraries(path)? {
            self.directory(library.parent().unwrap_or(Path::new("/")));
            if self.held.insert(library.clone()) {
                let content = fs::read(&library).with_context(|| format!("reading {}", library.display()))?;
                self.archive.file(&library.to_string_lossy(), &content);
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path) {
        let all: Vec<&Path> = path.ancestors().collect();
        for path in all.into_iter().rev() {
            let path = path.strip_prefix("/").unwrap_or(path);
            if !path.as_os_str().is_empty() && self.held.insert(path.to_owned()) {
                self.archive.directory(&path.to_string_lossy());
            }
        }
    }

    /// Puts the modules in one directory, uncompressed, and lists them in the order in which they can be loaded.
    fn modules(&mut self, kernel: &Fetched, wanted: &[&str]) -> Result<()> {
        let mut files: Vec<PathBuf> = Vec::new();
        for module in wanted {
            let mut command = self.checkout.command("modprobe");
            command.arg("-d").arg(&kernel.modules).args(["-S", &kernel.release, "--show-depends", module]);
            // One that the kernel has built in, or doesn't have, is the guest's to miss.
            let output = command.stderr(Stdio::null()).output().context("could not start modprobe")?;
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                // This machine's options may follow.
                let file = line.strip_prefix("insmod ").and_then(|line| line.split_whitespace().next());
                let file = file.map(PathBuf::from);
                files.extend(file.filter(|file| !files.contains(file)));
            }
        }
        let mut list = String::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (name, program) = match name.rsplit_once('.') {
                Some((name, "xz")) => (name.to_owned(), Some("xz")),
                Some((name, "zst")) => (name.to_owned(), Some("zstd")),
                _ => (name, None),
            };
            let content = match program {
                None => fs::read(&file).with_context(|| format!("reading {}", file.display()))?,
                Some(program) => {
                    Command::new(program).arg("-dc").arg(&file).output().context("unpacking a module")?.stdout
                }
            };
            self.archive.file(&format!("lib/modules/{name}"), &content);
            list.push_str(&name);
            list.push('\n');
        }
        self.archive.file("etc/modules", list.as_bytes());
        Ok(())
    }
}

/// The shared libraries that a program is started with, its interpreter among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("could not start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("not found") {
        bail!("{} lacks a library:\n{text}", program.display());
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}
