//! What a process uses, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// The CPU time that a process has used, in seconds (proc_pid_stat(5)).
///
/// # Errors
/// There is no such process.
pub fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in the process's stat")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let rate = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(ticks.iter().sum::<f64>() / rate as f64)
}

/// Its resident memory in MiB (proc_pid_status(5)).
///
/// # Errors
/// There is no such process.
pub fn resident_mib(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
