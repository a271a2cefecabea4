//! `bench`: what a packet costs, and what a lost director costs its clients.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::checkout::Checkout;
use crate::setup::packages;
use crate::{lab, shell};

/// Measure: what a packet costs, or with `gaps` what a failover does.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nothing for the packet path; `gaps` for a client's gap at each way to lose a director, keepalived beside it; `gaps
    /// soak` for false take-overs under load; `gaps cpu` for 255 virtual routers; `exchange` for what directors tell each
    /// other; `scale` for the time from one real's event to the maps, among ten thousand reals (`lab scale`); `checks detection`
    /// for how soon a real's failure is out of the slots, `checks rate` for what thousands of health checks a second cost;
    /// `bulk` for uploads by the tc program and by generic XDP. `--help` behind it has its options.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    if args.args.first().is_some_and(|first| first == "exchange") {
        return Err(shell::exec(&mut exchange(checkout)));
    }
    let (binary, verb, args): (_, &[&str], _) = match args.args.split_first() {
        Some((first, rest)) if first == "gaps" => {
            packages::ensure(checkout, packages::LAB)?;
            ("gaps", &[], rest)
        }
        Some((first, rest)) if first == "checks" => {
            packages::ensure(checkout, packages::LAB)?;
            ("checks", &[], rest)
        }
        Some((first, rest)) if first == "bulk" => {
            packages::ensure(checkout, packages::NAMESPACES)?;
            ("bulk", &[], rest)
        }
        Some((first, rest)) if first == "scale" => {
            packages::ensure(checkout, packages::NAMESPACES)?;
            ("lab", &["scenario", "scale"], rest)
        }
        _ => ("bench", &[], args.args.as_slice()),
    };
    lab::prepare(checkout)?;
    let mut command = lab::program(checkout, "lb-tests", binary);
    command.args(verb).args(args);
    Err(shell::exec(&mut command))
}

/// What directors tell each other: its figures are of parts that nobody else sees, so they are tests of theirs.
fn exchange(checkout: &Checkout) -> Command {
    let build = ["test", "--quiet", "--release", "--package", "lb-userspace", "--features", "bench", "--lib"];
    let run = [
        "--",
        "--nocapture",
        "--test-threads",
        "1",
        "peers::runner::tests::bench",
        "agent::controller::exchange::bench",
    ];
    checkout.cargo(build.into_iter().chain(run))
}
