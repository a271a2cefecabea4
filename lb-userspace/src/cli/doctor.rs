//! `lb doctor`: what costs traffic here, or will, before and during service.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::ConfigArgs;
use super::exit::Code;
use super::output::{self, COLUMNS, Colour, Paint, columns, print, print_json};
use crate::api::{self, ClientError};
use crate::doctor::{self, look};
use crate::findings::Finding;
use crate::host::privilege::{Capability, require};

pub(super) const AFTER: &str = "\
It asks the segment for the VIPs and reals, and listens for other directors:
some two seconds. Nothing is changed.

Exit codes: 0 nothing bad was found, 1 something was, 2 wrong usage, 4 not
permitted.";

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    args: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing: the exit code says it all.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// What it tells.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// Nothing bad was found.
    good: bool,
    /// An agent answered, and told what it knows.
    agent: bool,
    findings: Vec<Finding>,
}

/// Looks, and tells.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    require(Capability::NetAdmin, "to look at interfaces and the kernel")?;
    require(Capability::Bpf, "to ask the kernel what it can do")?;
    let socket = api::socket();
    let status = match api::status(&socket).await {
        Ok(status) => Some(status),
        Err(ClientError::NoAgent { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // Before VRRP is there, and at the agent's end, there are none.
    let routers = if status.is_some() { api::routers(&socket).await.unwrap_or_default() } else { Vec::new() };
    let facts = look::facts(&arguments.args.config, status.is_some()).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let agent = status.as_ref().map(|status| (status, routers.as_slice()));
    let findings = doctor::findings(&facts, agent, now);
    let good = findings.iter().all(|finding| !finding.bad);
    if arguments.json {
        print_json(&Diagnosis { good, agent: status.is_some(), findings })?;
    } else if !arguments.quiet {
        print(&render(&findings, status.is_some(), columns().unwrap_or(COLUMNS), Paint::of_stdout()))?;
    }
    Ok(if good { Code::Done } else { Code::Failed })
}

fn render(findings: &[Finding], agent: bool, columns: usize, paint: Paint) -> String {
    let mut out = String::new();
    findings.iter().for_each(|finding| output::finding(&mut out, finding, columns, paint));
    let bad = findings.iter().filter(|finding| finding.bad).count();
    let verdict = match bad {
        0 => paint.of(Colour::Good, "nothing bad was found"),
        1 => paint.of(Colour::Bad, "1 TROUBLE"),
        bad => paint.of(Colour::Bad, &format!("{bad} TROUBLES")),
    };
    let notes = findings.len() - bad;
    let runs = if agent { "an agent runs" } else { "no agent runs" };
    // Writing to a string can't fail.
    let _ = writeln!(out, "{verdict}, {notes} worth knowing; {runs}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_and_what_mends_it_stand_below_each() {
        let bad = Finding {
            bad: true,
            subject: "eth1".to_owned(),
            what: "it merges received packets (LRO)".to_owned(),
            why: Some("its driver takes no XDP program beside that".to_owned()),
            mend: Some("`ethtool -K eth1 lro off`".to_owned()),
        };
        let note = Finding { bad: false, ..bad.clone() };
        assert_eq!(
            render(&[bad, note], false, 80, Paint::plain()),
            "! eth1: it merges received packets (LRO)\n    its driver takes no XDP program beside that\n    \
             -> `ethtool -K eth1 lro off`\n  eth1: it merges received packets (LRO)\n    \
             its driver takes no XDP program beside that\n    -> `ethtool -K eth1 lro off`\n\
             1 TROUBLE, 1 worth knowing; no agent runs\n"
        );
        assert!(render(&[], true, 80, Paint::plain()).starts_with("nothing bad was found, 0 worth"));
    }
}
