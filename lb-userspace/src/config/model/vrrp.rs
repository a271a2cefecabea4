//! What `[vrrp.NAME]` says.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// `[vrrp.NAME]`: one virtual router.
#[derive(Debug, Clone, PartialEq)]
pub struct Vrrp {
    /// NAME.
    pub name: String,
    /// Where adverts are sent and addresses are put. It may appear later.
    pub interface: String,
    /// Virtual router id, 1 to 255.
    pub id: u8,
    /// Protocol version, 2 or 3.
    pub version: u8,
    /// 1 to 254, or 255 for the addresses' owner.
    pub priority: u8,
    /// Advertisement interval, one that the version can carry.
    pub advertise: Duration,
    /// v2 PASS authentication, at most 8 bytes.
    pub password: Option<String>,
    /// The VIPs, with the prefix length that they are put on the interface with. At least one, of one family.
    pub addresses: Vec<IpNet>,
    /// With any, adverts go to these addresses of the VIPs' family instead of the multicast group; none twice.
    pub peers: Vec<IpAddr>,
    /// The lowest TTL or hop limit taken, 1 to 255; `None` is 255 with multicast and any with peers.
    pub minimum_ttl: Option<u8>,
    /// Whether a master of lower priority is displaced. True for an owner.
    pub preempt: bool,
    /// How long a master of lower priority is let be after it was first heard. Zero without `preempt`.
    pub preempt_delay: Duration,
    /// How long a releasing master waits for its successor; `None` leaves it to the machine's default of four
    /// intervals, at least 100 ms and at most 30 s.
    pub handover: Option<Duration>,
    /// The form of checksums in version 3 over IPv4; `Auto` for all others.
    pub checksum: Checksum,
    /// Whether the VIPs have the virtual router's own MAC address, on a macvlan.
    pub virtual_mac: bool,
    /// What a backup does with clients' packets.
    pub backup: Backup,
    /// The group whose members change state together; it has two or more.
    pub sync_group: Option<String>,
    /// How a new master tells the segment.
    pub announce: Announce,
    /// What moves its priority, in the file's order; nothing is tracked twice.
    pub track: Vec<Track>,
    /// The command that hears of each change of state, argv; empty for none.
    pub notify: Vec<String>,
    /// When a notify command that still runs is ended.
    pub notify_timeout: Duration,
}

/// The form of version 3's checksum over IPv4: RFC 9568 section 5.2.8 has it plain, many implementations with
/// the pseudo-header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Send with the pseudo-header, take both.
    #[default]
    Auto,
    /// Send and take it with the pseudo-header alone.
    PseudoHeader,
    /// Send and take it without the pseudo-header alone.
    Plain,
}

/// What a director that isn't master does with packets for its VIPs that are sent to its own MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backup {
    /// Forward them, so that a stale ARP entry costs nobody a packet.
    #[default]
    Forward,
    /// Leave them to the kernel.
    Pass,
}

/// Gratuitous ARP and unsolicited neighbour advertisements of a new master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Frames for each VIP at once; 0 for none.
    pub repeat: u32,
    /// When the second burst follows.
    pub delay: Duration,
    /// Frames for each VIP in the second burst; 0 for no second burst.
    pub delayed_repeat: u32,
    /// How often a master announces each VIP once more; `None` for never.
    pub refresh: Option<Duration>,
    /// Frames a second at most, over all virtual routers of the interface: the same for each of them.
    pub pace: u32,
}

impl Default for Announce {
    fn default() -> Self {
        Self { repeat: 5, delay: Duration::from_secs(5), delayed_repeat: 5, refresh: None, pace: 10_000 }
    }
}

/// One item of `track`.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// What is watched.
    pub condition: Condition,
    /// `None`: the VIPs are given up while the condition fails. Below zero: added while it fails. Above zero:
    /// added while it holds. Never 0, -253 to 253.
    pub weight: Option<i16>,
}

/// What a virtual router watches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Holds while the interface of this name is there, up and has a link.
    Interface(String),
    /// Holds while a command ends with 0.
    Script(Script),
    /// Holds while at least `healthy` reals of the service of this name are healthy.
    Service {
        /// A service of the same file.
        name: String,
        /// 1 to the number of its reals.
        healthy: u32,
    },
}

/// A tracked command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Script {
    /// argv, its first element an absolute path.
    pub command: Vec<String>,
    /// Time between the starts of two runs.
    pub interval: Duration,
    /// A run that takes longer is ended and counts as failed; at most the interval.
    pub timeout: Duration,
    /// Good runs in a row that make it hold.
    pub rise: u32,
    /// Bad ones in a row that make it fail.
    pub fall: u32,
}
