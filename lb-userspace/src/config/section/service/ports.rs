//! `ports`: one service of several ports and protocols, which becomes an entry for each of them.
//!
//! An entry is called after its service and port, `web:443/udp`. A name of a section has neither `:` nor `/`, so that none can be
//! taken for another; it is what `lb list`, metrics and events show. Whoever names `web` means all of them.

use super::{Protocol, ServiceKeys};
use crate::config::read::source::{Source, Span};
use crate::config::read::value::{Endpoint, short};
use crate::config::read::{List, Named, Shown, Text};
use crate::config::report::{Fault, Findings};
use crate::config::section::seen::FirstSeen;

/// A port of a service, `None` for any, with its protocol.
pub type Port = (Option<u16>, Protocol);

/// The key's kind.
pub const PORTS: List<Text<Port>> = List {
    item: Text {
        read: port,
        example: "\"80/tcp\"",
        values: "`\"PORT/tcp\"`, `\"PORT/udp\"`; `\"any/tcp\"` for any port",
    },
    empty: ("the service would take nothing", "name a port, such as [\"80/tcp\", \"443/tcp\"]"),
};

impl Shown for Port {}

fn port(text: &str) -> Result<Port, Fault> {
    let fault = || {
        Fault::new(
            format!("\"{}\" is not a port with its protocol", short(text)),
            "write \"80/tcp\" or \"443/udp\", with a port from 1 to 65535; \"any/tcp\" for any port",
        )
    };
    let (port, protocol) = text.split_once('/').ok_or_else(fault)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(fault()),
    };
    match port {
        "any" => Ok((None, protocol)),
        _ => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok((Some(port), protocol)),
            _ => Err(fault()),
        },
    }
}

/// Whether it is a port with its protocol.
pub fn is_port(text: &str) -> bool {
    port(text).is_ok()
}

/// One entry of a service.
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The place of its port.
    pub span: Span,
}

/// The name of a part: `web:80/tcp`.
fn name(service: &str, (port, protocol): Port) -> String {
    let port = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    format!("{service}:{port}/{}", protocol.label().to_lowercase())
}

/// The names of a service's parts, or its own where it has no `ports`.
pub fn names(read: &Named<ServiceKeys>) -> Vec<String> {
    let own = read.name.get_ref();
    match read.ports.items() {
        [] => vec![own.clone()],
        ports => ports.iter().map(|port| name(own, *port.get_ref())).collect(),
    }
}

/// Whether a service of this name is meant by a word: its name, or that of the section that it is a part of.
#[must_use]
pub fn is_meant(service: &str, word: &str) -> bool {
    service == word || service.split_once(':').is_some_and(|(whole, _)| whole == word)
}

/// A service's entries; none after a fault.
pub fn parts(read: &Named<ServiceKeys>, source: &Source, findings: &mut Findings) -> Vec<Part> {
    let ports = read.ports.items();
    let Some((&Endpoint { port, .. }, span)) = read.address.written() else { return Vec::new() };
    if read.ports.key().is_none() {
        let protocol = read.protocol.copied();
        return protocol
            .map(|protocol| Part { name: read.name.get_ref().clone(), port, protocol, span })
            .into_iter()
            .collect();
    }
    if let Some(port) = port {
        findings.report(
            span,
            format!("the service has `ports`, and port {port} here"),
            "write the address alone, and the port in `ports`",
        );
    }
    if let Some((_, span)) = read.protocol.written() {
        findings.report(span, "with `ports` each port has its own protocol", "remove the line");
    }
    let (mut seen, mut parts) = (FirstSeen::default(), Vec::new());
    for port in ports {
        if let Some(line) = seen.before(*port.get_ref(), port.span(), source) {
            let name = name("", *port.get_ref());
            findings.report(
                port.span(),
                format!("port {} is named twice, first on {line}", name.trim_start_matches(':')),
                "name it once",
            );
            continue;
        }
        let (number, protocol) = *port.get_ref();
        parts.push(Part {
            name: name(read.name.get_ref(), *port.get_ref()),
            port: number,
            protocol,
            span: port.span(),
        });
    }
    parts
}
