//! What `apply` changed, and how that was before.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Keeper;

/// Written before anything is changed, so that what an `apply` that was cut short has done can be undone too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The VIPs that this real was given.
    pub vips: Vec<Vip>,
    /// The interface that clients are heard by.
    pub interface: String,
    /// Who keeps the addresses.
    pub keeper: Keeper,
    /// The settings that were changed.
    pub sysctls: Vec<Sysctl>,
    /// The files that were made.
    pub files: Vec<PathBuf>,
    /// The file that lines were added to.
    pub lines_in: Option<PathBuf>,
}

/// One VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// Its address.
    pub address: IpAddr,
    /// It wasn't on `lo` before.
    pub added: bool,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its path below /proc/sys.
    pub key: String,
    /// What it was.
    pub was: u32,
    /// What it was set to.
    pub now: u32,
}

impl Record {
    /// Its VIPs.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.vips.iter().map(|vip| vip.address).collect()
    }
}
