//! Debian packages that the lab's tests and the virtual machines use.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::checkout::Checkout;
use crate::shell;

/// A program and the Debian package that has it.
pub(crate) struct Tool {
    binary: &'static str,
    package: &'static str,
}

/// What the lab's tests use.
pub(crate) const LAB: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("nginx", "nginx-light"),
    tool("keepalived", "keepalived"),
    tool("bpftool", "bpftool"),
    tool("tcpdump", "tcpdump"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("prometheus", "prometheus"),
    tool("unbound", "unbound"),
    tool("exim4", "exim4-daemon-light"),
];

/// What the lab itself is made with.
pub(crate) const NAMESPACES: &[Tool] = &[tool("ip", "iproute2")];

/// What a person looks into a lab with.
pub(crate) const INSPECTION: &[Tool] = &[tool("ip", "iproute2"), tool("bpftool", "bpftool")];

/// What virtual machines are made of, and what their lab runs inside.
pub(crate) const MACHINES: &[Tool] = &[
    tool("qemu-system-x86_64", "qemu-system-x86"),
    tool("busybox", "busybox-static"),
    tool("modprobe", "kmod"),
    tool("strip", "binutils"),
    tool("xz", "xz-utils"),
    tool("zstd", "zstd"),
    tool("lz4", "lz4"),
    tool("ip", "iproute2"),
    tool("bpftool", "bpftool"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
];

/// What the cost of a packet is measured with in one, beside [`MACHINES`].
pub(crate) const COST: &[Tool] =
    &[tool("clang", "clang"), tool("gcc", "gcc"), tool("tc", "iproute2"), tool("ipvsadm", "ipvsadm")];

/// What a Debian package is made with.
pub(crate) const DIST: &[Tool] =
    &[tool("dpkg-shlibdeps", "dpkg-dev"), tool("strip", "binutils"), tool("xz", "xz-utils"), tool("tar", "tar")];

/// What a machine with systemd is made of, beside [`MACHINES`].
pub(crate) const SYSTEM: &[Tool] = &[tool("debootstrap", "debootstrap"), tool("mke2fs", "e2fsprogs")];

/// Programs of [`LAB`] whose packages bring a service, and its name: Debian starts it where systemd runs.
const SERVICES: [(&str, &str); 5] = [
    ("nginx", "nginx"),
    ("keepalived", "keepalived"),
    ("prometheus", "prometheus"),
    ("unbound", "unbound"),
    ("exim4", "exim4"),
];

const fn tool(binary: &'static str, package: &'static str) -> Tool {
    Tool { binary, package }
}

/// Installs the packages of those tools that aren't here.
///
/// # Errors
/// Where something is missing and can't be installed; the message says which command would do it.
pub(crate) fn ensure(checkout: &Checkout, tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| find(tool.binary).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let names: Vec<&str> = missing.iter().map(|tool| tool.binary).collect();
    let missing_here = format!("not on this machine: {}", names.join(", "));
    if find("apt-get").is_none() {
        bail!("{missing_here}; there is no apt-get: install what Debian has as {}", packages.join(" "));
    }
    if !geteuid().is_root() {
        bail!("{missing_here}; as root: `apt-get install --no-install-recommends {}`", packages.join(" "));
    }
    eprintln!("setup: {missing_here}");
    install(checkout, &packages).context("setup of the tests' Debian packages")?;
    report_services(checkout, &names);
    match missing.iter().find(|tool| find(tool.binary).is_none()) {
        None => Ok(()),
        Some(tool) => bail!(
            "package {} is installed and has no program {}: `apt-get install --reinstall {0}`",
            tool.package,
            tool.binary
        ),
    }
}

/// Finds a program as root would: Debian's servers are in directories that a user's PATH may lack.
pub(crate) fn find(binary: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administration).map(|directory| directory.join(binary)).find(|file| file.is_file())
}

/// A machine's package lists may be absent (a fresh one) or old (the listed versions are gone): both are
/// mended by one update.
fn install(checkout: &Checkout, packages: &[&str]) -> Result<()> {
    let listed = shell::succeeds(checkout.command("apt-cache").args(["show", "--no-all-versions"]).args(packages));
    if !listed {
        shell::run_silent(&mut apt(checkout, &["update"]))?;
    }
    // A mail server of the machine's own is not to be given up for the one of the tests.
    let mut command = apt(checkout, &["install", "-y", "--no-remove", "--no-install-recommends"]);
    command.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    match shell::run_silent(&mut command) {
        Err(error) if listed => {
            eprintln!("setup: {error:#}; trying again with fresh package lists");
            shell::run_silent(&mut apt(checkout, &["update"]))?;
            shell::run_silent(&mut command)
        }
        result => result,
    }
}

fn apt(checkout: &Checkout, args: &[&str]) -> Command {
    let mut command = checkout.command("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]).args(args);
    command
}

/// Debian starts what it installs; the lab runs its own copies and needs none of these.
fn report_services(checkout: &Checkout, binaries: &[&str]) {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    for (_, service) in SERVICES.into_iter().filter(|(binary, _)| binaries.contains(binary)) {
        if shell::succeeds(checkout.command("systemctl").args(["is-active", "--quiet", service])) {
            eprintln!(
                "setup: {service}'s package has started its service, which lb's tests don't need: \
                 `systemctl disable --now {service}` stops it"
            );
        }
    }
}
