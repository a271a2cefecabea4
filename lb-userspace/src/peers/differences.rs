//! Services that this director and a peer have configured differently, and since when.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::ours::Ours;
use super::session::Time;
use super::state::{Kind, ServiceId};

/// What two directors' configurations say otherwise of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Other reals, or other weights.
    Members,
    /// One tracks its connections, the other doesn't.
    Kind,
    /// The peer doesn't have it.
    OnlyHere,
    /// This director doesn't have it.
    OnlyThere,
}

impl Difference {
    /// In words that follow the service's name.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Members => "has other reals or weights there",
            Self::Kind => "has another kind of scheduler there",
            Self::OnlyHere => "isn't configured there",
            Self::OnlyThere => "is configured there alone",
        }
    }
}

/// What a peer says of one of its services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theirs {
    /// Its kind.
    pub kind: Kind,
    /// The digest of its reals and weights by configuration.
    pub digest: u64,
}

/// All differences from one peer; they outlive its connections.
#[derive(Debug, Default)]
pub struct Differences {
    theirs: HashMap<ServiceId, Theirs>,
    /// Everything that the peer has is known.
    whole: bool,
    found: BTreeMap<ServiceId, (Difference, Time)>,
}

impl Differences {
    /// The peer begins anew. What differed is taken to differ until it has said all.
    pub fn begin(&mut self) {
        self.theirs.clear();
        self.whole = false;
    }

    /// The peer has said all.
    pub fn whole(&mut self, now: Time, ours: &Ours) {
        self.whole = true;
        let known: Vec<ServiceId> = {
            let ours = ours.iter().map(|(service, _)| *service);
            ours.chain(self.theirs.keys().copied()).chain(self.found.keys().copied()).collect()
        };
        for service in known {
            self.compare(now, service, ours);
        }
    }

    /// What the peer says of a service; `None` when it has it no more.
    pub fn learn(&mut self, now: Time, service: ServiceId, theirs: Option<Theirs>, ours: &Ours) {
        match theirs {
            Some(theirs) => self.theirs.insert(service, theirs),
            None => self.theirs.remove(&service),
        };
        self.compare(now, service, ours);
    }

    /// This director's own part of a service may have changed.
    pub fn compare(&mut self, now: Time, service: ServiceId, ours: &Ours) {
        if !self.whole {
            return;
        }
        let difference = match (ours.get(&service), self.theirs.get(&service)) {
            (Some(_), None) => Some(Difference::OnlyHere),
            (None, Some(_)) => Some(Difference::OnlyThere),
            (Some(own), Some(theirs)) if own.kind != theirs.kind => Some(Difference::Kind),
            (Some(own), Some(theirs)) if own.digest != theirs.digest => Some(Difference::Members),
            _ => None,
        };
        match difference {
            None => {
                self.found.remove(&service);
            }
            Some(difference) => {
                let since = self.found.get(&service).filter(|(found, _)| *found == difference).map(|(_, since)| *since);
                self.found.insert(service, (difference, since.unwrap_or(now)));
            }
        }
    }

    /// Each, with the time since when it is known.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ServiceId, Difference, Time)> {
        self.found.iter().map(|(service, (difference, since))| (service, *difference, *since))
    }
}
