//! Applies the difference between what the maps hold and what they shall hold.
//!
//! The order is such that a frame in flight always finds a whole answer: what an entry refers to is written
//! before the entry, and removed after it.

use std::io;

use aya::maps::{Array, MapData, MapError};
use lb_common::maps::{
    Director, Filter, NOBODY, PORT_PROBES, PORTS, Port, Real, ReturnKey, ServiceKey, Stats, Turn, VipKey, Vlans,
};
use tracing::debug;

use super::build::build_rings;
use super::load::innermost;
use super::{Dataplane, Desired, Error, Ring, ring};

impl Dataplane {
    /// Brings the maps to `desired`. What is there already is not touched.
    ///
    /// # Errors
    /// A map is too small, checked before anything is written, or can't be written: then a part may be
    /// applied, and the next call goes on from there. An entry that only frames of its own need (an interface, a
    /// return) keeps none of the others from being written.
    pub fn apply(&mut self, desired: &Desired) -> Result<(), Error> {
        self.check_room(desired)?;
        let before = self.applied.director(self.maps.flow_mask());
        let after = desired.director(self.maps.flow_mask());
        let ports = self.write_tx_ports(desired).and(self.write_ports(desired));
        self.write_reals(desired)?;
        self.write_rings(desired)?;
        let returns = self.write_returns(desired);
        self.write_director(&union(&before, &after))?;
        let vips = self.write_vips(desired);
        self.write_services(desired)?;
        self.clear_rings(desired)?;
        self.clear_reals(desired)?;
        self.write_director(&after)?;
        if desired.reals.is_empty() || desired.reals.values().any(|real| real.flags & Real::USABLE != 0) {
            self.succeed()?;
        }
        ports.and(returns).and(vips)
    }

    fn check_room(&self, desired: &Desired) -> Result<(), Error> {
        let full = |map, size: u32, needed: u64, limit| Error::Full { map, size, needed, limit };
        // Ids and indices are below the capacity, or there is no entry for them.
        let ids = desired.rings.keys().next_back().map_or(0, |id| u64::from(*id) + 1);
        let services = self.maps.service_capacity();
        if ids > u64::from(services) {
            return Err(full("services", services, ids, "services"));
        }
        let indices = desired.reals.keys().next_back().map_or(0, |index| u64::from(*index) + 1);
        let reals = self.maps.real_capacity();
        if indices > u64::from(reals) {
            return Err(full("reals", reals, indices, "reals"));
        }
        Ok(())
    }

    /// Every interface that can be set: one that is gone (EINVAL) is no reason to keep the others from their frames. The
    /// kernel empties the entry of an interface that goes, so an entry that is held is held against the map itself.
    fn write_tx_ports(&mut self, desired: &Desired) -> Result<(), Error> {
        let mut first = Ok(());
        for (&slot, &ifindex) in &desired.tx_ports {
            if self.maps.tx_ports.get(slot, 0).is_ok_and(|held| held.if_index == ifindex) {
                continue;
            }
            let set = self.maps.tx_ports.set(slot, ifindex, None, 0);
            first = first.and(
                set.map_err(|error| Error::map("tx_ports", format!("interface {ifindex}: {}", innermost(&error)))),
            );
        }
        first
    }

    fn write_ports(&mut self, desired: &Desired) -> Result<(), Error> {
        if self.applied.ports == desired.ports {
            return Ok(());
        }
        for (index, port) in (0..).zip(place_ports(&desired.ports)?) {
            let held = self.maps.ports.get(&index, 0).map_err(|error| Error::map("ports", error))?;
            if held != port {
                set(&mut self.maps.ports, "ports", index, port)?;
            }
        }
        self.applied.ports.clone_from(&desired.ports);
        Ok(())
    }

    /// New and changed reals; those that get worse wait until the rings don't name them any more.
    fn write_reals(&mut self, desired: &Desired) -> Result<(), Error> {
        for (index, real) in &desired.reals {
            let held = self.applied.reals.get(index).copied();
            if held == Some(*real) || (worse(held.as_ref(), real)) {
                continue;
            }
            if held.is_none_or(|held| (held.service, held.address) != (real.service, real.address)) {
                self.zero_stats("real_stats", *index)?;
            }
            set(&mut self.maps.reals, "reals", *index, *real)?;
            self.applied.reals.insert(*index, *real);
        }
        Ok(())
    }

    fn write_rings(&mut self, desired: &Desired) -> Result<(), Error> {
        let stale: Vec<(u32, &Ring)> = desired
            .rings
            .iter()
            .filter(|(id, ring)| self.applied.rings.get(id) != Some(ring))
            .map(|(id, ring)| (*id, ring))
            .collect();
        let maps = build_rings(&stale)?;
        if let Err(error) = self.put_rings(&maps) {
            // Some may be in place: whatever comes next writes them all.
            let unknown = Ring { seed: 0, size: 0, tracked: false, members: Vec::new() };
            self.applied.rings.extend(stale.into_iter().map(|(id, _)| (id, unknown.clone())));
            return Err(error);
        }
        self.applied.rings.extend(stale.into_iter().map(|(id, ring)| (id, ring.clone())));
        Ok(())
    }

    fn put_rings(&mut self, maps: &[(u32, MapData)]) -> Result<(), Error> {
        if !maps.is_empty() {
            debug!(rings = maps.len(), "swapped");
            ring::put(&self.maps.rings, maps, self.features.batch)?;
        }
        Ok(())
    }

    /// New ones first, so that no frame circles meanwhile; those that a full map doesn't take follow when others have gone.
    fn write_returns(&mut self, desired: &Desired) -> Result<(), Error> {
        let filled = self.add_returns(desired);
        let gone: Vec<ReturnKey> = self.applied.returns.difference(&desired.returns).copied().collect();
        for key in gone {
            self.maps.returns.remove(&key).or_else(absent).map_err(|error| Error::map("returns", innermost(&error)))?;
            self.applied.returns.remove(&key);
        }
        filled.or_else(|_| self.add_returns(desired))
    }

    /// Each is noted as it is done: what fails half-way is brought back by the difference.
    fn add_returns(&mut self, desired: &Desired) -> Result<(), Error> {
        for key in &desired.returns {
            if !self.applied.returns.contains(key) {
                self.maps.returns.insert(key, 1, 0).map_err(|error| Error::map("returns", innermost(&error)))?;
                self.applied.returns.insert(*key);
            }
        }
        Ok(())
    }

    fn write_vips(&mut self, desired: &Desired) -> Result<(), Error> {
        let error = |error| Error::map("vips", innermost(&error));
        let vips = desired.vips();
        let gone: Vec<VipKey> = self.applied_vips.keys().filter(|key| !vips.contains_key(key)).copied().collect();
        for key in gone {
            self.maps.vips.remove(&key).or_else(absent).map_err(error)?;
            self.applied_vips.remove(&key);
        }
        for (key, vip) in vips {
            if self.applied_vips.get(&key) != Some(&vip) {
                self.maps.vips.insert(key, vip, 0).map_err(error)?;
                self.applied_vips.insert(key, vip);
            }
        }
        Ok(())
    }

    fn write_services(&mut self, desired: &Desired) -> Result<(), Error> {
        let error = |error| Error::map("services", innermost(&error));
        let gone: Vec<ServiceKey> =
            self.applied.services.keys().filter(|key| !desired.services.contains_key(key)).copied().collect();
        for key in gone {
            self.maps.services.remove(&key).or_else(absent).map_err(error)?;
            self.applied.services.remove(&key);
        }
        for (key, service) in &desired.services {
            if self.applied.services.get(key) == Some(service) {
                continue;
            }
            if self.applied.services.get(key).is_none_or(|held| held.id != service.id) {
                self.zero_stats("service_stats", service.id)?;
                set(&mut self.maps.turns, "turns", service.id, Turn::default())?;
            }
            self.maps.services.insert(key, service, 0).map_err(error)?;
            self.applied.services.insert(*key, *service);
        }
        Ok(())
    }

    /// Rings of services that went.
    fn clear_rings(&mut self, desired: &Desired) -> Result<(), Error> {
        let gone: Vec<u32> = self.applied.rings.keys().filter(|id| !desired.rings.contains_key(id)).copied().collect();
        // An array of maps can't be emptied at an index, so a ring of one slot that names nobody takes the place.
        let empty = gone.iter().map(|id| Ok((*id, ring::create(&[NOBODY])?))).collect::<Result<Vec<_>, Error>>()?;
        self.put_rings(&empty)?;
        for id in gone {
            self.applied.rings.remove(&id);
        }
        Ok(())
    }

    /// Reals that got worse or went.
    fn clear_reals(&mut self, desired: &Desired) -> Result<(), Error> {
        for (index, real) in &desired.reals {
            if self.applied.reals.get(index) != Some(real) {
                set(&mut self.maps.reals, "reals", *index, *real)?;
                self.applied.reals.insert(*index, *real);
            }
        }
        let gone: Vec<u32> =
            self.applied.reals.keys().filter(|index| !desired.reals.contains_key(index)).copied().collect();
        for index in gone {
            set(&mut self.maps.reals, "reals", index, FREE)?;
            self.applied.reals.remove(&index);
        }
        Ok(())
    }

    fn write_director(&mut self, director: &Director) -> Result<(), Error> {
        let held = self.maps.director.get(&0, 0).map_err(|error| Error::map("director", error))?;
        if held != *director {
            set(&mut self.maps.director, "director", 0, *director)?;
        }
        self.applied.hash_seed = director.hash_seed;
        Ok(())
    }

    fn zero_stats(&mut self, name: &'static str, index: u32) -> Result<(), Error> {
        let map = if name == "real_stats" { &mut self.maps.real_stats } else { &mut self.maps.service_stats };
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| Error::map(name, format!("{what}: {error}")))?;
        let zeros =
            aya::maps::PerCpuValues::try_from(vec![Stats::default(); cpus]).map_err(|error| Error::map(name, error))?;
        map.set(index, zeros, 0).map_err(|error| Error::map(name, innermost(&error)))
    }
}

/// What shall go and isn't there has gone.
fn absent(error: MapError) -> Result<(), MapError> {
    match &error {
        MapError::KeyNotFound => Ok(()),
        MapError::SyscallError(call) if call.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// An entry of `reals` that is free.
const FREE: Real = Real {
    address: [0; 16],
    mac: [0; 6],
    source_mac: [0; 6],
    ifindex: 0,
    tx_port: 0,
    service: 0,
    vlan: 0,
    flags: 0,
    weight: 0,
};

/// Whether frames can be sent to the real by its old entry and can't by its new one.
fn worse(held: Option<&Real>, real: &Real) -> bool {
    held.is_some_and(|held| held.flags & Real::USABLE != 0) && real.flags & Real::USABLE == 0
}

/// Both directors' services: nothing that either forwards is missed.
fn union(before: &Director, after: &Director) -> Director {
    let mut both = *after;
    both.flags |= before.flags;
    join(&mut both.vips, &before.vips);
    join(&mut both.reals, &before.reals);
    both
}

fn join(filter: &mut Filter, other: &Filter) {
    filter.words.iter_mut().zip(other.words).for_each(|(word, other)| *word |= other);
}

/// The whole of `ports`: each interface at its index modulo the size, or just behind.
fn place_ports(ports: &[Port]) -> Result<Vec<Port>, Error> {
    let free = Port { ifindex: 0, mac: [0; 6], reserved: [0; 2], vlans: Vlans::NONE };
    let mut places = vec![free; PORTS as usize];
    for port in ports {
        let place = (0..PORT_PROBES)
            .map(|probe| (port.ifindex.wrapping_add(probe) % PORTS) as usize)
            .find(|place| places.get(*place).is_some_and(|held| held.ifindex == 0));
        match place.and_then(|place| places.get_mut(place)) {
            Some(entry) => *entry = *port,
            None => return Err(Error::map("ports", "too many interfaces with neighbouring indices")),
        }
    }
    Ok(places)
}

fn set<V: aya::Pod>(map: &mut Array<MapData, V>, name: &'static str, index: u32, value: V) -> Result<(), Error> {
    map.set(index, value, 0).map_err(|error| Error::map(name, innermost(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_meet_stand_behind_one_another() {
        let mac = |ifindex| [2, 0, 0, 0, 0, ifindex as u8];
        let port = |ifindex| Port { ifindex, mac: mac(ifindex), reserved: [0; 2], vlans: Vlans::NONE };
        let places = place_ports(&[port(3), port(3 + PORTS), port(4)]).unwrap();
        assert_eq!(places[3].ifindex, 3);
        assert_eq!(places[4].ifindex, 3 + PORTS);
        assert_eq!(places[5].ifindex, 4);
        let crowd: Vec<Port> = (0..=PORT_PROBES).map(|n| port(7 + n * PORTS)).collect();
        assert!(place_ports(&crowd).is_err());
    }
}
