//! What the maps hold, in the words that all directors share, and back: services by VIP, protocol and port, reals by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::flow::{self, Stage};
use lb_common::maps::{Address, FlowKey, Service, ServiceKey};
use lb_common::slot::Slot;

use super::model::{Model, Standing, protocol_of, reals};
use super::plan::{key_of, mapped_address};
use crate::agent::plain_address;
use crate::config;
use crate::dataplane::{At, News, Remembered, SlotNews};
use crate::peers::Change;
use crate::peers::state::{self, Flow, ServiceId, State};

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

/// What is said of the reals of a service: what its ring is made of here is what others make it of.
pub fn members(model: &Model, service: &config::Service) -> Vec<state::Member> {
    let all = reals(service, &model.draining);
    let member = |real: &config::Real| {
        let (standing, share) = (model.standing(service, real), model.share(service, real));
        state::Member {
            real: real.address,
            weight: if share.takes_new() { share.ring } else { model.weight(service, real) },
            drained: matches!(standing, Standing::Draining { .. }),
            state: match standing {
                _ if share.takes_new() => State::Up,
                Standing::Checking => State::Checking,
                standing if standing.is_usable() => State::Quiesced,
                _ => State::Down,
            },
        }
    };
    let mut members: Vec<state::Member> = all.map(member).collect();
    members.sort_by_key(|member| member.real);
    members
}

/// What names the entries of maps, all of the same moment: a number means nothing without its pool.
pub struct Names {
    /// The flow table.
    pub table: Remembered,
    services: HashMap<ServiceKey, Service>,
    reals: HashMap<(u32, u16), IpAddr>,
    numbers: HashMap<(u32, IpAddr), u16>,
    /// How long a tick of the clock is.
    pub tick: Duration,
}

impl Names {
    /// Of a table with its services, and the reals by pool and number.
    pub fn new(table: Remembered, reals: impl Iterator<Item = ((u32, u16), Address)>, tick: Duration) -> Self {
        let reals: HashMap<_, _> = reals.map(|(place, real)| (place, plain_address(real))).collect();
        Self {
            services: table.services().map(|service| (service.key, *service)).collect(),
            numbers: reals.iter().map(|((pool, number), real)| ((*pool, *real), *number)).collect(),
            table,
            reals,
            tick,
        }
    }

    /// What became of a connection; `None` where its real isn't known.
    pub fn news(&self, news: &News) -> Option<Flow> {
        let real = self.reals.get(&(news.pool, news.real))?;
        Some(self.flow((news.service, &news.key), *real, news.stage, news.idle))
    }

    /// An entry of the table; `None` where it isn't known whose it is. `now` in ticks.
    pub fn entry(&self, at: At, flow: flow::Flow, now: u32) -> Option<Flow> {
        let (key, service) = self.table.known(at, flow)?;
        let real = self.reals.get(&(service.reals, flow.real))?;
        Some(self.flow((service.key, &key), *real, Some(flow.stage), flow.idle(now)))
    }

    /// A remembered connection of a real, so many ticks after its last packet. One that is gone has no stage.
    fn flow(&self, (service, key): (ServiceKey, &FlowKey), real: IpAddr, stage: Option<Stage>, idle: u32) -> Flow {
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
            age: u32::try_from((self.tick * idle).as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// The words of a ring, for the services that have it: they are of one pool.
    pub fn slots(&self, news: &SlotNews) -> Change {
        let pool = news.services.first().map_or(0, |service| service.reals);
        let real = |number: u16| self.reals.get(&(pool, number)).copied();
        let word = |(slot, held): &(u32, Slot)| state::Slot {
            slot: *slot,
            current: real(held.current),
            base: real(held.base),
        };
        Change::Slots {
            services: news.services.iter().map(|service| shared_id(&service.key)).collect(),
            ring_size: news.size,
            whole: news.whole,
            slots: news.slots.iter().map(word).collect(),
        }
    }

    /// Ticks for which an entry is remembered at most.
    fn oldest(&self) -> u32 {
        let times = self.table.timeouts();
        times.tcp.max(times.udp).max(times.closing)
    }

    /// Writes connections that others have told into the table. Those of services and reals that this director doesn't have
    /// are left out. `now` in ticks.
    pub fn take(&self, flows: &[Flow], now: u32) {
        for flow in flows {
            let Some(service) = self.services.get(&service_key(&flow.service)) else { continue };
            let Some(number) = self.numbers.get(&(service.reals, flow.real)) else { continue };
            let [a, b] = flow.client.1.to_be_bytes();
            let [c, d] = flow.port.to_be_bytes();
            let client = mapped_address(flow.client.0);
            let key = FlowKey { client, ports: [a, b, c, d], service: service.id };
            let age = Duration::from_secs(flow.age.into()).as_millis() / self.tick.as_millis().max(1);
            let age = u32::try_from(age).unwrap_or(u32::MAX);
            // The clock of an entry wraps: what is long over would be young again.
            if age > self.oldest() && flow.stage != state::Stage::Gone {
                continue;
            }
            let seen = now.wrapping_sub(age);
            match flow.stage {
                state::Stage::Open => drop(self.table.put(&key, service, *number, Stage::Open, seen)),
                state::Stage::Closed => drop(self.table.put(&key, service, *number, Stage::Closing, seen)),
                state::Stage::Gone => self.table.remove(&key, service),
            }
        }
    }
}
