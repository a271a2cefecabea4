//! `ci`: the tests, none of them skipped.

use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::test;

/// Run all tests; fail if any was skipped.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs `cargo xtask ci`.
pub(crate) fn verb(checkout: &Checkout, _args: &Args) -> Result<ExitCode> {
    test::verb(checkout, &test::Args::all_without_skips())
}
