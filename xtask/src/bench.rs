//! `bench`: what a packet costs, in one run with the floor that it is measured against.

use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::{lab, shell};

/// Measure the data plane; arguments go to the binary `bench` of lb-tests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of the bench.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    lab::prepare(checkout)?;
    let mut command = lab::program(checkout, "lb-tests", "bench");
    command.args(&args.args);
    Err(shell::exec(&mut command))
}
