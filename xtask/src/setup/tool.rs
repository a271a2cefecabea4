//! Programs of crates.io that a checkout compiles for itself, into `target/tools`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::{setup, shell};

/// Variables that would change how a tool for this machine is compiled, or for what.
const FOREIGN: [&str; 4] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"];

/// Turns rustc's LLVM bitcode into a BPF object. This is the newest one that links with rustc's own LLVM; later ones want an
/// LLVM on the system.
pub(crate) const LINKER: Tool = Tool { name: "bpf-linker", version: "0.10.3" };

/// Makes Debian packages of crates.
pub(crate) const DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// A program, which is called as its crate is.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Where this checkout's is.
    pub(crate) fn path(&self, checkout: &Checkout) -> PathBuf {
        checkout.target("tools/bin").join(self.name)
    }

    /// Whether it is there, in the right version, and runs on this machine.
    pub(crate) fn present(&self, checkout: &Checkout) -> bool {
        let path = self.path(checkout);
        path.exists()
            && shell::read(checkout.command(&path.to_string_lossy()).arg("--version"))
                .is_ok_and(|printed| printed.split_whitespace().any(|word| word == self.version))
    }

    /// Compiles it where it isn't there.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub(crate) fn ensure(&self, checkout: &Checkout) -> Result<()> {
        if self.present(checkout) {
            return Ok(());
        }
        let _lock = setup::lock(checkout)?;
        if self.present(checkout) { Ok(()) } else { self.install(checkout) }
    }

    /// Compiles it into `target/tools`.
    ///
    /// # Errors
    /// Where cargo's installation fails.
    pub(crate) fn install(&self, checkout: &Checkout) -> Result<()> {
        let Self { name, version } = self;
        eprintln!("setup: compiling {name} {version} into target/tools, once for this checkout");
        let build = checkout.target("tools/build");
        let mut install = checkout.cargo(["install", name, "--version", version, "--locked", "--force"]);
        install.args(["--root", "target/tools"]).env("CARGO_TARGET_DIR", &build);
        for variable in FOREIGN.into_iter().filter(|variable| std::env::var_os(variable).is_some()) {
            install.env_remove(variable);
        }
        shell::run(&mut install)
            .with_context(|| {
                "cargo says above what it lacked (often the network, a C compiler or disk space); then run this again"
            })
            .with_context(|| format!("setup of {name}"))?;
        fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
    }
}
