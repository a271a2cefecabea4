//! What each protocol version can carry, and virtual routers that clash.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Checksum, OWNER, VrrpKeys};
use crate::config::read::Named;
use crate::config::read::source::Source;
use crate::config::report::{Fault, Findings};
use crate::config::section::seen::FirstSeen;
use crate::config::section::vips::family;

/// Bytes of a PASS password at most (RFC 2338 section 5.3.10).
const PASSWORD_BYTES: usize = 8;

/// The count of addresses is one byte on the wire.
const MAX_ADDRESSES: usize = 255;

type Router = Named<VrrpKeys>;

/// Reports VIPs and ids that two virtual routers have.
pub fn among(routers: &[Router], source: &Source, findings: &mut Findings) {
    let mut ids = FirstSeen::default();
    let mut vips = FirstSeen::default();
    for vrrp in routers {
        for net in vrrp.addresses.items() {
            let vip = net.get_ref();
            let address = vip.addr();
            // One link-local address may be on each link (RFC 4007).
            let link = vip.is_link_local().then(|| vip.interface.as_ref().or(vrrp.interface.get()));
            if let Some(line) = vips.before((address, link), net.span(), source) {
                findings.report(
                    net.span(),
                    format!("{address} is already a VIP on {line}"),
                    "leave it to one virtual router",
                );
            }
        }
        if let (Some(interface), Some((id, span))) = (vrrp.interface.get(), vrrp.id.written()) {
            let v6 = first(vrrp).is_some_and(|vip| vip.is_ipv6());
            if let Some(line) = ids.before((interface, id, v6), span.clone(), source) {
                let family = if v6 { "IPv6" } else { "IPv4" };
                findings.report(
                    span,
                    format!("{interface} already has an {family} virtual router {id}, on {line}"),
                    "give it an id of its own, or one list of addresses to both",
                );
            }
        }
    }
}

/// Its first VIP, whose family all must have.
fn first(vrrp: &Router) -> Option<IpAddr> {
    vrrp.addresses.items().first().map(|net| net.get_ref().addr())
}

/// An interval that the version can carry.
pub fn advertise(vrrp: &Router, findings: &mut Findings) {
    if let (Some((&time, span)), Some(version)) = (vrrp.advertise.written(), vrrp.version.copied())
        && let Err(Fault { message, mend }) = carries(version, time)
    {
        findings.report(span, message, mend);
    }
}

/// Whether a version's advert can carry this interval: v2 has one byte of seconds, v3 has 12 bits of
/// centiseconds (RFC 3768 section 5.3.7, RFC 9568 section 5.2.7).
fn carries(version: u8, advertise: Duration) -> Result<(), Fault> {
    let shown = humantime::format_duration(advertise);
    if version == 2 {
        if advertise.subsec_nanos() == 0 && (1..=255).contains(&advertise.as_secs()) {
            return Ok(());
        }
        return Err(Fault::new(
            format!("VRRPv2 can't advertise every {shown}"),
            "write whole seconds from \"1s\" to \"255s\", or set version = 3",
        ));
    }
    let centiseconds = advertise.as_nanos() / 10_000_000;
    if advertise.as_nanos().is_multiple_of(10_000_000) && (1..=4095).contains(&centiseconds) {
        return Ok(());
    }
    Err(Fault::new(
        format!("VRRPv3 can't advertise every {shown}"),
        "write a multiple of \"10ms\" from \"10ms\" to \"40s 950ms\"",
    ))
}

/// A password that the version carries.
pub fn password(vrrp: &Router, findings: &mut Findings) {
    let (Some((password, span)), Some(version)) = (vrrp.password.written(), vrrp.version.copied()) else {
        return;
    };
    let text = password.expose();
    if version != 2 {
        findings.report(span, "VRRPv3 has no password", "remove it, or set version = 2");
    } else if text.len() > PASSWORD_BYTES {
        findings.report(
            span,
            format!("the password has {} bytes, VRRPv2 carries {PASSWORD_BYTES}", text.len()),
            // keepalived cuts a longer one off, so this is what the other director sends.
            format!("shorten it to {PASSWORD_BYTES}: keepalived uses the first {PASSWORD_BYTES}"),
        );
    } else if text.is_empty() || text.contains('\0') {
        findings.report(
            span,
            "the password is empty or has a zero byte",
            "write 1 to 8 characters, or remove the line",
        );
    }
}

/// As many VIPs as an advert has room for, of one family, which the version has.
pub fn addresses(vrrp: &Router, findings: &mut Findings) {
    let all = vrrp.addresses.items();
    if let Some(extra) = all.get(MAX_ADDRESSES) {
        findings.report(
            extra.span(),
            format!("one virtual router has at most {MAX_ADDRESSES} addresses"),
            "move the rest to another [vrrp.NAME] with an id of its own",
        );
    }
    let first_is_v6 = first(vrrp).is_some_and(|vip| vip.is_ipv6());
    for net in all {
        let address = net.get_ref().addr();
        if vrrp.version.copied() == Some(2) && address.is_ipv6() {
            findings.report(net.span(), format!("VRRPv2 has no IPv6, but {address} is"), "set version = 3");
            return;
        }
        if address.is_ipv6() != first_is_v6 {
            findings.report(
                net.span(),
                format!("{address} is {}, the first address is not", family(address)),
                "make two virtual routers, one for each family; their ids may be equal",
            );
            return;
        }
    }
}

/// Other hosts of the VIPs' family, each once.
pub fn peers(vrrp: &Router, findings: &mut Findings) {
    let vips = || vrrp.addresses.items().iter().map(|net| net.get_ref().addr());
    let mut seen = HashSet::new();
    for peer in vrrp.peers.items() {
        let address = *peer.get_ref();
        if let Some(vip) = vips().next().filter(|vip| vip.is_ipv6() != address.is_ipv6()) {
            findings.report(
                peer.span(),
                format!("the peer {address} is {}, but the VIP is {vip}", family(address)),
                format!("write the peer's {} address", family(vip)),
            );
        } else if vips().any(|vip| vip == address) {
            findings.report(
                peer.span(),
                format!("{address} is a VIP of this virtual router: it can't be a peer"),
                "write the other director's own address",
            );
        } else if !seen.insert(address) {
            findings.report(peer.span(), format!("the peer {address} is named twice"), "name it once");
        }
    }
}

/// A form of checksum only where there are two.
pub fn checksum(vrrp: &Router, findings: &mut Findings) {
    let Some((_, span)) = vrrp.checksum.written().filter(|(form, _)| **form != Checksum::Auto) else {
        return;
    };
    let v6 = first(vrrp).is_some_and(|vip| vip.is_ipv6());
    let what = match (vrrp.version.copied(), v6) {
        (Some(3), true) => "VRRPv3 over IPv6",
        (Some(2), _) => "VRRPv2",
        _ => return,
    };
    findings.report(
        span,
        format!("{what} has one form of checksum"),
        "remove the line: only version 3 over IPv4 has two",
    );
}

/// Preemption that the priority allows, and a delay only with it.
pub fn preempt(vrrp: &Router, findings: &mut Findings) {
    let Some((false, span)) = vrrp.preempt.written() else {
        return;
    };
    if vrrp.priority.copied() == Some(OWNER) {
        findings.report(
            span,
            "priority 255 is the addresses' owner, which always takes over (RFC 9568 section 6.1)",
            "remove the line, or set priority = 254 or less",
        );
    }
    if let Some((_, span)) = vrrp.preempt_delay.written().filter(|(delay, _)| !delay.is_zero()) {
        findings.report(span, "`preempt_delay` has no meaning with preempt = false", "remove one of the two lines");
    }
}
