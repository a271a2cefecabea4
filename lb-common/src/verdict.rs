//! What may become of a frame, each with its counter.

use crate::atomic::aside;

/// What the kernel does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// On to the director's own network stack, untouched.
    Pass,
    /// Out of the interface that it came in by.
    Transmit,
    /// Out of another interface.
    Redirect,
    /// Gone.
    Drop,
    /// Gone, and reported by the kernel's `xdp:xdp_exception` tracepoint.
    Abort,
}

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal, $action:ident;)+) => {
        /// The fate of a frame. The number is its index in the map `verdicts`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Verdict {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Verdict {
            /// Every verdict, in the order of their numbers.
            pub const ALL: &'static [Verdict] = &[$(Verdict::$name),+];

            /// Of this number; what is nobody's is [`Verdict::Malformed`].
            #[inline(always)]
            pub const fn of(number: u32) -> Self {
                match number { $($number => Self::$name,)+ _ => Self::Malformed }
            }

            /// The name that people see: `lb list`, metrics, logs.
            pub const fn name(self) -> &'static str {
                match self { $(Verdict::$name => $text),+ }
            }

            /// What the kernel does with such a frame.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Verdict::$name => Action::$action),+ }
            }
        }
    };
}

verdicts! {
    /// Sent to a real, out of the interface that it came in by.
    Forwarded = 0, "forwarded", Transmit;
    /// Sent to a real, out of another interface.
    Redirected = 1, "redirected", Redirect;
    /// Neither IPv4 nor IPv6 (ARP, LLDP, more than two VLAN tags, …).
    NotIp = 2, "not-ip", Pass;
    /// Not addressed to a MAC of this director: flooded, multicast or overheard.
    NotOurs = 3, "not-ours", Pass;
    /// TCP or UDP, but no service has this address and port.
    NotService = 4, "not-service", Pass;
    /// Neither TCP nor UDP.
    OtherProtocol = 5, "other-protocol", Pass;
    /// A fragment of an IP packet for others than a VIP's services.
    Fragment = 6, "fragment", Pass;
    /// An ICMP or ICMPv6 error that embeds no packet of a service's flow. (One that does goes where its flow goes.)
    IcmpError = 7, "icmp-error", Pass;
    /// A header runs past the end of the frame.
    Truncated = 8, "truncated", Pass;
    /// A header that contradicts itself: an IPv4 header shorter than 20 bytes, a packet that by its own length ends
    /// before its TCP or UDP header does, an IPv4-mapped address over IPv6.
    Malformed = 9, "malformed", Pass;
    /// More IPv6 extension headers than are followed.
    TooManyHeaders = 10, "too-many-headers", Pass;
    /// It came from a real of its own service. Reals hold the VIP, so only another director that
    /// balances to this one sends such a frame: it is taken in, never sent on, and can't circle.
    Returned = 11, "returned", Pass;
    /// Its service has no usable real. The director's own stack takes it, whether it opens a connection or belongs to
    /// one: a stand-in that listens there gets whole connections, and without one a reset tells the client at once that
    /// nobody is left, also the client whose real died.
    Refused = 12, "refused", Pass;
    /// Its real went down a moment ago, or nothing is known yet of its service's reals, as after a start. A reset would
    /// end a connection that may well live: the packet is dropped, and its client sends it again.
    NoReal = 13, "no-real", Drop;
    /// The frame has no room for the real's VLAN tag.
    NoRoom = 14, "no-room", Abort;
    /// The real's interface can't be sent to.
    NoDevice = 15, "no-device", Abort;
    /// Addressed to the virtual MAC of a virtual router that this director is not the master of.
    NotMaster = 16, "not-master", Pass;
    /// For a VIP that this director is the backup of, and `backup = "pass"`.
    Standby = 17, "standby", Pass;
    /// Tagged for a VLAN that isn't the director's on this interface: the host's own stack knows what it is.
    OtherVlan = 18, "other-vlan", Pass;
    /// A fragment for a VIP and a protocol that it has services of, whose first fragment hasn't come or is too short to have
    /// the header with the ports. Nobody knows whose it is; and the director's own stack, which has the VIP but not the
    /// connection, would answer with a reset.
    VipFragment = 19, "vip-fragment", Drop;
}

impl Verdict {
    /// The same, of a way out of the path that most packets don't take.
    #[inline(always)]
    pub(crate) fn aside(self) -> Self {
        aside();
        self
    }

    /// How many there are: the size of the map `verdicts`.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_indices_of_the_map() {
        for (index, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(*verdict as usize, index, "{}", verdict.name());
            assert_eq!(Verdict::of(index as u32), *verdict);
        }
    }
}
