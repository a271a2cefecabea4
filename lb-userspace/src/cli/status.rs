//! `lb status`: whether all is well, on one screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::events::line;
use super::exit::Code;
use super::list::status_of_maps;
use super::output::{self, COLUMNS, Colour, Paint, columns, print, print_json, wrapped};
use super::peers;
use crate::api::{self, ClientError, RouterStatus, State, Status};
use crate::events::{Event, Wanted, keeper};
use crate::findings::{Finding, Vip, brief, findings, vips};

/// How it is shown.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing: the exit code says it all.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// Events that are shown.
const EVENTS: usize = 5;
/// Findings and VIPs that are shown: the bad ones come first.
const FINDINGS: usize = 15;
const VIPS: usize = 12;

/// All that is shown.
#[derive(Debug, Serialize)]
struct Overview {
    /// Nothing bad was found.
    good: bool,
    findings: Vec<Finding>,
    vips: Vec<Vip>,
    status: Status,
    routers: Vec<RouterStatus>,
    events: Vec<Event>,
}

/// Asks the agent, or reads the pinned maps where none answers.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    let socket = api::socket();
    let last = Wanted { last: Some(EVENTS), ..Wanted::default() };
    let (status, routers, events) = match api::status(&socket).await {
        Ok(status) => {
            let mut events = Vec::new();
            api::events(&socket, &last, |part| {
                events.extend(part);
                true
            })
            .await?;
            // Before VRRP is there, and at the agent's end, there are none.
            (status, api::routers(&socket).await.unwrap_or_default(), events)
        }
        Err(ClientError::NoAgent { .. }) => {
            let events = last.of(keeper::read(&keeper::path()).unwrap_or_default());
            (status_of_maps()?, Vec::new(), events)
        }
        Err(error) => return Err(error.into()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let findings = findings(&status, &routers, now);
    let good = findings.iter().all(|finding| !finding.bad);
    let code = match (status.agent, good) {
        (false, _) => Code::NoAgent,
        (true, true) => Code::Done,
        (true, false) => Code::Failed,
    };
    let overview = Overview { good, findings, vips: vips(&status, &routers), status, routers, events };
    if arguments.json {
        print_json(&overview)?;
    } else if !arguments.quiet {
        let page = Page { columns: columns().unwrap_or(COLUMNS), paint: Paint::of_stdout(), now };
        print(&page.render(&overview, &crate::host::name()))?;
    }
    Ok(code)
}

/// What it is rendered for.
struct Page {
    columns: usize,
    paint: Paint,
    /// In seconds since 1970.
    now: u64,
}

impl Page {
    fn render(&self, overview: &Overview, host: &str) -> String {
        let Overview { findings, vips, status, routers, events, .. } = overview;
        let mut out = String::new();
        let bad = findings.iter().filter(|finding| finding.bad).count();
        let verdict = match bad {
            0 => self.paint.of(Colour::Good, "all is well"),
            1 => self.paint.of(Colour::Bad, "1 TROUBLE"),
            bad => self.paint.of(Colour::Bad, &format!("{bad} TROUBLES")),
        };
        let at = if host.is_empty() { String::new() } else { format!(" on {host}") };
        let _ = writeln!(out, "lb {}{at}: {verdict}", status.version);
        if status.observe {
            self.line(&mut out, super::list::OBSERVES, 2);
        }
        self.program(&mut out, status);
        self.counts(&mut out, status);
        let (shown, more) = findings.split_at(findings.len().min(FINDINGS));
        for finding in shown {
            output::finding(&mut out, finding, self.columns, self.paint);
        }
        if !more.is_empty() {
            let bad = more.iter().filter(|finding| finding.bad).count();
            let _ = writeln!(out, "  and {} more, {bad} of them bad (`lb status --json`)", more.len());
        }
        self.vips(&mut out, vips, routers, (status.agent, status.observe));
        if let Some(status) = &status.peers {
            out.push_str("\nPeers\n");
            let mut lines = String::new();
            peers::render_well(&mut lines, status);
            lines.lines().for_each(|line| self.line(&mut out, &format!("  {line}"), 4));
        }
        if !status.maps.is_empty() {
            out.push_str("\nMaps\n");
            let fill =
                |map: &api::MapStatus| format!("{} {} of {} ({} %)", map.name, map.used, map.size, map.percent());
            let fills: Vec<String> = status.maps.iter().map(fill).collect();
            self.line(&mut out, &format!("  {}", fills.join(", ")), 2);
        }
        if !events.is_empty() {
            out.push_str("\nLast events (`lb events`)\n");
            for event in events {
                self.line(&mut out, &format!("  {}", line(event)), 6);
            }
        }
        out
    }

    fn line(&self, out: &mut String, text: &str, indent: usize) {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}", wrapped(text, Some(self.columns), indent));
    }

    fn program(&self, out: &mut String, status: &Status) {
        let on = status.interfaces.iter().filter(|interface| interface.awaited.is_none());
        let on: Vec<String> = on
            .map(|interface| match interface.mode {
                Some(mode) => format!("{} ({})", interface.name, mode.name()),
                None => interface.name.clone(),
            })
            .collect();
        let on = if on.is_empty() { "no interface".to_owned() } else { on.join(", ") };
        let which = status.program.as_ref().map(|program| {
            let since = program.loaded_at.map(|at| format!(", loaded {} ago", brief(self.now.saturating_sub(at))));
            format!(": id {}, tag {}, maps {}{}", program.id, program.tag, program.layout, since.unwrap_or_default())
        });
        self.line(out, &format!("program on {on}{}", which.unwrap_or_default()), 2);
    }

    fn counts(&self, out: &mut String, status: &Status) {
        let reals =
            || status.services.iter().flat_map(|service| &service.reals).filter(|real| !real.left && !real.sorry);
        let takers = reals().filter(|real| real.state == State::Up).count();
        let rates = status.services.iter().filter_map(|service| service.rates);
        let (mut connections, mut packets, mut bytes) = (0.0, 0.0, 0.0);
        rates.for_each(|rates| {
            connections += rates.connections;
            packets += rates.packets;
            bytes += rates.bytes;
        });
        let text = format!(
            "{} services, {takers} of {} reals take new connections; {connections:.0} connections/s, \
             {packets:.0} packets/s, {:.1} Mbit/s",
            status.services.len(),
            reals().count(),
            bytes * 8.0 / 1e6
        );
        self.line(out, &text, 2);
    }

    fn vips(&self, out: &mut String, vips: &[Vip], routers: &[RouterStatus], (agent, observe): (bool, bool)) {
        if vips.is_empty() {
            return;
        }
        out.push_str("\nVIPs\n");
        let width = vips.iter().take(VIPS).map(|vip| vip.address.to_string().len()).max().unwrap_or_default();
        let (shown, more) = vips.split_at(vips.len().min(VIPS));
        for vip in shown {
            let router = routers.iter().find(|router| Some(&router.name) == vip.router.as_ref());
            let text = match router {
                None if observe => "others of this host have it: lb observes alone".to_owned(),
                None if !agent => "nobody knows whose it is: the agent does".to_owned(),
                None => "no [vrrp.*] has it: it is whoever's it was given to".to_owned(),
                Some(router) => {
                    let whose = vip.master.map(|master| format!(", master is {master}")).unwrap_or_default();
                    format!(
                        "{} for {} (vrrp.{}, priority {}): {}{whose}",
                        vip.word(),
                        brief(router.age.as_secs()),
                        router.name,
                        router.priority,
                        router.cause
                    )
                }
            };
            self.line(out, &format!("  {:<width$}  {text}", vip.address.to_string()), 4);
        }
        if !more.is_empty() {
            let mut states: BTreeMap<String, usize> = BTreeMap::new();
            more.iter().for_each(|vip| *states.entry(vip.word()).or_default() += 1);
            let states = states.iter().map(|(word, count)| match word.as_str() {
                "" => format!("{count} of no [vrrp.*]"),
                word => format!("{count} {word}"),
            });
            let states = states.collect::<Vec<_>>().join(", ");
            self.line(out, &format!("  and {} more: {states} (`lb vrrp`)", more.len()), 4);
        }
    }
}

#[cfg(test)]
mod tests;
