//! rust-src: the source of `core`, which `-Z build-std` compiles for the BPF target.
//!
//! rustup brings it where its server can be reached. Elsewhere Debian's package of exactly the same version has it,
//! taken through an apt set-up of xtask's own: the machine's mirror and keys, but no change to the machine's lists.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::{AccessFlags, access};

use crate::checkout::Checkout;
use crate::setup::{apt_source, packages};
use crate::shell;

/// The suite whose package has the pinned version.
const SUITE: &str = "trixie-backports";
/// The package is accepted with a signature of these keys alone, whatever the mirror.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
    let Some(mirror) = mirror() else {
        bail!("Debian's package can't be had either: no Debian mirror is set up in /etc/apt");
    };
    for program in ["apt-get", "dpkg-deb"] {
        if packages::find(program).is_none() {
            bail!("Debian's package can't be had either: there is no {program}");
        }
    }
    if !Path::new(KEYRING).exists() {
        bail!("Debian's package can't be checked: {KEYRING} is missing (`apt-get install debian-archive-keyring`)");
    }
    let destination = library(sysroot);
    let parent = destination.parent().unwrap_or(sysroot);
    writable(parent)?;

    let work = checkout.target("setup");
    let package = download(checkout, &work, &mirror)?;
    let unpacked = work.join("unpacked");
    shell::run(checkout.command("dpkg-deb").arg("-x").args([&package, &unpacked]))?;
    place(&unpacked.join(format!("usr/src/rustc-{}/library", checkout.channel())), &destination)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))
}

/// The machine's own Debian mirror, if it is a Debian machine.
fn mirror() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    let codename = value("VERSION_CODENAME").filter(|_| value("ID") == Some("debian"))?;
    let repositories = apt_source::repositories(Path::new("/etc/apt"));
    apt_source::debian_mirror(&repositories, codename).map(str::to_owned)
}

/// Fails early, before a download, where the sysroot is another user's.
fn writable(directory: &Path) -> Result<()> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
    access(existing, AccessFlags::W_OK).with_context(|| {
        format!("{} can't be written to: run `cargo xtask setup` once as the user who owns it", existing.display())
    })
}

/// Downloads the package, whose signature chain apt checks, and returns its file.
fn download(checkout: &Checkout, work: &Path, mirror: &str) -> Result<PathBuf> {
    let create = |name: &str| {
        let path = work.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display())).map(|()| path)
    };
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("removing {}", work.display()))?;
    }
    let sources = create("sources")?;
    let lists = create("lists")?;
    let cache = create("cache")?;
    let packages = create("packages")?;
    create("lists/partial")?;
    create("cache/archives/partial")?;
    let list = sources.join("rust-src.sources");
    let text = format!("Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n");
    fs::write(&list, text).with_context(|| format!("writing {}", list.display()))?;

    // `Sandbox`: these directories are the caller's; apt's own user may not reach them.
    let options = format!(
        "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{}\";\nDir::State::lists \"{}\";\n\
         Dir::Cache \"{}\";\nAPT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\n\
         Acquire::Languages \"none\";\n",
        sources.display(),
        lists.display(),
        cache.display()
    );
    let configuration = work.join("apt.conf");
    fs::write(&configuration, options).with_context(|| format!("writing {}", configuration.display()))?;
    let apt = || -> Command {
        let mut command = checkout.command("apt-get");
        command.arg("-qq").arg("-c").arg(&configuration);
        command
    };
    eprintln!("setup: rust-src {} from {SUITE} of this machine's Debian mirror", checkout.channel());
    shell::run_silent(apt().arg("update"))?;
    let wanted = format!("rust-src={}*", checkout.channel());
    shell::run_silent(apt().args(["download", &wanted]).current_dir(&packages))?;

    let entries = fs::read_dir(&packages).with_context(|| format!("reading {}", packages.display()))?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .with_context(|| format!("`apt-get download {wanted}` left no package in {}", packages.display()))
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
