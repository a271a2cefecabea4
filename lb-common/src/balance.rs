//! The path of a frame: ours? → parse → service → real → rewrite → count.

use crate::environment::{Environment, Tables};
use crate::header::{Ethernet, Macs, Tcp, Vlan, mac_of};
use crate::ip::{Ip, Ports};
use crate::maps::{Director, Filter, Port, ReturnKey, Service, ServiceKey, Table, VirtualMac, VirtualMacKey};
use crate::packet::Packet;
use crate::parse::{Network, Parsed, opens_quic, parse_network, parse_transport};
use crate::recall::Answer;
use crate::rewrite::rewrite;
use crate::select::{Choice, choose, reach};
use crate::stray::{Owner, Stray};
use crate::trace::Step;
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
    let port = environment.port().ok_or_else(|| Verdict::NotOurs.aside())?;
    let ingress = port.ifindex;
    let tables = environment.tables();
    tables.step(Step::Port, [ingress.into(), 1, 0, 0]);
    // Nothing shorter has an EtherType.
    packet.at::<Ethernet>(0)?;
    let macs = packet.at::<Macs>(0)?;
    let source = macs.source();
    tables.step(Step::Addressed, [macs.destination(), port.mac_word(), 0, 0]);
    check_destination(environment, port, macs.destination())?;
    let network = parse_network(&packet, environment.merged())?;
    let beside = environment.tag_beside();
    let tags = network.tags + u8::from(beside.is_some());
    if tags > MOST_TAGS {
        return Err(Verdict::NotIp.aside());
    }
    // The tag beside the frame is its outermost.
    let vlan = match beside.unwrap_or_default() & Vlan::ID {
        0 => network.vlan,
        vlan => vlan,
    };
    let Network { client, vip, .. } = network;
    tables.step(Step::Addresses, [client.start, client.end, vip.start, vip.end]);
    tables.step(Step::Carries, network.words(tags, vlan));
    if vlan != 0 && !port.vlans.holds(vlan) {
        return Err(Verdict::OtherVlan.aside());
    }
    let director = environment.tables().director().ok_or_else(|| Verdict::NotService.aside())?;
    let (choice, length, headers) = if network.has_ports() {
        let is_vip = director.vips.may_hold(Filter::of_address(network.vip));
        tables.step(Step::Vip, [is_vip.into(), 0, 0, 0]);
        if !is_vip {
            return Err(Verdict::NotService.aside());
        }
        let parsed = parse_transport(&packet, network.forgotten(director.hash_seed))?;
        (choose_real(&packet, environment, director, source, parsed)?, parsed.network.length, parsed.headers)
    } else if network.is_stray() {
        // It is never merged with others.
        (choose_stray(&packet, environment, &network)?, network.length, network.length)
    } else {
        return Err(Verdict::OtherProtocol);
    };
    tables.step(Step::Leaves, [choice.real.ifindex.into(), (choice.real.ifindex == ingress).into(), 0, 0]);
    if !E::OBSERVES {
        rewrite(packet, environment, tags, choice.real)?;
    }
    let verdict = if choice.real.ifindex == ingress {
        Verdict::Forwarded
    } else {
        environment.redirect(choice.real)?;
        Verdict::Redirected
    };
    // Each packet of a merged frame had the headers on the wire.
    let packets = environment.packets(length.saturating_sub(headers));
    let bytes = u64::from(length) + u64::from(packets - 1) * u64::from(headers);
    environment.count(choice.counter, packets, bytes, choice.connection);
    Ok(verdict)
}

/// Ours are the interface's own MAC, and the virtual MACs of the virtual routers that this director is
/// the master of. What the switch floods to us otherwise is nobody's business of ours.
#[inline(always)]
fn check_destination<E: Environment>(environment: &E, port: &Port, destination: u64) -> Result<(), Verdict> {
    if destination == port.mac_word() {
        return Ok(());
    }
    let mac = mac_of(destination);
    // 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6.
    let [0, 0, 0x5e, 0, 1 | 2, _] = mac else { return Err(Verdict::NotOurs.aside()) };
    let key = VirtualMacKey { ifindex: port.ifindex, mac, reserved: [0; 2] };
    match environment.virtual_mac(&key) {
        Some(VirtualMac { master: 0 }) => Err(Verdict::NotMaster.aside()),
        Some(_) => Ok(()),
        None => Err(Verdict::NotOurs.aside()),
    }
}

/// The real of a packet that says itself which flow it is of.
#[inline(always)]
fn choose_real<'e, E: Environment>(
    packet: &Packet<'_>,
    environment: &'e E,
    director: &Director,
    source: u64,
    mut parsed: Parsed,
) -> Result<Choice<'e>, Verdict> {
    let Network { vip, protocol, .. } = parsed.network;
    let tables = environment.tables();
    tables.step(Step::Ports, [parsed.ports.0.into(), parsed.flags.into(), protocol.into(), 0]);
    let (index, service) =
        service_of(environment, director, vip, protocol, parsed.ports).ok_or_else(|| Verdict::NotService.aside())?;
    tables.step(Step::Service, [1, index.into(), 0, 0]);
    let closed = service.gate != 0 && environment.gate_is_closed(service.gate);
    if service.gate != 0 {
        tables.step(Step::Gate, [service.gate.into(), closed.into(), 0, 0]);
    }
    if closed {
        return Err(Verdict::Standby.aside());
    }
    let returned = came_from_real(environment, director, service, source);
    tables.step(Step::From, [source, returned.into(), 0, 0]);
    if returned {
        return Err(Verdict::Returned.aside());
    }
    if service.flags & Service::QUIC != 0 && opens_quic(packet, &parsed) {
        parsed.flags = Tcp::SYN;
    }
    choose(environment, director, (index, service), &parsed)
}

/// The real of a fragment or an ICMP error.
#[inline(always)]
fn choose_stray<'e, E: Environment>(
    packet: &Packet<'_>,
    environment: &'e E,
    network: &Network,
) -> Result<Choice<'e>, Verdict> {
    environment.tables().step(Step::Stray, [network.fragment.into(), network.protocol.into(), 0, 0]);
    let Owner { service, number, connection } = environment.stray(packet, Stray::of(network))?;
    environment.tables().step(Step::Owner, [service.into(), number.into(), 0, 0]);
    let service = environment.tables().service(service).ok_or_else(|| Verdict::NotService.aside())?;
    reach(environment.tables(), service, Answer { number, connection }).ok_or_else(|| Verdict::NoReal.aside())
}

/// A flow's service, and its index in `services`. Whether the address is a VIP is asked before.
#[inline(always)]
fn service_of<'e, E: Environment>(
    environment: &'e E,
    director: &Director,
    vip: Ip,
    protocol: u8,
    ports: Ports,
) -> Option<(u32, &'e Service)> {
    let tables = environment.tables();
    if let Some(found) = look_up(tables, table(director), vip, tail(protocol) | ports.0 >> 16) {
        return Some(found);
    }
    if director.flags & Director::ANY_PORT == 0 {
        return None;
    }
    let index = environment.service_apart(vip, protocol, ports)?;
    Some((index, tables.service(index)?))
}

/// The same, in one function.
#[inline(always)]
pub(crate) fn find_service<'e, T: Tables>(
    tables: &'e T,
    director: &Director,
    vip: Ip,
    protocol: u8,
    ports: Ports,
) -> Option<(u32, &'e Service)> {
    if let Some(found) = look_up(tables, table(director), vip, tail(protocol) | ports.0 >> 16) {
        return Some(found);
    }
    if director.flags & Director::ANY_PORT == 0 {
        return None;
    }
    look_up(tables, table(director), vip, tail(protocol))
}

/// The table that is in force.
#[inline(always)]
fn table(director: &Director) -> &Table {
    if director.table == 0 { &director.tables[0] } else { &director.tables[1] }
}

/// The end of an any-port service's key.
#[inline(always)]
fn tail(protocol: u8) -> u32 {
    u32::from(protocol) << 16
}

/// The service of this VIP whose key ends in these bytes: it is at one of two places.
#[inline(always)]
fn look_up<'e, T: Tables>(tables: &'e T, table: &Table, vip: Ip, tail: u32) -> Option<(u32, &'e Service)> {
    let [first, second] = ServiceKey::places(table.seed, vip, tail, table.mask);
    match look_at(tables, table.start.wrapping_add(first), vip, tail) {
        None => look_at(tables, table.start.wrapping_add(second), vip, tail),
        found => found,
    }
}

#[inline(always)]
fn look_at<T: Tables>(tables: &T, index: u32, vip: Ip, tail: u32) -> Option<(u32, &Service)> {
    let service = tables.service(index)?;
    (Ip::from(service.key.address) == vip && service.key.tail() == tail).then_some((index, service))
}

/// Whether a frame for this service is from one of its own reals' MACs.
#[inline(always)]
pub(crate) fn came_from_real<E: Environment>(
    environment: &E,
    director: &Director,
    service: &Service,
    source: u64,
) -> bool {
    director.reals.may_hold(source)
        && environment.returns(&ReturnKey { pool: service.reals, mac: mac_of(source), reserved: [0; 2] })
}
