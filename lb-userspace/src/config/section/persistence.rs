//! Persistence of a service: for how long, for which clients, and with which other services together.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::service::{Protocol, Service, ServiceKeys, ServicePlaces, Udp};
use crate::config::read::source::Source;
use crate::config::read::{Named, hours};
use crate::config::report::Findings;

/// A client's new connections go where its last ones went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persistence {
    /// For so long after its last connection.
    pub time: Duration,
    /// Clients whose addresses have so many first bits in common are one: 0 to 32 over IPv4, to 128 over IPv6.
    pub prefix: u8,
    /// Services of one group send a client to one real.
    pub group: Option<String>,
}

/// As ipvsadm has it: `persistent 5m`, with the mask where it isn't a client's whole address.
impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persistent {}", hours(self.time))?;
        if !matches!(self.prefix, 32 | 128) {
            write!(f, " mask /{}", self.prefix)?;
        }
        self.group.as_ref().map_or(Ok(()), |group| write!(f, " with group {group}"))
    }
}

/// The rules of one service's.
pub(super) fn accept(read: &Named<ServiceKeys>, vip: IpAddr, findings: &mut Findings) -> Option<Persistence> {
    let written = read.persistence.written();
    for (key, span) in [
        ("persistence_prefix", read.persistence_prefix.written().map(|(_, span)| span)),
        ("persistence_group", read.persistence_group.written().map(|(_, span)| span)),
    ] {
        if let (Some(span), None) = (span, &written) {
            findings.report(
                span,
                format!("`{key}` says nothing in a service without `persistence`"),
                "add persistence = \"5m\", or remove it",
            );
        }
    }
    let (&time, span) = written?;
    if let Some(scheduler) = read.scheduler.copied().filter(|scheduler| !scheduler.is_tracked()) {
        findings.report(
            span.clone(),
            format!("`persistence` needs a scheduler that keeps connections; {} keeps none", scheduler.label()),
            "write scheduler = \"wlc\" or \"rr\"; or scheduler = \"sh\" without persistence, which has one client on one real by its address",
        );
    }
    if read.udp.copied() == Some(Udp::Query) {
        findings.report(
            span,
            "`persistence` has no connection to keep where udp = \"query\"",
            "remove one of them; udp = \"session\" keeps a client's datagrams together",
        );
    }
    let most = if vip.is_ipv4() { 32 } else { 128 };
    let prefix = match read.persistence_prefix.written() {
        None => most,
        Some((&prefix, span)) if prefix > most => {
            findings.report(
                span,
                format!("an address of the VIP's family has {most} bits, not {prefix}"),
                format!("write 0 to {most}; without it each client's whole address counts"),
            );
            most
        }
        Some((&prefix, _)) => prefix,
    };
    let has_ports = read.ports.key().is_some();
    // The ports of one service send a client to one real.
    let group = read.persistence_group.cloned().or_else(|| has_ports.then(|| read.name.get_ref().clone()));
    if let (Some((name, span)), None, false) = (read.persistence_group.written(), read.pool.written(), has_ports) {
        findings.report(
            span,
            format!("the services of group {name} have to have the same reals, and this one has reals of its own"),
            "put the reals into a [pool.NAME] that all services of the group name",
        );
    }
    Some(Persistence { time, prefix, group })
}

/// The rules of a group: its services are of one VIP and pool, and agree on how clients are kept.
pub(super) fn check_groups(services: &[(Service, ServicePlaces)], source: &Source, findings: &mut Findings) {
    let mut first: HashMap<&str, &(Service, ServicePlaces)> = HashMap::new();
    for other in services {
        let (service, places) = other;
        let Some(group) = service.persistence.as_ref().and_then(|persistence| persistence.group.as_deref()) else {
            continue;
        };
        let (before, line) = match first.get(group) {
            Some((before, first_places)) => (before, source.place(first_places.header.start, places.header.start)),
            None => {
                first.insert(group, other);
                continue;
            }
        };
        let differs = |what: &str| {
            format!("{} of group {group} has another {what} than {}, on {line}", service.name, before.name)
        };
        let why = if service.address != before.address {
            differs("VIP")
        } else if service.pool != before.pool {
            differs("pool")
        } else if service.scheduler != before.scheduler {
            differs("scheduler")
        } else if service.persistence != before.persistence {
            differs("persistence or prefix")
        } else {
            continue;
        };
        findings.report(
            places.header.clone(),
            why,
            "a client has one real for a whole group: write the same, or another group",
        );
    }
}

/// Datagrams' kind goes with UDP alone.
pub(super) fn check_udp(read: &Named<ServiceKeys>, findings: &mut Findings) {
    let ports = read.ports.items();
    let is_tcp = match ports {
        [] => read.protocol.copied() == Some(Protocol::Tcp),
        _ => ports.iter().all(|port| port.get_ref().1 == Protocol::Tcp),
    };
    if let (Some((_, span)), true) = (read.udp.written(), is_tcp) {
        findings.report(span, "`udp` says nothing of a service over TCP", "remove it, or write protocol = \"udp\"");
    }
}
