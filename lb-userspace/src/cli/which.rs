//! `lb which`: the real that has a client's connection, or would get it, and why.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use clap::Args;
use ipnet::IpNet;
use serde::Serialize;

use super::exit::Code;
use super::output::{columns, print, print_json, wrapped};
use crate::api::{self, Connection, ConnectionState, Question, Wanted, Which, Why};
use crate::config::Protocol;
use crate::config::endpoint;
use crate::findings::brief;

/// Whose connection.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The client, such as 203.0.113.9:40000 or [2001:db8::9]:40000; without a port, what is known of all of its
    /// connections.
    #[arg(value_name = "CLIENT[:PORT]", value_parser = client)]
    client: Client,
    /// The VIP and its port, such as 192.0.2.1:80 or [2001:db8::1]:80.
    #[arg(value_name = "VIP:PORT")]
    vip: SocketAddr,
    /// Of a service over this protocol alone.
    #[arg(long, short, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A client, perhaps with its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client(IpAddr, Option<u16>);

fn client(text: &str) -> Result<Client, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().map(|address| Client(address, None));
    let socket = || text.parse::<SocketAddr>().map(|socket| Client(socket.ip(), Some(socket.port())));
    address.or_else(|_| socket()).map_err(|_| "neither an address nor ADDRESS:PORT".to_owned())
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err("write tcp or udp".to_owned()),
    }
}

/// Connections that are listed of a client without a port.
const LISTED: usize = 20;

/// All that is told.
#[derive(Debug, Serialize)]
struct Answer {
    client: IpAddr,
    client_port: Option<u16>,
    vip: IpAddr,
    port: u16,
    services: Vec<Which>,
    /// Of a client without a port: its remembered connections to the VIP's port, as many as are listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<Connection>,
}

/// Asks the agent.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    let Arguments { client: Client(client, client_port), vip, protocol, json } = arguments;
    let socket = api::socket();
    let question = Question { client, client_port, vip: vip.ip(), port: vip.port(), protocol };
    let services = api::which(&socket, &question).await?;
    let mut connections = Vec::new();
    if client_port.is_none() {
        let wanted = Wanted { client: Some(IpNet::from(client)), vip: Some(vip.ip()), ..Wanted::default() };
        api::connections(&socket, &wanted, |part| {
            let here = part.into_iter().filter(|one| one.port == vip.port());
            connections
                .extend(here.filter(|one| protocol.is_none_or(|of| of.label().eq_ignore_ascii_case(&one.protocol))));
            connections.len() <= LISTED
        })
        .await?;
        connections.truncate(LISTED);
    }
    let good = services.iter().all(|which| which.real.is_some() && !which.standby);
    let answer = Answer { client, client_port, vip: vip.ip(), port: vip.port(), services, connections };
    if json {
        print_json(&answer)?
    } else {
        print(&render(&answer, columns()))?
    };
    Ok(if good { Code::Done } else { Code::Failed })
}

fn render(answer: &Answer, columns: Option<usize>) -> String {
    let mut out = String::new();
    let from = match answer.client_port {
        Some(port) => endpoint(answer.client, Some(port)),
        None => answer.client.to_string(),
    };
    for which in &answer.services {
        let to = endpoint(answer.vip, Some(answer.port));
        let head = format!(
            "{} {from} -> {to}, service {} ({})",
            which.protocol.to_uppercase(),
            which.service,
            which.scheduler
        );
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}", wrapped(&head, columns, 2));
        for line in lines(which, answer.client_port.is_some()) {
            let _ = writeln!(out, "{}", wrapped(&format!("  {line}"), columns, 4));
        }
    }
    for one in &answer.connections {
        let client = endpoint(one.client, Some(one.client_port));
        let line =
            format!("  {} {client} -> {}: {}", one.protocol.to_uppercase(), one.real, state(one.state, one.idle));
        let _ = writeln!(out, "{}", wrapped(&line, columns, 4));
    }
    out
}

/// What is said of one service.
fn lines(which: &Which, with_port: bool) -> Vec<String> {
    let mut out = Vec::new();
    if which.standby {
        out.push(
            "this director is a backup for the VIP: it is the master that decides (`lb vrrp`); here it would be so:"
                .to_owned(),
        );
    }
    let (slot, slots) = (which.slot, which.slots);
    if !with_port && which.scheduler != "sh" {
        out.push("each of its connections goes by itself: name the client's port, too; remembered are:".to_owned());
        return out;
    }
    let Some(real) = which.real else {
        let verdict = which.verdict.as_deref().unwrap_or("no-real");
        out.push(format!(
            "no real takes it ({verdict}): {}",
            match verdict {
                "refused" => "the director's own stack answers, mostly with a reset",
                _ => "its packets are dropped until a real is known that takes them",
            }
        ));
        return out;
    };
    out.push(format!("real {real}"));
    out.push(match which.why {
        Why::Remembered { state: at, idle } => format!("it is remembered: {}", state(at, idle)),
        Why::Settled => format!("slot {slot} of {slots} is settled: all of its connections are this real's"),
        Why::Moving => match which.real_of_older {
            Some(older) => format!(
                "it isn't remembered, and slot {slot} of {slots} is moving: a new connection goes to {real}, one from before \
                 that hasn't spoken since is {older}'s"
            ),
            None => format!("it isn't remembered, and slot {slot} of {slots} is moving: a new connection goes to {real}"),
        },
        Why::Exceptions => {
            format!("it isn't remembered: slot {slot} of {slots} is this real's, but for those that are remembered")
        }
        Why::Client => "it isn't remembered, but its client is: a new connection goes where its last ones went".to_owned(),
        Why::Turn => "it isn't remembered: a new connection takes the next turn, which is this real's now".to_owned(),
        Why::Load => "it isn't remembered: a new connection goes to who has the least to do, which is this real now".to_owned(),
    });
    out
}

fn state(state: ConnectionState, idle: u64) -> String {
    let state = match state {
        ConnectionState::Opening => "opening",
        ConnectionState::Open => "open",
        ConnectionState::Closing => "closing",
        ConnectionState::Persistent => "persistent",
    };
    format!("{state}, idle for {}", brief(idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(scheduler: &str, real: Option<&str>, why: Why) -> Which {
        Which {
            service: "a-name-that-is-longer-than-it-should-be".to_owned(),
            protocol: "tcp".to_owned(),
            scheduler: scheduler.to_owned(),
            standby: false,
            real: real.map(|real| real.parse().unwrap()),
            real_of_older: None,
            verdict: real.is_none().then(|| "refused".to_owned()),
            why,
            slot: 12345,
            slots: 65537,
        }
    }

    fn shown(which: Which, client: &str) -> String {
        let Client(client, client_port) = self::client(client).unwrap();
        let vip = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:210".parse().unwrap();
        let answer = Answer { client, client_port, vip, port: 80, services: vec![which], connections: Vec::new() };
        let text = render(&answer, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text.lines()
            .skip_while(|line| !line.starts_with("  real") && !line.starts_with("  no"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn each_reason_has_its_words_in_80_columns() {
        let (client, real) = ("[2001:db8:1111:2222:3333:4444:5555:6666]:40000", Some("192.0.2.40"));
        let remembered = Why::Remembered { state: ConnectionState::Open, idle: 3 };
        let rows = [
            (which("mh", real, remembered), "  real 192.0.2.40\n  it is remembered: open, idle for 3s"),
            (
                which("mh", real, Why::Settled),
                "  real 192.0.2.40\n  slot 12345 of 65537 is settled: all of its connections are this real's",
            ),
            (
                Which { real_of_older: Some("192.0.2.50".parse().unwrap()), ..which("mh", real, Why::Moving) },
                "  real 192.0.2.40\n  it isn't remembered, and slot 12345 of 65537 is moving: a new connection goes\n    \
                 to 192.0.2.40, one from before that hasn't spoken since is 192.0.2.50's",
            ),
            (
                which("rr", real, Why::Turn),
                "  real 192.0.2.40\n  it isn't remembered: a new connection takes the next turn, which is this\n    real's now",
            ),
            (
                which("mh", None, Why::Settled),
                "  no real takes it (refused): the director's own stack answers, mostly with a\n    reset",
            ),
        ];
        for (which, expected) in rows {
            assert_eq!(shown(which, client), expected);
        }
        assert!(shown(which("sh", real, Why::Settled), "192.0.2.9").starts_with("  real 192.0.2.40"));
        assert_eq!(shown(which("mh", real, Why::Settled), "192.0.2.9"), "");
    }

    #[test]
    fn a_client_has_a_port_or_none() {
        let v4 = "192.0.2.9".parse().unwrap();
        assert_eq!(client("192.0.2.9"), Ok(Client(v4, None)));
        assert_eq!(client("192.0.2.9:80"), Ok(Client(v4, Some(80))));
        assert_eq!(client("2001:db8::9"), client("[2001:db8::9]"));
        assert_eq!(client("[2001:db8::9]:80").map(|client| client.1), Ok(Some(80)));
        assert!(["web", "", "192.0.2.9:x", "192.0.2.9:70000"].into_iter().all(|text| client(text).is_err()));
    }
}
