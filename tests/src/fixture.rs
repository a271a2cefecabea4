//! Desired maps of made-up services, for packet tests and the bench.

use std::collections::BTreeMap;

use lb_common::Scheduler;
use lb_common::maps::{Address, Port, Real, ReturnKey, Service, ServiceKey, Vlans, mapped};
use lb_common::ring::Member;
use lb_userspace::dataplane::{Desired, Pool, Ring, Turns};

use crate::frame::DIRECTOR;

/// Interface that test runs' frames come in by.
pub const IFINDEX: u32 = 1;

/// A service of the fixture.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The VIP.
    pub address: Address,
    /// The port, 0 for any.
    pub port: u16,
    /// 6 or 17.
    pub protocol: u8,
    /// Flags of `maps::Service`, beside the scheduler's.
    pub flags: u16,
    /// Its scheduler; with the flag for tracking alone it takes turns.
    pub scheduler: Scheduler,
    /// Slots of the ring.
    pub ring_size: u32,
    /// Its reals.
    pub reals: Vec<RealSpec>,
}

impl ServiceSpec {
    fn key(&self) -> ServiceKey {
        ServiceKey { address: self.address, port: self.port.to_be_bytes(), protocol: self.protocol, reserved: 0 }
    }
}

/// A real of the fixture.
#[derive(Debug, Clone, Copy)]
pub struct RealSpec {
    /// Its address.
    pub address: Address,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Its weight.
    pub weight: u32,
    /// Its VLAN, as in `maps::Real`.
    pub vlan: u16,
    /// The interface that it is reached by.
    pub ifindex: u32,
    /// Frames may be sent to it.
    pub usable: bool,
}

impl RealSpec {
    /// A healthy real of weight 1 on the director's own segment; `number` makes its address and MAC.
    pub fn new(number: u8) -> Self {
        Self {
            address: mapped([172, 28, 128, number]),
            mac: [0x02, 0xa0, 0, 0, 0, number],
            weight: 1,
            vlan: Real::KEEP_VLAN,
            ifindex: IFINDEX,
            usable: true,
        }
    }
}

/// Where the turns of the first service start, and how many words each has for them.
const TURNS: u32 = 1 << 20;
const TURNS_EACH: u32 = 512;

/// The maps of these services, on an interface whose VLANs are all ours, each with reals of its own. Ids are given out in order,
/// and so are the reals' places in `reals`: the first is at 1.
pub fn desired(services: &[ServiceSpec]) -> Desired {
    pooled(&services.chunks(1).collect::<Vec<_>>())
}

/// The same of pools: the services of each have the reals of its first, and a ring for each of their ring sizes.
pub fn pooled(pools: &[&[ServiceSpec]]) -> Desired {
    let mut desired = Desired {
        ports: vec![Port { ifindex: IFINDEX, mac: DIRECTOR, reserved: [0; 2], vlans: Vlans::ALL }],
        tx_ports: [(0, IFINDEX)].into(),
        ..Desired::default()
    };
    let (mut pool, mut slot, mut counters, mut ids) = (0, 0, 0, 0..);
    for services in pools {
        let specs = services.first().map_or(&[][..], |first| &first.reals);
        let mut members = Vec::new();
        let mut reals = BTreeMap::new();
        for (number, real) in (1..).zip(specs) {
            reals.insert(number, entry(real, pool));
            desired.returns.insert(ReturnKey { pool, mac: real.mac, reserved: [0; 2] });
            if real.usable {
                members.push(Member { address: real.address, weight: real.weight, real: number });
            }
        }
        let room = specs.len() as u32 + 1;
        let mut rings = BTreeMap::new();
        for (spec, id) in services.iter().zip(&mut ids) {
            let turns = TURNS + id * TURNS_EACH;
            let flags = spec.flags | spec.scheduler.flags();
            if flags & Service::TRACKED != 0 {
                let scheduler = if spec.scheduler.is_tracked() { spec.scheduler } else { Scheduler::Wrr };
                desired.turns.insert(turns, Turns::new(scheduler, &members));
            }
            let size = spec.ring_size;
            let ring = *rings.entry(size).or_insert_with(|| {
                let members = members.clone();
                desired
                    .rings
                    .insert(slot, Ring { pool, seed: 0, size, members, in_use: true, taken: None, holds: false });
                slot += size.next_multiple_of(2);
                slot - size.next_multiple_of(2)
            });
            let service = Service {
                key: spec.key(),
                id,
                ring,
                ring_size: size,
                reals: pool,
                counters,
                room,
                turns,
                flags,
                scheduler: spec.scheduler as u16,
                ..Service::FREE
            };
            desired.services.insert(spec.key(), service);
            counters += room;
        }
        // Nobody is number 0, so that pools overlap in the last one's last entry.
        desired.pools.insert(pool, Pool { room, reals });
        pool += room - 1;
    }
    desired
}

fn entry(real: &RealSpec, pool: u32) -> Real {
    Real {
        address: real.address,
        mac: real.mac,
        source_mac: DIRECTOR,
        ifindex: real.ifindex,
        tx_port: 0,
        pool,
        vlan: real.vlan,
        flags: Real::IN_USE | if real.usable { Real::USABLE } else { 0 },
        weight: real.weight,
    }
}
