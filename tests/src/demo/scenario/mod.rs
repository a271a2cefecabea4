//! Scenarios: each is one question about the balancer, asked in a lab, and answered in figures.

mod alternate;
mod kill_agent;
mod kill_real;
mod scale;

use anyhow::{Context, Result};

use super::screen::{say, undisturbed};
use crate::lab::{Builder, Lab};

/// A scenario.
struct Scenario {
    name: &'static str,
    /// What it does and measures, in a sentence.
    what: &'static str,
    /// The lab that it needs.
    lab: fn() -> Builder,
    play: fn(&Lab) -> Result<()>,
}

const ALL: &[Scenario] = &[
    Scenario {
        name: "alternate",
        what: "1000 requests over IPv4 and over IPv6: `rr` alternates exactly.",
        lab: Lab::builder,
        play: alternate::play,
    },
    Scenario {
        name: "kill-real",
        what: "A real is killed and started, five times: how soon it is noticed.",
        lab: Lab::builder,
        play: kill_real::play,
    },
    Scenario {
        name: "kill-agent",
        what: "The agent is killed and restarted under clients: what they lose.",
        lab: Lab::builder,
        play: kill_agent::play,
    },
    Scenario {
        name: "scale",
        what: "10,000 reals in 1,000 services: time to load, memory, event to map.",
        lab: Lab::builder,
        play: scale::play,
    },
];

/// Prints the scenarios.
///
/// # Errors
/// Standard output is closed.
pub fn list() -> Result<()> {
    say!("Scenarios of the lab, for `cargo xtask lab NAME`:\n")?;
    ALL.iter().try_for_each(|scenario| say!("  {:<11} {}", scenario.name, scenario.what))?;
    say!("\n`cargo xtask lab remove` takes away a lab that `cargo xtask run --keep` left up.")
}

/// Runs one.
///
/// # Errors
/// There is none of that name, this machine can't carry a lab, or something didn't happen.
pub fn run(name: &str) -> Result<()> {
    let scenario = ALL.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.with_context(|| {
        let names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("no scenario {name:?}; there are: {}", names.join(", "))
    })?;
    say!("{}: {}\n", scenario.name, scenario.what)?;
    let lab = (scenario.lab)().build()?;
    (scenario.play)(&lab)?;
    undisturbed(|| lab.close())
}
