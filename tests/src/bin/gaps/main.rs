//! What a client loses when its director is lost, and what it costs to be ready for that: lb beside keepalived.
//!
//! Both run in labs of the same shape, in turns, on the same machine at the same time. Director A is the master, B its
//! backup, and the client probes the VIP every 2 ms. Behind lb are two reals; behind keepalived the directors answer
//! themselves for as long as they own the VIP, which leaves its own gap and nothing else.

mod cpu;
mod fault;
mod soak;
mod table;
mod team;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use lb_tests::directors::Way;
use lb_tests::{keepalived, lab};
use serde::Serialize;

use fault::Fault;
use table::{Figures, Row};
use team::{Program, Team};

/// Measures the gap that a client sees when a director fails, returns or is stopped.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Rounds; each figure is the median, the least and the most of these.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Only these, of v2-1s, v3-100ms and v3-10ms.
    #[arg(long, value_delimiter = ',')]
    ways: Vec<String>,
    /// Director A owns the VIP (priority 255, RFC 9568 §6.1).
    #[arg(long)]
    owner: bool,
    /// Writes the figures as JSON to this file as well.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Count false take-overs with adverts every 10 ms while every core is busy with something else.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
    /// Measure the CPU time of 255 virtual routers that advertise every 100 ms.
    Cpu {
        /// How long.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Err(reason) = lab::require() {
        bail!("{reason}");
    }
    if !keepalived::available() {
        bail!("keepalived is what lb is measured beside: install keepalived");
    }
    lab::cleanup_on_signal()?;
    match options.verb {
        Some(Verb::Soak { minutes }) => {
            let counts = soak::run(Duration::from_secs_f64(minutes * 60.0))?;
            table::print_soak(&counts);
            write(options.json, &counts)
        }
        Some(Verb::Cpu { seconds }) => {
            let shares = cpu::run(Duration::from_secs(seconds))?;
            table::print_cpu(&shares);
            write(options.json, &shares)
        }
        None => {
            let rows = gaps(&options)?;
            table::print_gaps(&rows);
            write(options.json, &rows)
        }
    }
}

fn gaps(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for way in [Way::V2_1S, Way::V3_100MS, Way::V3_10MS] {
        let name = way.title().replace(' ', "-");
        if options.ways.is_empty() || options.ways.contains(&name) {
            rows.extend(gaps_of(way, options)?);
        }
    }
    Ok(rows)
}

/// Both programs' gaps of every fault, in turns.
fn gaps_of(way: Way, options: &Options) -> Result<Vec<Row>> {
    let priority = if options.owner { 255 } else { 200 };
    let rounds = options.rounds;
    let [lb, keepalived] = [team::lab()?, team::lab()?];
    let mut teams =
        [Team::start(&lb, Program::Lb, way, priority)?, Team::start(&keepalived, Program::Keepalived, way, priority)?];
    let mut rows: Vec<Row> =
        Fault::ALL.iter().flat_map(|fault| Program::ALL.map(|program| Row::new(way, *fault, program))).collect();
    for round in 1..=rounds {
        eprintln!("{}: round {round} of {rounds}", way.title());
        for row in &mut rows {
            let team = teams.iter_mut().find(|team| team.program() == row.program()).context("each has a team")?;
            let report = team.suffer(row.fault()).with_context(|| format!("{row}, round {round}"))?;
            row.push(Figures::of(&report));
        }
    }
    Ok(rows)
}

fn write(path: Option<PathBuf>, figures: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(serde_json::to_writer_pretty(file, figures)?)
}
