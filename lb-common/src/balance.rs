//! The path of a frame: ours? → parse → service → real → rewrite → count.

use crate::flow::{self, Key};
use crate::hash::{flow_hash, scale, source_hash};
use crate::header::{Ethernet, Mac};
use crate::maps::{Bucket, Director, Filter, Port, Real, ReturnKey, Service, ServiceKey, VirtualMac, VirtualMacKey};
use crate::packet::Packet;
use crate::parse::{Opens, Parsed, parse};
use crate::rewrite::rewrite;
use crate::verdict::Verdict;

/// The maps and the frame's surroundings: BPF maps in the kernel, ordinary tables in host tests.
pub trait Environment {
    /// The entry of `ports` for the interface that the frame came in by.
    fn port(&self) -> Option<&Port>;
    /// The entry of `director`.
    fn director(&self) -> Option<&Director>;
    /// An entry of `services`.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// Entry `index` of ring `service`.
    fn slot(&self, service: u32, index: u32) -> Option<u32>;
    /// An entry of `reals`.
    fn real(&self, index: u32) -> Option<&Real>;
    /// Whether `returns` has this key.
    fn returns(&self, key: &ReturnKey) -> bool;
    /// An entry of `virtual_macs`.
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<VirtualMac>;
    /// Whether an entry of `gates` is closed.
    fn gate_is_closed(&self, gate: u32) -> bool;
    /// A bucket of `flows`, shared with other CPUs.
    fn bucket(&self, index: u32) -> Option<*mut Bucket>;
    /// Takes the next number of `turns` for this service.
    fn take_turn(&self, service: u32) -> Option<u64>;
    /// Seconds of the boot clock.
    fn now(&self) -> u32;
    /// Adds to `service_stats` and `real_stats`.
    fn count(&self, service: u32, real: u32, bytes: u64, connection: bool);
    /// Moves the frame's start by `bytes` (less than zero makes room) and takes its Ethernet addresses
    /// along or leaves them undefined. `None` when there is no room.
    fn move_start<'a>(&mut self, packet: Packet<'a>, bytes: i32) -> Option<Packet<'a>>;
}

/// Decides a frame's fate and rewrites it where it is forwarded.
///
/// The second value is the index in `tx_ports` of a [`Verdict::Redirected`] frame, else 0.
#[inline(always)]
pub fn balance<E: Environment>(packet: Packet<'_>, environment: &mut E) -> (Verdict, u32) {
    match forward(packet, environment) {
        Ok(sent) => sent,
        Err(verdict) => (verdict, 0),
    }
}

#[inline(always)]
fn forward<E: Environment>(packet: Packet<'_>, environment: &mut E) -> Result<(Verdict, u32), Verdict> {
    let port = environment.port().ok_or(Verdict::NotOurs)?;
    let ingress = port.ifindex;
    let ethernet = packet.at::<Ethernet>(0)?;
    let source = ethernet.source;
    check_destination(environment, port, ethernet.destination)?;
    let parsed = parse(&packet)?;
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
    rewrite(packet, environment, parsed.tags, &real)?;
    environment.count(service.id, choice.real, u64::from(parsed.length), choice.connection);
    if real.ifindex == ingress { Ok((Verdict::Forwarded, 0)) } else { Ok((Verdict::Redirected, real.tx_port)) }
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

/// A packet's real, and whether the packet counts as a new connection.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) real: u32,
    pub(crate) connection: bool,
}

#[inline(always)]
fn choose<E: Environment>(
    environment: &E,
    director: &Director,
    service: &Service,
    parsed: &Parsed,
) -> Result<Choice, Verdict> {
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(director.hash_seed, &parsed.client)
    } else {
        flow_hash(director.hash_seed, &parsed.client, &parsed.vip, parsed.ports, parsed.protocol)
    };
    if service.flags & Service::TRACKED != 0 {
        let key = Key { client: parsed.client, ports: parsed.ports, service: service.id };
        return flow::choose(environment, director, service, &key, hash, parsed.opens);
    }
    let real = ring_real(environment, service, hash).ok_or_else(|| unserved(parsed.opens))?;
    Ok(Choice { real, connection: parsed.opens == Opens::Yes })
}

/// The real that the ring names for this hash.
#[inline(always)]
pub(crate) fn ring_real<E: Environment>(environment: &E, service: &Service, hash: u64) -> Option<u32> {
    usable(environment, environment.slot(service.id, scale(hash, service.ring_size))?)
}

/// `index`, if frames may be sent to that real.
#[inline(always)]
pub(crate) fn usable<E: Environment>(environment: &E, index: u32) -> Option<u32> {
    (environment.real(index)?.flags & Real::USABLE != 0).then_some(index)
}

/// The verdict of a packet that no real takes: who asks for a connection is told at once, by the
/// director's own stack; who has one tries again.
#[inline(always)]
pub(crate) fn unserved(opens: Opens) -> Verdict {
    match opens {
        Opens::Yes | Opens::Unknown => Verdict::Refused,
        Opens::No | Opens::Ends => Verdict::NoReal,
    }
}
