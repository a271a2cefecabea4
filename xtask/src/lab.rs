//! `lab`: scenarios in network namespaces, for eyes rather than for tests.

use std::process::{Command, ExitCode};

use anyhow::Result;
use nix::unistd::geteuid;

use crate::checkout::Checkout;
use crate::setup::{self, packages};
use crate::{build, shell};

/// The word that isn't a scenario.
const REMOVE: &str = "remove";
/// The scenario that is the bench's: each way to lose a director once, keepalived beside it.
const FAILOVER: &str = "failover";

/// Build, then show a scenario of the network-namespace lab; without a name, list them.
///
/// `failover` loses a director in each way, once, and shows the client's gap beside keepalived's (`bench gaps` has all the
/// rounds). `remove` in place of a name takes away the labs that `run --keep` has left up.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenario.
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
}

/// Runs `cargo xtask lab`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let mut command = program(checkout, "lb-tests", "lab");
    if args.scenario.as_deref() == Some(REMOVE) {
        command.arg(REMOVE);
    } else if args.scenario.as_deref() == Some(FAILOVER) {
        packages::ensure(checkout, packages::LAB)?;
        prepare(checkout)?;
        command = program(checkout, "lb-tests", "gaps");
        command.args(["--rounds", "1", "--ways", "v3-100ms"]);
    } else {
        packages::ensure(checkout, packages::NAMESPACES)?;
        prepare(checkout)?;
        command.arg("scenario").args(&args.scenario);
    }
    Err(shell::exec(&mut command))
}

/// Builds all that the programs of lb-tests use: the BPF objects, `lb`, and themselves.
///
/// # Errors
/// Where set-up or build fails.
pub(crate) fn prepare(checkout: &Checkout) -> Result<()> {
    setup::toolchain(checkout)?;
    build::objects(checkout)?;
    build::host(checkout, &["lb-userspace", "lb-tests"], true)
}

/// A release program of the workspace, to be run as root in the directory that the caller is in.
pub(crate) fn program(checkout: &Checkout, package: &str, binary: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--release", "--manifest-path"]).arg(checkout.root().join("Cargo.toml"));
    command.args(["--package", package, "--bin", binary]);
    if !geteuid().is_root() && packages::find("sudo").is_some() {
        // The build stays the user's; the program alone is root's.
        command.args(["--config", "target.'cfg(unix)'.runner='sudo'"]);
    }
    command.arg("--");
    command
}
