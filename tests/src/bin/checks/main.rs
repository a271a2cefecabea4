//! What the health checks reach: how soon a failure is out of the slots and a recovery back in them, and what thousands of
//! checks a second cost.
//!
//! All of it runs in a lab: one director with its agent, reals with nginx.

mod detection;
mod rate;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use lb_tests::lab;

/// Measures the health checks.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure how soon a failing real is out of the slots, and one that is well again back in them.
    Detection {
        /// Rounds of each failure.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Measure what many checks a second cost: 5,000 by HTTP, then 1,000 by HTTPS.
    Rate {
        /// How long each is looked at.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Checks of HTTP, each once a second.
        #[arg(long, default_value_t = 5000)]
        http: usize,
        /// Checks of HTTPS.
        #[arg(long, default_value_t = 1000)]
        https: usize,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Err(reason) = lab::require() {
        bail!("{reason}");
    }
    lab::cleanup_on_signal()?;
    match options.verb {
        Verb::Detection { rounds } => detection::run(rounds),
        Verb::Rate { seconds, http, https } => rate::run(seconds, http, https),
    }
}
