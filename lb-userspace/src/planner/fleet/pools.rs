//! The fleets of all pools that have rules, joined with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Fleet, Member, Seat, WHOLE};
use crate::config::{Real, Service};
use crate::health::Health;
use crate::planner::allocation::PoolName;
use crate::planner::model::{GUESSED, Model};

/// By the pool; those without rules have none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleets {
    fleets: BTreeMap<PoolName, Fleet>,
    /// Pools with a service that chooses by its ring alone.
    hashing: BTreeSet<PoolName>,
}

/// What a real gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Frames of its connections may be sent to it.
    pub usable: bool,
    /// Its weight in its rings; 0 where it gets no new connections.
    pub ring: u32,
    /// Its weight among those who take turns by it; 0 likewise.
    pub turns: u32,
    /// Tenths of its weight, 0 to 10.
    pub tenths: u32,
}

impl Share {
    /// Whether it gets new connections.
    #[must_use]
    pub fn takes_new(self) -> bool {
        self.ring > 0
    }

    /// The percentage of its weight that it has got, while it starts slowly.
    #[must_use]
    pub fn slow_start(self) -> Option<u32> {
        (1..WHOLE).contains(&self.tenths).then(|| self.tenths * 100 / WHOLE)
    }
}

impl Fleets {
    /// That of a service's pool.
    #[must_use]
    pub fn of(&self, service: &Service) -> Option<&Fleet> {
        service.fleet.as_ref()?;
        self.fleets.get(&PoolName::of(service))
    }

    /// The sorry server of a service's pool took its new connections when the last agent ended.
    pub fn adopt_lost(&mut self, service: &Service) {
        self.fleets.insert(PoolName::of(service), Fleet::lost());
    }

    /// When a slow start goes on.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.fleets.values().filter_map(Fleet::due).min()
    }
}

/// Whether a real of this service gets its share by and by.
pub fn starts_slowly(service: &Service) -> bool {
    service.fleet.as_ref().is_some_and(|rules| rules.slow_start.is_some())
}

impl Model {
    /// Time has passed, or something is known now: what follows for the reals together.
    pub fn follow_fleets(&mut self, now: Instant) {
        let config = self.config.clone();
        let mut fleets = std::mem::take(&mut self.fleets);
        let mut before = std::mem::take(&mut fleets.fleets);
        for service in config.owners() {
            let Some(rules) = &service.fleet else { continue };
            let member = |real: &Real| Member {
                address: real.address,
                weight: self.weight(service, real),
                seat: self.seat(service, real),
            };
            let members: Vec<Member> = service.reals.iter().map(member).collect();
            let sorry = service.sorry().map(|sorry| self.seat(service, sorry));
            let name = PoolName::of(service);
            let mut fleet = before.remove(&name).unwrap_or_default();
            fleet.follow(rules, &members, sorry, now);
            fleets.fleets.insert(name, fleet);
        }
        let hashing =
            config.services.iter().filter(|service| starts_slowly(service) && !service.scheduler.is_tracked());
        fleets.hashing = hashing.map(PoolName::of).collect();
        self.fleets = fleets;
    }

    /// What a real of a service, or one that it had, gets.
    #[must_use]
    pub fn share(&self, service: &Service, real: &Real) -> Share {
        let standing = self.standing(service, real);
        let weight = self.weight(service, real);
        let (usable, takes) = (standing.is_usable(), standing.takes_new());
        let is_sorry = service.sorry().is_some_and(|sorry| sorry.address == real.address);
        let fleet = self.fleets.of(service).filter(|_| self.draining.get(service, real.address).is_none());
        let Some(fleet) = fleet else {
            let takes = takes && !is_sorry;
            let weight = if takes { weight } else { 0 };
            return Share { usable, ring: weight, turns: weight, tenths: if takes { WHOLE } else { 0 } };
        };
        let tenths = match is_sorry {
            true if fleet.stands_in() => WHOLE,
            true => 0,
            false => fleet.tenths(real.address, self.seat(service, real)),
        };
        // Where every connection finds its real by turns, slots need not follow: each change of one has flows remembered.
        let by_ring = self.fleets.hashing.contains(&PoolName::of(service));
        let whole = if tenths > 0 { WHOLE } else { 0 };
        let ring = fleet.part(weight, if by_ring { tenths } else { whole });
        Share { usable: usable || tenths > 0, ring, turns: fleet.part(weight, tenths), tenths }
    }

    /// Whether a real of a service takes new connections, or might.
    fn seat(&self, service: &Service, real: &Real) -> Seat {
        let set = self.overrides.of(service, real.address);
        if set.is_some_and(|set| set.drain.is_some() || set.disabled.is_some()) || self.weight(service, real) == 0 {
            return Seat::Out;
        }
        let health = self.health_of(service, real);
        match self.is_healthy(service, real) {
            _ if matches!(health, Some(Health::Down { reason, .. }) if reason.ends_with(GUESSED)) => Seat::Undecided,
            Some(true) => Seat::Takes,
            None => Seat::Undecided,
            Some(false) if self.hop(real).is_some() => Seat::Fails,
            Some(false) => Seat::Lost,
        }
    }
}

#[cfg(test)]
mod tests;
