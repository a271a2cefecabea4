//! `[vrrp.NAME]`: one virtual router.

pub mod announce;
mod group;
pub mod password;
mod rules;
pub mod scripts;
pub mod track;
pub mod vip;
mod words;

use std::net::IpAddr;
use std::time::Duration;

use toml::Spanned;

use super::pool::Declared;
use crate::config::read::source::{Source, Span};
use crate::config::read::texts::{INTERFACE, NAME};
use crate::config::read::{Choice, Flag, List, Named, Number, Read, Table, Tables, Text, Time, key, keys, value};
use crate::config::report::{Findings, text::wrap};
use crate::config::section::notify;
use announce::{Announce, AnnounceKeys};
use password::{PASSWORD, Password};
use scripts::{Scripts, Style};
use track::{Track, TrackKeys};
use vip::{Vip, VipKind};

/// `[vrrp.NAME]`: one virtual router.
#[derive(Debug, Clone, PartialEq)]
pub struct Vrrp {
    /// NAME.
    pub name: String,
    /// Where adverts are sent, and addresses are put that name no other. It may appear later.
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
    pub password: Option<Password>,
    /// The VIPs. At least one, of one family.
    pub addresses: Vec<Vip>,
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
    /// Whether it takes no part while its own interface has no link.
    pub track_link: bool,
    /// Who hears of its changes of state.
    pub scripts: Scripts,
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

/// Places within one `[vrrp.NAME]`.
#[derive(Debug, Clone)]
pub struct VrrpPlaces {
    /// The section's header.
    pub header: Span,
    /// The value of `interface`.
    pub interface: Span,
    /// Each of `addresses`.
    pub addresses: Vec<Span>,
    /// The programs of `notify` and of tracked scripts.
    pub programs: Vec<Spanned<String>>,
}

/// The priority of the addresses' owner.
pub const OWNER: u8 = 255;

const HOUR: Duration = Duration::from_secs(3600);

const VIPS: List<VipKind> =
    List { item: VipKind, empty: ("there is no VIP to own", "name the VIPs, or remove the section") };
const PEERS: List<Text<IpAddr>> = List {
    item: Text { read: value::peer, example: "\"192.0.2.3\"", values: "addresses of the VIPs' family" },
    empty: ("nobody would hear the adverts", "name the other directors, or remove the line for multicast"),
};
const CHECKSUM: Choice<Checksum> =
    Choice(&[("auto", Checksum::Auto), ("pseudo-header", Checksum::PseudoHeader), ("plain", Checksum::Plain)]);
const BACKUP: Choice<Backup> = Choice(&[("forward", Backup::Forward), ("pass", Backup::Pass)]);

keys! {
    #[derive(Debug)]
    pub struct VrrpKeys {
        /// where adverts are sent, and addresses are put that name no other
        interface: String = key(INTERFACE).required();
        /// virtual router id, the same on all its directors; one per interface and address family
        id: u8 = key(Number::of(1..=255)).required().example("210");
        /// the VIPs, with the prefix length of their segment; without a length they are added as a host's (/32,
        /// /128); each belongs to one virtual router
        addresses: Vec<Spanned<Vip>> = key(VIPS).required()
            .values("list of `\"ADDRESS/LENGTH\"` or tables, see below; 1 to 255, of one family");
        /// 2 is RFC 3768 (IPv4 alone), 3 is RFC 9568
        version: u8 = key(Number::of(2..=3)).or(3).values("2, 3");
        /// the highest owns the VIPs; 255 is for the host whose own addresses they are, and always takes over
        priority: u8 = key(Number::of(1..=OWNER)).or(100);
        /// time between adverts
        advertise: Duration = key(Time::of(Duration::ZERO..=Duration::MAX)).or(Duration::from_secs(1))
            .values("version 2: whole seconds, 1 to 255; version 3: multiples of 10 ms, 10 ms to 40.95 s");
        /// PASS authentication (RFC 2338), the same on all its directors; it is sent as plain text. No error shows it
        password: Password = key(PASSWORD);
        /// the other directors, each sent to by itself, where the network has no multicast; only they are heard then
        peers: Vec<Spanned<IpAddr>> = key(PEERS).without("multicast");
        /// adverts with a lower TTL or hop limit are dropped: 255 shows that no router passed them on
        minimum_ttl: u8 = key(Number::of(1..=255)).without("`255`; with `peers` none");
        /// whether a master of lower priority is displaced
        preempt: bool = key(Flag).or(true);
        /// how long such a master is let be after it was first heard; not with `preempt = false`
        preempt_delay: Duration = key(Time::of(Duration::ZERO..=HOUR)).or(Duration::ZERO).example("\"10s\"");
        /// how long a master that gives up keeps its VIPs and forwards while it waits for its successor's advert
        handover: Duration = key(Time::of(Duration::ZERO..=HOUR).zero("withdraw at once")).example("\"4s\"")
            .without("4 intervals, at least 100 ms and at most 30 s");
        /// version 3 over IPv4 alone, whose checksum RFC 9568 has plain and many implementations with a
        /// pseudo-header: `auto` sends the latter and takes both
        checksum: Checksum = key(CHECKSUM).or(Checksum::Auto);
        /// the VIPs have the virtual router's MAC address (00:00:5e:00:01:ID, for IPv6 00:00:5e:00:02:ID), on a
        /// macvlan, instead of the interface's own
        virtual_mac: bool = key(Flag).or(false);
        /// what a director that isn't master does with packets for the VIPs that are sent to its own MAC address:
        /// forward them, so that a stale ARP entry costs nobody a packet, or leave them to the kernel
        backup: Backup = key(BACKUP).or(Backup::Forward);
        /// virtual routers of one group change state together: if one gives up, all do. A group has two members or
        /// more, of the same `preempt` and `preempt_delay`
        sync_group: String = key(NAME).example("\"both\"");
        /// how a new master tells the segment
        announce: Read<AnnounceKeys> = key(Table::new()).implied().without("see below");
        /// what changes the priority, or gives up the VIPs
        track: Vec<Read<TrackKeys>> = key(Tables::new("track")).example("[{ interface = \"eth2\" }]");
        /// whether it takes no part while its own interface is down or has no link; without, it stays what it is (keepalived's
        /// `dont_track_primary`)
        track_link: bool = key(Flag).or(true);
        /// a command that is run at each change of state, with further arguments by `notify_style`; no shell is in between
        notify: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// the further arguments of `notify`: `lb` the new state, NAME and the VIPs; `keepalived` what keepalived gives its own scripts:
        /// INSTANCE, NAME, MASTER, BACKUP, FAULT or STOP, the priority
        notify_style: Style = key(Style::WORDS).or(Style::Lb);
        /// a command that is run when it becomes master, as it is written
        notify_master: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … backup
        notify_backup: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … when it can't take part: its interface is gone, or what it tracks fails
        notify_fault: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// … when it ends, with the agent or by a reload
        notify_stop: Vec<Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// the user that these commands run as
        notify_user: String = key(notify::USER).without("the agent's own");
        /// when a command that still runs is ended
        notify_timeout: Duration = key(notify::timeout()).or(notify::TIMEOUT);
    }
}

/// The rules of all virtual routers.
pub fn accept(
    routers: &[Named<VrrpKeys>],
    declared: Declared<'_>,
    source: &Source,
    findings: &mut Findings,
) -> (Vec<Vrrp>, Vec<VrrpPlaces>) {
    rules::among(routers, source, findings);
    group::check(routers, source, findings);
    let paces = announce::paces(routers, source, findings);
    let pace = |read: &Named<VrrpKeys>| read.interface.get().and_then(|name| paces.get(name.as_str())).copied();
    routers.iter().filter_map(|read| one(read, declared, pace(read), findings)).unzip()
}

fn one(
    read: &Named<VrrpKeys>,
    declared: Declared<'_>,
    pace: Option<u32>,
    findings: &mut Findings,
) -> Option<(Vrrp, VrrpPlaces)> {
    rules::advertise(read, findings);
    rules::password(read, findings);
    rules::addresses(read, findings);
    rules::peers(read, findings);
    rules::checksum(read, findings);
    rules::preempt(read, findings);
    let given = scripts::Given {
        any: &read.notify,
        style: &read.notify_style,
        on: [&read.notify_master, &read.notify_backup, &read.notify_fault, &read.notify_stop],
        user: &read.notify_user,
        timeout: &read.notify_timeout,
    };
    let (scripts, own) = scripts::accept(&given, findings);
    let tracked = read.track.get().map_or(&[][..], Vec::as_slice);
    let track = track::accept(tracked, read.priority.copied(), declared, findings);

    let commands = tracked.iter().filter_map(|track| track.script.get()?.program().cloned()).chain(own);
    let (interface, span) = read.interface.written()?;
    let places = VrrpPlaces {
        header: read.span.clone(),
        interface: span,
        addresses: read.addresses.items().iter().map(Spanned::span).collect(),
        programs: commands.collect(),
    };
    let vrrp = Vrrp {
        name: read.name.get_ref().clone(),
        interface: interface.clone(),
        id: read.id.copied()?,
        version: read.version.copied()?,
        priority: read.priority.copied()?,
        advertise: read.advertise.copied()?,
        password: read.password.cloned(),
        addresses: values(read.addresses.items()),
        peers: values(read.peers.items()),
        minimum_ttl: read.minimum_ttl.copied(),
        preempt: read.preempt.copied()?,
        preempt_delay: read.preempt_delay.copied()?,
        handover: read.handover.copied(),
        checksum: read.checksum.copied()?,
        virtual_mac: read.virtual_mac.copied()?,
        backup: read.backup.copied()?,
        sync_group: read.sync_group.cloned(),
        announce: announce::accept(read.announce.get(), pace)?,
        track,
        track_link: read.track_link.copied()?,
        scripts,
    };
    Some((vrrp, places))
}

fn values<T: Clone>(items: &[Spanned<T>]) -> Vec<T> {
    items.iter().map(|item| item.get_ref().clone()).collect()
}

impl Vrrp {
    /// The interface that one of its VIPs is put on.
    #[must_use]
    pub fn interface_of<'a>(&'a self, vip: &'a Vip) -> &'a str {
        vip.interface.as_deref().unwrap_or(&self.interface)
    }

    /// Who it speaks to, when it takes over and gives up, and what it does then.
    pub fn describe(&self, out: &mut String) {
        out.push_str(&wrap(&format!("  {}", words::head(self)), "    "));
        let addresses: Vec<String> = self.addresses.iter().map(Vip::to_string).collect();
        let mut lines =
            vec![addresses.join(", "), words::adverts(self), words::takes_over(self), words::gives_up(self)];
        lines.extend(self.track.iter().map(Track::words));
        lines.push(self.announce.words(self.virtual_mac));
        lines.push(words::backup(self).to_owned());
        if let Some(group) = &self.sync_group {
            lines.push(format!("changes state with the others of sync group {group}"));
        }
        lines.extend((!self.track_link).then(|| format!("stays what it is while {} has no link", self.interface)));
        lines.extend(self.scripts.words());
        for line in lines {
            out.push_str(&wrap(&format!("    {line}"), "      "));
        }
    }
}
