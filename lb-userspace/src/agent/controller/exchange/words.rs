//! What this director wants and thinks of its services, in the words that all directors share.

use crate::config;
use crate::peers::state::{Kind, Member, Offer, ServiceId, State};
use crate::planner::model::{Model, Standing};

/// A configured service, as all directors name it.
pub(super) fn service_id(service: &config::Service) -> ServiceId {
    ServiceId { vip: service.address, protocol: service.protocol, port: service.port }
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
