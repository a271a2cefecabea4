//! `vm package`: the Debian package on a machine with systemd, from its installation over a reboot to its purge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::setup::apt;
use crate::{dist, setup, shell};

use super::guest::Guest;
use super::kernel::Kernel;
use super::machine::{self, Clock};

const MODULES: [&str; 8] = ["virtio_pci", "virtio_blk", "ext4", "veth", "bridge", "ipv6", "sch_ingress", "cls_bpf"];
/// What the disk has beside Debian's least.
const PACKAGES: &str =
    "systemd,systemd-sysv,udev,iproute2,ethtool,bpftool,busybox-static,init-system-helpers,util-linux";
/// Boots at most: the job reboots once.
const BOOTS: usize = 3;

/// Has each kernel's machine install the package, upgrade it, reboot, remove and purge it.
///
/// # Errors
/// The package or the machine can't be made, or a step failed.
pub(super) fn live(checkout: &Checkout, kernels: &[&'static Kernel]) -> Result<ExitCode> {
    let [old, new] = [1, 2].map(|revision| dist::package(checkout, false, revision));
    let (old, new) = (old?, new?);
    let root = debian(checkout)?;
    for kernel in kernels {
        let fetched = kernel.fetch(checkout)?;
        let mut guest = Guest::new(checkout, &fetched, &[], &MODULES, "package/init")?;
        let files = checkout.root().join("tests/vm");
        for name in ["run.sh", "job.service"] {
            guest.job_file(&files.join("package").join(name), name)?;
        }
        guest.job_file(&files.join("network.sh"), "network.sh")?;
        guest.job_file(&checkout.target("bpf/lb-baseline.o"), "baseline.o")?;
        guest.job_file(&old, "old.deb")?;
        guest.job_file(&new, "new.deb")?;
        let guest = guest.finish();
        let disk = disk(checkout, &root)?;
        let lines = boots(|| machine::boot(checkout, &fetched, &guest, Clock::Real, Some(&disk)))?;
        fs::remove_file(&disk).with_context(|| format!("removing {}", disk.display()))?;
        println!("\n{}, {}\n", kernel.distribution, fetched.release);
        lines.iter().filter_map(|line| line.strip_prefix("STEP ")).for_each(|line| println!("{line}"));
        if !lines.iter().any(|line| line == "JOB 0") {
            bail!("{}: a step failed", fetched.release);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All lines of a machine that may reboot.
fn boots(mut boot: impl FnMut() -> Result<Vec<String>>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for _ in 0..BOOTS {
        let lines = boot()?;
        let again = lines.iter().any(|line| line == "JOB reboot");
        all.extend(lines);
        if !again {
            return Ok(all);
        }
    }
    bail!("the machine rebooted {BOOTS} times")
}

/// A tree of Debian's least with systemd, of this machine's own release, made once.
fn debian(checkout: &Checkout) -> Result<PathBuf> {
    let place = checkout.target("vm/debian");
    let _lock = setup::lock(checkout)?;
    if place.exists() {
        return Ok(place);
    }
    let staged = checkout.target("vm/debian.new");
    if staged.exists() {
        fs::remove_dir_all(&staged).with_context(|| format!("removing {}", staged.display()))?;
    }
    let (codename, mirror) = apt::own_release(checkout, &checkout.target("vm-apt"))?;
    let mut command = checkout.command("debootstrap");
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), "--keyring", apt::KEYRING, &codename]);
    shell::run_silent(command.arg(&staged).arg(&mirror)).context("Debian's least")?;
    fs::rename(&staged, &place).with_context(|| format!("creating {}", place.display()))?;
    Ok(place)
}

/// A new disk with that tree.
fn disk(checkout: &Checkout, root: &Path) -> Result<PathBuf> {
    let disk = checkout.target("vm/debian.ext4");
    if disk.exists() {
        fs::remove_file(&disk).with_context(|| format!("removing {}", disk.display()))?;
    }
    let mut command = checkout.command("mke2fs");
    shell::run_silent(command.args(["-q", "-t", "ext4", "-d"]).arg(root).arg(&disk).arg("2G"))?;
    Ok(disk)
}
