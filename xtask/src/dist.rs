//! `dist`: what is installed on other machines, a Debian package and an archive of a static binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::setup::{self, packages, tool::DEB};
use crate::{build, shell};

/// Build what is installed elsewhere, into target/dist: a Debian package, and an archive of a static binary.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Debian package alone, of a binary of the dev profile.
    #[arg(long)]
    dev: bool,
    /// The package's revision: what follows the version behind a hyphen.
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u32,
}

/// Where the pages and the completions are made, for cargo-deb too (lb-userspace/Cargo.toml).
const GENERATED: &str = "dist/generated";

/// Of a binary that needs no library of its machine.
const STATIC: &str = "-C target-feature=+crt-static";

/// Runs `cargo xtask dist`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    setup::toolchain(checkout)?;
    build::objects(checkout)?;
    let mut made = vec![package(checkout, !args.dev, args.revision)?];
    if !args.dev {
        made.push(archive(checkout)?);
    }
    println!("{}", sums(checkout, &made)?.display());
    made.iter().for_each(|path| println!("{}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Makes the Debian package, of a binary that is built for it.
///
/// # Errors
/// A part can't be built.
pub(crate) fn package(checkout: &Checkout, release: bool, revision: u32) -> Result<PathBuf> {
    packages::ensure(checkout, packages::DIST)?;
    DEB.ensure(checkout)?;
    build::host(checkout, &["lb-userspace"], release)?;
    let profile = if release { "release" } else { "debug" };
    generate(checkout, &checkout.target(profile).join("lb"))?;
    let deb = checkout.target("dist").join(format!("lb_{}-{revision}_{}.deb", version(), architecture()?));
    let mut command = checkout.command(&DEB.path(checkout).to_string_lossy());
    command.args(["--package", "lb-userspace", "--no-build", "--locked", "--deb-revision", &revision.to_string()]);
    command.args(["--profile", if release { "release" } else { "dev" }, "--output"]).arg(&deb);
    shell::run(&mut command).context("the Debian package")?;
    Ok(deb)
}

/// The man pages and completions, by the binary that they are of.
fn generate(checkout: &Checkout, lb: &Path) -> Result<()> {
    let place = checkout.target(GENERATED);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("removing {}", place.display()))?;
    }
    shell::run(checkout.command(&lb.to_string_lossy()).arg("generate").arg(&place))
}

/// Makes the archive of the static binary, with the units, the example and the pages beside it.
fn archive(checkout: &Checkout) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = checkout.cargo(["build", "--release", "--package", "lb-userspace", "--target", &target]);
    shell::run(build.env("RUSTFLAGS", STATIC)).context("the static binary")?;
    let name = format!("lb-{}-linux-{}", version(), std::env::consts::ARCH);
    let place = checkout.target("dist").join(&name);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("removing {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let lb = place.join("lb");
    let built = checkout.target(&target).join("release/lb");
    shell::run(checkout.command("strip").arg("-o").arg(&lb).arg(&built))?;
    is_static(checkout, &lb)?;
    let root = checkout.root();
    let mut copy = checkout.command("cp");
    copy.arg("-r").args(["packaging", "LICENSE-APACHE", "LICENSE-MIT"].map(|part| root.join(part)));
    shell::run(copy.arg(checkout.target(GENERATED).join("man")).arg(&place))?;
    let archive = checkout.target("dist").join(format!("{name}.tar.xz"));
    let mut tar = checkout.command("tar");
    tar.arg("-C").arg(checkout.target("dist")).args(["--owner=0", "--group=0", "--sort=name", "-cJf"]);
    shell::run(tar.arg(&archive).arg(&name))?;
    fs::remove_dir_all(&place).with_context(|| format!("removing {}", place.display()))?;
    Ok(archive)
}

fn is_static(checkout: &Checkout, lb: &Path) -> Result<()> {
    let headers = shell::read(checkout.command("readelf").args(["--program-headers", "--wide"]).arg(lb))?;
    if headers.contains("INTERP") {
        bail!("{} wants a program interpreter: it isn't static", lb.display());
    }
    Ok(())
}

/// Writes the files' SHA-256 beside them.
fn sums(checkout: &Checkout, files: &[PathBuf]) -> Result<PathBuf> {
    let names = files.iter().filter_map(|path| path.file_name());
    let printed = shell::read(checkout.command("sha256sum").args(names).current_dir(checkout.target("dist")))?;
    let path = checkout.target("dist/SHA256SUMS");
    fs::write(&path, printed).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The workspace's.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Debian's name of this machine's.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no Debian package is made on {other}: on x86_64 and aarch64"),
    }
}
