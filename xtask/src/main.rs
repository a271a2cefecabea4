//! The developer's verbs of lb: `cargo xtask VERB`.
//!
//! One file per verb. Every verb prints each command that it runs, so that whatever it does can be done by
//! hand, and does its own set-up, so that any of them works on a fresh machine.

mod bench;
mod build;
mod checkout;
mod ci;
mod dist;
mod lab;
mod run;
mod setup;
mod shell;
mod test;
mod vm;

use std::env;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use checkout::Checkout;

/// Build, test and run lb from a checkout.
///
/// Each verb installs what it lacks and prints every command that it runs.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "Start with `cargo xtask run`: it shows the load balancer at work in network namespaces.\n\
                  `cargo xtask VERB --help` says more about a verb."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Args),
    Build(build::Args),
    Run(run::Args),
    Test(test::Args),
    Lab(lab::Args),
    Bench(bench::Args),
    Vm(vm::Args),
    Dist(dist::Args),
    Ci(ci::Args),
}

fn main() -> ExitCode {
    match act(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb) -> Result<ExitCode> {
    let checkout = Checkout::open()?;
    if env::current_dir().is_ok_and(|here| here != checkout.root()) {
        eprintln!("in {}:", checkout.root().display());
    }
    match verb {
        Verb::Setup(args) => setup::verb(&checkout, &args),
        Verb::Build(args) => build::verb(&checkout, &args),
        Verb::Run(args) => run::verb(&checkout, &args),
        Verb::Test(args) => test::verb(&checkout, &args),
        Verb::Lab(args) => lab::verb(&checkout, &args),
        Verb::Bench(args) => bench::verb(&checkout, &args),
        Verb::Vm(args) => vm::verb(&checkout, &args),
        Verb::Dist(args) => dist::verb(&checkout, &args),
        Verb::Ci(args) => ci::verb(&checkout, &args),
    }
}
