//! The path of a frame: ours? → parse → service → real → rewrite → count.

use crate::environment::Environment;
use crate::header::{Ethernet, Mac, Vlan};
use crate::maps::{Director, Filter, Port, ReturnKey, Service, ServiceKey, VipKey, VirtualMac, VirtualMacKey};
use crate::packet::Packet;
use crate::parse::{Network, Parsed, parse_network, parse_transport};
use crate::rewrite::rewrite;
use crate::select::choose;
use crate::verdict::Verdict;

/// VLAN tags that are read past.
const MOST_TAGS: u8 = 2;

/// Decides a frame's fate, rewrites it where it is forwarded, and points it at the interface that it leaves by.
#[inline(always)]
pub fn balance<E: Environment>(packet: Packet<'_>, environment: &E) -> Verdict {
    forward(packet, environment).unwrap_or_else(|verdict| verdict)
}

#[inline(always)]
fn forward<E: Environment>(packet: Packet<'_>, environment: &E) -> Result<Verdict, Verdict> {
    let port = environment.port().ok_or(Verdict::NotOurs)?;
    let ingress = port.ifindex;
    let ethernet = packet.at::<Ethernet>(0)?;
    let source = ethernet.source;
    check_destination(environment, port, ethernet.destination)?;
    let network = parse_network(&packet)?;
    let beside = environment.tag_beside();
    let tags = network.tags + u8::from(beside.is_some());
    if tags > MOST_TAGS {
        return Err(Verdict::NotIp);
    }
    // The tag beside the frame is its outermost.
    let vlan = match beside.unwrap_or_default() & Vlan::ID {
        0 => network.vlan,
        vlan => vlan,
    };
    if vlan != 0 && !port.vlans.holds(vlan) {
        return Err(Verdict::OtherVlan);
    }
    let director = environment.director().ok_or(Verdict::NotService)?;
    if network.fragment {
        return Err(judge_fragment(environment, director, &network));
    }
    let parsed = parse_transport(&packet, network)?;
    let service = find_service(environment, director, &parsed)?;
    if service.gate != 0 && environment.gate_is_closed(service.gate) {
        return Err(Verdict::Standby);
    }
    if came_from_real(environment, director, service, source) {
        return Err(Verdict::Returned);
    }
    let choice = choose(environment, director, service, &parsed)?;
    rewrite(packet, environment, tags, choice.real)?;
    let verdict = if choice.real.ifindex == ingress {
        Verdict::Forwarded
    } else {
        environment.redirect(choice.real)?;
        Verdict::Redirected
    };
    // Each packet of a merged frame had the headers on the wire.
    let (length, headers) = (parsed.network.length, parsed.headers);
    let packets = environment.packets(length.saturating_sub(headers));
    let bytes = u64::from(length) + u64::from(packets - 1) * u64::from(headers);
    environment.count(service.id, choice.index, packets, bytes, choice.connection);
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

/// A fragment without ports can't be told apart by service: those of a VIP and a protocol share one fate.
#[inline(always)]
fn judge_fragment<E: Environment>(environment: &E, director: &Director, network: &Network) -> Verdict {
    if !director.vips.may_hold(Filter::of_address(network.vip)) {
        return Verdict::Fragment;
    }
    let key = VipKey { address: network.vip.address(), protocol: network.protocol, reserved: [0; 3] };
    match environment.vip(&key) {
        None => Verdict::Fragment,
        Some(vip) if vip.gate != 0 && environment.gate_is_closed(vip.gate) => Verdict::Standby,
        Some(_) => Verdict::VipFragment,
    }
}

#[inline(always)]
fn find_service<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    parsed: &Parsed,
) -> Result<&'e Service, Verdict> {
    let Network { vip, protocol, .. } = parsed.network;
    if !director.vips.may_hold(Filter::of_address(vip)) {
        return Err(Verdict::NotService);
    }
    let mut key = ServiceKey { address: vip.address(), port: parsed.ports.destination(), protocol, reserved: 0 };
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
