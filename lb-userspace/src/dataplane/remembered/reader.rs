//! Whose the flows of a table are, by the keys beside them.

use std::collections::HashMap;
use std::sync::Arc;

use lb_common::flow::{Flow, Place};
use lb_common::maps::{FlowKey, Service};
use lb_common::{Hash, Ip, Ports, flow_hash, is_sampled, persist, scale, source_hash};

use crate::dataplane::Desired;

/// What it takes to read a table's keys, wherever it lies.
#[derive(Debug, Clone)]
pub struct KeyReader {
    pub(super) services: Arc<HashMap<u32, Service>>,
    pub(super) seed: u64,
    pub(super) lines: u32,
}

impl KeyReader {
    /// For the services of `desired`, and a table of so many lines.
    pub fn new(desired: &Desired, lines: u32) -> Self {
        let services = desired.services.values().map(|service| (service.id, *service)).collect();
        Self { services: Arc::new(services), seed: desired.hash_seed, lines }
    }

    /// Whose a flow of this line is, by the key beside it.
    pub fn known(&self, line: u32, key: FlowKey, flow: Flow) -> Option<(FlowKey, &Service)> {
        let service = self.services.get(&key.service)?;
        let is_at = |place: Place| place.tag == flow.tag && place.lines.contains(&line);
        // A client that breaks the rules has port 0 too.
        let known = is_at(self.place(&key, service)) || is_at(Place::of(self.own_hash(&key, service), self.lines));
        known.then_some((key, service))
    }

    /// The template of a flow's client.
    pub fn template(&self, key: &FlowKey, service: &Service) -> FlowKey {
        let (network, _) = persist::template(self.seed, service, Ip::from(key.client));
        let [_, _, c, d] = key.ports;
        FlowKey { client: network.address(), ports: [0, 0, c, d], service: key.service }
    }

    /// The slot that a flow belongs to, counted from its ring's first.
    pub fn slot(&self, key: &FlowKey, service: &Service) -> u32 {
        scale(self.hash(key, service), service.ring_size)
    }

    /// Whether a flow is in the sample of its service.
    pub fn is_sampled(&self, key: &FlowKey, service: &Service) -> bool {
        is_sampled(self.hash(key, service))
    }

    /// The hash that chooses a flow's slot.
    fn hash(&self, key: &FlowKey, service: &Service) -> Hash {
        if service.flags & Service::BY_SOURCE != 0 {
            source_hash(self.seed, Ip::from(key.client))
        } else {
            self.own_hash(key, service)
        }
    }

    /// Where a flow, or a client's template, may be.
    pub(super) fn place(&self, key: &FlowKey, service: &Service) -> Place {
        let hash = if is_template(key, service) {
            persist::template(self.seed, service, Ip::from(key.client)).1
        } else {
            self.own_hash(key, service)
        };
        Place::of(hash, self.lines)
    }

    /// A flow's own hash, also where the client's address alone chooses the slot.
    pub(super) fn own_hash(&self, key: &FlowKey, service: &Service) -> Hash {
        let (client, vip) = (Ip::from(key.client), Ip::from(service.key.address));
        flow_hash(self.seed, client, vip, Ports::of(key.ports), service.key.protocol)
    }
}

/// Whether an entry isn't a connection, but says which real has a client: see [`persist`].
pub fn is_template(key: &FlowKey, service: &Service) -> bool {
    service.flags & Service::PERSISTENT != 0 && matches!(key.ports, [0, 0, _, _])
}
