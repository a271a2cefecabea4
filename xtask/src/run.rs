//! `run`: the agent as director on this machine, or the reference lab as a demonstration.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::checkout::Checkout;
use crate::setup::{self, packages};
use crate::{build, lab, shell};

/// The configuration that `lb run` takes by itself.
const INSTALLED_CONFIG: &str = "/etc/lb/lb.toml";

/// Run the agent as director (`run -- --config FILE`), or show the reference lab (`run`).
///
/// Without a configuration, neither named nor in /etc/lb/lb.toml, it shows the reference lab: a client, a director and
/// two reals in network namespaces, gone again when it ends.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show the reference lab even if /etc/lb/lb.toml exists.
    #[arg(long)]
    demo: bool,
    /// Leave the reference lab up, and say how to look into it.
    #[arg(long)]
    keep: bool,
    /// Arguments of `lb run`, such as `--config FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    args: Vec<String>,
}

/// Runs `cargo xtask run`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    match choose(args, Path::new(INSTALLED_CONFIG).exists())? {
        Program::Demo { keep } => {
            packages::ensure(checkout, if keep { packages::INSPECTION } else { packages::NAMESPACES })?;
            lab::prepare(checkout)?;
            let mut command = lab::program(checkout, "lb-tests", "lab");
            command.arg("demo").args(keep.then_some("--keep"));
            Err(shell::exec(&mut command))
        }
        Program::Director(arguments) => {
            setup::toolchain(checkout)?;
            build::objects(checkout)?;
            build::host(checkout, &["lb-userspace"], true)?;
            let mut command = lab::program(checkout, "lb-userspace", "lb");
            command.arg("run").args(arguments);
            Err(shell::exec(&mut command))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Program<'a> {
    Demo { keep: bool },
    Director(&'a [String]),
}

fn choose(args: &Args, installed: bool) -> Result<Program<'_>> {
    // After `--`, `--keep` still is the demonstration's: the agent has no such option.
    let own: Vec<&str> =
        args.args.iter().map(String::as_str).filter(|arg| !["--keep", "--demo"].contains(arg)).collect();
    let keep = args.keep || args.args.iter().any(|arg| arg == "--keep");
    let demo = args.demo || args.args.iter().any(|arg| arg == "--demo");
    match (own.is_empty(), demo || keep) {
        (true, true) => Ok(Program::Demo { keep }),
        (true, false) if !installed => Ok(Program::Demo { keep: false }),
        (_, false) => Ok(Program::Director(&args.args)),
        (false, true) => bail!(
            "--demo and --keep are for the reference lab, which takes no {:?}: leave out the one or the other",
            own.join(" ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, Program, choose};

    #[test]
    fn the_demonstration_runs_where_no_configuration_is_named_or_installed() {
        let args =
            |demo, keep, args: &[&str]| Args { demo, keep, args: args.iter().map(|&arg| arg.to_owned()).collect() };
        let config = ["--config", "a.toml"].map(str::to_owned);
        let demo = |keep| Some(Program::Demo { keep });

        let cases = [
            (args(false, false, &[]), false, demo(false)),
            (args(false, false, &[]), true, Some(Program::Director(&[]))),
            (args(true, false, &[]), true, demo(false)),
            (args(false, true, &[]), true, demo(true)),
            (args(false, false, &["--keep"]), false, demo(true)),
            (args(false, false, &["--config", "a.toml"]), false, Some(Program::Director(&config))),
            (args(false, false, &["--config", "a.toml"]), true, Some(Program::Director(&config))),
            (args(false, true, &["--config", "a.toml"]), false, None),
            (args(true, false, &["--config", "a.toml"]), false, None),
        ];
        for (args, installed, expected) in cases {
            assert_eq!(choose(&args, installed).ok(), expected, "{:?} installed={installed}", args.args);
        }
    }
}
