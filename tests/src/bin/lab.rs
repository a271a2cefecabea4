//! The lab for eyes: the demonstration behind `cargo xtask run`, and the scenarios behind `cargo xtask lab`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use lb_tests::demo::{self, real, scenario, screen};
use lb_tests::lab;

/// The network-namespace lab.
#[derive(Parser)]
#[command(name = "lab", max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the reference lab: a client, two directors, two reals; one of each is lost and returns.
    Demo {
        /// Leave the lab up, and say how to look into it.
        #[arg(long)]
        keep: bool,
    },
    /// Run a scenario and print what it measures; without a name, list them.
    Scenario {
        /// Its name.
        name: Option<String>,
    },
    /// Take away the labs that `demo --keep` has left up.
    Remove,
    /// Answer as a real. The demonstration starts itself so.
    #[command(name = real::VERB, hide = true)]
    Real {
        /// What it calls itself.
        title: String,
    },
}

fn main() -> ExitCode {
    let started = Instant::now();
    let done = act(Cli::parse().verb, started);
    // Not after Ctrl-C, whose own status is to be the process's.
    screen::undisturbed(|| match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn act(verb: Verb, started: Instant) -> Result<()> {
    match verb {
        Verb::Scenario { name: None } => scenario::list(),
        Verb::Real { title } => real::be(&title),
        Verb::Remove => {
            able()?;
            remove()
        }
        Verb::Demo { keep } => {
            able()?;
            screen::clean_up_on_signal()?;
            demo::play(started, keep)
        }
        Verb::Scenario { name: Some(name) } => {
            able()?;
            screen::clean_up_on_signal()?;
            scenario::run(&name)
        }
    }
}

/// Whoever isn't root is told before anything else.
fn able() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the lab makes network namespaces, and only root may.\n\
             Run `cargo xtask run` as root, or install sudo, which it then uses for the lab alone."
        );
    }
    Ok(())
}

fn remove() -> Result<()> {
    let mut removed = lab::sweep_kept()?;
    removed.extend(lab::sweep()?);
    if removed.is_empty() {
        println!("there is no lab to remove");
    }
    for name in removed {
        println!("removed {name}");
    }
    Ok(())
}
