//! What directors are asked for, and what clients call themselves.

use std::collections::BTreeMap;

use lb_common::maps::mapped;
use lb_common::{Ip, Ports};

/// What a director thinks of a real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    Up,
    /// It answers wrongly: it keeps its connections.
    Quiesced,
    Down,
}

/// What a director wants of its only service.
#[derive(Debug, Clone)]
pub struct Wish {
    pub protocol: u8,
    pub flags: u16,
    pub ring_size: u32,
    pub hash_seed: u64,
    /// By the last byte of the real's address.
    pub weights: BTreeMap<u8, u32>,
    pub opinions: BTreeMap<u8, Opinion>,
}

impl Wish {
    pub fn opinion(&self, real: u8) -> Opinion {
        self.opinions.get(&real).copied().unwrap_or(Opinion::Up)
    }
}

/// A connection's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    pub client: u32,
    pub port: u16,
}

impl Name {
    pub fn address(self) -> Ip {
        let [a, b, c, d] = self.client.to_be_bytes();
        Ip::from(mapped([a, b, c, d]))
    }

    pub fn ports(self) -> Ports {
        let [a, b] = self.port.to_be_bytes();
        Ports::of([a, b, 0, 80])
    }
}

pub const VIP: [u8; 4] = [192, 0, 2, 1];

pub fn address(real: u8) -> [u8; 16] {
    mapped([192, 0, 2, real])
}
