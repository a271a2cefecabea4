//! The VIPs that the agent put on this host's interfaces, written down so that `lb detach` and the watchdog can
//! take them away when no agent runs.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::noted;
use crate::vrrp::thread::address::Addresses;
use crate::vrrp::thread::place::Places;

/// An address that the agent put on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The interface's index.
    pub ifindex: u32,
    /// The address, with the prefix length that it was put there with.
    pub address: IpNet,
}

const LIST: &str = "addresses.json";

/// The list's file, in the agent's directory.
pub(super) fn list() -> PathBuf {
    noted::path(LIST)
}

/// The list; empty where there is none.
pub(super) fn read() -> Vec<Owned> {
    noted::read(LIST).unwrap_or_default()
}

/// Replaces the list.
pub(super) fn write(owned: &[Owned]) -> io::Result<()> {
    noted::write(LIST, owned)
}

/// What [`release`] did.
#[derive(Debug, Default)]
pub struct Released {
    /// The addresses that are gone.
    pub removed: Vec<Owned>,
    /// What stays, in words; an address among it stays on the list.
    pub left: Vec<String>,
}

/// Takes away every address that the agent put on an interface, and the macvlans that it made. One that can't be taken
/// away keeps none of the others.
pub fn release() -> Released {
    let mut released = Released::default();
    let owned = read();
    let mut kept = Vec::new();
    // Nothing was put anywhere, where nothing is on the list.
    let mut addresses = (!owned.is_empty()).then(Addresses::open);
    for held in owned {
        let removed = match &mut addresses {
            Some(Ok(addresses)) => addresses.remove(held.ifindex, held.address),
            Some(Err(error)) => Err(error.kind().into()),
            None => Ok(()),
        };
        match removed {
            Ok(()) => released.removed.push(held),
            Err(error) => {
                released.left.push(format!("{} stays on interface {}: {error}", held.address, held.ifindex));
                kept.push(held);
            }
        }
    }
    if let Err(error) = Places::open().and_then(|mut places| places.forget_all()) {
        released.left.push(format!("the macvlan of a virtual MAC stays: {error}"));
    }
    let noted = if kept.is_empty() { noted::forget(LIST) } else { write(&kept) };
    if let Err(error) = noted {
        warn!("{}: {error}", list().display());
    }
    released
}
