//! What was changed on interfaces besides the program's links, and is given back when they are let go: a pinned map, so
//! that it is known for as long as the links are.

use aya::maps::{HashMap, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_HASH;
use lb_common::maps::PORTS;
use tracing::{info, warn};

use crate::host::offload::{self, LRO, VLAN};

use super::load::innermost;
use super::{Dataplane, Error, Hook, Pins};

const NAME: &str = "changes";

/// What was changed on one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Change {
    /// Offloads that were on and are off: a bit for each of [`OFFLOADS`].
    pub(super) offloads: u32,
    /// Priority and handle of the program's filter; 0 where it has none.
    pub(super) priority: u32,
    /// See `priority`.
    pub(super) handle: u32,
    /// The filter's queueing discipline was made for it.
    pub(super) discipline: u32,
}

mod pod {
    #![expect(unsafe_code, reason = "aya asks for a marker that this type is plain bytes")]
    // SAFETY: repr(C), four integers of one size.
    unsafe impl aya::Pod for super::Change {}
}

/// The names behind the bits of [`Change::offloads`].
const OFFLOADS: [&str; 3] = {
    let ([customer, service], [lro]) = (VLAN, LRO);
    [customer, service, lro]
};

/// The pinned map.
pub(super) struct Changes {
    map: HashMap<MapData, u32, Change>,
}

impl Changes {
    /// Opens the map, if there is one.
    pub(super) fn open(pins: &Pins) -> Result<Option<Self>, Error> {
        if !pins.map(NAME).exists() {
            return Ok(None);
        }
        Ok(Some(Self { map: super::maps::open(pins, NAME)? }))
    }

    /// Opens the map, or makes it.
    pub(super) fn make(pins: &Pins) -> Result<Self, Error> {
        if let Some(changes) = Self::open(pins)? {
            return Ok(changes);
        }
        let (key, value) = (size_of::<u32>() as u32, size_of::<Change>() as u32);
        let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_HASH as u32, key, value, PORTS, 0);
        let error = |error| Error::map(NAME, innermost(&error));
        let data = MapData::create(shape, NAME, None).map_err(error)?;
        data.pin(pins.map(NAME)).map_err(|error| Error::map(NAME, innermost(&error)))?;
        let map = Map::from_map_data(data).map_err(error)?;
        Ok(Self { map: HashMap::try_from(map).map_err(error)? })
    }

    /// What was changed on an interface.
    pub(super) fn of(&self, ifindex: u32) -> Option<Change> {
        self.map.get(&ifindex, 0).ok()
    }

    /// The interfaces that have the program's filter.
    pub(super) fn filtered(&self) -> Vec<u32> {
        self.map
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, change)| change.priority != 0)
            .map(|(index, _)| index)
            .collect()
    }

    /// Every interface on which something was changed.
    pub(super) fn interfaces(&self) -> Vec<u32> {
        self.map.keys().filter_map(Result::ok).collect()
    }

    /// Remembers what was changed on an interface; nothing forgets it.
    pub(super) fn put(&mut self, ifindex: u32, change: Change) -> Result<(), Error> {
        if change != Change::default() {
            return self.map.insert(ifindex, change, 0).map_err(|error| Error::map(NAME, innermost(&error)));
        }
        // It may not have been there.
        let _ = self.map.remove(&ifindex);
        Ok(())
    }
}

impl Dataplane {
    /// Switches off what would hide from the program what it has to see: in the driver the VLAN tags, which the hardware
    /// takes out of frames; behind the socket buffers nothing, but packets that were merged for good can't be sent on.
    pub(super) fn prepare(&mut self, interface: &str, ifindex: u32, hook: Hook) {
        let names: &[&'static str] = match hook {
            Hook::Native => &VLAN,
            Hook::Tc => &LRO,
        };
        let Ok((on, fixed)) = offload::active(ifindex, names) else { return };
        if !fixed.is_empty() {
            warn!(
                "{interface}: its hardware has {} and can't be told not to: {}. Set director.mode = \"generic\" if it \
                 receives tagged frames",
                fixed.join(" and "),
                "the program does not see the VLAN tags of its frames"
            );
        }
        let on: Vec<&str> = on.into_iter().filter(|name| !fixed.contains(name)).collect();
        if on.is_empty() {
            return;
        }
        let done = self
            .remember(ifindex, &on)
            .and_then(|()| offload::set(ifindex, &on, false).map_err(|error| Error::map(interface, error)));
        match done {
            Ok(()) => warn!(
                "{interface}: switched off {} (ethtool -K), which hides from the program what it must see; `lb detach` \
                 switches it on again",
                on.join(" and ")
            ),
            Err(error) => warn!("{interface}: {} can't be switched off: {error}", on.join(" and ")),
        }
    }

    fn remember(&mut self, ifindex: u32, names: &[&str]) -> Result<(), Error> {
        let mut changes = Changes::make(&self.pins)?;
        let mut change = changes.of(ifindex).unwrap_or_default();
        for (bit, name) in OFFLOADS.iter().enumerate() {
            change.offloads |= u32::from(names.contains(name)) << bit;
        }
        changes.put(ifindex, change)
    }
}

impl Pins {
    /// Switches on again what was switched off on an interface.
    pub(super) fn restore_offloads(&self, ifindex: u32) -> Result<(), Error> {
        let Some(mut changes) = Changes::open(self)? else { return Ok(()) };
        let Some(change) = changes.of(ifindex) else { return Ok(()) };
        let names: Vec<&str> = OFFLOADS
            .iter()
            .enumerate()
            .filter(|(bit, _)| change.offloads >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        if !names.is_empty() {
            match offload::set(ifindex, &names, true) {
                Ok(()) => info!("interface {ifindex}: switched on {} again", names.join(" and ")),
                // The interface may be gone.
                Err(error) => warn!("interface {ifindex}: {} can't be switched on again: {error}", names.join(" and ")),
            }
        }
        changes.put(ifindex, Change { offloads: 0, ..change })
    }
}
