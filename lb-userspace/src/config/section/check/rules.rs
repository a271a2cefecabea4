//! The rules of a check, beside those of single keys.

use std::net::IpAddr;

use super::via::{Via, ViaWord, check_via};
use super::{Check, CheckKeys, CheckKind, Damping, Origin, Owner, ReadCheck};
use crate::config::read::Read;
use crate::config::report::Findings;
use crate::config::section::times;
use crate::config::section::vips::{Vips, family};

/// Where a check stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its section.
    pub owner: &'a Owner,
    /// The port of its service: `None` where that was refused, `Some(None)` for any.
    pub port: Option<Option<u16>>,
    /// The real, where it is the check of one.
    pub own: Option<IpAddr>,
    /// An address of the family of its reals.
    pub family: Option<IpAddr>,
    /// Those of the file.
    pub vips: &'a Vips,
    /// Those that its reals serve, in their order.
    pub served: &'a [IpAddr],
}

/// Its rules.
pub fn accept(check: &ReadCheck, place: Place<'_>, findings: &mut Findings) -> Option<Check> {
    let ReadCheck { read, asked } = check;
    let port = place.port;
    let times = times::accept(&read.interval, &read.timeout, "checks", findings);
    if let Some(span) = read.port.span().filter(|_| check.asks_no_port()) {
        findings.report(span, "this type of check asks no port", "remove it");
    }
    if port == Some(None) && !check.has_port() {
        findings.report(
            read.span.clone(),
            "the service has any port, so its check needs one",
            "add the port that shows whether a real works, such as port = 80; or give the service its own port: \
             address = \"192.0.2.1:80\"",
        );
    }
    check_via(read, findings);
    who_is_asked(read, place, findings);
    let (interval, timeout) = times?;
    let fast = match read.fast.written() {
        Some((&fast, span)) if fast > interval => {
            let (shown, interval) = (humantime::format_duration(fast), humantime::format_duration(interval));
            findings.report(
                span,
                format!("`fast` = {shown} is longer than the interval of {interval}"),
                "shorten it: it is the interval while a real is in doubt",
            );
            return None;
        }
        Some((&fast, _)) => fast,
        None if read.fast.is_refused() => return None,
        None => interval,
    };
    let (after, within, good_for) = (read.damp_after.copied(), read.damp_within.copied()?, read.damp_for.copied()?);
    for (key, name) in [(read.damp_within.key(), "damp_within"), (read.damp_for.key(), "damp_for")] {
        if let Some(span) = key.filter(|_| read.damp_after.key().is_none()) {
            findings.report(
                span,
                format!("`{name}` says nothing without `damp_after`"),
                "add damp_after = 5, or remove it",
            );
        }
    }
    // The same for all ports, so that a real of many services is asked once.
    let asks_none = check.asks_no_port().then_some(0);
    let mut kind = asked.clone()?;
    if let CheckKind::Command(command) = &mut kind
        && let Some(owner) = &mut command.owner
    {
        *owner = place.owner.clone();
    }
    Some(Check {
        kind,
        port: asks_none.or(read.port.copied()).or(port.flatten())?,
        interval,
        fast,
        timeout,
        rise: read.rise.copied()?,
        fall: read.fall.copied()?,
        jitter: read.jitter.copied()?,
        via: match read.via.copied()? {
            ViaWord::Real => Via::Real,
            ViaWord::Vip => Via::Vip(place.served.to_vec()),
            ViaWord::Both => Via::Both(place.served.to_vec()),
        },
        address: read.address.copied(),
        source: read.source.cloned(),
        damping: after.map(|after| Damping { after, within, good_for }),
    })
}

/// Addresses that can't be asked, or asked from.
fn who_is_asked(read: &Read<CheckKeys>, place: Place<'_>, findings: &mut Findings) {
    if let Some((&address, span)) = read.address.written() {
        if place.own.is_none() {
            findings.report(
                span,
                format!("all reals would be asked at {address}, so that they are up and down together"),
                "name it in the check of each real, with the real's own: reals = [{ address = …, check = … }]",
            );
        } else if let Some(owner) = place.vips.owner(address) {
            findings.report(
                span,
                format!("{address} is a VIP, of {owner}: this director, or the one that has it, would answer"),
                "write an address of the real's own",
            );
        }
    }
    if let Some((Origin::Address(source), span)) = read.source.written() {
        let asked = read.address.copied().or(place.own).or(place.family);
        if let Some(owner) = place.vips.owner(*source) {
            findings.report(
                span,
                format!("{source} is a VIP, of {owner}: a real that has it too would answer itself"),
                "write this director's own address, or leave it to the routes",
            );
        } else if let Some(asked) = asked.filter(|asked| asked.is_ipv4() != source.is_ipv4()) {
            findings.report(
                span,
                format!("{source} is {}, but {} is asked, which is {}", family(*source), asked, family(asked)),
                format!("write this director's {} address", family(asked)),
            );
        }
    }
}
