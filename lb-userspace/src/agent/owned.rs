//! The VIPs that the agent put on this host's interfaces, written down so that `lb detach` and the watchdog can
//! take them away when no agent runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::api::RUN;
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

/// The list's file, in the agent's directory.
pub(super) fn list() -> PathBuf {
    Path::new(RUN).join("addresses.json")
}

/// The list; empty where there is none.
pub(super) fn read() -> Vec<Owned> {
    fs::read(list()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Replaces the list.
pub(super) fn write(owned: &[Owned]) -> io::Result<()> {
    let staged = list().with_extension("new");
    fs::write(&staged, serde_json::to_vec(owned).map_err(io::Error::other)?)?;
    fs::rename(staged, list())
}

/// Takes away every address that the agent put on an interface, and the macvlans that it made. Returns the addresses.
pub fn release() -> Vec<Owned> {
    let owned = read();
    let removed = Addresses::open()
        .and_then(|mut addresses| owned.iter().try_for_each(|held| addresses.remove(held.ifindex, held.address)));
    if let Err(error) = removed {
        warn!("a VIP can't be taken away: {error}");
    }
    if let Err(error) = Places::open().and_then(|mut places| places.forget_all()) {
        warn!("the macvlan of a virtual MAC can't be removed: {error}");
    }
    let _ = fs::remove_file(list());
    owned
}
