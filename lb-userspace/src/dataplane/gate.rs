//! The gate of a director's VIPs: the maps that VRRP writes, and nobody else.

use aya::maps::{Array, HashMap, MapData};
use lb_common::maps::{GATES, Gate, VirtualMac, VirtualMacKey};

use super::load::innermost;
use super::{Error, Pins, maps};

/// Handles of `gates` and `virtual_macs`.
pub struct Gates {
    gates: Array<MapData, Gate>,
    virtual_macs: HashMap<MapData, VirtualMacKey, VirtualMac>,
}

impl Gates {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// They aren't pinned, or this process may not write them.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { gates: maps::open(pins, "gates")?, virtual_macs: maps::open(pins, "virtual_macs")? })
    }

    /// Closes a gate (the VIPs' frames are left to this director's own stack) or opens it (they are forwarded).
    /// Gates are numbered from 1.
    ///
    /// # Errors
    /// There is no such gate.
    pub fn set(&mut self, gate: u32, closed: bool) -> Result<(), Error> {
        if gate == 0 || gate >= GATES {
            return Err(Error::map("gates", format!("there is no gate {gate}")));
        }
        let value = Gate { closed: u32::from(closed) };
        self.gates.set(gate, value, 0).map_err(|error| Error::map("gates", innermost(&error)))
    }

    /// Says whether this director is the master of a virtual MAC on an interface.
    ///
    /// # Errors
    /// The map is full.
    pub fn set_virtual_mac(&mut self, ifindex: u32, mac: [u8; 6], master: bool) -> Result<(), Error> {
        let key = VirtualMacKey { ifindex, mac, reserved: [0; 2] };
        let value = VirtualMac { master: u32::from(master) };
        self.virtual_macs.insert(key, value, 0).map_err(|error| Error::map("virtual_macs", innermost(&error)))
    }

    /// Forgets every virtual MAC that isn't kept.
    ///
    /// # Errors
    /// The map can't be read or written.
    pub fn keep_virtual_macs(&mut self, keep: impl Fn(u32, [u8; 6]) -> bool) -> Result<(), Error> {
        let error = |error| Error::map("virtual_macs", innermost(&error));
        let held: Vec<VirtualMacKey> = self.virtual_macs.keys().collect::<Result<_, _>>().map_err(error)?;
        for key in held.iter().filter(|key| !keep(key.ifindex, key.mac)) {
            self.virtual_macs.remove(key).map_err(error)?;
        }
        Ok(())
    }
}
