//! Remembered connections, one JSON object a line, as the agent walks through its flow table: neither side ever holds them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use lb_common::flow::{Flow, Stage};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::agent::{plain_address, protocol_name};
use crate::config::is_meant;
use crate::dataplane::{At, Error, Remembered, is_template};
use crate::planner::model::protocol_of;

/// A remembered connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Name of its service in the configuration.
    pub service: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client's address.
    pub client: IpAddr,
    /// And port.
    pub client_port: u16,
    /// The VIP.
    pub vip: IpAddr,
    /// And its port.
    pub port: u16,
    /// The real that has it.
    pub real: IpAddr,
    /// Where in its life it is.
    pub state: ConnectionState,
    /// Seconds since its last packet from the client, to within about one.
    pub idle: u64,
}

/// Where in its life a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// One packet was seen.
    Opening,
    /// Packets go through.
    Open,
    /// The client sent a FIN or RST.
    Closing,
    /// No connection, but the real that a client's new ones go to: a template, in IPVS's words.
    Persistent,
}

/// Which connections are asked for: those that fit all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Of clients in this network.
    pub client: Option<IpNet>,
    /// Of the service of this name.
    pub service: Option<String>,
    /// Of this real.
    pub real: Option<IpAddr>,
    /// To this VIP.
    #[serde(default)]
    pub vip: Option<IpAddr>,
}

/// All that a walk needs.
pub struct Walk {
    /// The table.
    pub table: Remembered,
    /// Its clock.
    pub now: u32,
    /// And that clock's unit.
    pub tick: Duration,
    /// Names of services, by their ids.
    pub names: HashMap<u32, String>,
    /// Addresses of reals, by their pool and number.
    pub reals: HashMap<(u32, u16), IpAddr>,
}

/// Bytes of one part at least: a part is what is sent at once.
const PART: usize = 32 << 10;

impl Walk {
    /// Walks through the table and sends what is wanted, in parts of whole lines. It waits for whoever takes them, and ends
    /// when nobody does.
    ///
    /// # Errors
    /// A line of the table can't be read, which can't be.
    pub fn send(&self, wanted: &Wanted, parts: &mpsc::Sender<Vec<u8>>) -> Result<(), Error> {
        let mut part = Vec::with_capacity(2 * PART);
        for line in 0..self.table.lines() {
            for (way, word) in self.table.words(line)?.into_iter().enumerate() {
                let Some(connection) = self.connection(At { line, way }, word).filter(|it| wanted.fits(it)) else {
                    continue;
                };
                // A connection is made of what JSON has.
                if serde_json::to_writer(&mut part, &connection).is_ok() {
                    part.push(b'\n');
                }
            }
            if part.len() >= PART && parts.blocking_send(std::mem::take(&mut part)).is_err() {
                return Ok(());
            }
        }
        let _ = parts.blocking_send(part);
        Ok(())
    }

    fn connection(&self, at: At, word: u64) -> Option<Connection> {
        let flow = Flow::of(word)?;
        let (key, service) = self.table.known(at, flow)?;
        let [a, b, c, d] = key.ports;
        Some(Connection {
            service: self.names.get(&service.id)?.clone(),
            protocol: protocol_name(protocol_of(service.key.protocol)).to_owned(),
            client: plain_address(key.client),
            client_port: u16::from_be_bytes([a, b]),
            vip: plain_address(service.key.address),
            port: u16::from_be_bytes([c, d]),
            real: *self.reals.get(&(service.reals, flow.real))?,
            state: match flow.stage {
                _ if is_template(&key, service) => ConnectionState::Persistent,
                Stage::Opening => ConnectionState::Opening,
                Stage::Open => ConnectionState::Open,
                Stage::Closing => ConnectionState::Closing,
            },
            idle: (self.tick * flow.idle(self.now)).as_secs(),
        })
    }
}

impl Wanted {
    fn fits(&self, connection: &Connection) -> bool {
        self.client.is_none_or(|net| net.contains(&connection.client))
            && self.service.as_ref().is_none_or(|name| is_meant(&connection.service, name))
            && self.real.is_none_or(|real| real == connection.real)
            && self.vip.is_none_or(|vip| vip == connection.vip)
    }

    /// As the query of a request.
    pub(super) fn query(&self) -> String {
        let client = self.client.map(|net| format!("client={net}"));
        // What else a service's name has than letters and digits stands in a query as it is.
        let service = self.service.as_ref().map(|name| format!("service={name}"));
        let real = self.real.map(|real| format!("real={real}"));
        let vip = self.vip.map(|vip| format!("vip={vip}"));
        [client, service, real, vip].into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_fits_all_of_it() {
        let connection = Connection {
            service: "web".to_owned(),
            protocol: "tcp".to_owned(),
            client: "10.0.3.9".parse().unwrap(),
            client_port: 40000,
            vip: "192.0.2.1".parse().unwrap(),
            port: 80,
            real: "192.0.2.40".parse().unwrap(),
            state: ConnectionState::Open,
            idle: 3,
        };
        let wanted = |client: Option<&str>, service: Option<&str>, real: Option<&str>| Wanted {
            client: client.map(|net| net.parse().unwrap()),
            service: service.map(str::to_owned),
            real: real.map(|real| real.parse().unwrap()),
            vip: None,
        };
        assert!(wanted(None, None, None).fits(&connection));
        assert!(wanted(Some("10.0.3.0/24"), Some("web"), Some("192.0.2.40")).fits(&connection));
        for other in [
            wanted(Some("10.0.4.0/24"), Some("web"), None),
            wanted(None, Some("dns"), None),
            wanted(Some("10.0.0.0/8"), None, Some("192.0.2.50")),
        ] {
            assert!(!other.fits(&connection), "{other:?}");
        }
        let all = wanted(Some("10.0.3.0/24"), Some("web"), Some("fd00::1"));
        assert_eq!(all.query(), "client=10.0.3.0/24&service=web&real=fd00::1");
    }
}
