//! The binary `lb`.

use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;

use clap::Parser as _;
use lb_userspace::cli::Cli;
use lb_userspace::config;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            match error.downcast_ref::<config::Error>() {
                Some(error) => eprintln!("{}", error.render(stderr().is_terminal()).trim_end()),
                None => eprintln!("lb: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}
