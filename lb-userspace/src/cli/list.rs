//! `lb list`: services and reals in ipvsadm's shape.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;
use ipnet::IpNet;
use lb_common::SAMPLE;

use super::exit::{Code, NoAgent};
use super::output::{Colour, Paint, columns, print, print_json, wrapped};
use crate::agent;
use crate::api::{
    self, CheckPace, ClientError, DropStatus, Estimate, FleetStatus, RealStatus, ServiceStatus, State, Status,
};
use crate::config::endpoint;
use crate::config::wrap;
use crate::dataplane::{Counters, Maps, Pins, StatsReader};
use crate::host::privilege::{Capability, require};
use crate::rates::Rates;
use crate::verdicts;

/// What to list, and how.
#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// List these services alone (NAME of [service.NAME]).
    #[arg(value_name = "SERVICE", value_parser = super::events::name)]
    services: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print connections, packets and bytes so far, as ipvsadm --stats does.
    #[arg(long, conflicts_with = "rate")]
    stats: bool,
    /// Print connections, packets and bytes per second, as ipvsadm --rate does: by the agent's last two readings, about a
    /// second apart.
    #[arg(long)]
    rate: bool,
    /// Print whole numbers, not 12K.
    #[arg(long)]
    exact: bool,
    /// Print the packets by verdict as well, with what each means.
    #[arg(long)]
    verdicts: bool,
    /// Print the connections that are remembered, one a line: all of a tracked service (rr, wrr), of others those whose slot
    /// has changed.
    #[arg(short = 'c', long)]
    connections: bool,
    /// With --connections: those of clients in this network alone.
    #[arg(long, value_name = "NET", requires = "connections", value_parser = super::connections::network)]
    client: Option<IpNet>,
    /// This service alone, as by its name as an argument.
    #[arg(long, value_name = "NAME", value_parser = super::events::name, conflicts_with = "services")]
    service: Option<String>,
    /// This real alone, and the services that have it.
    #[arg(long, value_name = "ADDRESS")]
    real: Option<IpAddr>,
    /// The services of this VIP alone.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<IpAddr>,
    /// Does nothing: addresses are always numeric. Taken since `ipvsadm -ln` is in people's fingers.
    #[arg(short = 'n', long, hide = true)]
    numeric: bool,
}

/// Asks the agent, or reads the pinned maps where none answers.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    if arguments.connections {
        let Arguments { client, service, real, vip, json, services, .. } = arguments;
        let service = match services.as_slice() {
            [] => service,
            [one] => Some(one.clone()),
            _ => bail!("--connections takes one service, or none"),
        };
        return super::connections::run(&api::Wanted { client, service, real, vip }, json).await;
    }
    let mut status = match api::status(&api::socket()).await {
        Ok(status) => status,
        Err(ClientError::NoAgent { .. }) => status_of_maps()?,
        Err(error) => return Err(error.into()),
    };
    filter::keep(&mut status, &arguments)?;
    if arguments.json {
        print_json(&status)?;
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
        let shape = Shape { columns: columns().unwrap_or(NARROW).clamp(NARROW, WIDE), paint: Paint::of_stdout() };
        print(&render(&status, &arguments, now, shape))?;
    }
    Ok(if status.agent { Code::Done } else { Code::NoAgent })
}

/// How wide a list is, and whether it has colours.
#[derive(Debug, Clone, Copy)]
struct Shape {
    columns: usize,
    paint: Paint,
}

/// Columns that every list may have, and that no list is wider than.
const NARROW: usize = 80;
const WIDE: usize = 132;

pub(super) fn status_of_maps() -> Result<Status> {
    let pins = Pins::default();
    // Where nobody may look, nothing is there.
    require(Capability::Bpf, "to see what is pinned, where no agent answers,")?;
    if !pins.exist() {
        let why = match pins.others().first() {
            Some(other) => format!(
                "no agent runs, and {} was pinned by another version of lb, whose program goes on forwarding.\n\
                 That version lists it; `lb run` takes it over.",
                other.directory().display()
            ),
            None => "no agent runs and nothing is pinned: this machine forwards nothing.\nStart it with `lb run`."
                .to_owned(),
        };
        return Err(NoAgent(why).into());
    }
    let adopted = Maps::open(&pins)?.read()?;
    let stats = StatsReader::open(&pins)?;
    let interfaces = pins.linked()?.into_iter().map(agent::name).collect();
    Ok(agent::status_of_maps(&adopted, interfaces, &stats)?)
}

/// Column widths: 2 + 3 + 26 + 1 + 8 + 1 + 6 are 47; 1 + 10, 1 + 9 and 1 + 11 make it 80, three of 1 + 9 are 77.
const ADDRESS: usize = 26;
/// What stands before a line's counters, on a terminal of 80 columns; on a wider one it is as much wider.
const BEFORE: usize = 47;

impl Shape {
    fn before(self) -> usize {
        BEFORE + self.columns - NARROW
    }
}

/// What stands before a verdict's meaning.
const VERDICT: usize = 31;

/// What a list says of a director that forwards nothing.
pub(super) const OBSERVES: &str =
    "OBSERVES ALONE: every frame passes to this host's own stack; what is counted is what lb would have done";

/// Lines of a fault that are shown at most: a refused file has many.
const FAULT_LINES: usize = 2;

fn render(status: &Status, arguments: &Arguments, now: u64, shape: Shape) -> String {
    let mut out = String::new();
    let interfaces: Vec<String> = status
        .interfaces
        .iter()
        .filter(|interface| interface.awaited.is_none())
        .map(|interface| match interface.mode {
            Some(mode) => format!("{} ({})", interface.name, mode.name()),
            None => interface.name.clone(),
        })
        .collect();
    let on = if interfaces.is_empty() { "no interface yet".to_owned() } else { interfaces.join(", ") };
    let _ = writeln!(out, "lb {}, director on {on}", status.version);
    if status.observe {
        let _ = writeln!(out, "{}", wrapped(OBSERVES, Some(shape.columns), 2));
    }
    for interface in &status.interfaces {
        if let Some(why) = interface.awaited.as_ref().map(|why| why.lines().next().unwrap_or_default()) {
            let since = interface.since.map(|time| since(time, now)).unwrap_or_default();
            let _ = writeln!(out, "WAITED FOR: {}{since}:\n  {why}", interface.name);
        }
    }
    if !status.agent {
        let words = "NO AGENT RUNS: nothing is checked; this is what the pinned maps forward";
        let _ = writeln!(out, "{}", shape.paint.of(Colour::Bad, words));
    }
    for DropStatus { interface, refused, unsent } in &status.drops {
        let (refused, unsent) = (number(*refused, arguments.exact), number(*unsent, arguments.exact));
        let _ =
            writeln!(out, "NOT SENT: {interface}: {refused} frames not handed on, {unsent} not taken by its driver");
    }
    status.peers.iter().for_each(|peers| super::peers::render(&mut out, peers));
    if let Some(fault) = &status.fault {
        let lines: Vec<&str> = fault.lines().collect();
        let (shown, more) = lines.split_at(lines.len().min(FAULT_LINES));
        let _ = writeln!(out, "FAULT: {}", shown.join("\n  "));
        if !more.is_empty() {
            let _ = writeln!(out, "  … (`lb check` and `lb list --json` have all of it)");
        }
    }
    status.checks.iter().for_each(|checks| pace(&mut out, checks));
    if status.log_dropped > 0 {
        let _ = writeln!(out, "LOG: {} lines were dropped, since nothing took them", status.log_dropped);
    }
    let before = shape.before();
    let _ = writeln!(out, "{:<1$} Service", "Prot LocalAddress:Port Scheduler VIP", before - 7);
    let columns = if arguments.stats {
        format!("{:>9} {:>9} {:>9}", "Conns", "InPkts", "InBytes")
    } else if arguments.rate {
        format!("{:>9} {:>9} {:>9}", "CPS", "InPPS", "InBPS")
    } else {
        live("ActiveConn", "InActConn", "Conns")
    };
    let address = ADDRESS + shape.columns - NARROW;
    let _ = writeln!(out, "  -> {:<address$} {:<8} {:>6} {columns}", "RemoteAddress", "State", "Weight");
    for service in &status.services {
        render_service(&mut out, service, arguments, now, shape);
    }
    if arguments.verdicts {
        let _ = writeln!(out, "\n{:<17}{:>12}  Of what", "Verdict", "Packets");
        for verdict in &status.verdicts {
            let meaning = verdicts::named(&verdict.verdict).map_or("", |named| verdicts::words(named).meaning);
            let packets = number(verdict.packets, arguments.exact);
            let line = format!("{:<17}{packets:>12}  {meaning}", verdict.verdict);
            let _ = writeln!(out, "{}", wrapped(&line, Some(shape.columns), VERDICT));
        }
    }
    out
}

fn render_service(out: &mut String, service: &ServiceStatus, arguments: &Arguments, now: u64, shape: Shape) {
    let pool = service.pool.as_ref().map(|pool| format!(" (pool {pool})")).unwrap_or_default();
    let name = format!("{}{pool}", service.name.as_deref().unwrap_or(""));
    let title = format!(
        "{:<4} {} {}{}",
        service.protocol.to_uppercase(),
        endpoint(service.address, service.port),
        service.scheduler,
        service.vrrp.as_ref().map(|owner| format!(" {}", owner.state.to_string().to_uppercase())).unwrap_or_default()
    );
    let sum = |of: fn(&RealStatus) -> Option<u64>| {
        service.reals.iter().map(of).sum::<Option<u64>>().filter(|_| !service.reals.is_empty())
    };
    let known = (sum(|real| real.active_connections), sum(|real| real.inactive_connections));
    let estimate = Estimate::sum(service.reals.iter().map(|real| real.estimated_connections));
    let shown_of = shown((known, estimate), (service.counters, service.rates), arguments);
    render_line(out, &title, &format!("{name:<6}"), &shown_of, shape);
    if let Some(estimate) = estimate.filter(|_| !arguments.stats && !arguments.rate) {
        let error = number(estimate.error, arguments.exact);
        let line = format!("     ~ connections are estimated by one of {SAMPLE}: ±{error} (one standard deviation)");
        let _ = writeln!(out, "{}", wrapped(&line, Some(shape.columns), 7));
    }
    for alarm in service.fleet.iter().filter_map(FleetStatus::alarm) {
        let _ = writeln!(out, "{}", shape.paint.of(Colour::Bad, &format!("     {alarm}")));
    }
    if let Some(persistence) = &service.persistence {
        let _ = writeln!(out, "{}", wrapped(&format!("     {persistence}"), Some(shape.columns), 7));
    }
    for real in &service.reals {
        let address = format!("  -> {}", endpoint(real.address, service.port));
        let rest = format!("{:<8} {:>6}", real.state.word(), real.weight);
        let lives = ((real.active_connections, real.inactive_connections), real.estimated_connections);
        render_line(out, &address, &rest, &shown(lives, (real.counters, real.rates), arguments), shape);
        for line in real::state(real, now)
            .into_iter()
            .chain(real::together(real))
            .chain(real::checked(real))
            .chain(real::set(real))
        {
            let line = wrapped(&format!("     {line}"), Some(shape.columns), 7);
            let line = if real.state == State::Down { shape.paint.of(Colour::Bad, &line) } else { line };
            let _ = writeln!(out, "{line}");
        }
    }
}

/// A line of three parts. The middle one ends where the columns of counters begin; what is too long for that (an IPv6
/// address, a long name) has a line of its own, and the columns stay.
fn render_line(out: &mut String, first: &str, middle: &str, counters: &str, shape: Shape) {
    let before = shape.before();
    let room = before.saturating_sub(first.chars().count() + 1);
    if middle.trim_end().chars().count() <= room {
        let _ = writeln!(out, "{first} {middle:>room$} {counters}");
        return;
    }
    let _ = writeln!(out, "{first}");
    let room = before - 5;
    if middle.trim_end().chars().count() <= room {
        let _ = writeln!(out, "     {middle:>room$} {counters}");
    } else {
        let _ = writeln!(out, "     {}\n     {:room$} {counters}", middle.trim_end(), "");
    }
}

fn shown(
    ((active, inactive), estimate): ((Option<u64>, Option<u64>), Option<Estimate>),
    (counted, rates): (Counters, Option<Rates>),
    arguments: &Arguments,
) -> String {
    if arguments.stats {
        return counters(counted, arguments.exact);
    }
    if arguments.rate {
        let shown =
            |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| number(whole(rate), arguments.exact));
        let [connections, packets, bytes] = match rates {
            Some(rates) => [rates.connections, rates.packets, rates.bytes].map(Some),
            None => [None; 3],
        };
        return format!("{:>9} {:>9} {:>9}", shown(connections), shown(packets), shown(bytes));
    }
    let shown = |known: Option<u64>, about: Option<u64>| match (known, about) {
        (Some(known), _) => number(known, arguments.exact),
        (None, Some(about)) => format!("~{}", number(about, arguments.exact)),
        (None, None) => "-".to_owned(),
    };
    let active = shown(active, estimate.map(|of| of.active));
    let inactive = shown(inactive, estimate.map(|of| of.inactive));
    live(&active, &inactive, &number(counted.connections, arguments.exact))
}

fn live(active: &str, inactive: &str, connections: &str) -> String {
    format!("{active:>10} {inactive:>9} {connections:>11}")
}

fn counters(counters: Counters, exact: bool) -> String {
    let Counters { connections, packets, bytes } = counters;
    format!("{:>9} {:>9} {:>9}", number(connections, exact), number(packets, exact), number(bytes, exact))
}

/// What is said of the checks as a whole, where there is something to say.
pub(super) fn pace(out: &mut String, pace: &CheckPace) {
    let CheckPace { limit, waiting, delayed, unasked, own_fault, .. } = pace;
    if *waiting > 0 {
        out.push_str(&wrap(
            &format!(
                "CHECKS: {waiting} wait, since {limit} run, which is the most at once ({delayed} so far): raise \
                 LimitNOFILE, lengthen intervals or shorten timeouts"
            ),
            "  ",
        ));
    }
    if let Some(fault) = own_fault {
        let told = format!("CHECKS: {unasked} can't be made, so that their reals stay what they were: {fault}");
        out.push_str(&wrap(&told, "  "));
    }
}

/// ` since TIME (LENGTH)`; both in seconds since 1970.
pub(super) fn since(since: u64, now: u64) -> String {
    let length = humantime::format_duration(Duration::from_secs(now.saturating_sub(since)));
    let clock = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since));
    format!(" since {clock} ({length})")
}

/// Rounded; a rate is never below nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded, and rounded")]
fn whole(rate: f64) -> u64 {
    rate.round().clamp(0.0, 1e18) as u64
}

/// As ipvsadm: whole numbers below 10 million, then K, M and G.
fn number(value: u64, exact: bool) -> String {
    match value {
        _ if exact => value.to_string(),
        0..10_000_000 => value.to_string(),
        10_000_000..1_000_000_000 => format!("{}K", value / 1_000),
        1_000_000_000..1_000_000_000_000 => format!("{}M", value / 1_000_000),
        _ => format!("{}G", value / 1_000_000_000),
    }
}

mod filter;
mod real;
#[cfg(test)]
mod tests;
