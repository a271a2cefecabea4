//! `build`: the BPF objects, then the binary `lb` with the main one inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::setup::{self, tool::LINKER};
use crate::shell;

/// Build the BPF objects and the binary `lb` that carries them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build `lb` with the dev profile instead of the release one.
    #[arg(long)]
    dev: bool,
}

const TARGET: &str = "bpfel-unknown-none";
/// The binaries of crate lb-ebpf: the balancer, the driver that the packet tests and the bench measure it with, and the
/// least programs that it is measured beside in virtual machines.
const OBJECTS: [&str; 3] = ["lb-ebpf", "lb-harness", "lb-baseline"];

/// Debug information is what bpf-linker makes BTF of. Version 3 of the instruction set has compare-and-exchange
/// (Linux 5.12). A frame's headers stand at odd places, and without misaligned access every field of theirs would be
/// read byte by byte; the verifier allows it wherever the machine does (x86-64, arm64).
const FLAGS: &str = "-C debuginfo=2 -C target-cpu=v3 -C link-arg=--btf \
     -C link-arg=--cpu-features=+alu32,+allows-misaligned-mem-access";

/// Runs `cargo xtask build`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    setup::toolchain(checkout)?;
    objects(checkout)?;
    host(checkout, &["lb-userspace"], !args.dev)?;
    eprintln!("build: complete after {}", shell::elapsed(start.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the BPF crate and leaves its objects in `target/bpf`.
///
/// # Errors
/// Where the build fails or doesn't leave what it should.
pub(crate) fn objects(checkout: &Checkout) -> Result<()> {
    // First the one that tells its steps: of the same source, and left where the main one is to be.
    let mut log = bpf_cargo(checkout, "build");
    shell::run(log.args(["--bin", OBJECTS[0], "--features", "log"]))
        .context("build of the BPF object that tells its steps")?;
    let built = checkout.target("bpf-build").join(TARGET).join("release");
    fs::create_dir_all(checkout.target("bpf")).context("creating target/bpf")?;
    copy_changed(&built.join(OBJECTS[0]), &checkout.target("bpf").join("lb-log.o"))?;
    shell::run(&mut bpf_cargo(checkout, "build")).context("build of the BPF objects")?;
    let place = checkout.target("bpf");
    for name in OBJECTS {
        let object = place.join(format!("{name}.o"));
        if copy_changed(&built.join(name), &object)? {
            eprintln!("build: {} is new", object.display());
        }
    }
    Ok(())
}

/// A cargo command on the BPF crate, which is outside the workspace and has a target directory of its own.
pub(crate) fn bpf_cargo(checkout: &Checkout, subcommand: &str) -> Command {
    let mut command = checkout.cargo([subcommand, "--release", "--manifest-path", "lb-ebpf/Cargo.toml"]);
    command.args(["--target", TARGET, "-Z", "build-std=core"]);
    // `-Z` on the stable toolchain.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", checkout.target("bpf-build"));
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", LINKER.path(checkout));
    if std::env::var_os("CARGO_ENCODED_RUSTFLAGS").is_some() {
        // It would win over RUSTFLAGS.
        command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    }
    command
}

/// Builds the named packages of the workspace for this machine.
///
/// # Errors
/// Where the build fails.
pub(crate) fn host(checkout: &Checkout, packages: &[&str], release: bool) -> Result<()> {
    let mut command = checkout.cargo(["build"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(release.then_some("--release"));
    shell::run(&mut command).context("build for this machine")
}

/// Copies a file only where that changes the copy: its time stamp is what lb-userspace's build script goes by.
fn copy_changed(from: &Path, to: &PathBuf) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("the build of lb-ebpf left no {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let staged = to.with_extension("o.new");
    fs::write(&staged, bytes).with_context(|| format!("writing {}", staged.display()))?;
    fs::rename(&staged, to).with_context(|| format!("writing {}", to.display()))?;
    Ok(true)
}
