//! bpf-linker, which turns rustc's LLVM bitcode into a BPF object.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::shell;

/// The newest one that links with rustc's own LLVM; later ones want an LLVM on the system.
const VERSION: &str = "0.10.3";

/// Variables that would change how a tool for this machine is compiled, or for what.
const FOREIGN: [&str; 4] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"];

/// Where this checkout's bpf-linker is.
pub(crate) fn path(checkout: &Checkout) -> PathBuf {
    checkout.target("tools/bin/bpf-linker")
}

/// Whether it is there, in the right version, and runs on this machine.
pub(crate) fn present(checkout: &Checkout) -> bool {
    let path = path(checkout);
    path.exists()
        && shell::read(checkout.command(&path.to_string_lossy()).arg("--version"))
            .is_ok_and(|printed| printed.split_whitespace().any(|word| word == VERSION))
}

/// Compiles it into `target/tools`.
///
/// # Errors
/// Where cargo's installation fails.
pub(crate) fn install(checkout: &Checkout) -> Result<()> {
    eprintln!("setup: compiling bpf-linker {VERSION} into target/tools, once for this checkout");
    let build = checkout.target("tools/build");
    let mut install = checkout.cargo(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"]);
    install.args(["--root", "target/tools"]).env("CARGO_TARGET_DIR", &build);
    for variable in FOREIGN.into_iter().filter(|variable| std::env::var_os(variable).is_some()) {
        install.env_remove(variable);
    }
    shell::run(&mut install).context(
        "cargo says above what it lacked (often the network, a C compiler or disk space); then run this again",
    )?;
    fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
}
