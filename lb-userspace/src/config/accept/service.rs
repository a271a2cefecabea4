//! `[service.NAME]`: its ring, check and reals, and services that clash.

use std::net::IpAddr;
use std::time::Duration;

use toml::Spanned;

use super::{FirstSeen, Vips, number};
use crate::config::diagnose::Findings;
use crate::config::model::{Check, CheckKind, Real, Scheduler, Service};
use crate::config::raw;
use crate::config::source::{RealPlaces, ServicePlaces, Source, Span};

/// Slots of a ring where the file says none.
const DEFAULT_RING: u32 = 65_537;

/// Turns of one round of `wrr` at most: the sum of the weights over their greatest common divisor.
const MAX_TURNS: u64 = 65_536;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// One good answer shows that a real works.
const DEFAULT_RISE: u32 = 1;
/// One lost answer doesn't show that it is dead.
const DEFAULT_FALL: u32 = 2;
const DEFAULT_JITTER: u8 = 10;

pub(super) fn accept(
    raw: &[raw::Service],
    vips: &Vips,
    source: &Source,
    findings: &mut Findings,
) -> (Vec<Service>, Vec<ServicePlaces>) {
    let mut endpoints = FirstSeen::default();
    for service in raw {
        let (Some(address), Some(protocol)) = (&service.address, &service.protocol) else {
            continue;
        };
        // A service of any port and one of a given port of the same address go together: the given port
        // is looked up first.
        let key = (*address.get_ref(), *protocol.get_ref());
        if let Some(line) = endpoints.before(key, address.span(), source) {
            findings.report(
                address.span(),
                format!("another service has this address, port and protocol, on line {line}"),
                "make one service of both, or change the port of one",
            );
        }
    }
    raw.iter().filter_map(|raw| one(raw, vips, source, findings)).unzip()
}

fn one(raw: &raw::Service, vips: &Vips, source: &Source, findings: &mut Findings) -> Option<(Service, ServicePlaces)> {
    let scheduler = raw.scheduler.as_ref().map_or(Scheduler::Mh, |scheduler| *scheduler.get_ref());
    check_reals(raw, vips, source, findings);
    if scheduler == Scheduler::Wrr {
        check_turns(raw, findings);
    }
    if let Some(size) = &raw.ring_size {
        check_ring(size, raw.reals.len(), findings);
    }
    let service_port = raw.address.as_ref().map(|address| address.get_ref().port);
    let check = raw.check.as_ref().map(|raw| check(raw, service_port, findings));

    let address = raw.address.as_ref()?;
    let places = ServicePlaces {
        header: raw.header.clone(),
        address: address.span(),
        reals: raw.reals.iter().filter_map(places_of_real).collect(),
    };
    let service = Service {
        name: raw.name.get_ref().clone(),
        address: address.get_ref().address,
        port: address.get_ref().port,
        protocol: *raw.protocol.as_ref()?.get_ref(),
        scheduler,
        ring_size: number(raw.ring_size.as_ref(), DEFAULT_RING),
        check: check.flatten(),
        reals: raw.reals.iter().filter_map(real).collect(),
    };
    Some((service, places))
}

fn real(raw: &raw::Real) -> Option<Real> {
    Some(Real {
        address: *raw.address.as_ref()?.get_ref(),
        weight: number(raw.weight.as_ref(), 1),
        mac: raw.mac.as_ref().map(|mac| *mac.get_ref()),
        interface: raw.interface.as_ref().map(|name| name.get_ref().clone()),
        vlan: raw.vlan.as_ref().map(|vlan| number(Some(vlan), 0)),
    })
}

fn places_of_real(raw: &raw::Real) -> Option<RealPlaces> {
    Some(RealPlaces { address: raw.address.as_ref()?.span(), interface: raw.interface.as_ref().map(Spanned::span) })
}

/// Each real once, of the VIP's family, and no VIP itself.
fn check_reals(raw: &raw::Service, vips: &Vips, source: &Source, findings: &mut Findings) {
    let vip = raw.address.as_ref().map(|address| address.get_ref().address);
    let mut seen = FirstSeen::default();
    for place in raw.reals.iter().filter_map(|real| real.address.as_ref()) {
        let address = *place.get_ref();
        if let Some(line) = seen.before(address, place.span(), source) {
            findings.report(
                place.span(),
                format!("{address} is already a real of this service, on line {line}"),
                "name it once, with the weight of both",
            );
        }
        if vip == Some(address) {
            findings.report(
                place.span(),
                format!("{address} is the VIP of this service: it would send to itself"),
                "write the real's own address; the VIP goes on its lo",
            );
        } else if let Some(owner) = vips.owner(address) {
            findings.report(
                place.span(),
                format!("{address} is a VIP, of {owner}: packets would come back here"),
                "write the real's own address; the VIP goes on its lo",
            );
        }
        if let Some(vip) = vip
            && vip.is_ipv6() != address.is_ipv6()
        {
            findings.report(
                place.span(),
                format!("{address} is {}, but the VIP is {vip}", family(address)),
                format!("direct routing doesn't translate: write the real's {} address", family(vip)),
            );
        }
    }
}

fn check_turns(raw: &raw::Service, findings: &mut Findings) {
    let weights = || raw.reals.iter().map(|real| number(real.weight.as_ref(), 1_u64));
    let sum: u64 = weights().sum();
    let divisor = weights().fold(0, gcd).max(1);
    if sum / divisor > MAX_TURNS {
        findings.report(
            raw.scheduler.as_ref().map_or(raw.header.clone(), Spanned::span),
            format!("one round of wrr would take {} turns, at most {MAX_TURNS} fit", sum / divisor),
            "use smaller weights, or ones with a common divisor: 1000 and 3000 count as 1 and 3; \
             or scheduler = \"mh\"",
        );
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn check_ring(size: &Spanned<u64>, reals: usize, findings: &mut Findings) {
    let slots = *size.get_ref();
    if !is_prime(slots) {
        let below = (2..slots).rev().find(|&number| is_prime(number));
        let above = (slots..).find(|&number| is_prime(number));
        // Both 251 and 1048573, the ends of the accepted range, are primes.
        let (below, above) = (below.unwrap_or(251), above.unwrap_or(1_048_573));
        findings.report(
            size.span(),
            format!("`ring_size` = {slots} is not a prime, so slots would be left out"),
            format!("write {below} or {above}; the default is {DEFAULT_RING}"),
        );
    } else if u64::try_from(reals).is_ok_and(|reals| reals > slots) {
        findings.report(
            size.span(),
            format!("{reals} reals don't fit in a ring of {slots} slots"),
            "use 100 slots or more for each real; a larger prime is 1048573",
        );
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|n| n * n <= number).all(|n| !number.is_multiple_of(n))
}

/// `port` is the service's own, `None` when its address was refused.
fn check(raw: &raw::Check, port: Option<Option<u16>>, findings: &mut Findings) -> Option<Check> {
    let port = match (&raw.port, port) {
        (None, Some(None)) => {
            findings.report(
                raw.span.clone(),
                "the service has any port, so its check needs one",
                "add the port that shows whether a real works, such as port = 80",
            );
            None
        }
        (own, services) => Some(number(own.as_ref(), services.flatten().unwrap_or(0))),
    };
    let (interval, timeout) = times(raw, findings);
    let kind = match raw.kind.as_ref()?.get_ref() {
        raw::Kind::Tcp => {
            refuse_http_keys(&raw.http_keys, findings);
            CheckKind::Tcp
        }
        raw::Kind::Http => CheckKind::Http {
            method: text(raw.method.as_ref()).unwrap_or_else(|| "GET".to_owned()),
            path: text(raw.path.as_ref()).unwrap_or_else(|| "/".to_owned()),
            host: text(raw.host.as_ref()),
            status: match raw.status.as_slice() {
                [] => vec![(200, 299)],
                ranges => ranges.to_vec(),
            },
        },
    };
    Some(Check {
        kind,
        port: port?,
        interval,
        timeout,
        rise: number(raw.rise.as_ref(), DEFAULT_RISE),
        fall: number(raw.fall.as_ref(), DEFAULT_FALL),
        jitter: number(raw.jitter.as_ref(), DEFAULT_JITTER),
    })
}

/// Interval and timeout, each within its bounds and the second within the first.
fn times(raw: &raw::Check, findings: &mut Findings) -> (Duration, Duration) {
    let interval = raw.interval.as_ref().map_or(DEFAULT_INTERVAL, |time| *time.get_ref());
    let timeout = raw.timeout.as_ref().map_or(DEFAULT_TIMEOUT.min(interval), |time| *time.get_ref());
    if let Some(place) = &raw.interval
        && !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval)
    {
        let message = format!("`interval` = {} is out of range", humantime::format_duration(interval));
        findings.report(place.span(), message, "write \"10ms\" to \"1h\"");
    }
    if let Some(place) = &raw.timeout {
        let shown = humantime::format_duration(timeout);
        if timeout < MIN_TIMEOUT {
            let message = format!("`timeout` = {shown} is out of range");
            findings.report(place.span(), message, "write \"1ms\" or more");
        } else if timeout > interval {
            let interval = humantime::format_duration(interval);
            findings.report(
                place.span(),
                format!("`timeout` = {shown} is longer than the interval of {interval}"),
                "shorten the timeout or lengthen the interval, so that checks don't overlap",
            );
        }
    }
    (interval, timeout)
}

fn refuse_http_keys(keys: &[(&'static str, Span)], findings: &mut Findings) {
    for (key, span) in keys {
        findings.report(
            span.clone(),
            format!("a check of type \"tcp\" has no `{key}`"),
            "remove it, or set type = \"http\"",
        );
    }
}

fn text(value: Option<&Spanned<String>>) -> Option<String> {
    value.map(|value| value.get_ref().clone())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
