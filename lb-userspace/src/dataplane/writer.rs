//! Applies the difference between what the maps hold and what they shall hold.
//!
//! The order is such that a frame in flight always finds a whole answer: what an entry refers to is written
//! before the entry, and removed after it.

use std::collections::BTreeSet;
use std::io;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use super::clock::now;
use super::load::innermost;
use super::syscall::grace;
use super::table::place;
use super::{Dataplane, Desired, Error, Purpose, Words};
use aya::maps::{Array, MapData, MapError};
use lb_common::Ip;
use lb_common::maps::{
    Director, Filter, PORT_PROBES, PORTS, Port, Real, ReturnKey, Service, ServiceKey, Table, Turn, VipKey, Vlans,
};
use nix::net::if_::if_indextoname;
use tracing::info;

impl Dataplane {
    /// Brings the maps to `desired`. What is there already is not touched.
    ///
    /// # Errors
    /// A map is too small, checked before anything is written, or can't be written: then a part may be
    /// applied, and the next call goes on from there. An entry that only frames of its own need (an interface, a
    /// return) keeps none of the others from being written.
    pub fn apply(&mut self, desired: &Desired) -> Result<(), Error> {
        self.apply_and(desired, || ())
    }

    /// The same, and tells when the rings have their new words: from then on flows go to whom they shall.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_and(&mut self, desired: &Desired, tell: impl FnOnce()) -> Result<(), Error> {
        self.check_room(desired)?;
        let table = self.place_services(desired)?;
        let ports = self.write_tx_ports(desired).and(self.write_ports(desired));
        self.write_reals(desired)?;
        self.write_rings(desired);
        tell();
        self.write_turns(desired);
        let told = Some((desired.hash_seed, desired.timeouts));
        let stays = self.told == told && table.is_none() && self.applied.returns == desired.returns;
        let returns = self.write_returns(desired);
        if !stays {
            self.told = None;
            self.maps.director.set(0, self.director_of(&[&self.applied, desired])?)?;
        }
        let vips = self.write_vips(desired);
        self.write_services(desired, table)?;
        self.clear_reals(desired)?;
        if !stays {
            self.maps.director.set(0, self.director_of(&[desired])?)?;
            self.told = told;
        }
        (self.applied.hash_seed, self.applied.timeouts) = (desired.hash_seed, desired.timeouts);
        let mut reals = desired.reals().peekable();
        if reals.peek().is_none() || reals.any(|(_, real)| real.flags & Real::USABLE != 0) {
            self.succeed()?;
        }
        ports.and(returns).and(vips)
    }

    /// Whether all of these pairs of rings, given by their starts, have the same words, and each flow goes by them.
    pub fn are_equal(&self, rings: &[(u32, u32, u32)]) -> bool {
        rings.iter().all(|(one, other, _)| self.slots.are_equal(&self.maps.slots, *one, *other))
    }

    fn check_room(&self, desired: &Desired) -> Result<(), Error> {
        let full = |map, size: u32, needed: u64, limit| Error::Full { map, size, needed, limit };
        let check = |map, size: u32, needed: u64, limit| {
            if needed > u64::from(size) { Err(full(map, size, needed, limit)) } else { Ok(()) }
        };
        // Ids and places are below the capacity, or there is none left for them.
        let behind = |start: u32, length: u32| u64::from(start) + u64::from(length);
        let services = desired.services.values();
        let ids = services.clone().map(|service| behind(service.id, 1)).max().unwrap_or(0);
        check("services", self.maps.room().services, ids, "services")?;
        let pool = |service: &Service| desired.pools.get(&service.reals).map_or(0, |pool| pool.reals.len() as u64);
        check("reals", self.maps.most_reals(), services.clone().map(pool).sum(), "reals")?;
        let counters = services.map(|service| behind(service.counters, service.room));
        let reals = desired.pools.iter().map(|(start, pool)| behind(*start, pool.room));
        check("reals", self.maps.room().reals, reals.chain(counters).max().unwrap_or(0), "reals")?;
        let rings = desired.rings.iter().map(|(start, ring)| behind(*start, ring.size));
        let turns = desired.turns.iter().map(|(start, turns)| behind(*start, turns.words()));
        check("slots", self.maps.room().slots, rings.chain(turns).max().unwrap_or(0), "slots")
    }

    /// The other table with all services, where one came, went, or has its things elsewhere; `None` where the table in
    /// force needs no more than new flags.
    fn place_services(&self, desired: &Desired) -> Result<Option<(u64, Vec<Service>)>, Error> {
        let held = &self.applied.services;
        let same = held.len() == desired.services.len()
            && desired
                .services
                .iter()
                .all(|(key, service)| held.get(key).is_some_and(|held| differs_in_flags(held, service)));
        if same {
            return Ok(None);
        }
        let size = self.maps.services.len() / 2;
        let full = || Error::Full {
            map: "services",
            size: self.maps.room().services,
            needed: desired.services.len() as u64,
            limit: "services",
        };
        place(desired.services.values(), size).map(Some).ok_or_else(full)
    }

    /// Every interface that can be set: one that is gone (EINVAL) is no reason to keep the others from their frames. The
    /// kernel empties the entry of an interface that goes, so an entry that is held is held against the map itself.
    fn write_tx_ports(&mut self, desired: &Desired) -> Result<(), Error> {
        let mut first = Ok(());
        for (&slot, &ifindex) in &desired.tx_ports {
            if self.maps.tx_ports.get(slot, 0).is_ok_and(|held| held.if_index == ifindex) {
                continue;
            }
            let Err(error) = self.maps.tx_ports.set(slot, ifindex, None, 0) else { continue };
            // The reals behind it are still to be told of: they follow at once, and then nothing is sent by it.
            if if_indextoname(ifindex).is_err() {
                info!("interface {ifindex} is gone: nothing is sent by it any more");
                continue;
            }
            first = first.and(Err(Error::map("tx_ports", format!("interface {ifindex}: {}", innermost(&error)))));
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
        for (index, real) in desired.reals() {
            let held = self.held_reals.get(&index).copied();
            if held == Some(*real) || worse(held.as_ref(), real) {
                continue;
            }
            if held.is_none_or(|held| (held.pool, held.address) != (real.pool, real.address)) {
                self.retire_counters(desired, (real.pool, index), Some(real.address))?;
            }
            self.maps.reals.set(index, *real)?;
            self.held_reals.insert(index, *real);
        }
        for (key, service) in &desired.services {
            let held = self.applied.services.get(key).copied();
            if held.is_none_or(|held| held.counters != service.counters) {
                self.move_counters(held, service)?;
                self.move_loads(held, service)?;
            }
        }
        Ok(())
    }

    fn write_rings(&mut self, desired: &Desired) {
        let loosened = desired.loosened(&self.applied.services);
        self.slots.write(&mut self.maps.slots, desired, &loosened, now());
        self.applied.rings.clone_from(&desired.rings);
        self.applied.pools.clone_from(&desired.pools);
    }

    /// A list that grows is longer only when what it names is there, and one that shrinks is shorter first.
    fn write_turns(&mut self, desired: &Desired) {
        for (start, turns) in &desired.turns {
            if self.applied.turns.get(start) == Some(turns) {
                continue;
            }
            let count = turns.entries().len() as u32;
            let words = &mut self.maps.slots;
            if count < words.word(*start) {
                words.put(*start, count);
            }
            for (index, entry) in (start + 1..).zip(turns.entries()) {
                words.put(index, *entry);
            }
            words.put(*start, count);
        }
        self.applied.turns.clone_from(&desired.turns);
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

    /// Flags change in place; anything else makes the other table, which is then in force at once.
    fn write_services(&mut self, desired: &Desired, table: Option<(u64, Vec<Service>)>) -> Result<(), Error> {
        for (key, service) in &desired.services {
            if self.applied.services.get(key).is_none_or(|held| held.id != service.id) {
                set(&mut self.maps.turns, "turns", service.id, Turn::default())?;
            }
        }
        let size = self.maps.services.len() / 2;
        let mut director = self.maps.director.get(0)?;
        match table {
            None => {
                let held = director.tables.get(director.table as usize).copied().unwrap_or_default();
                for (key, service) in &desired.services {
                    if self.applied.services.get(key) == Some(service) {
                        continue;
                    }
                    for place in ServiceKey::places(held.seed, Ip::from(key.address), key.tail(), held.mask) {
                        let index = held.start + place;
                        if self.maps.services.get(index)?.key == *key {
                            self.maps.services.set(index, *service)?;
                        }
                    }
                    self.applied.services.insert(*key, *service);
                }
            }
            Some((seed, entries)) => {
                let other = u32::from(director.table == 0);
                // Programs that began to look when the other was in force last have ended.
                grace();
                let start = other * size;
                for (index, entry) in (start..).zip(&entries) {
                    self.maps.services.set(index, *entry)?;
                }
                if let Some(table) = director.tables.get_mut(other as usize) {
                    *table = Table { seed, start, mask: size - 1 };
                }
                self.maps.director.set(0, director)?;
                let word = offset_of!(Director, table) / size_of::<u32>();
                self.maps.director.half(word)?.store(other, Ordering::SeqCst);
                self.applied.services.clone_from(&desired.services);
            }
        }
        Ok(())
    }

    /// Reals that got worse or went.
    fn clear_reals(&mut self, desired: &Desired) -> Result<(), Error> {
        let mut count = 0;
        for (index, real) in desired.reals() {
            if self.held_reals.get(&index) != Some(real) {
                self.maps.reals.set(index, *real)?;
                self.held_reals.insert(index, *real);
            }
            count += 1;
        }
        // Every real is held by now; others only where there are more.
        if self.held_reals.len() == count {
            return Ok(());
        }
        let wanted: BTreeSet<u32> = desired.reals().map(|(index, _)| index).collect();
        let gone: Vec<(u32, Real)> = self.held_reals.extract_if(.., |index, _| !wanted.contains(index)).collect();
        let mut result = Ok(());
        for (index, real) in gone {
            let cleared =
                self.maps.reals.set(index, FREE).and_then(|()| self.retire_counters(desired, (real.pool, index), None));
            result = result.and(cleared);
        }
        result
    }

    /// The entry of `director` for all these services together: nothing that one of them forwards is missed.
    fn director_of(&self, all: &[&Desired]) -> Result<Director, Error> {
        let held = self.maps.director.get(0)?;
        let last = all.last().copied();
        let mut director = Director {
            hash_seed: last.map_or(0, |desired| desired.hash_seed),
            tables: held.tables,
            table: held.table,
            flags: if self.purpose == Purpose::Observe { Director::OBSERVES } else { 0 },
            flow_lines: self.maps.flows.len(),
            tick_shift: self.clock.shift(),
            timeouts: self.clock.timeouts(last.map_or_else(Default::default, |desired| desired.timeouts)),
            vips: Filter::EMPTY,
            reals: Filter::EMPTY,
        };
        all.iter().for_each(|desired| desired.mark(&mut director));
        Ok(director)
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
    pool: 0,
    vlan: 0,
    flags: 0,
    weight: 0,
};

/// Whether a service's entry can be changed where it is: a frame may see its flags, its gate, its scheduler and how it
/// keeps clients in either state.
fn differs_in_flags(held: &Service, service: &Service) -> bool {
    let Service { flags, scheduler, gate, group, persistence, .. } = *held;
    *held == Service { flags, scheduler, gate, group, persistence, ..*service }
}

/// Whether frames can be sent to the real by its old entry and can't by its new one.
pub(super) fn worse(held: Option<&Real>, real: &Real) -> bool {
    held.is_some_and(|held| held.flags & Real::USABLE != 0) && real.flags & Real::USABLE == 0
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
