//! The forwarded frame: addressed to its real, tagged for its VLAN, otherwise as it came.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::byteorder::network_endian::U16;

use crate::environment::Environment;
use crate::header::{Ethernet, Macs, Vlan, ethertype};
use crate::maps::Real;
use crate::packet::Packet;
use crate::verdict::Verdict;

const TAG: i32 = size_of::<Vlan>() as i32;

/// Addresses a frame to `real`, and moves it to the real's VLAN.
///
/// A real with a VLAN gets that id in the frame's outermost tag (pushed where there is none; priority is
/// kept); an untagged real gets a frame without tags; else the tags stay as they came.
///
/// # Errors
/// [`Verdict::NoRoom`] when a tag can't be pushed.
#[inline(always)]
pub(crate) fn rewrite<'a, E: Environment>(
    mut packet: Packet<'a>,
    environment: &E,
    tags: u8,
    real: &Real,
) -> Result<(), Verdict> {
    if real.vlan != Real::KEEP_VLAN {
        packet = environment.retag(packet, tags, real.vlan)?;
    }
    environment.address(packet, real)
}

/// Writes the addresses of the way to `real` into the frame's bytes.
///
/// # Errors
/// [`Verdict::Truncated`] for a frame that has none.
#[inline(always)]
pub fn address(mut packet: Packet<'_>, real: &Real) -> Result<(), Verdict> {
    let (place, macs) = (packet.at_mut::<Macs>(0)?, macs(real));
    place.start = macs.start;
    place.end = macs.end;
    Ok(())
}

#[inline(always)]
fn macs(real: &Real) -> Macs {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (real.mac, real.source_mac);
    Macs { start: U64::from_bytes([a, b, c, d, e, f, g, h]), end: U32::from_bytes([i, j, k, l]) }
}

/// Moves a frame of so many tags to a VLAN in its bytes; 0 takes its tags off.
///
/// # Errors
/// [`Verdict::NoRoom`] when a tag can't be pushed.
#[inline(always)]
pub fn retag<'a, E: Environment>(
    mut packet: Packet<'a>,
    environment: &E,
    tags: u8,
    vlan: u16,
) -> Result<Packet<'a>, Verdict> {
    match (tags, vlan) {
        (0, 0) => Ok(packet),
        (0, vlan) => {
            let kind = packet.at::<Ethernet>(0)?.ethertype;
            let mut packet = environment.move_start(packet, -TAG).ok_or(Verdict::NoRoom)?;
            packet.at_mut::<Ethernet>(0)?.ethertype = U16::new(ethertype::VLAN);
            let tag = packet.at_mut::<Vlan>(size_of::<Ethernet>())?;
            *tag = Vlan { control: U16::new(vlan & Vlan::ID), ethertype: kind };
            Ok(packet)
        }
        (1, 0) => untag(packet, environment, TAG),
        (_, 0) => untag(packet, environment, 2 * TAG),
        (_, vlan) => {
            let tag = packet.at_mut::<Vlan>(size_of::<Ethernet>())?;
            tag.control = U16::new(tag.control.get() & !Vlan::ID | vlan & Vlan::ID);
            Ok(packet)
        }
    }
}

#[inline(always)]
fn untag<'a, E: Environment>(packet: Packet<'a>, environment: &E, bytes: i32) -> Result<Packet<'a>, Verdict> {
    let innermost = size_of::<Ethernet>() + bytes as usize - size_of::<Vlan>();
    let kind = packet.at::<Vlan>(innermost)?.ethertype;
    let mut packet = environment.move_start(packet, bytes).ok_or(Verdict::NoRoom)?;
    // The addresses are written by `rewrite`.
    packet.at_mut::<Ethernet>(0)?.ethertype = kind;
    Ok(packet)
}
