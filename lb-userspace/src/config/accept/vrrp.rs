//! `[vrrp.NAME]`: what each protocol version can carry, and virtual routers that clash.

use std::net::IpAddr;
use std::time::Duration;

use toml::Spanned;

use super::{FirstSeen, number};
use crate::config::diagnose::Findings;
use crate::config::model::Vrrp;
use crate::config::raw;
use crate::config::source::{Source, VrrpPlaces};

/// Bytes of a PASS password at most (RFC 2338 section 5.3.10).
const PASSWORD_BYTES: usize = 8;

/// The count of addresses is one byte on the wire.
const MAX_ADDRESSES: usize = 255;

/// RFC 9568 is current and carries both families.
const DEFAULT_VERSION: u8 = 3;

/// RFC 9568 section 5.2.4.
const DEFAULT_PRIORITY: u8 = 100;

const DEFAULT_ADVERTISE: Duration = Duration::from_secs(1);

pub(super) fn accept(raw: &[raw::Vrrp], source: &Source, findings: &mut Findings) -> (Vec<Vrrp>, Vec<VrrpPlaces>) {
    let mut routers = FirstSeen::default();
    let mut vips = FirstSeen::default();
    for vrrp in raw {
        for net in &vrrp.addresses {
            let address = net.get_ref().addr();
            if let Some(line) = vips.before(address, net.span(), source) {
                findings.report(
                    net.span(),
                    format!("{address} is already a VIP on line {line}"),
                    "leave it to one virtual router",
                );
            }
        }
        if let (Some(interface), Some(id)) = (&vrrp.interface, &vrrp.id) {
            let v6 = vrrp.addresses.first().is_some_and(|net| net.get_ref().addr().is_ipv6());
            let key = (interface.get_ref(), *id.get_ref(), v6);
            if let Some(line) = routers.before(key, id.span(), source) {
                let (id, family) = (id.get_ref(), if v6 { "IPv6" } else { "IPv4" });
                findings.report(
                    vrrp.id.as_ref().map_or(vrrp.header.clone(), Spanned::span),
                    format!("{} already has an {family} virtual router {id}, on line {line}", interface.get_ref()),
                    "give it an id of its own, or one list of addresses to both",
                );
            }
        }
    }
    raw.iter().filter_map(|raw| one(raw, findings)).unzip()
}

fn one(raw: &raw::Vrrp, findings: &mut Findings) -> Option<(Vrrp, VrrpPlaces)> {
    let version = number(raw.version.as_ref(), DEFAULT_VERSION);
    let advertise = raw.advertise.as_ref().map_or(DEFAULT_ADVERTISE, |time| *time.get_ref());
    if let Some(span) = raw.advertise.as_ref().map(Spanned::span)
        && let Err((message, mend)) = carries(version, advertise)
    {
        findings.report(span, message, mend);
    }
    if let Some(password) = &raw.password {
        check_password(password, version, findings);
    }
    check_addresses(raw, version, findings);

    let interface = raw.interface.as_ref()?;
    let places = VrrpPlaces {
        header: raw.header.clone(),
        interface: interface.span(),
        addresses: raw.addresses.iter().map(Spanned::span).collect(),
    };
    let vrrp = Vrrp {
        name: raw.name.get_ref().clone(),
        interface: interface.get_ref().clone(),
        id: number(Some(raw.id.as_ref()?), 0),
        version,
        priority: number(raw.priority.as_ref(), DEFAULT_PRIORITY),
        advertise,
        password: raw.password.as_ref().map(|text| text.get_ref().clone()),
        addresses: raw.addresses.iter().map(|net| *net.get_ref()).collect(),
    };
    Some((vrrp, places))
}

/// Whether a version's advert can carry this interval: v2 has one byte of seconds, v3 has 12 bits of
/// centiseconds (RFC 3768 section 5.3.7, RFC 9568 section 5.2.7).
fn carries(version: u8, advertise: Duration) -> Result<(), (String, String)> {
    let shown = humantime::format_duration(advertise);
    if version == 2 {
        if advertise.subsec_nanos() == 0 && (1..=255).contains(&advertise.as_secs()) {
            return Ok(());
        }
        return Err((
            format!("VRRPv2 can't advertise every {shown}"),
            "write whole seconds from \"1s\" to \"255s\", or set version = 3".to_owned(),
        ));
    }
    let centiseconds = advertise.as_nanos() / 10_000_000;
    if advertise.as_nanos().is_multiple_of(10_000_000) && (1..=4095).contains(&centiseconds) {
        return Ok(());
    }
    Err((
        format!("VRRPv3 can't advertise every {shown}"),
        "write a multiple of \"10ms\" from \"10ms\" to \"40s 950ms\"".to_owned(),
    ))
}

fn check_password(password: &Spanned<String>, version: u8, findings: &mut Findings) {
    let text = password.get_ref();
    if version != 2 {
        findings.report(password.span(), "VRRPv3 has no password", "remove it, or set version = 2");
    } else if text.len() > PASSWORD_BYTES {
        findings.report(
            password.span(),
            format!("the password has {} bytes, VRRPv2 carries {PASSWORD_BYTES}", text.len()),
            // keepalived cuts a longer one off, so this is what the other director sends.
            format!("shorten it to {PASSWORD_BYTES}: keepalived uses the first {PASSWORD_BYTES}"),
        );
    } else if text.is_empty() || text.contains('\0') {
        findings.report(
            password.span(),
            "the password is empty or has a zero byte",
            "write 1 to 8 characters, or remove the line",
        );
    }
}

fn check_addresses(raw: &raw::Vrrp, version: u8, findings: &mut Findings) {
    if let Some(extra) = raw.addresses.get(MAX_ADDRESSES) {
        findings.report(
            extra.span(),
            format!("one virtual router has at most {MAX_ADDRESSES} addresses"),
            "move the rest to another [vrrp.NAME] with an id of its own",
        );
    }
    let Some(first) = raw.addresses.first().map(|net| *net.get_ref()) else {
        return;
    };
    for net in &raw.addresses {
        let address = net.get_ref().addr();
        if version == 2 && address.is_ipv6() {
            findings.report(net.span(), format!("VRRPv2 has no IPv6, but {address} is"), "set version = 3");
            return;
        }
        if address.is_ipv6() != first.addr().is_ipv6() {
            findings.report(
                net.span(),
                format!("{address} is {}, the first address is not", family(address)),
                "make two virtual routers, one for each family; their ids may be equal",
            );
            return;
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
