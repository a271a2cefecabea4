//! `via`: on which addresses a real is asked.

use std::net::IpAddr;

use super::{CheckKeys, kinds};
use crate::config::read::{Choice, Read};
use crate::config::report::{Findings, suggest};

/// On which addresses a real is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Via {
    /// Its own.
    Real,
    /// These VIPs, in their order, in frames to its MAC address.
    Vip(Vec<IpAddr>),
    /// Its own, and these VIPs.
    Both(Vec<IpAddr>),
}

/// Its words in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViaWord {
    /// Its own.
    Real,
    /// The VIPs.
    Vip,
    /// Both.
    Both,
}

pub(super) const VIA: Choice<ViaWord> =
    Choice(&[("real", ViaWord::Real), ("vip", ViaWord::Vip), ("both", ViaWord::Both)]);

/// A VIP is asked by the kinds that can, and instead of another address.
pub(super) fn check_via(read: &Read<CheckKeys>, findings: &mut Findings) {
    let Some((word, span)) = read.via.written().filter(|(word, _)| **word != ViaWord::Real) else { return };
    if let Some(entry) = read.kind.copied().filter(|entry| !entry.has_via) {
        let can = kinds().filter(|entry| entry.has_via).map(|entry| entry.word);
        findings.report(
            span,
            format!("a check of type \"{}\" asks a real on its own address alone", entry.word),
            format!("remove `via`; the types {} have it", suggest::list(can)),
        );
    } else if let (ViaWord::Vip, Some(address)) = (word, read.address.key()) {
        findings.report(
            address,
            "with via = \"vip\" the VIP is asked, and this address is not",
            "remove it, or write via = \"both\"",
        );
    }
}
