//! `[vrrp.NAME]`: what each protocol version can carry, and virtual routers that clash.

mod group;
mod track;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::{FirstSeen, number};
use crate::config::diagnose::Findings;
use crate::config::model::{Announce, Backup, Checksum, Vrrp};
use crate::config::raw::{self, File};
use crate::config::source::{Source, Span, VrrpPlaces};

const HOUR: Duration = Duration::from_secs(3600);
const TENTH: Duration = Duration::from_millis(100);

/// The priority of the addresses' owner.
const OWNER: u8 = 255;

/// Bytes of a PASS password at most (RFC 2338 section 5.3.10).
const PASSWORD_BYTES: usize = 8;

/// The count of addresses is one byte on the wire.
const MAX_ADDRESSES: usize = 255;

/// RFC 9568 is current and carries both families.
const DEFAULT_VERSION: u8 = 3;

/// RFC 9568 section 5.2.4.
const DEFAULT_PRIORITY: u8 = 100;

const DEFAULT_ADVERTISE: Duration = Duration::from_secs(1);

const DEFAULT_NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn accept(file: &File, source: &Source, findings: &mut Findings) -> (Vec<Vrrp>, Vec<VrrpPlaces>) {
    let raw = &file.vrrp;
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
    group::check(raw, source, findings);
    let paces = paces(raw, source, findings);
    let pace = |raw: &raw::Vrrp| raw.interface.as_ref().and_then(|name| paces.get(name.get_ref().as_str()));
    raw.iter()
        .filter_map(|raw| one(raw, file, pace(raw).copied().unwrap_or(Announce::default().pace), findings))
        .unzip()
}

fn one(raw: &raw::Vrrp, file: &File, pace: u32, findings: &mut Findings) -> Option<(Vrrp, VrrpPlaces)> {
    let version = number(raw.version.as_ref(), DEFAULT_VERSION);
    let priority = number(raw.priority.as_ref(), DEFAULT_PRIORITY);
    let advertise = time(raw.advertise.as_ref(), DEFAULT_ADVERTISE);
    if let Some(span) = raw.advertise.as_ref().map(Spanned::span)
        && let Err((message, mend)) = carries(version, advertise)
    {
        findings.report(span, message, mend);
    }
    if let Some(password) = &raw.password {
        check_password(password, version, findings);
    }
    check_addresses(raw, version, findings);
    check_peers(raw, findings);
    check_checksum(raw, version, findings);
    check_preempt(raw, priority, findings);
    check_times(raw, findings);
    command(&raw.notify, "notify", findings);
    let track = track::accept(&raw.track, priority, &file.services, findings);

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
        priority,
        advertise,
        password: raw.password.as_ref().map(|text| text.get_ref().clone()),
        addresses: raw.addresses.iter().map(|net| *net.get_ref()).collect(),
        peers: raw.peers.iter().map(|peer| *peer.get_ref()).collect(),
        minimum_ttl: raw.minimum_ttl.as_ref().map(|ttl| number(Some(ttl), u8::MAX)),
        preempt: preempts(raw),
        preempt_delay: time(raw.preempt_delay.as_ref(), Duration::ZERO),
        handover: raw.handover.as_ref().map(|time| *time.get_ref()),
        checksum: raw.checksum.as_ref().map_or_else(Checksum::default, |form| *form.get_ref()),
        virtual_mac: raw.virtual_mac.as_ref().is_some_and(|flag| *flag.get_ref()),
        backup: raw.backup.as_ref().map_or_else(Backup::default, |what| *what.get_ref()),
        sync_group: raw.sync_group.as_ref().map(|name| name.get_ref().clone()),
        announce: announce(&raw.announce, pace),
        track,
        notify: raw.notify.iter().map(|argument| argument.get_ref().clone()).collect(),
        notify_timeout: time(raw.notify_timeout.as_ref(), DEFAULT_NOTIFY_TIMEOUT),
    };
    Some((vrrp, places))
}

fn announce(raw: &raw::Announce, pace: u32) -> Announce {
    let default = Announce::default();
    let repeat = number(raw.repeat.as_ref(), default.repeat);
    Announce {
        repeat,
        delay: time(raw.delay.as_ref(), default.delay),
        delayed_repeat: number(raw.delayed_repeat.as_ref(), repeat),
        refresh: raw.refresh.as_ref().map(|time| *time.get_ref()).filter(|time| !time.is_zero()),
        pace,
    }
}

fn preempts(raw: &raw::Vrrp) -> bool {
    raw.preempt.as_ref().is_none_or(|flag| *flag.get_ref())
}

/// The pace of each interface that one was given for: its virtual routers announce in one queue.
fn paces<'a>(raw: &'a [raw::Vrrp], source: &Source, findings: &mut Findings) -> HashMap<&'a str, u32> {
    let mut paces: HashMap<&str, (u32, Span)> = HashMap::new();
    for vrrp in raw {
        let (Some(interface), Some(given)) = (&vrrp.interface, &vrrp.announce.pace) else {
            continue;
        };
        let pace = number(Some(given), Announce::default().pace);
        let (first, place) = paces.entry(interface.get_ref()).or_insert((pace, given.span()));
        if *first != pace {
            let line = source.position(place.start).line;
            findings.report(
                given.span(),
                format!("the pace of {} is {first} on line {line}, here {pace}", interface.get_ref()),
                "write the same: an interface's virtual routers announce in one queue",
            );
        }
    }
    paces.into_iter().map(|(interface, (pace, _))| (interface, pace)).collect()
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

fn check_peers(raw: &raw::Vrrp, findings: &mut Findings) {
    let vips = || raw.addresses.iter().map(|net| net.get_ref().addr());
    let mut seen = HashSet::new();
    for peer in &raw.peers {
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

fn check_checksum(raw: &raw::Vrrp, version: u8, findings: &mut Findings) {
    let Some(checksum) = raw.checksum.as_ref().filter(|form| *form.get_ref() != Checksum::Auto) else {
        return;
    };
    let v6 = raw.addresses.first().is_some_and(|net| net.get_ref().addr().is_ipv6());
    let what = match (version, v6) {
        (3, false) => return,
        (3, true) => "VRRPv3 over IPv6",
        _ => "VRRPv2",
    };
    findings.report(
        checksum.span(),
        format!("{what} has one form of checksum"),
        "remove the line: only version 3 over IPv4 has two",
    );
}

fn check_preempt(raw: &raw::Vrrp, priority: u8, findings: &mut Findings) {
    if preempts(raw) {
        return;
    }
    if let Some(preempt) = raw.preempt.as_ref().filter(|_| priority == OWNER) {
        findings.report(
            preempt.span(),
            "priority 255 is the addresses' owner, which always takes over (RFC 9568 section 6.1)",
            "remove the line, or set priority = 254 or less",
        );
    }
    if let Some(delay) = raw.preempt_delay.as_ref().filter(|delay| !delay.get_ref().is_zero()) {
        findings.report(
            delay.span(),
            "`preempt_delay` has no meaning with preempt = false",
            "remove one of the two lines",
        );
    }
}

fn check_times(raw: &raw::Vrrp, findings: &mut Findings) {
    let rows = [
        ("preempt_delay", &raw.preempt_delay, Duration::ZERO..=HOUR, "\"0s\" to \"1h\""),
        ("handover", &raw.handover, Duration::ZERO..=HOUR, "\"0s\" (withdraw at once) to \"1h\""),
        ("notify_timeout", &raw.notify_timeout, TENTH..=HOUR, "\"100ms\" to \"1h\""),
        ("delay", &raw.announce.delay, Duration::ZERO..=HOUR, "\"0s\" to \"1h\""),
    ];
    for (key, value, range, mend) in rows {
        check_range(key, value.as_ref(), range, mend, findings);
    }
    if let Some(refresh) = raw.announce.refresh.as_ref().filter(|time| !time.get_ref().is_zero()) {
        check_range("refresh", Some(refresh), TENTH..=24 * HOUR, "\"0s\" (never), or \"100ms\" to \"24h\"", findings);
    }
}

/// Reports a time out of `range`; `mend` names its ends.
pub(super) fn check_range(
    key: &str,
    value: Option<&Spanned<Duration>>,
    range: RangeInclusive<Duration>,
    mend: &str,
    findings: &mut Findings,
) {
    if let Some(value) = value.filter(|value| !range.contains(value.get_ref())) {
        let shown = humantime::format_duration(*value.get_ref());
        findings.report(value.span(), format!("`{key}` = {shown} is out of range"), format!("write {mend}"));
    }
}

/// Reports a command that isn't named by its path: the agent's search path is not its author's.
fn command(argv: &[Spanned<String>], key: &str, findings: &mut Findings) {
    if let Some(program) = argv.first().filter(|program| !program.get_ref().starts_with('/')) {
        findings.report(
            program.span(),
            format!("the command of `{key}` is not an absolute path"),
            format!("write {key} = [\"/path/script\", \"argument\"]: no shell looks it up or splits it"),
        );
    }
}

/// A time, or its default.
fn time(value: Option<&Spanned<Duration>>, default: Duration) -> Duration {
    value.map_or(default, |time| *time.get_ref())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
