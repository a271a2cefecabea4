//! The director of most fixtures, and the frames that its clients send.

use lb_common::Scheduler;
use lb_common::header::ethertype;
use lb_common::maps::{Address, Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{Segment, tcp4, tcp6, udp4, udp6};
use lb_userspace::dataplane::Desired;

pub(crate) const VIP: [u8; 4] = [172, 28, 128, 210];
pub(crate) const VIP6: Address = [0xfd, 0, 0, 0x28, 1, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd2];
pub(crate) const CLIENT: [u8; 4] = [10, 0, 0, 1];
pub(crate) const CLIENT6: Address = [0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const TAG: u16 = ethertype::VLAN;
pub(crate) const SERVICE_TAG: u16 = ethertype::SERVICE_VLAN;

/// The reals of [`lab`].
pub(crate) const WEB: u32 = 1;
pub(crate) const DNS: u32 = 2;
pub(crate) const WEB6: u32 = 3;
pub(crate) const DNS6: u32 = 4;

/// A stateless service of these reals.
pub(crate) fn service(address: Address, port: u16, protocol: u8, reals: &[RealSpec]) -> ServiceSpec {
    ServiceSpec { address, port, protocol, flags: 0, scheduler: Scheduler::Mh, ring_size: 251, reals: reals.to_vec() }
}

/// The VIP's port 80 over TCP, by turns, on these reals.
pub(crate) fn tracked(reals: &[RealSpec]) -> ServiceSpec {
    ServiceSpec { flags: Service::TRACKED, ..service(mapped(VIP), 80, TCP, reals) }
}

/// Healthy reals of weight 1 with these numbers.
pub(crate) fn reals(numbers: impl IntoIterator<Item = u8>) -> Vec<RealSpec> {
    numbers.into_iter().map(RealSpec::new).collect()
}

/// TCP 80 and UDP 53 on a VIP of each family, one real for each.
pub(crate) fn lab() -> Desired {
    lab_with(|real| real)
}

/// The same with other reals.
pub(crate) fn lab_with(change: impl Fn(RealSpec) -> RealSpec) -> Desired {
    let one = |number| [change(RealSpec::new(number))];
    desired(&[
        service(mapped(VIP), 80, TCP, &one(40)),
        service(mapped(VIP), 53, UDP, &one(41)),
        service(VIP6, 80, TCP, &one(42)),
        service(VIP6, 53, UDP, &one(43)),
    ])
}

/// Changes one real of these maps.
pub(crate) fn with_real(mut maps: Desired, index: u32, change: impl Fn(&mut lb_common::maps::Real)) -> Desired {
    for (pool, held) in &mut maps.pools {
        let reals = held.reals.iter_mut().filter(|(number, _)| pool + u32::from(**number) == index);
        reals.for_each(|(_, real)| change(real));
    }
    maps
}

/// From the client's port to TCP 80 of the IPv4 VIP.
pub(crate) fn segment(port: u16, segment: Segment) -> Vec<u8> {
    tcp4(CLIENT, port, VIP, 80, segment)
}

pub(crate) fn syn() -> Vec<u8> {
    syn_from(40000)
}

pub(crate) fn syn_from(port: u16) -> Vec<u8> {
    segment(port, Segment::Syn)
}

pub(crate) fn ack() -> Vec<u8> {
    ack_from(40000)
}

pub(crate) fn ack_from(port: u16) -> Vec<u8> {
    segment(port, Segment::Ack)
}

pub(crate) fn fin_from(port: u16) -> Vec<u8> {
    segment(port, Segment::Fin)
}

pub(crate) fn rst_from(port: u16) -> Vec<u8> {
    segment(port, Segment::Rst)
}

pub(crate) fn question() -> Vec<u8> {
    udp4(CLIENT, 40000, VIP, 53)
}

pub(crate) fn syn6() -> Vec<u8> {
    tcp6(CLIENT6, 40000, VIP6, 80, Segment::Syn)
}

pub(crate) fn ack6() -> Vec<u8> {
    tcp6(CLIENT6, 40000, VIP6, 80, Segment::Ack)
}

pub(crate) fn question6() -> Vec<u8> {
    udp6(CLIENT6, 40000, VIP6, 53)
}
