//! One run of QEMU: a kernel, its guest, and what it says on its console.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::shell;

use super::kernel::Fetched;

/// How time passes in the machine.
#[derive(Clone, Copy)]
pub(super) enum Clock {
    /// As outside.
    Real,
    /// By a nanosecond with each instruction.
    Instructions,
}

/// Longest run of a job, in seconds.
const PATIENCE: &str = "1200";

/// Boots the kernel with this archive, and a disk where there is one, and returns the console's lines.
///
/// # Errors
/// QEMU can't be started, or the machine ended before its job did.
pub(super) fn boot(
    checkout: &Checkout,
    kernel: &Fetched,
    guest: &[u8],
    clock: Clock,
    disk: Option<&Path>,
) -> Result<Vec<String>> {
    let archive = checkout.target("vm").join(format!("{}.cpio", kernel.release));
    fs::write(&archive, guest).with_context(|| format!("writing {}", archive.display()))?;
    let mut command = checkout.command("timeout");
    command.args([PATIENCE, "qemu-system-x86_64", "-machine", "q35", "-nodefaults", "-no-user-config", "-no-reboot"]);
    // With cmpxchg16b QEMU 7.2 crashes guests at random.
    command.args(["-accel", "tcg", "-cpu", "qemu64,-cx16", "-smp", "1", "-m", "1536"]);
    command.args(["-display", "none", "-serial", "stdio", "-kernel"]).arg(&kernel.image).arg("-initrd").arg(&archive);
    command.args(["-append", "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable"]);
    if matches!(clock, Clock::Instructions) {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    if let Some(disk) = disk {
        let mut drive = std::ffi::OsString::from("if=virtio,format=raw,cache=unsafe,file=");
        drive.push(disk);
        command.arg("-drive").arg(drive);
    }
    command.stdin(std::process::Stdio::null());
    let mut lines = Vec::new();
    let status = shell::stream(&mut command, |line| lines.push(line.trim_end().to_owned()))?;
    fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
    if !lines.iter().any(|line| line.starts_with("JOB ")) {
        bail!("the machine ended before its job did ({status})");
    }
    Ok(lines)
}
