//! Directors that share VIPs: their configurations, with the probe's service and a web service behind each VIP.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use crate::lab::{DEADLINE, Host, Lab, VIP, wait_until};
use crate::probe::Echo;
use crate::responder::Http;

/// Where the probe's service is.
pub const PORT: u16 = 7000;

/// How directors speak VRRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The protocol's version.
    pub version: u8,
    /// The advertisement interval.
    pub interval: Duration,
}

impl Way {
    /// Version 2 with its shortest interval.
    pub const V2_1S: Self = Self { version: 2, interval: Duration::from_secs(1) };
    /// Version 3 with ten adverts a second.
    pub const V3_100MS: Self = Self { version: 3, interval: Duration::from_millis(100) };
    /// Version 3 with its shortest interval.
    pub const V3_10MS: Self = Self { version: 3, interval: Duration::from_millis(10) };

    /// How long a backup of this priority waits for the next advert (RFC 3768 §6.1, RFC 9568 §6.1).
    #[must_use]
    pub fn down_interval(self, priority: u8) -> Duration {
        let unit = if self.version == 2 { Duration::from_secs(1) } else { self.interval };
        self.interval * 3 + unit * (256 - u32::from(priority)) / 256
    }

    /// `v3 100ms`.
    #[must_use]
    pub fn title(self) -> String {
        format!("v{} {}", self.version, humantime::format_duration(self.interval))
    }
}

/// A virtual router of a director.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its name in the configuration.
    pub name: String,
    /// Virtual router id.
    pub id: u8,
    /// How it speaks.
    pub way: Way,
    /// Its priority.
    pub priority: u8,
    /// Its VIP.
    pub vip: IpAddr,
    /// More keys, a line each.
    pub more: String,
}

impl Router {
    /// Virtual router `web`, id 210, of the reference lab's VIP.
    #[must_use]
    pub fn web(way: Way, priority: u8) -> Self {
        Self { name: "web".to_owned(), id: 210, way, priority, vip: VIP.into(), more: String::new() }
    }

    /// With another VIP.
    #[must_use]
    pub fn of(self, vip: impl Into<IpAddr>) -> Self {
        Self { vip: vip.into(), ..self }
    }

    /// With one more line in its section.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }

    /// Its section of the configuration.
    #[must_use]
    pub fn section(&self) -> String {
        let Self { name, id, way: Way { version, interval }, priority, vip, more } = self;
        let interval = humantime::format_duration(*interval);
        format!(
            "[vrrp.{name}]\ninterface = \"eth1\"\nid = {id}\nversion = {version}\npriority = {priority}\n\
             advertise = \"{interval}\"\naddresses = [\"{vip}/{}\"]\n{more}\n",
            prefix(*vip)
        )
    }
}

/// The length of the front segment's prefix.
fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// A director's configuration: its virtual routers, and behind the VIP of each the probe's service and a web
/// service over all reals of the lab.
#[must_use]
pub fn config(lab: &Lab, routers: &[Router]) -> String {
    let sections = routers.iter().map(Router::section);
    let services = routers.iter().map(|router| services(lab, router));
    ["[director]\ninterfaces = [\"eth1\"]\n\n".to_owned()].into_iter().chain(sections).chain(services).collect()
}

/// As [`config`], without the virtual routers: the VIPs are another program's.
#[must_use]
pub fn config_without_vrrp(lab: &Lab, routers: &[Router]) -> String {
    let services = routers.iter().map(|router| services(lab, router));
    ["[director]\ninterfaces = [\"eth1\"]\n\n".to_owned()].into_iter().chain(services).collect()
}

fn services(lab: &Lab, Router { name, vip, .. }: &Router) -> String {
    let mut reals = String::new();
    for real in lab.reals() {
        let address: IpAddr = if vip.is_ipv4() { real.v4().into() } else { real.v6().into() };
        // Writing to a string can't fail.
        let _ = write!(reals, "{{ address = \"{address}\" }}, ");
    }
    let at = |port| SocketAddr::from((*vip, port));
    let check = "check = { type = \"tcp\", interval = \"500ms\", timeout = \"400ms\" }";
    format!(
        "[service.{name}-probe]\naddress = \"{}\"\nprotocol = \"udp\"\nreals = [{reals}]\n\n\
         [service.{name}-web]\naddress = \"{}\"\nprotocol = \"tcp\"\n{check}\nreals = [{reals}]\n\n",
        at(PORT),
        at(80)
    )
}

/// Starts what answers on every real of the lab.
///
/// # Errors
/// A port is taken.
pub fn start_reals(lab: &Lab) -> Result<()> {
    for real in lab.reals() {
        lab.hold(Echo::behind(real, PORT)?);
        lab.hold(Http::start(real)?);
    }
    Ok(())
}

/// Whether the host has this address.
#[must_use]
pub fn holds(host: &Host, address: impl Into<IpAddr>) -> bool {
    let address = address.into();
    host.ip(&format!("-o address show to {address}")).is_ok_and(|shown| !shown.is_empty())
}

/// Waits until `host` has this address, or hasn't any more.
///
/// # Errors
/// It doesn't happen within the deadline.
pub fn wait_until_holds(host: &Host, address: impl Into<IpAddr>, held: bool) -> Result<Duration> {
    let address = address.into();
    let verb = if held { "to have" } else { "not to have" };
    wait_until(DEADLINE, &format!("{} {verb} {address}", host.name()), || holds(host, address) == held)
}
