//! `test`: everything that a checkout can be tested by.

mod report;
mod suites;
mod tally;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::unistd::geteuid;

use crate::checkout::Checkout;
use crate::setup::{self, packages};
use crate::{build, shell};

use report::{Outcome, Report};
use suites::Suites;
use tally::Tally;

/// Run everything that this checkout can be tested by: fmt, clippy, unit, packet and lab.
///
/// Packet and lab tests need root. What a test lacks is a printed skip; with CI=true a skip is a failure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this step; may be given more than once, or as a list with commas.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// Fail if any test was skipped.
    #[arg(long)]
    no_skips: bool,
}

impl Args {
    /// All steps; a skip is a failure.
    pub(crate) fn all_without_skips() -> Self {
        Self { only: Vec::new(), no_skips: true }
    }

    fn chosen(&self, step: Step) -> bool {
        self.only.is_empty() || self.only.contains(&step)
    }

    fn skips_fail(&self) -> bool {
        self.no_skips || env::var_os("CI").is_some_and(|value| value == "true")
    }
}

/// One part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting of all crates.
    Fmt,
    /// Lints of all crates.
    Clippy,
    /// Unit, property and documentation tests, on this machine.
    Unit,
    /// Frames through the loaded program.
    Packet,
    /// Network namespaces.
    Lab,
}

/// Runs `cargo xtask test`.
pub(crate) fn verb(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    let run = Run::new(checkout)?;
    let kernel = args.chosen(Step::Packet) || args.chosen(Step::Lab);
    let mut report = Report::default();
    if args.chosen(Step::Fmt) {
        report.step("fmt", || run.fmt());
    }
    // Before the rest, so that nothing is compiled twice: lb-userspace embeds the BPF object.
    let built = !kernel && !args.chosen(Step::Clippy) || report.step("build", || run.build(kernel));
    if args.chosen(Step::Clippy) {
        report.step_if(built, "clippy", || run.clippy());
    }
    if args.chosen(Step::Unit) {
        report.step("unit", || run.unit());
    }
    if args.chosen(Step::Packet) {
        report.step_if(built, "packet", || run.packet());
    }
    if args.chosen(Step::Lab) {
        report.step_if(built, "lab", || run.lab());
    }
    let good = report.print(&run.skips()?, args.skips_fail());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Run<'a> {
    checkout: &'a Checkout,
    suites: Suites,
    /// The file to which each skipped test adds a line.
    skips: PathBuf,
}

impl<'a> Run<'a> {
    fn new(checkout: &'a Checkout) -> Result<Self> {
        let skips = checkout.target("lab-skips.txt");
        fs::create_dir_all(checkout.target(""))
            .and_then(|()| fs::write(&skips, ""))
            .with_context(|| format!("creating {}", skips.display()))?;
        let suites = Suites::find(checkout.root())?;
        Ok(Self { checkout, suites, skips })
    }

    fn fmt(&self) -> Outcome {
        let own = ["--manifest-path", "lb-ebpf/Cargo.toml"];
        Outcome::of_commands([
            &mut self.checkout.cargo(["fmt", "--all", "--check"]),
            self.checkout.cargo(["fmt", "--check"]).args(own),
        ])
    }

    fn build(&self, kernel: bool) -> Outcome {
        let built = setup::toolchain(self.checkout).and_then(|()| build::objects(self.checkout));
        match built {
            // The tests start the binaries of the workspace. `--tests` beside `--bins`: with the tests' own
            // dependencies in the same build, `cargo test` finds everything compiled.
            Ok(()) if kernel => {
                Outcome::of_commands([&mut self.checkout.cargo(["build", "--workspace", "--bins", "--tests"])])
            }
            Ok(()) => Outcome::default(),
            Err(error) => Outcome::from(error),
        }
    }

    fn clippy(&self) -> Outcome {
        Outcome::of_commands([
            &mut self.checkout.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            build::bpf_cargo(self.checkout, "clippy").args(["--", "-D", "warnings"]),
        ])
    }

    fn unit(&self) -> Outcome {
        // VRRP's own tests pair it with keepalived.
        self.packages();
        let mut code = self.cargo_test(&["--lib", "--bins"]);
        code.args(suites::named(&self.suites.unit));
        let mut documentation = self.cargo_test(&["--doc"]);
        self.tests(&mut code).and(|| self.tests(&mut documentation))
    }

    fn packet(&self) -> Outcome {
        self.suite(&self.suites.packet)
    }

    fn lab(&self) -> Outcome {
        self.packages();
        self.suite(&self.suites.lab)
    }

    /// Installs what the tests need of the system, where that is missing.
    fn packages(&self) {
        if let Err(error) = packages::ensure(self.checkout, packages::LAB) {
            // The tests that lack something skip themselves, with the reason.
            eprintln!("test: {error:#}");
        }
    }

    /// Integration tests by name. Every call selects the whole workspace, so that all share one build.
    fn suite(&self, names: &[String]) -> Outcome {
        if names.is_empty() {
            return Outcome::default();
        }
        if !geteuid().is_root() {
            eprintln!("test: these need root, and skip themselves without");
        }
        self.tests(self.cargo_test(&[]).args(suites::named(names)))
    }

    fn cargo_test(&self, args: &[&str]) -> Command {
        let mut command = self.checkout.cargo(["test", "--workspace", "--no-fail-fast"]);
        command.args(args).env("LB_LAB_SKIPS", &self.skips);
        command
    }

    fn tests(&self, command: &mut Command) -> Outcome {
        let mut tally = Tally::default();
        match shell::stream(command, |line| tally.read(line)) {
            Ok(status) if status.success() || tally.failed > 0 => Outcome { tally, error: None },
            Ok(status) => Outcome { tally, error: Some(shell::failure(command, status)) },
            Err(error) => Outcome { tally, error: Some(error) },
        }
    }

    /// What the skipped tests of this run said.
    fn skips(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.skips).with_context(|| format!("reading {}", self.skips.display()))?;
        Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }
}
