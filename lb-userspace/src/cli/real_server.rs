//! `lb real-server`: what direct routing needs on a real, for [`crate::real_server`].

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Code;
use super::output::{self, COLUMNS, Paint, columns, print, print_json};
use crate::findings::Finding;
use crate::host::privilege::{Capability, require};
use crate::real_server::{self as real, Keeper, Plan, edge};

pub(super) const AFTER: &str = "\
Exit codes: 0 all is as it should be, or was done; 1 something is wrong, or
nothing was changed; 2 wrong usage; 4 not permitted.

Examples:
  lb real-server check 192.0.2.100
  lb real-server apply 192.0.2.100 2001:db8::100 --dry-run
  lb real-server remove";

/// What is to be done.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what is wrong on this real, why it matters and what mends it; changes nothing.
    Check {
        /// The VIPs [default: those that were applied, or are on lo].
        vips: Vec<IpAddr>,
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put VIPs on lo and have the kernel keep silent about them: now, and after each reboot.
    ///
    /// Shows what it would change, and asks. What it changes it remembers, for `remove`.
    Apply {
        /// The VIPs.
        #[arg(required = true)]
        vips: Vec<IpAddr>,
        #[command(flatten)]
        place: Place,
        /// Who keeps addresses over a reboot [default: whoever has the interface].
        #[arg(long, value_name = "WHO")]
        keeper: Option<Keeper>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Undo what `apply` changed, and nothing else.
    Remove {
        /// Of these VIPs [default: of all, with the settings].
        vips: Vec<IpAddr>,
        #[command(flatten)]
        consent: Consent,
        /// Files are those below this directory.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The interface that the director's frames come in by [default: the one in a VIP's network, or of the default route].
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Files are those below this directory.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

#[derive(Debug, Clone, Copy, Args)]
struct Consent {
    /// Show what would be changed, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
}

/// What `check` tells.
#[derive(Debug, Serialize)]
struct Checked {
    /// Nothing bad was found.
    good: bool,
    vips: Vec<IpAddr>,
    interface: String,
    findings: Vec<Finding>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    match arguments.verb {
        Verb::Check { vips, place, json } => check(vips, &place, json).await,
        Verb::Apply { vips, place, keeper, consent } => {
            let (facts, record) = (edge::facts(&place.root).await?, edge::record(&place.root)?);
            let plan = real::apply(&facts, record.as_ref(), &vips, place.interface.as_deref(), keeper)?;
            let told = plan.record.as_ref().map_or_else(String::new, |record| {
                let names = words(&record.addresses());
                match record.keeper {
                    Keeper::None => format!(
                        "{names} on lo; clients are heard by {}.\nNobody here keeps addresses over a reboot: add them \
                         to what your system runs at boot.\n",
                        record.interface
                    ),
                    keeper => {
                        format!("{names} on lo, kept by {keeper}; clients are heard by {}.\n", record.interface)
                    }
                }
            });
            carry_out(&place.root, &plan, &told, consent)
        }
        Verb::Remove { vips, consent, root } => {
            let (facts, record) = (edge::facts(&root).await?, edge::record(&root)?);
            carry_out(&root, &real::remove(&facts, record.as_ref(), &vips)?, "", consent)
        }
    }
}

fn words(vips: &[IpAddr]) -> String {
    vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn check(mut vips: Vec<IpAddr>, place: &Place, json: bool) -> Result<Code> {
    let (facts, record) = (edge::facts(&place.root).await?, edge::record(&place.root)?);
    if vips.is_empty() {
        let applied = record.as_ref().map(real::Record::addresses).unwrap_or_default();
        let lo = facts.links.iter().filter(|link| link.loopback).flat_map(|link| &link.addresses);
        let on_lo = lo.map(ipnet::IpNet::addr).filter(|address| !address.is_loopback());
        vips = if applied.is_empty() { on_lo.collect() } else { applied };
    }
    if vips.is_empty() {
        bail!("no VIP is on lo, and none was applied.\nName those that it should have: `lb real-server check VIP…`");
    }
    let asked = place.interface.as_deref().or(record.as_ref().map(|record| record.interface.as_str()));
    let interface = real::interface(&facts, &vips, asked)?;
    let findings = real::check(&facts, &interface, &vips);
    let good = findings.iter().all(|finding| !finding.bad);
    if json {
        print_json(&Checked { good, vips, interface, findings })?;
    } else {
        let (columns, paint) = (columns().unwrap_or(COLUMNS), Paint::of_stdout());
        let mut out = String::new();
        findings.iter().for_each(|finding| output::finding(&mut out, finding, columns, paint));
        if good {
            let line = format!("{}: as direct routing needs it, on lo and behind {interface}", words(&vips));
            // Writing to a string can't fail.
            let _ = writeln!(out, "{}", output::wrapped(&line, Some(columns), 2));
        }
        print(&out)?;
    }
    Ok(if good { Code::Done } else { Code::Failed })
}

/// Shows a plan, asks, and does it.
fn carry_out(root: &std::path::Path, plan: &Plan, told: &str, consent: Consent) -> Result<Code> {
    if plan.steps.is_empty() && plan.record.is_some() {
        print(&format!("{told}All is so already: nothing to do\n"))?;
        return Ok(Code::Done);
    }
    if plan.steps.is_empty() {
        print("`lb real-server apply` has changed nothing here: nothing to undo\n")?;
        return Ok(Code::Done);
    }
    if !consent.dry_run {
        require(Capability::NetAdmin, "to change lo and the kernel's settings")?;
    }
    print(&format!("{told}{}", plan.steps.iter().map(ToString::to_string).collect::<String>()))?;
    if consent.dry_run {
        print("Nothing was changed.\n")?;
        return Ok(Code::Done);
    }
    if !consent.yes && !agreed()? {
        print("Nothing was changed.\n")?;
        return Ok(Code::Failed);
    }
    edge::carry_out(root, plan)?;
    print("Done.\n")?;
    Ok(Code::Done)
}

/// Whether whoever sits there says yes.
fn agreed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nobody is there to be asked, and nothing was changed.\nSay --yes, or look with --dry-run");
    }
    print("Do that? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
