//! The binary `lb`.

use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
