//! What this director wants of its services, in the words that all directors share.

use crate::config;
use crate::peers::state::{Kind, Offer, ServiceId};
use crate::planner::model::Model;

/// A configured service, as all directors name it.
pub(super) fn service_id(service: &config::Service) -> ServiceId {
    ServiceId { vip: service.address, protocol: service.protocol, port: service.port }
}

/// What is said of a service.
pub(super) fn offer(model: &Model, service: &config::Service) -> Offer {
    Offer {
        kind: if service.scheduler.is_tracked() { Kind::Tracked } else { Kind::Stateless },
        serving: model.has_duty(service.address),
        configured: service.all_reals().map(|real| (real.address, real.weight)).collect(),
    }
}
