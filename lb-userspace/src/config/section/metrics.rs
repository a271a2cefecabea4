//! `[metrics]`: where Prometheus and browsers find this director.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use super::vips::Vips;
use crate::config::read::value::socket;
use crate::config::read::{Read, Text, key, keys};
use crate::config::report::{Fault, Findings};

/// The port where the section says none.
const PORT: u16 = 9849;

/// `[metrics]`: where Prometheus and browsers find this director.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where it listens. Whoever reaches it may read.
    pub listen: SocketAddr,
}

const LISTEN: Text<SocketAddr> = Text { read: address, example: "\"127.0.0.1:9849\"", values: "an address and a port" };

keys! {
    #[derive(Debug)]
    pub struct MetricsKeys {
        /// where `/metrics` and the status page are served; whoever reaches it can read them, and nothing else
        listen: SocketAddr = key(LISTEN).or(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
}

/// Its rules; `None` when it was refused.
pub fn accept(read: &Read<MetricsKeys>, vips: &Vips, findings: &mut Findings) -> Option<Metrics> {
    if let Some((listen, span)) = read.listen.written()
        && let Some(owner) = vips.owner(listen.ip())
    {
        let message = format!("{} is a VIP of {owner}: it moves from one director to another", listen.ip());
        findings.report(span, message, "write the address that the director itself always has");
    }
    Some(Metrics { listen: read.listen.copied()? })
}

impl Metrics {
    /// What it will do.
    pub fn describe(&self, out: &mut String) {
        let _ = write!(out, "\nMetrics\n  http://{}/metrics, and a status page at /\n", self.listen);
        if !self.listen.ip().is_loopback() {
            out.push_str("  whoever reaches that address can read them\n");
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    socket(text, None, "an address and a port")
}
