//! The pinned maps with their types.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use lb_common::maps::{Bucket, Director, Port, Real, ReturnKey, Service, ServiceKey, Stats, Turn, Vip, VipKey};

use super::load::innermost;
use super::{Error, Pins};

/// Handles of every map that the agent writes.
pub struct Maps {
    pub(super) services: HashMap<MapData, ServiceKey, Service>,
    pub(super) vips: HashMap<MapData, VipKey, Vip>,
    pub(super) rings: MapData,
    pub(super) reals: Array<MapData, Real>,
    pub(super) ports: Array<MapData, Port>,
    pub(super) director: Array<MapData, Director>,
    pub(super) returns: HashMap<MapData, ReturnKey, u32>,
    pub(super) flows: Array<MapData, Bucket>,
    pub(super) turns: Array<MapData, Turn>,
    pub(super) service_stats: PerCpuArray<MapData, Stats>,
    pub(super) real_stats: PerCpuArray<MapData, Stats>,
    pub(super) tx_ports: DevMap<MapData>,
    service_capacity: u32,
}

/// What pinned maps held when they were opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adopted {
    /// By VIP, port and protocol.
    pub services: BTreeMap<ServiceKey, Service>,
    /// By VIP and protocol.
    pub vips: BTreeMap<VipKey, Vip>,
    /// By index.
    pub reals: BTreeMap<u32, Real>,
    /// Frames that are not sent on.
    pub returns: BTreeSet<ReturnKey>,
    /// The seed of its hashes.
    pub hash_seed: u64,
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

impl Maps {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// A map isn't pinned, or isn't of the kind and size that this version makes.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let rings = open_data(pins, "rings")?;
        Ok(Self {
            services: open(pins, "services")?,
            vips: open(pins, "vips")?,
            reals: open(pins, "reals")?,
            ports: open(pins, "ports")?,
            director: open(pins, "director")?,
            returns: open(pins, "returns")?,
            flows: open(pins, "flows")?,
            turns: open(pins, "turns")?,
            service_stats: open(pins, "service_stats")?,
            real_stats: open(pins, "real_stats")?,
            tx_ports: open(pins, "tx_ports")?,
            service_capacity: rings.info().map_err(|error| Error::map("rings", innermost(&error)))?.max_entries(),
            rings,
        })
    }

    /// What the maps hold now.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn read(&self) -> Result<Adopted, Error> {
        let services = self.services.iter().collect::<Result<_, _>>().map_err(|error| Error::map("services", error))?;
        let vips = self.vips.iter().collect::<Result<_, _>>().map_err(|error| Error::map("vips", error))?;
        let returns = self.returns.keys().collect::<Result<_, _>>().map_err(|error| Error::map("returns", error))?;
        let mut reals = BTreeMap::new();
        for (index, real) in (0..).zip(self.reals.iter()) {
            let real = real.map_err(|error| Error::map("reals", error))?;
            if real.flags & Real::IN_USE != 0 {
                reals.insert(index, real);
            }
        }
        let director = self.director.get(&0, 0).map_err(|error| Error::map("director", error))?;
        Ok(Adopted { services, vips, reals, returns, hash_seed: director.hash_seed })
    }

    /// Remembered flows at most: a mask for the buckets' index.
    pub(super) fn flow_mask(&self) -> u32 {
        // A power of two, by the config's rule; a map of another size is used up to the power below.
        let buckets = self.flows.len().max(1);
        (1 << buckets.ilog2()) - 1
    }

    /// Reals at most.
    pub fn real_capacity(&self) -> u32 {
        self.reals.len()
    }

    /// Services at most.
    pub fn service_capacity(&self) -> u32 {
        self.service_capacity
    }
}
