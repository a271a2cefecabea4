//! `vm counts`: what IPVS and `lb` list of connections that were closed.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::checkout::Checkout;

use super::guest::{Guest, INIT};
use super::kernel::Kernel;
use super::machine::{self, Clock};

const PROGRAMS: [&str; 5] = ["ip", "bpftool", "ethtool", "timeout", "ipvsadm"];
const MODULES: [&str; 5] = ["veth", "bridge", "ipv6", "ip_vs", "ip_vs_rr"];

/// Has each kernel's machine ask and list, and prints both lists.
///
/// # Errors
/// A kernel can't be had, or its lists aren't what the guide says of them.
pub(super) fn compare(checkout: &Checkout, kernels: &[&'static Kernel]) -> Result<ExitCode> {
    for kernel in kernels {
        let fetched = kernel.fetch(checkout)?;
        let mut guest = Guest::new(checkout, &fetched, &PROGRAMS, &MODULES, INIT)?;
        guest.job_file(&checkout.root().join("tests/vm/counts.sh"), "run.sh")?;
        guest.job_file(&checkout.root().join("tests/vm/network.sh"), "network.sh")?;
        guest.job_file(&checkout.target("bpf/lb-baseline.o"), "baseline.o")?;
        guest.job_program(&checkout.root().join("target/debug/lb"), "lb")?;
        let lines = machine::boot(checkout, &fetched, &guest.finish(), Clock::Real, None)?;
        println!("\n{}, {}\n", kernel.distribution, fetched.release);
        lines.iter().filter_map(|line| line.strip_prefix("SEEN ")).for_each(|line| println!("{line}"));
        if !lines.iter().any(|line| line == "JOB 0") {
            let why = lines.iter().find_map(|line| line.strip_prefix("FAILED "));
            bail!("{}: {}", fetched.release, why.unwrap_or("the job failed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
