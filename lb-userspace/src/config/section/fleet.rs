//! `fleet` of a `[service.NAME]` or `[pool.NAME]`: what its reals do together.

use std::net::IpAddr;
use std::time::Duration;

use super::checks::{self, Accept, Checks};
use super::real::{self, Real, RealKeys, RealPlaces};
use super::vips::Vips;
use crate::config::read::source::Source;
use crate::config::read::texts::ARGUMENT;
use crate::config::read::{List, Number, Read, Table, Time, hours, key, keys};
use crate::config::report::Findings;

/// What the reals of a service or a pool do together.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// How long a real takes to get its whole weight, when it comes back or is new; `None` for no time.
    pub slow_start: Option<Duration>,
    /// Weights of the reals that take new connections, added up, below which there are too few; 0 where none are.
    pub quorum: u32,
    /// How far above or below that it changes.
    pub hysteresis: u32,
    /// Who takes the new connections where there are too few.
    pub sorry: Option<Real>,
    /// Percentage of healthy reals below which all take new connections; 0 for never.
    pub panic_below: u8,
    /// What is run on changes, with its arguments; empty for nothing.
    pub notify: Vec<String>,
    /// How long it may take.
    pub notify_timeout: Duration,
}

/// How long a script may take where the file says nothing.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Fleet {
    fn default() -> Self {
        Self {
            slow_start: None,
            quorum: 0,
            hysteresis: 0,
            sorry: None,
            panic_below: 0,
            notify: Vec::new(),
            notify_timeout: NOTIFY_TIMEOUT,
        }
    }
}

const COMMAND: List<crate::config::read::Text<String>> = List {
    item: ARGUMENT,
    empty: ("it names no command", "write notify = [\"/path/script\"], or remove the line"),
};

keys! {
    #[derive(Debug)]
    pub struct FleetKeys {
        /// how long a real takes to get its whole weight when it comes up, or is new: it begins with a tenth. Schedulers
        /// that don't look at weights (`rr`, `lc`) have none
        slow_start: Duration = key(Time::of(Duration::from_secs(1)..=Duration::from_secs(24 * 3600))).without("none").example("\"30s\"");
        /// the weights of the reals that take new connections, added up, below which there are too few
        quorum: u32 = key(Number::of(1..=4_294_967_295)).without("none, or 1 with `sorry`").example("2");
        /// the quorum is lost so far below it, and back so far above it
        hysteresis: u32 = key(Number::of(0..=4_294_967_295)).or(0);
        /// a real, with the same keys, that takes the new connections while the quorum is lost. The others keep theirs, and so does it when
        /// the quorum is back
        sorry: Read<RealKeys> = key(Table::new());
        /// below this percentage of healthy reals the checks are rather wrong than the reals: all that can be reached
        /// take new connections
        panic_below: u8 = key(Number::of(1..=100).unit("percent")).without("never").example("50");
        /// a command that hears of each change; see below. No shell is in between
        notify: Vec<toml::Spanned<String>> = key(COMMAND).without("none").example("[\"/etc/lb/changed\"]");
        /// how long it may take before it is ended
        notify_timeout: Duration = key(Time::of(Duration::from_millis(100)..=Duration::from_secs(3600))).or(NOTIFY_TIMEOUT);
    }
}

/// Its rules. `reals` are the addresses of the others.
pub fn accept(
    read: &Read<FleetKeys>,
    reals: &[Read<RealKeys>],
    (vip, vips): (Option<IpAddr>, &Vips),
    check: &Accept<'_>,
    source: &Source,
    findings: &mut Findings,
) -> Option<(Fleet, Option<RealPlaces>)> {
    let sorry = read.sorry.get().and_then(|sorry| accept_sorry(sorry, reals, (vip, vips), check, source, findings));
    if let (Some((_, span)), true) = (read.panic_below.written(), read.sorry.key().is_some()) {
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
        hysteresis: read.hysteresis.copied()?,
        sorry,
        panic_below: read.panic_below.copied().unwrap_or(0),
        notify: read.notify.items().iter().map(|argument| argument.get_ref().clone()).collect(),
        notify_timeout: read.notify_timeout.copied()?,
    };
    Some((fleet, places))
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
    let none = Checks::default();
    if let Some((address, span)) = sorry.address.written()
        && reals.iter().any(|real| real.address.get() == Some(address))
    {
        findings.report(span, format!("{address} is one of the reals already"), "name another host, or remove it there");
    }
    if let Some((0, span)) = sorry.weight.written().map(|(weight, span)| (*weight, span)) {
        findings.report(span, "with a weight of 0 it would take nothing", "remove the line");
    }
    let other = reals.iter().find_map(|real| real.address.copied());
    let accepted = real::accept(std::slice::from_ref(sorry), "fleet", vip.or(other), vips, (&none, check), source, findings);
    let (real, places) = (accepted.0.into_iter().next()?, accepted.1.into_iter().next()?);
    // Nobody else's checks are its own.
    let checks = checks::accept_own(sorry, &none, check, &mut Findings::default()).unwrap_or_default();
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
        let slow = self.slow_start.map(|time| format!("a real that comes up gets its whole weight within {}", hours(time)));
        let quorum = self.quorum_in_force().map(|(quorum, hysteresis)| {
            let away = if hysteresis > 0 { format!(", and {hysteresis} to either side") } else { String::new() };
            let sorry = match &self.sorry {
                Some(sorry) => format!("new connections go to {}", sorry.address),
                None => "it is said".to_owned(),
            };
            format!("below a weight of {quorum} in all{away}, {sorry}")
        });
        let panic = (self.panic_below > 0)
            .then(|| format!("with less than {} % healthy all reals take new connections", self.panic_below));
        let notify = (!self.notify.is_empty()).then(|| format!("changes are told to {}", self.notify.join(" ")));
        [slow, quorum, panic, notify].into_iter().flatten().collect()
    }
}
