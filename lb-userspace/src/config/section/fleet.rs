//! `fleet` of a `[service.NAME]` or `[pool.NAME]`: what its reals do together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::checks::{Accept, Checks};
use super::real::{self, Real, RealKeys, RealPlaces};
use super::vips::{Vips, family};
use crate::config::read::source::Source;
use crate::config::read::{Given, Number, Read, Table, Time, hours, key, keys};
use crate::config::report::Findings;

/// What the reals of a service or a pool do together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    /// How long a real takes to get its whole weight, when it comes back or is new; `None` for no time.
    pub slow_start: Option<Duration>,
    /// Weights of the reals that take new connections, added up, below which there are too few; 0 where none are.
    pub quorum: u32,
    /// How far above or below that it changes.
    pub hysteresis: u32,
    /// Who takes the new connections where there are too few; its checks are its own alone.
    pub sorry: Option<Real>,
    /// Percentage of healthy reals below which all take new connections; 0 for never.
    pub panic_below: u8,
}

keys! {
    #[derive(Debug)]
    pub struct FleetKeys {
        /// how long a real takes to get its whole share when it comes up, or is new: it has a tenth of its weight at first, and a
        /// tenth more in each tenth of the time (each second where that is longer)
        slow_start: Duration = key(Time::of(Duration::from_secs(2)..=Duration::from_secs(24 * 3600)))
            .without("its whole share at once").example("\"30s\"");
        /// the weights of the healthy reals, added up, below which they are too few
        quorum: u32 = key(Number::of(1..=4_294_967_295)).without("none, or 1 with `sorry`").example("2");
        /// the quorum is lost so far below it, and back so far above it
        hysteresis: u32 = key(Number::of(0..=4_294_967_295)).or(0);
        /// a real that takes the new connections while the quorum is lost. It has the keys of the others but `weight`, and is checked only
        /// if it says how
        sorry: Read<RealKeys> = key(Table::new()).without("none: the loss of the quorum is told, and changes nothing");
        /// below this percentage of healthy reals the checks are rather wrong than the reals: all that can be reached
        /// take new connections
        panic_below: u8 = key(Number::of(1..=100).unit("percent")).without("never").example("50");
    }
}

/// Its rules. `reals` are the others; `vip` is that of the service, `None` for a pool.
pub fn accept(
    read: &Given<Read<FleetKeys>>,
    reals: &[Read<RealKeys>],
    (vip, vips): (Option<IpAddr>, &Vips),
    check: &Accept<'_>,
    source: &Source,
    findings: &mut Findings,
) -> (Option<Arc<Fleet>>, Option<RealPlaces>) {
    let Some(read) = read.get() else { return (None, None) };
    let sorry = read.sorry.get().and_then(|sorry| accept_sorry(sorry, reals, (vip, vips), check, source, findings));
    if let (Some((_, span)), Some(_)) = (read.panic_below.written(), read.sorry.key()) {
        findings.report(
            span,
            "with too few healthy reals either all take new connections, or the sorry server does",
            "remove `panic_below` or `sorry`",
        );
    }
    let quorum = read.quorum.copied().unwrap_or(0);
    if let Some((&hysteresis, span)) = read.hysteresis.written()
        && hysteresis > 0
        && hysteresis >= quorum.max(1)
    {
        findings.report(
            span,
            format!("with `hysteresis` = {hysteresis} a quorum of {} would never be lost", quorum.max(1)),
            "make it smaller than `quorum`",
        );
    }
    let (sorry, places) = sorry.unzip();
    let fleet = Fleet {
        slow_start: read.slow_start.copied(),
        quorum,
        hysteresis: read.hysteresis.copied().unwrap_or(0),
        sorry,
        panic_below: read.panic_below.copied().unwrap_or(0),
    };
    (Some(Arc::new(fleet)), places)
}

/// A real of its own, which is checked only if it says how.
fn accept_sorry(
    sorry: &Read<RealKeys>,
    reals: &[Read<RealKeys>],
    (vip, vips): (Option<IpAddr>, &Vips),
    check: &Accept<'_>,
    source: &Source,
    findings: &mut Findings,
) -> Option<(Real, RealPlaces)> {
    if let Some((address, span)) = sorry.address.written() {
        if reals.iter().any(|real| real.address.get() == Some(address)) {
            let message = format!("{address} is one of the reals already");
            findings.report(span.clone(), message, "name another host, or remove it from the reals");
        }
        let other = reals.iter().find_map(|real| real.address.get()).filter(|_| vip.is_none());
        if let Some(other) = other.filter(|other| other.is_ipv6() != address.is_ipv6()) {
            findings.report(
                span,
                format!("{address} is {}, but the reals of this pool are {}", family(*address), family(*other)),
                "write its address of their family",
            );
        }
    }
    if let Some((_, span)) = sorry.weight.written() {
        findings.report(
            span,
            "the sorry server is alone when it takes connections: its weight says nothing",
            "remove it",
        );
    }
    if let (Some(span), None) = (sorry.join_checks.span(), sorry.check.get()) {
        findings.report(span, "the sorry server has no checks to join", "remove it, or give it checks of its own");
    }
    let none = Checks::default();
    let own = std::slice::from_ref(sorry);
    let (reals, places) = real::accept(own, "fleet", vip, vips, (&none, check), source, findings);
    let (real, places) = (reals.into_iter().next()?, places.into_iter().next()?);
    let checks = real.checks.unwrap_or_default();
    Some((Real { checks: Some(checks), ..real }, places))
}

impl Fleet {
    /// The quorum and its hysteresis, where one is needed.
    #[must_use]
    pub fn quorum_in_force(&self) -> Option<(u32, u32)> {
        match (self.quorum, &self.sorry) {
            (0, None) => None,
            (0, Some(_)) => Some((1, 0)),
            (quorum, _) => Some((quorum, self.hysteresis)),
        }
    }

    /// A line for each of its rules.
    pub(super) fn words(&self) -> Vec<String> {
        let slow =
            self.slow_start.map(|time| format!("a real that comes up has its whole share after {}", hours(time)));
        let quorum = self.quorum_in_force().map(|(quorum, hysteresis)| {
            let away = match hysteresis {
                0 => String::new(),
                away => {
                    format!(" (lost below {}, back from {})", quorum - away.min(quorum), quorum.saturating_add(away))
                }
            };
            let then = match &self.sorry {
                Some(sorry) => format!("new connections go to the sorry server {}", sorry.address),
                None => "that is told".to_owned(),
            };
            format!("below a quorum of {quorum}{away} {then}")
        });
        let panic = (self.panic_below > 0).then(|| {
            format!("with less than {} % of the reals healthy all of them take new connections", self.panic_below)
        });
        [slow, quorum, panic].into_iter().flatten().collect()
    }
}
