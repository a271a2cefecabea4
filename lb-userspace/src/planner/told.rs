//! What the maps hold, in the words that all directors share, and back: services by VIP, protocol and port, reals by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::flow::Stage;
use lb_common::maps::{FlowKey, Service, ServiceKey};
use lb_common::slot::Slot;

use super::model::protocol_of;
use super::plan::{key_of, mapped_address};
use crate::agent::plain_address;
use crate::dataplane::{Desired, News, Remembered};
use crate::peers::Change;
use crate::peers::state::{self, Flow, ServiceId};

/// A service of the maps, as all directors name it.
pub fn shared_id(key: &ServiceKey) -> ServiceId {
    let port = u16::from_be_bytes(key.port);
    ServiceId {
        vip: plain_address(key.address),
        protocol: protocol_of(key.protocol),
        port: (port != 0).then_some(port),
    }
}

/// The key that a service has in the maps.
pub fn service_key(id: &ServiceId) -> ServiceKey {
    key_of(id.vip, id.protocol, id.port)
}

/// A remembered connection of a real, `age` seconds after its last packet. One that is gone has no stage.
pub fn flow((service, key): (ServiceKey, &FlowKey), real: IpAddr, stage: Option<Stage>, age: Duration) -> Flow {
    let [a, b, c, d] = key.ports;
    let stage = match stage {
        // One that was seen once and is told is in the midst of its life.
        Some(Stage::Open | Stage::Opening) => state::Stage::Open,
        Some(Stage::Closing) => state::Stage::Closed,
        None => state::Stage::Gone,
    };
    Flow {
        service: shared_id(&service),
        client: (plain_address(key.client), u16::from_be_bytes([a, b])),
        port: u16::from_be_bytes([c, d]),
        real,
        stage,
        age: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
    }
}

/// What became of a connection, by the reals of these maps. `tick` is how long one is.
pub fn news(desired: &Desired, news: &News, tick: Duration) -> Option<Flow> {
    let real = desired.real(news.pool, news.real)?;
    Some(flow((news.service, &news.key), plain_address(real.address), news.stage, tick * news.idle))
}

/// The words of a ring's slots that aren't settled, for each service that has it.
pub fn slots(desired: &Desired, start: u32, slots: &[(u32, Slot)]) -> Vec<Change> {
    let services = desired.services.values().filter(|service| service.ring == start);
    let change = |service: &Service| {
        let real = |number: u16| desired.real(service.reals, number).map(|real| plain_address(real.address));
        let word = |(slot, held): &(u32, Slot)| state::Slot {
            slot: *slot,
            current: real(held.current),
            base: real(held.base),
        };
        Change::Slots {
            service: shared_id(&service.key),
            ring_size: service.ring_size,
            whole: true,
            slots: slots.iter().map(word).collect(),
        }
    };
    services.map(change).collect()
}

/// The reals of the maps by pool and number, as [`Takes`] asks for them.
pub fn reals(desired: &Desired) -> HashMap<(u32, u16), IpAddr> {
    let of = |(pool, number, address)| ((pool, number), plain_address(address));
    let all = desired.pools.iter().flat_map(|(pool, held)| {
        let pool = *pool;
        held.reals.iter().map(move |(number, real)| (pool, *number, real.address))
    });
    all.map(of).collect()
}

/// Where connections that others have told are written.
pub struct Takes<'t> {
    /// The flow table.
    pub table: &'t Remembered,
    /// Its reals, by pool and number.
    pub reals: &'t HashMap<(u32, u16), IpAddr>,
    /// The clock, in ticks.
    pub now: u32,
    /// How long one is.
    pub tick: Duration,
}

impl Takes<'_> {
    /// Writes them. Those of services and reals that this director doesn't have are left out.
    pub fn take(&self, flows: &[Flow]) {
        let services: HashMap<ServiceKey, &Service> =
            self.table.services().map(|service| (service.key, service)).collect();
        let numbers: HashMap<(u32, IpAddr), u16> =
            self.reals.iter().map(|((pool, number), address)| ((*pool, *address), *number)).collect();
        for flow in flows {
            let Some(service) = services.get(&service_key(&flow.service)) else { continue };
            let Some(number) = numbers.get(&(service.reals, flow.real)) else { continue };
            let [a, b] = flow.client.1.to_be_bytes();
            let [c, d] = flow.port.to_be_bytes();
            let client = mapped_address(flow.client.0);
            let key = FlowKey { client, ports: [a, b, c, d], service: service.id };
            let age = Duration::from_secs(flow.age.into()).as_millis() / self.tick.as_millis().max(1);
            let seen = self.now.wrapping_sub(u32::try_from(age).unwrap_or(u32::MAX));
            match flow.stage {
                state::Stage::Open => drop(self.table.put(&key, service, *number, Stage::Open, seen)),
                state::Stage::Closed => drop(self.table.put(&key, service, *number, Stage::Closing, seen)),
                state::Stage::Gone => self.table.remove(&key, service),
            }
        }
    }
}
