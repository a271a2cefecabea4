//! The steps of a frame's way, as a build of the program tells them that is made for it (`lb trace`): the same source, whose
//! [`Tables::step`](crate::Tables::step) writes down what everywhere else is nothing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A decision on the way. What its words are stands beside each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// The interface's index, and whether `ports` has it.
    Port = 1,
    /// The destination's MAC address, and that of the interface, as words.
    Addressed = 2,
    /// The source's two words, and the destination's.
    Addresses = 3,
    /// IP's protocol, the packet's length in bytes, the VLAN below the number of tags, and the bits that tell of a part.
    Carries = 4,
    /// Whether `director`'s filter of VIPs may hold the destination.
    Vip = 5,
    /// Both ports, those of TCP's flags that tell of the connection, and IP's protocol.
    Ports = 6,
    /// Whether there is a service, and its index in `services`.
    Service = 7,
    /// The gate, and whether it is closed.
    Gate = 8,
    /// The source's MAC address as a word, and whether it is that of one of the service's reals.
    From = 9,
    /// The slot in `slots`, its word, and the flow's hash.
    Slot = 10,
    /// Whether the flow table has the flow; if so, its real's number.
    Table = 11,
    /// What the flow table or the scheduler answers: a real's number, and whether it is a new connection.
    Answer = 12,
    /// The scheduler's choice: a real's number.
    Chosen = 13,
    /// The index in `reals`, whether frames may be sent to it, and its number.
    Real = 14,
    /// The index of the interface that it leaves by, and whether that is the one that it came in by.
    Leaves = 15,
    /// Whether it is a part of a packet, and IP's protocol: it has no ports of its own where others have them.
    Stray = 16,
    /// The service's index and the real's number that a part or an ICMP error goes to.
    Owner = 17,
    /// The verdict's number.
    Verdict = 18,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Port,
        Self::Addressed,
        Self::Addresses,
        Self::Carries,
        Self::Vip,
        Self::Ports,
        Self::Service,
        Self::Gate,
        Self::From,
        Self::Slot,
        Self::Table,
        Self::Answer,
        Self::Chosen,
        Self::Real,
        Self::Leaves,
        Self::Stray,
        Self::Owner,
        Self::Verdict,
    ];
}

/// Value of `steps`: a step and its words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Record {
    /// The [`Step`]'s number; 0 for none.
    pub code: u64,
    /// Its words.
    pub words: [u64; 4],
}

/// Most steps of a frame.
pub const STEPS: u32 = 64;

#[cfg(any(test, feature = "host"))]
mod text {
    use alloc::format;
    use alloc::string::{String, ToString as _};
    use core::net::Ipv6Addr;

    use super::{Record, Step};
    use crate::header::{Mac, Tcp, mac_of};
    use crate::ip::{Ip, Ports};
    use crate::slot::{Slot, State};
    use crate::verdict::Verdict;

    /// What the maps have behind a step's numbers.
    pub trait Names {
        /// An interface, by its index.
        fn interface(&self, index: u32) -> String;
        /// A service, by its index in `services`.
        fn service(&self, index: u32) -> String;
        /// A real, by its index in `reals`.
        fn real(&self, index: u32) -> String;
    }

    impl Record {
        /// Which step it is.
        #[must_use]
        pub fn step(&self) -> Option<Step> {
            Step::ALL.into_iter().find(|step| *step as u64 == self.code)
        }

        /// The verdict, in the last of a frame's steps.
        #[must_use]
        pub fn verdict(&self) -> Option<Verdict> {
            (self.step() == Some(Step::Verdict)).then(|| Verdict::of(self.words[0] as u32))
        }

        /// The step in words.
        #[must_use]
        pub fn text(&self, names: &impl Names) -> String {
            let [a, b, c, d] = self.words;
            let Some(step) = self.step() else { return format!("step {} of another version", self.code) };
            match step {
                Step::Port if b == 0 => format!("{} is not in ports: lb doesn't run there", names.interface(a as u32)),
                Step::Port => format!("it came in by {}, which is in ports", names.interface(a as u32)),
                Step::Addressed if a == b => format!("it is addressed to {}, that interface's own MAC", mac(mac_of(a))),
                Step::Addressed => format!(
                    "it is addressed to {}, not to that interface's own MAC {}: virtual_macs is asked",
                    mac(mac_of(a)),
                    mac(mac_of(b))
                ),
                Step::Addresses => format!("from {} to {}", address(a, b), address(c, d)),
                Step::Carries => carries(a, b, c, d),
                Step::Vip if a == 0 => "its destination is no VIP, by director's filter".to_string(),
                Step::Vip => "its destination is a VIP, by director's filter".to_string(),
                Step::Ports => ports(a as u32, b as u8, c),
                Step::Service if a == 0 => "no entry of services has that address, port and protocol".to_string(),
                Step::Service => format!("services[{b}]: {}", names.service(b as u32)),
                Step::Gate if b == 0 => format!("gates[{a}] is open: this director has the VIP"),
                Step::Gate => format!("gates[{a}] is closed: another director has the VIP"),
                Step::From if b == 0 => {
                    format!("it came from {}, which is none of that service's reals", mac(mac_of(a)))
                }
                Step::From => {
                    format!("it came from {}, one of that service's own reals: returns has it", mac(mac_of(a)))
                }
                Step::Slot => slot(a, Slot::of(b as u32)),
                Step::Table if a == 0 => "the flow table doesn't have its flow".to_string(),
                Step::Table => format!("the flow table has its flow: number {b}"),
                Step::Answer if a == u64::from(u16::MAX) => "the scheduler is to choose".to_string(),
                Step::Answer if b == 0 => format!("it goes to number {a}"),
                Step::Answer => format!("it goes to number {a}, as a new connection"),
                Step::Chosen => format!("the scheduler chooses number {a}"),
                Step::Real if b == 0 => format!("number {c}, reals[{a}], can't be sent to: {}", names.real(a as u32)),
                Step::Real => format!("number {c} is reals[{a}]: {}", names.real(a as u32)),
                Step::Leaves if b == 0 => format!("it leaves by {}", names.interface(a as u32)),
                Step::Leaves => format!("it leaves by {}, where it came in", names.interface(a as u32)),
                Step::Stray if a == 0 => {
                    format!("protocol {b} is no TCP or UDP: an ICMP error goes where its flow goes")
                }
                Step::Stray => "it is a part of a packet: it goes where the first part goes".to_string(),
                Step::Owner => format!("it goes to number {b} of services[{a}]: {}", names.service(a as u32)),
                Step::Verdict => Verdict::of(a as u32).name().to_string(),
            }
        }
    }

    fn address(start: u64, end: u64) -> String {
        Ipv6Addr::from(Ip { start, end }.address()).to_canonical().to_string()
    }

    fn carries(protocol: u64, length: u64, vlan: u64, part: u64) -> String {
        let vlan = match (vlan >> 16, vlan & 0xffff) {
            (0, _) => "without a VLAN tag".to_string(),
            (tags, vlan) => format!("with {tags} VLAN tags, VLAN {vlan}"),
        };
        let part = if part == 0 { "" } else { ", a part of a packet" };
        format!("IP protocol {protocol}, {length} bytes, {vlan}{part}")
    }

    fn ports(both: u32, flags: u8, protocol: u64) -> String {
        let [a, b, c, d] = Ports(both).0.to_le_bytes();
        let names = [(Tcp::SYN, "SYN"), (Tcp::ACK, "ACK"), (Tcp::FIN, "FIN"), (Tcp::RST, "RST")];
        let flags = names
            .into_iter()
            .filter(|(bit, _)| flags & bit != 0)
            .fold(String::new(), |all, (_, name)| format!("{all} {name}"));
        let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let protocol = if protocol == 6 { "TCP" } else { "UDP" };
        format!("{protocol}, port {from} to {to}{}{flags}", if flags.is_empty() { "" } else { "," })
    }

    fn slot(index: u64, slot: Slot) -> String {
        let Slot { current, base } = slot;
        match slot.state() {
            State::Settled => format!("slots[{index}] is settled: number {current}"),
            State::Moving => {
                format!("slots[{index}] is moving: new ones to number {current}, older ones to number {base}")
            }
            State::Exceptions => format!("slots[{index}]: number {current}, but for flows that are remembered"),
        }
    }

    fn mac(mac: Mac) -> String {
        let [a, b, c, d, e, f] = mac;
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

#[cfg(any(test, feature = "host"))]
pub use text::Names;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_places() {
        for (place, step) in (1..).zip(Step::ALL) {
            assert_eq!(step as u64, place);
            assert_eq!(Record { code: place, words: [0; 4] }.step(), Some(step));
        }
    }
}
