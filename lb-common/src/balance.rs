//! The path of a frame: ours? → parse → service → real → rewrite → count.

use crate::environment::Environment;
use crate::header::{Ethernet, Mac};
use crate::maps::{Director, Filter, Port, ReturnKey, Service, ServiceKey, VirtualMac, VirtualMacKey};
use crate::packet::Packet;
use crate::parse::{Parsed, parse};
use crate::rewrite::rewrite;
use crate::select::choose;
use crate::verdict::Verdict;

/// VLAN tags that are read past.
const MOST_TAGS: u8 = 2;

/// Decides a frame's fate, rewrites it where it is forwarded, and points it at the interface that it leaves by.
#[inline(always)]
pub fn balance<E: Environment>(packet: Packet<'_>, environment: &mut E) -> Verdict {
    forward(packet, environment).unwrap_or_else(|verdict| verdict)
}

#[inline(always)]
fn forward<E: Environment>(packet: Packet<'_>, environment: &mut E) -> Result<Verdict, Verdict> {
    let port = environment.port().ok_or(Verdict::NotOurs)?;
    let ingress = port.ifindex;
    let ethernet = packet.at::<Ethernet>(0)?;
    let source = ethernet.source;
    check_destination(environment, port, ethernet.destination)?;
    let parsed = parse(&packet)?;
    let tags = parsed.tags + u8::from(environment.tag_beside().is_some());
    if tags > MOST_TAGS {
        return Err(Verdict::NotIp);
    }
    let director = environment.director().ok_or(Verdict::NotService)?;
    let service = *find_service(environment, director, &parsed)?;
    if service.gate != 0 && environment.gate_is_closed(service.gate) {
        return Err(Verdict::Standby);
    }
    if came_from_real(environment, director, &service, source) {
        return Err(Verdict::Returned);
    }
    let choice = choose(environment, director, &service, &parsed)?;
    let real = *environment.real(choice.real).ok_or(Verdict::NoReal)?;
    rewrite(packet, environment, tags, &real)?;
    let verdict = if real.ifindex == ingress {
        Verdict::Forwarded
    } else {
        environment.redirect(&real)?;
        Verdict::Redirected
    };
    // Each packet of a merged frame had the headers on the wire.
    let packets = environment.packets(parsed.length.saturating_sub(parsed.headers));
    let bytes = u64::from(parsed.length) + u64::from(packets - 1) * u64::from(parsed.headers);
    environment.count(service.id, choice.real, packets, bytes, choice.connection);
    Ok(verdict)
}

/// Ours are the interface's own MAC, and the virtual MACs of the virtual routers that this director is
/// the master of. What the switch floods to us otherwise is nobody's business of ours.
#[inline(always)]
fn check_destination<E: Environment>(environment: &E, port: &Port, destination: Mac) -> Result<(), Verdict> {
    if destination == port.mac {
        return Ok(());
    }
    // 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6.
    let [0, 0, 0x5e, 0, 1 | 2, _] = destination else { return Err(Verdict::NotOurs) };
    let key = VirtualMacKey { ifindex: port.ifindex, mac: destination, reserved: [0; 2] };
    match environment.virtual_mac(&key) {
        Some(VirtualMac { master: 0 }) => Err(Verdict::NotMaster),
        Some(_) => Ok(()),
        None => Err(Verdict::NotOurs),
    }
}

#[inline(always)]
fn find_service<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    parsed: &Parsed,
) -> Result<&'e Service, Verdict> {
    if !director.vips.may_hold(Filter::of_address(&parsed.vip)) {
        return Err(Verdict::NotService);
    }
    let [_, _, high, low] = parsed.ports;
    let mut key = ServiceKey { address: parsed.vip, port: [high, low], protocol: parsed.protocol, reserved: 0 };
    if let Some(service) = environment.service(&key) {
        return Ok(service);
    }
    if director.flags & Director::ANY_PORT == 0 {
        return Err(Verdict::NotService);
    }
    key.port = [0, 0];
    environment.service(&key).ok_or(Verdict::NotService)
}

#[inline(always)]
fn came_from_real<E: Environment>(environment: &E, director: &Director, service: &Service, source: Mac) -> bool {
    director.reals.may_hold(Filter::of_mac(source))
        && environment.returns(&ReturnKey { service: service.id, mac: source, reserved: [0; 2] })
}
