//! What directors tell each other, as `agent/controller/exchange` makes it of the maps and takes it into them. What becomes of
//! it on the way is tested in `peers/`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::maps::Service;
use lb_userspace::dataplane::{Hears, ToldRing, Watch};
use lb_userspace::peers::state::{Kind, Member, State};
use lb_userspace::peers::{self, Change};
use lb_userspace::planner::told::{service_key, shared_id};

use super::director::Director;
use super::wish::Opinion;

/// What a director has told since it was met.
#[derive(Default)]
pub struct Told {
    /// `None` before it was told all that the table holds.
    watch: Option<Watch>,
    rings: BTreeMap<u32, ToldRing>,
    service: Option<(Kind, bool)>,
    members: Vec<Member>,
}

impl Told {
    /// The other one is met anew.
    pub fn start_anew(&mut self) {
        *self = Self::default();
    }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 250], 8849))
}

fn real(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

impl Director {
    /// What is news for the other one: slots, then the reals that they are computed from, then connections.
    pub fn tell(&mut self, now: u64) -> Vec<peers::Told> {
        let service = self.service();
        let id = shared_id(&service.key);
        let kind = if service.flags & Service::TRACKED != 0 { Kind::Tracked } else { Kind::Stateless };
        let mut all = Vec::new();
        let names = self.names();
        let mut slots_changed = false;
        if self.serving {
            let services = BTreeMap::from([(service.ring, vec![service])]);
            for news in self.slots.news(&self.maps.arrays.slots, &services, &mut self.told.rings) {
                slots_changed = true;
                if let Change::Slots { services, ring_size, whole, slots } = names.slots(&news) {
                    all.push(peers::Told::Slots { services, ring_size, whole, slots });
                }
            }
            let members = self.members();
            if self.told.members != members {
                self.told.members.clone_from(&members);
                all.push(peers::Told::Members(vec![id], members));
            }
        }
        if self.told.service != Some((kind, self.serving)) {
            self.told.service = Some((kind, self.serving));
            all.push(peers::Told::Service { service: id, kind, serving: self.serving });
        }
        if self.serving {
            let (mut flows, now) = (Vec::new(), now as u32);
            if let Some(watch) = &mut self.told.watch {
                watch.look(&names.table, now, slots_changed, |news| {
                    let Some(flow) = names.news(&news) else { return Hears::Later };
                    flows.push(flow);
                    Hears::Others
                });
            } else {
                self.told.watch = Some(Watch::new(&names.table));
                let mut next = Some(0);
                while let Some(first) = next {
                    next = names.table.part(first, |at, flow| flows.extend(names.entry(at, flow, now)));
                }
            }
            if !flows.is_empty() {
                all.push(peers::Told::Flows(flows));
            }
        }
        all
    }

    fn members(&self) -> Vec<Member> {
        let member = |(last, weight): (u8, u32)| Member {
            real: real(last),
            weight,
            state: match self.wish.opinion(last) {
                Opinion::Up => State::Up,
                Opinion::Quiesced => State::Quiesced,
                Opinion::Down => State::Down,
            },
            drained: false,
        };
        self.reals().into_iter().map(member).collect()
    }

    /// Takes what the other one told.
    pub fn hear(&mut self, told: &peers::Told, now: u64) {
        if let peers::Told::Flows(flows) = told {
            self.names().take(flows, now as u32);
        } else if self.theirs.take(peer(), told, service_key) {
            self.apply(now);
        }
    }

    /// Takes the VIP over, or gives it up.
    pub fn serve(&mut self, serving: bool, now: u64) {
        self.serving = serving;
        self.told.start_anew();
        self.apply(now);
    }
}
