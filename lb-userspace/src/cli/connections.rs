//! `lb list --connections`: the remembered connections, as they come.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use ipnet::IpNet;

use super::exit::Code;
use super::output::print;
use crate::api::{self, Connection, ConnectionState, Wanted};

/// Prints those that are wanted.
pub(super) async fn run(wanted: &Wanted, json: bool) -> Result<Code> {
    let (mut printed, mut head) = (Ok(()), if json { "" } else { HEAD });
    let take = |part: Vec<Connection>| {
        let mut text = std::mem::take(&mut head).to_owned();
        for connection in &part {
            match json {
                // A line each: there may be a million.
                true => text.extend(serde_json::to_string(connection).ok().map(|line| line + "\n")),
                false => row(&mut text, connection),
            }
        }
        printed = print(&text);
        printed.is_ok()
    };
    api::connections(&api::socket(), wanted, take).await?;
    printed?;
    print(head)?;
    Ok(Code::Done)
}

/// A network, or a client's own address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| "neither an address nor a network, such as 10.0.3.0/24".to_owned())
}

const HEAD: &str = "Prot State    Idle Client                   Service                  Real\n";

fn row(out: &mut String, connection: &Connection) {
    let Connection { protocol, client, client_port, vip, port, real, idle, .. } = connection;
    let state = match connection.state {
        ConnectionState::Opening => "opening",
        ConnectionState::Open => "open",
        ConnectionState::Closing => "closing",
        ConnectionState::Persistent => "persist",
    };
    let (client, vip) = (SocketAddr::new(*client, *client_port), SocketAddr::new(*vip, *port));
    // Writing to a string can't fail. IPv6 makes a line longer, and its columns stay apart.
    let _ = writeln!(out, "{:<4} {state:<7} {idle:>5} {client:<24} {vip:<24} {real}", protocol.to_uppercase());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(client: &str, vip: &str, real: &str) -> Connection {
        let parse = |address: &str| address.parse().unwrap();
        Connection {
            service: "web".to_owned(),
            protocol: "tcp".to_owned(),
            client: parse(client),
            client_port: 40000,
            vip: parse(vip),
            port: 80,
            real: parse(real),
            state: ConnectionState::Open,
            idle: 61,
        }
    }

    #[test]
    fn a_row_fits_below_its_head() {
        let mut out = String::new();
        row(&mut out, &connection("203.0.113.255", "172.28.128.210", "172.28.128.40"));
        assert_eq!(out, "TCP  open       61 203.0.113.255:40000      172.28.128.210:80        172.28.128.40\n");
        assert!(HEAD.len() <= 80 && out.find("203") == HEAD.find("Client") && out.rfind("172") == HEAD.find("Real"));
        out.clear();
        row(&mut out, &connection("2001:db8:aaaa:bbbb:cccc:dddd:eeee:40", "fd28::210", "fd28::40"));
        assert!(out.contains("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:40]:40000 [fd28::210]:80"), "{out}");
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        assert_eq!(network("10.0.3.9").unwrap(), "10.0.3.9/32".parse().unwrap());
        assert_eq!(network("fd00::/8").unwrap(), "fd00::/8".parse().unwrap());
        assert!(network("web").is_err());
    }
}
