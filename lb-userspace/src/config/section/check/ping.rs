//! `type = "ping"`: an ICMP or ICMPv6 echo that is answered.

use super::Asks;
use crate::config::read::{Section, keys};

/// An echo that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ping;

keys! {
    #[derive(Debug)]
    pub struct PingKeys {}
}

impl Asks for Ping {
    const WORD: &'static str = "ping";
    const WANTS: &'static str = "an ICMP echo answered: the host lives, whatever its service does";
    const HAS_PORT: bool = false;
    type Keys = PingKeys;

    fn read(_: &mut Section<'_, '_>) -> Option<Self> {
        Some(Self)
    }

    fn words(&self, _: u16) -> String {
        "an ICMP echo".to_owned()
    }
}
