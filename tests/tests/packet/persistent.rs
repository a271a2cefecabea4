//! Persistence: a client's new connections go where its last ones went.

use lb_common::maps::{Service, mapped};
use lb_common::{Scheduler, Verdict};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired, pooled};
use lb_tests::frame::{Segment, tcp4, tcp6, udp4};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_userspace::dataplane::Desired;

use crate::world::{TCP, UDP, VIP, VIP6, reals, service};

/// How long a client stays, in ticks.
const KEPT: u32 = 300;
const ADA: [u8; 4] = [10, 0, 0, 1];
/// In Ada's /24.
const ALAN: [u8; 4] = [10, 0, 0, 2];
const GRACE: [u8; 4] = [10, 0, 1, 1];

pub(crate) fn fixtures() -> Vec<Fixture> {
    [stays(), leaves(), networks(), groups(), others()].into_iter().flatten().collect()
}

/// The same services, which keep clients whose first `prefix` bits of 128 are the same; all are of one group, or each is of its own.
fn persistent(mut maps: Desired, prefix: u32, group: Option<u32>) -> Desired {
    for (key, service) in &mut maps.services {
        service.flags |= Service::PERSISTENT;
        (service.group, service.persistence) = (group.unwrap_or(key.tail()), Service::persistent(KEPT, prefix));
    }
    maps
}

fn turns(reals: &[RealSpec]) -> ServiceSpec {
    ServiceSpec { scheduler: Scheduler::Rr, ..service(mapped(VIP), 80, TCP, reals) }
}

fn pair(prefix: u32) -> Desired {
    persistent(desired(&[turns(&reals([40, 41]))]), prefix, None)
}

fn from(client: [u8; 4], port: u16, segment: Segment) -> Vec<u8> {
    tcp4(client, port, VIP, 80, segment)
}

fn syn(client: [u8; 4], port: u16) -> Vec<u8> {
    from(client, port, Segment::Syn)
}

fn stays() -> Vec<Fixture> {
    vec![
        Fixture::new("a client's connections go to one real, another's to the next", pair(128))
            .send_all((2000..2004).map(|port| (syn(ADA, port), to(1).opening())))
            .send_all((2000..2004).map(|port| (syn(GRACE, port), to(2).opening())))
            .send(syn(ADA, 2004), to(1).opening())
            .send(from(ADA, 2001, Segment::Ack), to(1)),
        Fixture::new("a client is remembered when its connection has ended", pair(128))
            .send(syn(ADA, 2000), to(1).opening())
            .send(from(ADA, 2000, Segment::Ack), to(1))
            .send(from(ADA, 2000, Segment::Fin), to(1))
            .age(KEPT - 10)
            .send(syn(ADA, 2001), to(1).opening())
            .age(KEPT - 10)
            .send(syn(ADA, 2002), to(1).opening()),
        Fixture::new("a client that was away for longer takes its turn", pair(128))
            .send(syn(ADA, 2000), to(1).opening())
            .age(KEPT + 10)
            .send(syn(ADA, 2001), to(2).opening())
            .send(syn(ADA, 2002), to(2).opening())
            .send(syn(GRACE, 2000), to(1).opening()),
        Fixture::new("a reset of a connection forgets no client", pair(128))
            .send(syn(ADA, 2000), to(1).opening())
            .send(from(ADA, 2000, Segment::Rst), to(1))
            .send(syn(ADA, 2000), to(1).opening())
            .send(syn(GRACE, 2000), to(2).opening()),
    ]
}

fn leaves() -> Vec<Fixture> {
    let unusable = |number: u32| {
        let specs = [40_u8, 41].map(|real| RealSpec { usable: u32::from(real) != 39 + number, ..RealSpec::new(real) });
        persistent(desired(&[turns(&specs)]), 128, None)
    };
    let quiesced = || {
        let specs = [40, 41].map(|real| RealSpec { weight: u32::from(real != 40), ..RealSpec::new(real) });
        persistent(desired(&[turns(&specs)]), 128, None)
    };
    vec![
        Fixture::new("a dead real's client goes to another, and stays there", pair(128))
            .send(syn(ADA, 2000), to(1).opening())
            .apply(unusable(1))
            .send(syn(ADA, 2001), to(2).opening())
            .apply(pair(128))
            .send(syn(ADA, 2002), to(2).opening()),
        Fixture::new("a real that takes no new connections takes none of its clients, and keeps theirs", pair(128))
            .send(syn(ADA, 2000), to(1).opening())
            .send(from(ADA, 2000, Segment::Ack), to(1))
            .apply(quiesced())
            .send(syn(ADA, 2001), to(2).opening())
            .send(from(ADA, 2000, Segment::Ack), to(1)),
        Fixture::new("without a real there is nobody to remember", {
            let dead = [40, 41].map(|real| RealSpec { usable: false, ..RealSpec::new(real) });
            persistent(desired(&[turns(&dead)]), 128, None)
        })
        .send(syn(ADA, 2000), untouched(Verdict::Refused))
        .apply(pair(128))
        .send(syn(ADA, 2000), to(1).opening()),
    ]
}

fn networks() -> Vec<Fixture> {
    vec![
        Fixture::new("clients of one network are one", pair(96 + 24))
            .send(syn(ADA, 2000), to(1).opening())
            .send(syn(ALAN, 2000), to(1).opening())
            .send(syn(GRACE, 2000), to(2).opening())
            .send(syn(ALAN, 2001), to(1).opening()),
        Fixture::new("all clients are one of the network of no bits", pair(96))
            .send(syn(ADA, 2000), to(1).opening())
            .send(syn([203, 0, 113, 7], 2000), to(1).opening()),
        Fixture::new("IPv6 clients of one /64 are one", {
            let spec = ServiceSpec { scheduler: Scheduler::Rr, ..service(VIP6, 80, TCP, &reals([42, 43])) };
            persistent(desired(&[spec]), 64, None)
        })
        .send_all([(0, 1, 1), (0, 2, 1), (1, 1, 2), (0, 3, 1)].map(|(network, host, real)| {
            let client = [0xfd, 0, 0, 0x10, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host];
            (tcp6(client, 2000, VIP6, 80, Segment::Syn), to(real).opening())
        })),
    ]
}

fn groups() -> Vec<Fixture> {
    let web = turns(&reals([40, 41]));
    let tls = ServiceSpec { port: 443, ..web.clone() };
    let both = |group| persistent(pooled(&[&[web.clone(), tls.clone()]]), 128, group);
    let to_443 = |client, port| tcp4(client, port, VIP, 443, Segment::Syn);
    vec![
        Fixture::new("services of a group send a client to one real", both(Some(1 << 31)))
            .send(syn(ADA, 2000), to(1).opening())
            .send(to_443(ADA, 2000), to(1).opening())
            .send(to_443(GRACE, 2000), to(1).opening())
            .send(to_443(ALAN, 2000), to(2).opening())
            .send(syn(ALAN, 2000), to(2).opening()),
        Fixture::new("services without a group keep each its own clients", both(None))
            .send(syn(ADA, 2000), to(1).opening())
            .send(syn(GRACE, 2000), to(2).opening())
            .send(to_443(GRACE, 2000), to(1).opening())
            .send(to_443(ADA, 2000), to(2).opening()),
    ]
}

fn others() -> Vec<Fixture> {
    let counted = ServiceSpec { scheduler: Scheduler::Wlc, ..turns(&reals([40, 41])) };
    let udp = ServiceSpec { scheduler: Scheduler::Rr, ..service(mapped(VIP), 53, UDP, &reals([40, 41])) };
    vec![
        Fixture::new("a client goes before the least load", persistent(desired(&[counted]), 128, None))
            .send_all((2000..2004).map(|port| (syn(ADA, port), to(1).opening())))
            .send_all((2000..2002).map(|port| (syn(GRACE, port), to(2).opening())))
            .send(syn(ADA, 2004), to(1).opening())
            .send(syn(ALAN, 2000), to(2).opening()),
        Fixture::new(
            "sessions over UDP go where their client's last ones went",
            persistent(desired(&[udp]), 128, None),
        )
        .send_all((2000..2003).map(|port| (udp4(ADA, port, VIP, 53), to(1).opening())))
        .send(udp4(GRACE, 2000, VIP, 53), to(2).opening())
        .send(udp4(ADA, 2000, VIP, 53), to(1)),
        Fixture::new("a service that becomes persistent keeps its connections", desired(&[turns(&reals([40, 41]))]))
            .send(syn(ADA, 2000), to(1).opening())
            .send(syn(ADA, 2001), to(2).opening())
            .apply(pair(128))
            .send(from(ADA, 2001, Segment::Ack), to(2))
            .send(syn(ADA, 2002), to(1).opening())
            .send(syn(ADA, 2003), to(1).opening()),
    ]
}
