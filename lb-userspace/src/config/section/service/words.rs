//! Services in words, as `lb check` has them: in ipvsadm's shape.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{OnFailure, Service};
use crate::config::read::hours;
use crate::config::report::text::wrap;

/// All of them.
pub fn describe(out: &mut String, services: &[Service]) {
    let own = services.iter().filter(|service| service.pool.is_none());
    let reals = own.flat_map(|service| service.reals.iter().map(|real| (real.address, service.port)));
    let widest = reals.map(|(address, port)| endpoint(address, port).len()).max().unwrap_or(0);
    let widest = widest.max("RemoteAddress:Port".len());
    out.push_str("\nServices\nProt LocalAddress:Port Scheduler\n");
    let _ = writeln!(out, "  -> {:widest$}  Forward  Weight", "RemoteAddress:Port");
    for service in services {
        service.describe(out, widest);
    }
}

impl Service {
    fn describe(&self, out: &mut String, widest: usize) {
        let (protocol, scheduler) = (self.protocol.label(), self.scheduler.label());
        let persistent = self.persistence.as_ref().map_or_else(String::new, |persistence| format!(" {persistence}"));
        let _ = writeln!(out, "{protocol:4} {} {scheduler}{persistent}", endpoint(self.address, self.port));
        let kept = if self.scheduler.is_tracked() { "connections tracked" } else { "no state per connection" };
        out.push_str(&wrap(&format!("     {}: ring of {} slots, {kept}", self.name, self.ring_size), "     "));
        if let Some(pool) = &self.pool {
            out.push_str(&wrap(&format!("     reals and check of pool {pool}"), "       "));
            return;
        }
        for line in self.checks.words() {
            out.push_str(&wrap(&format!("     {line}"), "       "));
        }
        let failing = self.on_failure.map(|kept| match kept {
            OnFailure::Remove => "a real that fails loses its connections at once",
            OnFailure::Quiesce => "a real that fails keeps its connections",
        });
        let leaving = self.drain_deadline.map(|time| format!("a real that leaves the file drains for {}", hours(time)));
        let notify = self.notify.iter().map(|notify| notify.words());
        let together = self.fleet.iter().flat_map(|fleet| fleet.words()).chain(notify);
        for line in failing.map(str::to_owned).into_iter().chain(leaving).chain(together) {
            out.push_str(&wrap(&format!("     {line}"), "       "));
        }
        for real in &self.reals {
            let quiesced = if real.weight == 0 { " (quiesced)" } else { "" };
            let address = endpoint(real.address, self.port);
            let _ = writeln!(out, "  -> {address:widest$}  Route    {:6}{quiesced}", real.weight);
            if let Some(way) = real.way() {
                let _ = writeln!(out, "     {way}");
            }
        }
    }
}

/// An address with its port, or with `any`.
#[must_use]
pub fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    let port = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}
