//! The agent changes the maps under traffic.

use lb_common::Verdict;
use lb_common::maps::{Real, mapped};
use lb_tests::fixture::{RealSpec, desired};
use lb_tests::scenario::{Fixture, by_ring, to, untouched};
use lb_tests::shape::Shape;
use lb_userspace::dataplane::Desired;

use crate::world::{
    DNS, TAG, TCP, VIP, WEB, ack, ack_from, lab, question, reals, service, syn, syn_from, tracked, with_real,
};

const NEW_MAC: [u8; 6] = [0x02, 0xa0, 0, 0, 1, 40];

pub(crate) fn fixtures() -> Vec<Fixture> {
    [services(), rings(), changed_reals(), director()].into_iter().flatten().collect()
}

fn web(numbers: impl IntoIterator<Item = u8>) -> Desired {
    desired(&[service(mapped(VIP), 80, TCP, &reals(numbers))])
}

fn services() -> Vec<Fixture> {
    vec![
        Fixture::new("a service that is removed leaves its frames alone, and takes them when it is back", lab())
            .send(ack(), to(WEB))
            .apply(without_web())
            .send(ack(), untouched(Verdict::NotService))
            .send(question(), to(DNS))
            .apply(lab())
            .send(ack(), to(WEB)),
        Fixture::new("the last service's removal empties the director", web([40]))
            .send(ack(), to(1))
            .apply(desired(&[]))
            .send(ack(), untouched(Verdict::NotService)),
        Fixture::new("a service that is new takes frames at once", desired(&[]))
            .send(syn(), untouched(Verdict::NotService))
            .apply(web([40]))
            .send(syn(), to(1).opening()),
        Fixture::new("a service that becomes tracked takes turns", web([40, 41]))
            .send(syn_from(2000), by_ring().opening())
            .apply(desired(&[tracked(&reals([40, 41]))]))
            .send(syn_from(2000), to(1).opening())
            .send(syn_from(2001), to(2).opening()),
    ]
}

fn rings() -> Vec<Fixture> {
    let acks = |range: std::ops::Range<u16>| range.map(|port| (ack_from(port), by_ring()));
    vec![
        Fixture::new("flows of a real that is removed go to the others", web([40, 41]))
            .send_all(acks(2000..2010))
            .apply(web([40]))
            .send_all((2000..2010).map(|port| (ack_from(port), to(1)))),
        Fixture::new("a ring of another size holds for the next frame", web([40, 41, 42]))
            .apply(larger(web([40, 41, 42]), 65537))
            .send_all(acks(2000..2030)),
    ]
}

fn changed_reals() -> Vec<Fixture> {
    let pair = || desired(&[tracked(&reals([40, 41]))]);
    let moved = |maps| with_real(maps, 1, |real| real.mac = NEW_MAC);
    let down = |maps| with_real(maps, WEB, |real| real.flags = Real::IN_USE);
    vec![
        Fixture::new("a real's new MAC takes the next frame", lab())
            .send(ack(), to(WEB))
            .apply(moved(lab()))
            .send(ack(), to(WEB)),
        Fixture::new("a real's new MAC heals a live tracked connection", pair())
            .send(syn_from(2000), to(1).opening())
            .send(ack_from(2000), to(1))
            .apply(moved(pair()))
            .send(ack_from(2000), to(1))
            .send(syn_from(2001), to(2).opening()),
        Fixture::new("a real that moves to a VLAN gets tagged frames", lab())
            .send(ack(), to(WEB))
            .apply(with_real(lab(), WEB, |real| real.vlan = 9))
            .send(ack(), to(WEB).out(|frame| frame.tagged(TAG, 9))),
        Fixture::new("a real that goes down is sent nothing, and is sent frames when it is up again", lab())
            .send(ack(), to(WEB))
            .apply(down(lab()))
            .send(ack(), untouched(Verdict::NoReal))
            .send(syn(), untouched(Verdict::NoReal))
            .apply(lab())
            .send(ack(), to(WEB)),
        Fixture::new("a MAC that is no real's any more is an ordinary client's", web([40, 41]))
            .send(ack().sent_by(RealSpec::new(41).mac), untouched(Verdict::Returned))
            .apply(web([40]))
            .send(ack().sent_by(RealSpec::new(41).mac), to(1)),
    ]
}

fn director() -> Vec<Fixture> {
    let mac = [0x02, 0xd0, 0, 0, 0, 7];
    let mut renamed = lab();
    renamed.ports.iter_mut().for_each(|port| port.mac = mac);
    let seeded = Desired { hash_seed: 42, ..web([40, 41, 42]) };
    vec![
        Fixture::new("frames to the interface's old MAC are not ours any more", lab())
            .send(ack(), to(WEB))
            .apply(renamed)
            .send(ack(), untouched(Verdict::NotOurs))
            .send(ack().addressed_to(mac), to(WEB)),
        Fixture::new("another seed gives flows other slots", web([40, 41, 42]))
            .send_all((2000..2020).map(|port| (ack_from(port), by_ring())))
            .apply(seeded)
            .send_all((2000..2020).map(|port| (ack_from(port), by_ring()))),
    ]
}

fn without_web() -> Desired {
    let mut maps = lab();
    let web = maps.services.values().find(|service| service.reals + 1 == WEB).copied();
    maps.services.retain(|_, service| Some(*service) != web);
    maps.rings.retain(|start, _| web.is_none_or(|web| web.ring != *start));
    maps.pools.retain(|start, _| web.is_none_or(|web| web.reals != *start));
    maps.returns.retain(|key| web.is_none_or(|web| web.reals != key.pool));
    maps
}

/// The first service with a ring of this size.
fn larger(mut maps: Desired, size: u32) -> Desired {
    let spec =
        lb_tests::fixture::ServiceSpec { ring_size: size, ..service(mapped(VIP), 80, TCP, &reals([40, 41, 42])) };
    let other = desired(&[spec]);
    maps.services = other.services;
    maps.rings = other.rings;
    maps
}
