//! What an agent is to do with what it is told, for tests: the plainest that follows the seam's words.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Mutex;

use crate::config::Protocol;
use crate::peers::state::{Flow, Flows, Kind, Member, ServiceId, Slot, Stage, State, Told};

/// A connection's name: service, client, the VIP's port.
pub type Name = (ServiceId, (IpAddr, u16), u16);

/// A flow table of a few parts.
#[derive(Debug, Default)]
pub struct Table(pub Mutex<BTreeMap<Name, (IpAddr, Stage)>>);

impl Table {
    const PARTS: u64 = 5;

    /// Does what a flow says.
    pub fn set(&self, flow: &Flow) {
        apply(&mut self.0.lock().unwrap(), flow);
    }

    /// Forgets a service's connections.
    pub fn forget(&self, service: ServiceId) {
        self.0.lock().unwrap().retain(|name, _| name.0 != service);
    }
}

impl Flows for Table {
    fn read(&self, part: u64, flows: &mut Vec<Flow>) -> Option<u64> {
        for (name, &(real, stage)) in self.0.lock().unwrap().iter() {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            if hasher.finish() % Self::PARTS == part {
                let &(service, client, port) = name;
                flows.push(Flow { service, client, port, real, stage, age: 3 });
            }
        }
        (part + 1 < Self::PARTS).then_some(part + 1)
    }
}

fn apply(flows: &mut BTreeMap<Name, (IpAddr, Stage)>, flow: &Flow) {
    let name = (flow.service, flow.client, flow.port);
    match flow.stage {
        Stage::Gone => flows.remove(&name),
        stage => flows.insert(name, (flow.real, stage)),
    };
}

/// What one peer told, as far as it holds.
#[derive(Debug, Default)]
pub struct View {
    /// With what is still to be told again.
    pub services: BTreeMap<ServiceId, Seen>,
    pub flows: BTreeMap<Name, (IpAddr, Stage)>,
    stale: BTreeMap<Name, (IpAddr, Stage)>,
    pub whole: bool,
}

/// One service of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    pub serving: bool,
    pub members: Vec<Member>,
    pub ring_size: u32,
    pub slots: BTreeMap<u32, (Option<IpAddr>, Option<IpAddr>)>,
    stale: bool,
}

impl View {
    pub fn take(&mut self, told: Told) {
        match told {
            Told::Begin => {
                self.whole = false;
                self.services.values_mut().for_each(|seen| seen.stale = true);
                self.stale = self.flows.clone();
            }
            Told::Service { service, kind, serving } => {
                let new = Seen { kind, serving, members: vec![], ring_size: 0, slots: BTreeMap::new(), stale: false };
                let seen = self.services.entry(service).or_insert_with(|| new.clone());
                (seen.kind, seen.serving) = (kind, serving);
                if seen.stale || !serving {
                    *seen = new;
                }
            }
            Told::Members(services, members) => {
                for service in services {
                    self.services.get_mut(&service).unwrap().members.clone_from(&members);
                }
            }
            Told::Slots { services, ring_size, whole, slots } => {
                for service in services {
                    let seen = self.services.get_mut(&service).unwrap();
                    if whole || seen.ring_size != ring_size {
                        seen.slots.clear();
                    }
                    seen.ring_size = ring_size;
                    for &Slot { slot, current, base } in &slots {
                        if current == base {
                            seen.slots.remove(&slot);
                        } else {
                            seen.slots.insert(slot, (current, base));
                        }
                    }
                }
            }
            Told::Flows(flows) => {
                for flow in flows {
                    self.stale.remove(&(flow.service, flow.client, flow.port));
                    apply(&mut self.flows, &flow);
                }
            }
            Told::Gone(service) => {
                self.services.remove(&service).unwrap();
                self.flows.retain(|name, _| name.0 != service);
            }
            Told::Whole => {
                self.whole = true;
                self.services.retain(|_, seen| !seen.stale);
                for name in std::mem::take(&mut self.stale).keys() {
                    self.flows.remove(name);
                }
            }
            Told::Asked(_) | Told::Answered(_) | Told::Lost => {}
        }
    }
}

/// Some services: both families, both protocols, with and without a port.
pub fn service(n: usize) -> ServiceId {
    let four = IpAddr::from([192, 0, 2, 1]);
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    let rows = [
        (four, Protocol::Tcp, Some(80)),
        (six, Protocol::Tcp, Some(443)),
        (four, Protocol::Udp, None),
        (six, Protocol::Udp, Some(53)),
    ];
    let (vip, protocol, port) = rows[n % rows.len()];
    ServiceId { vip, protocol, port }
}

/// One of a service's reals.
pub fn real(service: ServiceId, n: u8) -> IpAddr {
    match service.vip {
        IpAddr::V4(_) => [192, 0, 2, 40 + n].into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x40 + u16::from(n)).into(),
    }
}

/// One of a service's members.
pub fn member(service: ServiceId, n: u8, weight: u32) -> Member {
    Member { real: real(service, n), weight, state: State::Up, drained: weight == 7 }
}

/// One of a service's connections, which has the real of this number.
pub fn flow(service: ServiceId, client: u16, n: u8, stage: Stage) -> Flow {
    let address = match service.vip {
        IpAddr::V4(_) => IpAddr::from([198, 51, 100, 9]),
        IpAddr::V6(_) => "2001:db8:9::9".parse().unwrap(),
    };
    let port = service.port.unwrap_or(5060);
    Flow { service, client: (address, client), port, real: real(service, n), stage, age: 3 }
}
