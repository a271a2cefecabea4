//! `setup`: checks what the other verbs need, and installs what is missing.

pub(crate) mod apt;
mod apt_source;
pub(crate) mod packages;
pub(crate) mod rust_src;
pub(crate) mod tool;

use std::fs::{self, File};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::shell;
use tool::LINKER;

/// Install what the other verbs need: rust-src for the pinned toolchain, and bpf-linker.
///
/// It changes nothing where nothing is missing. bpf-linker goes to target/tools; rust-src goes where the
/// toolchain looks for it. The other verbs call this by themselves.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also install the Debian packages that the lab's tests use.
    #[arg(long)]
    packages: bool,
}

/// Runs `cargo xtask setup`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    toolchain(checkout)?;
    if args.packages {
        packages::ensure(checkout, packages::LAB)?;
    }
    eprintln!("setup: complete after {}", shell::elapsed(start.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that the BPF crate can be built.
///
/// # Errors
/// Where rustc isn't the pinned one, or something is missing that can't be installed from here; the message
/// names the command that would.
pub(crate) fn toolchain(checkout: &Checkout) -> Result<()> {
    pinned_rustc(checkout)?;
    let sysroot = rust_src::sysroot(checkout)?;
    if rust_src::present(&sysroot) && LINKER.present(checkout) {
        return Ok(());
    }
    let _lock = lock(checkout)?;
    if !rust_src::present(&sysroot) {
        rust_src::install(checkout, &sysroot).context("setup of rust-src")?;
    }
    if !LINKER.present(checkout) {
        LINKER.install(checkout)?;
    }
    Ok(())
}

/// rustup follows rust-toolchain.toml; a distribution's cargo, or `cargo +nightly`, does not.
fn pinned_rustc(checkout: &Checkout) -> Result<()> {
    let printed = shell::read(checkout.command("rustc").arg("--version"))?;
    let pinned = checkout.channel();
    match rustc_version(&printed) {
        Some(version) if version == pinned => Ok(()),
        _ => bail!(
            "this project builds with Rust {pinned} alone, and here is {:?}: `rustup toolchain install {pinned}`, \
             then start this without a `+toolchain`",
            printed.trim()
        ),
    }
}

/// Two verbs that start at once on a fresh checkout install one after the other.
pub(crate) fn lock(checkout: &Checkout) -> Result<File> {
    let path = checkout.target("setup.lock");
    fs::create_dir_all(checkout.target("")).with_context(|| format!("creating the directory of {}", path.display()))?;
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("setup: waiting for another one that holds {}", path.display());
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// The version in what `rustc --version` prints.
fn rustc_version(printed: &str) -> Option<&str> {
    printed.strip_prefix("rustc ")?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::rustc_version;

    #[test]
    fn the_version_is_read_from_rustc() {
        assert_eq!(rustc_version("rustc 1.95.0 (59807616e 2026-04-14)\n"), Some("1.95.0"));
        assert_eq!(rustc_version("rustc 1.97.0-nightly (0 2026-05-01)"), Some("1.97.0-nightly"));
        assert_eq!(rustc_version("cargo 1.95.0"), None);
        assert_eq!(rustc_version("rustc "), None);
    }
}
