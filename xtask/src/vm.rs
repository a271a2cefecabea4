//! `vm`: distributions' kernels in virtual machines, with a lab inside, or with a meter of a packet's instructions.

mod archive;
mod cost;
mod counts;
mod guest;
mod kernel;
mod machine;
mod matrix;
mod package;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build;
use crate::checkout::Checkout;
use crate::setup::{self, packages};

use kernel::{KERNELS, Kernel};

/// The words that aren't kernels.
const COST: &str = "cost";
const COUNTS: &str = "counts";
const PACKAGE: &str = "package";

/// Boot distributions' kernels under QEMU and run a director's life on each; without a name, list them.
///
/// `cost` counts the guest's instructions for a packet instead, beside IPVS and others, on the kernels named after it
/// (Debian 13's by default). `counts` has IPVS and `lb` list connections that were closed.
/// `package` installs, upgrades, reboots, removes and purges the Debian package under systemd. Kernels are fetched once, into target/vm; hardware acceleration is neither needed nor used.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// All kernels that are known.
    #[arg(long)]
    all: bool,
    /// Kernels, by the names of the list; or `cost`, `counts` or `package` first.
    #[arg(value_name = "KERNEL")]
    names: Vec<String>,
}

/// Runs `cargo xtask vm`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let word = args.names.first().map(String::as_str).filter(|word| [COST, COUNTS, PACKAGE].contains(word));
    let names = args.names.get(usize::from(word.is_some())..).unwrap_or_default();
    let chosen = match (args.all, names, word.is_some()) {
        (true, [], _) => KERNELS.iter().collect(),
        (true, ..) => bail!("--all has all kernels: leave out {}", names.join(" ")),
        (false, [], true) => named(&["6.12".to_owned()])?,
        (false, names, _) => named(names)?,
    };
    if chosen.is_empty() {
        println!("Kernels for `cargo xtask vm KERNEL…`:");
        for kernel in &KERNELS {
            println!("  {:<10} {}", kernel.name, kernel.distribution);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if cfg!(not(target_arch = "x86_64")) {
        bail!("the virtual machines are x86-64 ones, and so is the `lb` that they run: this needs such a machine");
    }
    packages::ensure(checkout, packages::MACHINES)?;
    if word.is_some() {
        packages::ensure(checkout, packages::COST)?;
    }
    setup::toolchain(checkout)?;
    build::objects(checkout)?;
    if word == Some(COST) {
        return cost::measure(checkout, &chosen);
    }
    if word == Some(PACKAGE) {
        packages::ensure(checkout, packages::SYSTEM)?;
        return package::live(checkout, &chosen);
    }
    build::host(checkout, &["lb-userspace"], false)?;
    if word == Some(COUNTS) { counts::compare(checkout, &chosen) } else { matrix::run(checkout, &chosen) }
}

fn named(names: &[String]) -> Result<Vec<&'static Kernel>> {
    let find = |name: &String| match KERNELS.iter().find(|kernel| kernel.name == name) {
        Some(kernel) => Ok(kernel),
        None => bail!("no kernel {name}: `cargo xtask vm` lists them"),
    };
    names.iter().map(find).collect()
}
