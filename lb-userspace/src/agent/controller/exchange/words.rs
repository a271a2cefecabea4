//! What this director knows, in the words that all directors share, and back.

use std::net::IpAddr;

use lb_common::flow::Stage;
use lb_common::maps::{FlowKey, ServiceKey};

use crate::agent::status::plain_address;
use crate::config;
use crate::peers::state::{self, Flow, Kind, Member, Offer, ServiceId, State};
use crate::planner::model::{Model, Standing, protocol_of};
use crate::planner::plan::key_of;

/// A remembered connection, as it is told; `None` for one that nothing followed.
pub(super) fn told_flow(
    service: ServiceKey,
    key: &FlowKey,
    real: IpAddr,
    stage: Option<Stage>,
    age: u32,
) -> Option<Flow> {
    let [a, b, c, d] = key.ports;
    let stage = match stage {
        Some(Stage::Open) => state::Stage::Open,
        Some(Stage::Closing) => state::Stage::Closed,
        None => state::Stage::Gone,
        Some(Stage::Opening) => return None,
    };
    Some(Flow {
        service: shared_id(&service),
        client: (plain_address(key.client), u16::from_be_bytes([a, b])),
        port: u16::from_be_bytes([c, d]),
        real,
        stage,
        age,
    })
}

/// A configured service, as all directors name it.
pub(super) fn service_id(service: &config::Service) -> ServiceId {
    ServiceId { vip: service.address, protocol: service.protocol, port: service.port }
}

/// A service of the maps, as all directors name it.
pub(super) fn shared_id(key: &ServiceKey) -> ServiceId {
    let port = u16::from_be_bytes(key.port);
    ServiceId {
        vip: plain_address(key.address),
        protocol: protocol_of(key.protocol),
        port: (port != 0).then_some(port),
    }
}

/// The key that a service has in the maps.
pub(super) fn service_key(id: &ServiceId) -> ServiceKey {
    key_of(id.vip, id.protocol, id.port)
}

/// What is said of a service.
pub(super) fn offer(model: &Model, service: &config::Service) -> Offer {
    Offer {
        kind: if service.scheduler.is_tracked() { Kind::Tracked } else { Kind::Stateless },
        serving: model.has_duty(service.address),
        configured: service.reals.iter().map(|real| (real.address, real.weight)).collect(),
    }
}

/// What is said of its reals.
pub(super) fn members(model: &Model, service: &config::Service) -> Vec<Member> {
    let all = crate::planner::model::reals(service, &model.draining);
    let member = |real: &config::Real| {
        let standing = model.standing(service, real);
        Member {
            real: real.address,
            weight: model.weight(service, real),
            drained: matches!(standing, Standing::Draining { .. }),
            state: match standing {
                Standing::Up { .. } => State::Up,
                Standing::Checking => State::Checking,
                standing if standing.is_usable() => State::Quiesced,
                _ => State::Down,
            },
        }
    };
    let mut members: Vec<Member> = all.map(member).collect();
    members.sort_by_key(|member| member.real);
    members
}
