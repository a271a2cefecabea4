//! The pinned maps with their types.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use lb_common::maps::{
    Director, FlowKeys, FlowLine, Loads, Port, Real, ReturnKey, Service, ServiceKey, SlotPair, Stats, Turn, Vip, VipKey,
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::load::innermost;
use super::mapped::Mapped;
use super::{Error, Pins, Words as _};

/// Handles of every map that the agent writes.
pub struct Maps {
    pub(super) services: Mapped<Service>,
    pub(super) vips: HashMap<MapData, VipKey, Vip>,
    pub(super) slots: Arc<Mapped<SlotPair>>,
    pub(super) reals: Mapped<Real>,
    pub(super) ports: Array<MapData, Port>,
    pub(super) director: Mapped<Director>,
    pub(super) returns: HashMap<MapData, ReturnKey, u32>,
    pub(super) flows: Arc<Mapped<FlowLine>>,
    pub(super) flow_keys: Arc<Mapped<FlowKeys>>,
    pub(super) turns: Array<MapData, Turn>,
    pub(super) real_stats: PerCpuArray<MapData, Stats>,
    pub(super) loads: Arc<Mapped<Loads>>,
    pub(super) tx_ports: DevMap<MapData>,
    most_reals: u32,
}

/// How much the maps hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Services at most.
    pub services: u32,
    /// Entries for reals, and for their counters.
    pub reals: u32,
    /// Slots and turns.
    pub slots: u32,
}

/// What pinned maps held when they were opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adopted {
    /// By VIP, port and protocol.
    pub services: BTreeMap<ServiceKey, Service>,
    /// The reals of each pool by their numbers, by where those count from.
    pub pools: BTreeMap<u32, BTreeMap<u16, Real>>,
    /// How many turns a tracked service has, by where they start.
    pub turns: BTreeMap<u32, u32>,
    /// By VIP and protocol.
    pub vips: BTreeMap<VipKey, Vip>,
    /// Frames that are not sent on.
    pub returns: BTreeSet<ReturnKey>,
    /// The seed of its hashes.
    pub hash_seed: u64,
    /// An agent that observes alone wrote all of this: nothing was forwarded by it.
    pub observed: bool,
}

impl Adopted {
    /// The reals of a service, with their numbers.
    pub fn reals_of(&self, service: &Service) -> impl Iterator<Item = (u16, &Real)> {
        self.pools.get(&service.reals).into_iter().flatten().map(|(number, real)| (*number, real))
    }
}

/// Opens one pinned map.
pub(super) fn open<T>(pins: &Pins, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<Map, Error: std::fmt::Display>,
{
    let map = Map::from_map_data(open_data(pins, name)?).map_err(|error| Error::map(name, error))?;
    T::try_from(map).map_err(|error| Error::map(name, error))
}

fn open_data(pins: &Pins, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(pins.map(name)).map_err(|error| Error::map(name, innermost(&error)))
}

fn map<T: FromBytes + IntoBytes + Immutable + Copy>(pins: &Pins, name: &'static str) -> Result<Mapped<T>, Error> {
    let data = open_data(pins, name)?;
    Mapped::new(name, data.fd().as_fd(), entries(&data, name)?)
}

fn entries(data: &MapData, name: &'static str) -> Result<u32, Error> {
    Ok(data.info().map_err(|error| Error::map(name, innermost(&error)))?.max_entries())
}

impl Maps {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// A map isn't pinned, or isn't of the kind and size that this version makes.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            services: map(pins, "services")?,
            vips: open(pins, "vips")?,
            slots: Arc::new(map(pins, "slots")?),
            reals: map(pins, "reals")?,
            ports: open(pins, "ports")?,
            director: map(pins, "director")?,
            returns: open(pins, "returns")?,
            flows: Arc::new(map(pins, "flows")?),
            flow_keys: Arc::new(map(pins, "flow_keys")?),
            turns: open(pins, "turns")?,
            real_stats: open(pins, "real_stats")?,
            loads: Arc::new(map(pins, "loads")?),
            tx_ports: open(pins, "tx_ports")?,
            // It has an entry for each.
            most_reals: entries(&open_data(pins, "returns")?, "returns")?,
        })
    }

    /// What the maps hold now.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn read(&self) -> Result<Adopted, Error> {
        let vips = self.vips.iter().collect::<Result<_, _>>().map_err(|error| Error::map("vips", error))?;
        let returns = self.returns.keys().collect::<Result<_, _>>().map_err(|error| Error::map("returns", error))?;
        let director = self.director.get(0)?;
        let mut services = BTreeMap::new();
        let table = director.tables.get(director.table as usize).copied().unwrap_or_default();
        // In a map that is new no table is in force: it has one entry, which is free.
        for index in table.start..=table.start.saturating_add(table.mask).min(self.services.len().saturating_sub(1)) {
            let service = self.services.get(index)?;
            if service.key.protocol != 0 {
                services.insert(service.key, service);
            }
        }
        let (mut pools, mut turns) = (BTreeMap::new(), BTreeMap::new());
        for service in services.values() {
            if let Entry::Vacant(pool) = pools.entry(service.reals) {
                pool.insert(self.read_pool(service)?);
            }
            if service.flags & Service::TRACKED != 0 {
                turns.insert(service.turns, self.slots.word(service.turns));
            }
        }
        let observed = director.flags & Director::OBSERVES != 0;
        Ok(Adopted { services, pools, turns, vips, returns, hash_seed: director.hash_seed, observed })
    }

    fn read_pool(&self, service: &Service) -> Result<BTreeMap<u16, Real>, Error> {
        let mut reals = BTreeMap::new();
        for number in 1..u16::try_from(service.room).unwrap_or(u16::MAX) {
            let real = self.reals.get(service.reals.saturating_add(u32::from(number)))?;
            if real.flags & Real::IN_USE != 0 {
                reals.insert(number, real);
            }
        }
        Ok(reals)
    }

    /// An entry of `services`.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn service(&self, index: u32) -> Result<Service, Error> {
        self.services.get(index)
    }

    /// An entry of `reals`.
    ///
    /// # Errors
    /// There is none of this index.
    pub fn real(&self, index: u32) -> Result<Real, Error> {
        self.reals.get(index)
    }

    /// Reals at most, counted once per service that has them.
    pub(super) fn most_reals(&self) -> u32 {
        self.most_reals
    }

    /// Connections that the flow table is made for: eleven words for eight of them.
    pub fn most_flows(&self) -> u32 {
        (self.flows.len().saturating_mul(8) / 11).saturating_mul(FlowLine::WAYS as u32)
    }

    /// How much they hold.
    pub fn room(&self) -> Room {
        // A table is twice as large as what it has to take, so that each service finds a place.
        let services = self.turns.len().min(self.services.len() / 4);
        Room { services, reals: self.reals.len().min(self.real_stats.len()), slots: self.slots.len().saturating_mul(2) }
    }
}
