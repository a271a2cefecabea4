//! rust-src: the source of `core`, which `-Z build-std` compiles for the BPF target.
//!
//! rustup brings it where its server can be reached. Elsewhere Debian's package of exactly the same version has it,
//! taken through an apt set-up of xtask's own: the machine's mirror and keys, but no change to the machine's lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, anyhow};
use nix::unistd::{AccessFlags, access};

use crate::checkout::Checkout;
use crate::setup::apt::Suite;
use crate::setup::packages;
use crate::shell;

/// The suite whose package has the pinned version.
const SUITE: &str = "trixie-backports";

/// The directory that the toolchain's own files are in.
///
/// # Errors
/// Where rustc can't be run.
pub(crate) fn sysroot(checkout: &Checkout) -> Result<PathBuf> {
    let printed = shell::read(checkout.command("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(printed.trim_end()))
}

/// Whether the toolchain has the source of `core`.
pub(crate) fn present(sysroot: &Path) -> bool {
    library(sysroot).join("core").is_dir()
}

/// Brings the source into the sysroot, by the first way that works.
///
/// # Errors
/// Where none does; the message names the command that would.
pub(crate) fn install(checkout: &Checkout, sysroot: &Path) -> Result<()> {
    eprintln!("setup: {} has no source of core", sysroot.display());
    let by_rustup = format!("rustup component add rust-src --toolchain {}", checkout.channel());
    if packages::find("rustup").is_some() {
        let mut command = checkout.command("rustup");
        command.args(by_rustup.split(' ').skip(1));
        if shell::succeeds(&mut command) && present(sysroot) {
            return Ok(());
        }
        eprintln!("setup: rustup can't bring it here; trying Debian's package");
    }
    from_debian(checkout, sysroot)
        .map_err(|error| anyhow!("{error:#}. Instead, where rustup's server can be reached: `{by_rustup}`"))
}

fn library(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn from_debian(checkout: &Checkout, sysroot: &Path) -> Result<()> {
    let destination = library(sysroot);
    let parent = destination.parent().unwrap_or(sysroot);
    writable(parent)?;

    eprintln!("setup: rust-src {} from {SUITE} of this machine's Debian mirror", checkout.channel());
    let work = checkout.target("setup");
    let suite = Suite::open(checkout, &work, SUITE)?;
    let package = suite.download(&[&format!("rust-src={}*", checkout.channel())], &work.join("packages"))?;
    let unpacked = work.join("unpacked");
    shell::run(checkout.command("dpkg-deb").arg("-x").args(package).arg(&unpacked))?;
    place(&unpacked.join(format!("usr/src/rustc-{}/library", checkout.channel())), &destination)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))
}

/// Fails early, before a download, where the sysroot is another user's.
fn writable(directory: &Path) -> Result<()> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
    access(existing, AccessFlags::W_OK).with_context(|| {
        format!("{} can't be written to: run `cargo xtask setup` once as the user who owns it", existing.display())
    })
}

/// Copies beside the destination, then renames: an interrupted set-up never leaves half a library.
fn place(source: &Path, destination: &Path) -> Result<()> {
    let parent = destination.parent().unwrap_or(destination);
    let staged = parent.join(format!(".library.{}", process::id()));
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    eprintln!("setup: copying the source to {}", destination.display());
    let copied = copy(source, &staged);
    let placed = copied.and_then(|()| {
        if destination.exists() {
            // Only ever one without `core`.
            fs::remove_dir_all(destination).with_context(|| format!("removing {}", destination.display()))?;
        }
        fs::rename(&staged, destination).with_context(|| format!("creating {}", destination.display()))
    });
    if placed.is_err() && staged.exists() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&staged);
    }
    placed
}

/// Copies a directory with all that is in it; stops at the first file that fails.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("creating {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copying to {}", target.display()))?;
        }
    }
    Ok(())
}
