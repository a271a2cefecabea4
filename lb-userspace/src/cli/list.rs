//! `lb list`: services and reals in ipvsadm's shape.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;

use crate::agent;
use crate::api::{self, ClientError, DropStatus, RealStatus, ServiceStatus, State, Status};
use crate::dataplane::{Counters, Maps, Pins, StatsReader};

/// What to list, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print whole numbers, not 12K.
    #[arg(long)]
    exact: bool,
    /// Print the packets by verdict as well.
    #[arg(long)]
    verdicts: bool,
    /// Does nothing: addresses are always numeric. Taken since `ipvsadm -ln` is in people's fingers.
    #[arg(short = 'n', long, hide = true)]
    numeric: bool,
}

/// Asks the agent, or reads the pinned maps where none answers.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let status = match api::status(&api::socket()).await {
        Ok(status) => status,
        Err(ClientError::NoAgent { .. }) => status_of_maps()?,
        Err(error) => return Err(error.into()),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
        print!("{}", render(&status, &arguments, now));
    }
    Ok(())
}

fn status_of_maps() -> Result<Status> {
    let pins = Pins::default();
    if !pins.exist() {
        if let Some(other) = pins.others().first() {
            bail!(
                "no agent runs, and {} was pinned by another version of lb, whose program goes on forwarding.\n\
                 That version lists it; `lb run` takes it over.",
                other.directory().display()
            );
        }
        bail!("no agent runs and nothing is pinned: this machine forwards nothing.\nStart it with `lb run`.");
    }
    let adopted = Maps::open(&pins)?.read()?;
    let stats = StatsReader::open(&pins)?;
    let interfaces = pins.linked()?.into_iter().map(agent::name).collect();
    Ok(agent::status_of_maps(&adopted, interfaces, &stats)?)
}

/// Column widths: 2 + 3 + 29 + 8 + 7 + three of 10 stay within 80.
const ADDRESS: usize = 27;

fn render(status: &Status, arguments: &Arguments, now: u64) -> String {
    let mut out = String::new();
    let interfaces: Vec<String> = status
        .interfaces
        .iter()
        .map(|interface| match interface.mode {
            Some(mode) => format!("{} ({})", interface.name, mode.name()),
            None => interface.name.clone(),
        })
        .collect();
    let _ = writeln!(out, "lb {}, director on {}", status.version, interfaces.join(", "));
    if !status.agent {
        let _ = writeln!(out, "NO AGENT RUNS: nothing is checked; this is what the pinned maps forward");
    }
    for DropStatus { interface, refused, unsent } in &status.drops {
        let (refused, unsent) = (number(*refused, arguments.exact), number(*unsent, arguments.exact));
        let _ =
            writeln!(out, "NOT SENT: {interface}: {refused} frames not handed on, {unsent} not taken by its driver");
    }
    if let Some(fault) = &status.fault {
        let _ = writeln!(out, "FAULT: {fault}");
    }
    let _ = writeln!(out, "Prot LocalAddress:Port Scheduler");
    let _ = writeln!(
        out,
        "  -> {:<ADDRESS$} {:<7} {:>6} {:>9} {:>9} {:>9}",
        "RemoteAddress", "Forward", "Weight", "Conns", "InPkts", "InBytes"
    );
    for service in &status.services {
        render_service(&mut out, service, arguments, now);
    }
    if arguments.verdicts {
        let _ = writeln!(out, "\n{:<32} {:>12}", "Verdict", "Packets");
        for verdict in &status.verdicts {
            let _ = writeln!(out, "{:<32} {:>12}", verdict.verdict, number(verdict.packets, arguments.exact));
        }
    }
    out
}

fn render_service(out: &mut String, service: &ServiceStatus, arguments: &Arguments, now: u64) {
    let name = service.name.as_deref().unwrap_or("");
    let title = format!(
        "{:<4} {} {}",
        service.protocol.to_uppercase(),
        endpoint(service.address, service.port),
        service.scheduler
    );
    let _ = writeln!(out, "{title:<40} {name:<7} {}", counters(service.counters, arguments.exact));
    for real in &service.reals {
        let address = endpoint(real.address, service.port);
        let _ = writeln!(
            out,
            "  -> {address:<ADDRESS$} {:<7} {:>6} {}",
            "Route",
            real.weight,
            counters(real.counters, arguments.exact)
        );
        if let Some(state) = state(real, now) {
            let _ = writeln!(out, "     {state}");
        }
    }
}

fn counters(counters: Counters, exact: bool) -> String {
    let Counters { connections, packets, bytes } = counters;
    format!("{:>9} {:>9} {:>9}", number(connections, exact), number(packets, exact), number(bytes, exact))
}

/// What keeps a real from its share; nothing for one that takes it.
fn state(real: &RealStatus, now: u64) -> Option<String> {
    let text = match real.state {
        State::Up => return None,
        State::Quiesced => "quiesced: its connections go on, new ones go elsewhere".to_owned(),
        State::Checking => "no check has ended yet: takes no traffic".to_owned(),
        State::Down => "DOWN".to_owned(),
    };
    let since = real.since.map(|time| since(time, now)).unwrap_or_default();
    let why = real.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("{text}{since}{why}"))
}

/// ` since TIME (LENGTH)`; both in seconds since 1970.
pub(super) fn since(since: u64, now: u64) -> String {
    let length = humantime::format_duration(Duration::from_secs(now.saturating_sub(since)));
    let clock = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since));
    format!(" since {clock} ({length})")
}

fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    let port = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{InterfaceStatus, VerdictStatus};
    use crate::dataplane::Hook;

    fn real(last: u8, state: State) -> RealStatus {
        RealStatus {
            address: IpAddr::from([172, 28, 128, last]),
            weight: 1,
            state,
            since: (state == State::Down).then_some(1_000_000),
            why: (state == State::Down).then(|| "connection refused".to_owned()),
            mac: None,
            counters: Counters { connections: 500, packets: 3500, bytes: 25_000_000 },
        }
    }

    #[test]
    fn the_list_has_ipvsadms_shape_in_80_columns() {
        let status = Status {
            version: "0.1.0".to_owned(),
            agent: true,
            interfaces: vec![InterfaceStatus { name: "eth1".to_owned(), mode: Some(Hook::Native) }],
            services: vec![ServiceStatus {
                name: Some("web".to_owned()),
                protocol: "tcp".to_owned(),
                address: IpAddr::from([172, 28, 128, 210]),
                port: Some(80),
                scheduler: "rr".to_owned(),
                counters: Counters { connections: 1000, packets: 7000, bytes: 50_000_000 },
                reals: vec![real(40, State::Up), real(50, State::Down)],
            }],
            drops: vec![DropStatus { interface: "eth2".to_owned(), refused: 3, unsent: 12_345_678 }],
            verdicts: vec![VerdictStatus { verdict: "forwarded".to_owned(), packets: 7000 }],
            fault: None,
        };
        let arguments = Arguments { json: false, exact: false, verdicts: true, numeric: false };
        let text = render(&status, &arguments, 1_000_065);
        let expected = "\
lb 0.1.0, director on eth1 (native)
NOT SENT: eth2: 3 frames not handed on, 12345K not taken by its driver
Prot LocalAddress:Port Scheduler
  -> RemoteAddress               Forward Weight     Conns    InPkts   InBytes
TCP  172.28.128.210:80 rr                web          1000      7000    50000K
  -> 172.28.128.40:80            Route        1       500      3500    25000K
  -> 172.28.128.50:80            Route        1       500      3500    25000K
     DOWN since 1970-01-12T13:46:40Z (1m 5s): connection refused

Verdict                               Packets
forwarded                                7000
";
        assert_eq!(text, expected, "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}
