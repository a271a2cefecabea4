//! Whose packets are that have no ports of their own where others have them: ICMP errors, which embed a packet of the flow
//! that they are about, and fragments, of which the first alone has ports.
//!
//! It is apart from the rest of the path, as `recall` is, and for the same reason: in the kernel it is a function of its own
//! (`lb-ebpf/src/stray.rs`), which the verifier walks through once. So all that goes in and out is words, and it reads
//! again what it needs of the headers.
//!
//! It takes steps, since a chain of calls has 512 bytes of stack at most, and the flow table alone needs much of it: [`stray`]
//! reads the headers, [`query`] finds the slot, [`is_final`] looks at what the flow table said, and [`conclude`] has the answer.

mod error;
mod fragment;

use crate::balance::{came_from_real, find_service};
use crate::environment::{Environment, Tables};
use crate::header::{Ipv4, Ipv6, Macs};
use crate::ip::{Ip, Ports};
use crate::maps::{Director, FragmentFlow, NOBODY, Pending, Service};
use crate::packet::Packet;
use crate::parse::Network;
use crate::recall::{Answer, lives};
use crate::select::{Asked, owner, unserved};
use crate::verdict::Verdict;

/// Bits of an offset into a frame: two tags, the IP header and five extension headers of the greatest length.
const PLACE_BITS: u32 = 14;
const PLACE: usize = (1 << PLACE_BITS) - 1;

/// A fragment or an ICMP message: where its headers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    /// Where the IP header starts in the frame.
    network: usize,
    /// Where the packet's payload starts.
    payload: usize,
    /// What the packet carries.
    protocol: u8,
    /// It is a part of a packet.
    fragment: bool,
}

impl Stray {
    /// Of these headers.
    #[inline(always)]
    pub(crate) fn of(network: &Network) -> Self {
        Self {
            network: network.start(),
            payload: network.payload,
            protocol: network.protocol,
            fragment: network.fragment != 0,
        }
    }

    /// As a word.
    #[inline(always)]
    pub fn word(self) -> u64 {
        let places = (self.network as u64) << PLACE_BITS | self.payload as u64;
        places << 16 | u64::from(self.fragment) << 8 | u64::from(self.protocol)
    }

    /// From that.
    #[inline(always)]
    pub fn of_word(word: u64) -> Self {
        let places = (word >> 16) as usize;
        Self {
            // Masked so that the verifier sees bounds.
            network: places >> PLACE_BITS & PLACE,
            payload: places & PLACE,
            protocol: word as u8,
            fragment: word >> 8 & 1 != 0,
        }
    }
}

/// Who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Index of its service in `services`.
    pub service: u32,
    /// The number of its real.
    pub number: u16,
    /// It counts as a new connection.
    pub connection: bool,
}

impl Owner {
    const NOBODY: u64 = 1 << 17;

    /// As a word, with the verdict where nobody takes it.
    #[inline(always)]
    pub fn word(found: Result<Self, Verdict>) -> u64 {
        match found {
            Ok(Self { service, number, connection }) => {
                u64::from(service) << 32 | u64::from(connection) << 16 | u64::from(number)
            }
            Err(verdict) => Self::NOBODY | (verdict as u64) << 32,
        }
    }

    /// From that.
    ///
    /// # Errors
    /// Nobody takes it.
    #[inline(always)]
    pub fn of(word: u64) -> Result<Self, Verdict> {
        let high = (word >> 32) as u32;
        if word & Self::NOBODY != 0 {
            return Err(Verdict::of(high));
        }
        Ok(Self { service: high, number: word as u16, connection: word >> 16 & 1 != 0 })
    }
}

/// The owner of a fragment or of an ICMP error; nobody's number where [`query`] is to be asked for it.
///
/// # Errors
/// The verdict of one that nobody takes, and of every other ICMP message.
#[inline(always)]
pub fn stray<E: Environment>(
    packet: &Packet<'_>,
    environment: &E,
    stray: Stray,
    pending: &mut Pending,
) -> Result<Owner, Verdict> {
    let director = environment.tables().director().ok_or(Verdict::NotService)?;
    let outer = Outer::read(packet, stray.network)?;
    pending.note = [0; 2];
    if stray.fragment {
        return fragment::owner(packet, environment, director, stray, &outer, pending);
    }
    error::owner(packet, environment, director, stray, &outer, pending)
}

#[inline(always)]
fn ask(pending: &mut Pending, asked: Asked) -> Owner {
    pending.asked = asked.words();
    Owner { service: asked.service, number: NOBODY, connection: false }
}

/// The real that was asked for; `None` where the flow table is to be asked first: `pending` has the query then.
#[inline(always)]
pub fn query<T: Tables>(tables: &T, pending: &mut Pending) -> Option<Answer> {
    let nobody = Answer { number: NOBODY, connection: false };
    let asked = Asked::of(pending.asked);
    let (mut words, mut is_asked) = ([0; 5], false);
    let answer = owner(tables, asked, |query| {
        (words, is_asked) = (query.words(), true);
        nobody
    });
    pending.query = words;
    (!is_asked).then_some(answer)
}

/// Whether nothing more is to be asked after this answer: see [`settle`](crate::settle).
#[inline(always)]
pub fn is_final<T: Tables>(tables: &T, pending: &Pending, answer: Answer) -> bool {
    if answer.connection {
        return answer != Answer::CHOOSE;
    }
    let service = tables.service(Asked::of(pending.asked).service);
    service.is_none_or(|service| lives(tables, service, answer.number))
}

/// The owner by what was answered. A first fragment's is noted for the others.
///
/// # Errors
/// Nobody takes it.
#[inline(always)]
pub fn conclude<T: Tables>(tables: &T, pending: &Pending, answer: Answer) -> Result<Owner, Verdict> {
    let Answer { number, connection } = answer;
    let Asked { service: index, .. } = Asked::of(pending.asked);
    if pending.note != [0; 2] {
        let mut note = FragmentFlow::of(pending.note.into());
        note.number = number;
        tables.note_fragment(pending.key, note.words());
    }
    if number == NOBODY {
        return Err(tables.service(index).map_or(Verdict::NoReal, unserved));
    }
    Ok(Owner { service: index, number, connection })
}

/// What a packet's IP header says.
struct Outer {
    ipv4: bool,
    source: Ip,
    destination: Ip,
    /// Where the packet ends in the frame, by its own length.
    end: usize,
}

impl Outer {
    #[inline(always)]
    fn read(packet: &Packet<'_>, start: usize) -> Result<Self, Verdict> {
        // Two bytes: the verifier takes no comparison for one.
        let [first, _] = *packet.at::<[u8; 2]>(start)?;
        if first >> 4 == 4 {
            let header = packet.at::<Ipv4>(start)?;
            let (source, destination) = (Ip::v4(header.source), Ip::v4(header.destination));
            let end = start + usize::from(header.total_length.get());
            return Ok(Self { ipv4: true, source, destination, end });
        }
        let header = packet.at::<Ipv6>(start)?;
        let (source, destination) = (Ip::from(header.source), Ip::from(header.destination));
        let end = start + size_of::<Ipv6>() + usize::from(header.payload_length.get());
        Ok(Self { ipv4: false, source, destination, end })
    }

    /// A header that lies inside the packet.
    #[inline(always)]
    fn holds<T>(&self, place: usize) -> bool {
        place + size_of::<T>() <= self.end
    }
}

/// The index of a flow's service in `services`.
#[inline(always)]
pub fn service<T: Tables>(tables: &T, vip: Ip, protocol: u8, ports: Ports) -> Option<u32> {
    let (index, _) = find_service(tables, tables.director()?, vip, protocol, ports)?;
    Some(index)
}

/// Whether this director is to send on what is for the service.
///
/// # Errors
/// It isn't: the verdict.
#[inline(always)]
fn is_forwarded<E: Environment>(
    packet: &Packet<'_>,
    environment: &E,
    director: &Director,
    service: &Service,
) -> Result<(), Verdict> {
    if service.gate != 0 && environment.gate_is_closed(service.gate) {
        return Err(Verdict::Standby);
    }
    if came_from_real(environment, director, service, packet.at::<Macs>(0)?.source()) {
        return Err(Verdict::Returned);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_all() {
        for (network, payload) in [(14, 34), (22, PLACE)] {
            for fragment in [false, true] {
                let stray = Stray { network, payload, protocol: 0xfe, fragment };
                assert_eq!(Stray::of_word(stray.word()), stray);
            }
        }
        let owner = Owner { service: u32::MAX, number: u16::MAX, connection: true };
        for found in [Ok(owner), Ok(Owner { connection: false, ..owner }), Err(Verdict::VipFragment)] {
            assert_eq!(Owner::of(Owner::word(found)), found);
        }
    }
}
