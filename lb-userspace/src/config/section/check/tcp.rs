//! `type = "tcp"`: a TCP connection that is accepted.

use super::Asks;
use crate::config::read::{Section, keys};

/// A TCP connection that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tcp;

keys! {
    #[derive(Debug)]
    pub struct TcpKeys {}
}

impl Asks for Tcp {
    const WORD: &'static str = "tcp";
    const WANTS: &'static str = "a connection accepted";
    const HAS_VIA: bool = true;
    type Keys = TcpKeys;

    fn read(_: &mut Section<'_, '_>) -> Option<Self> {
        Some(Self)
    }

    fn words(&self, port: u16) -> String {
        format!("a TCP connection to port {port}")
    }
}
