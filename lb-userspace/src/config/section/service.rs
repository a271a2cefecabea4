//! `[service.NAME]`: a virtual service.

pub mod ports;
mod rules;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::check::{self, Owner, Place, ReadCheck};
use super::checks::{self, Checks, Join, OneOrMore};
use super::fleet::{self, Fleet, FleetKeys};
use super::notify::{self, Notify};
use super::persistence::{self, Persistence};
use super::pool::{self, Declared, Pool, PoolPlaces};
use super::real::{self, Real, RealKeys, RealPlaces, Reals};
use super::seen::FirstSeen;
use super::vips::Vips;
use crate::config::read::source::{Source, Span};
use crate::config::read::texts::ANY;
use crate::config::read::value::{self, Endpoint};
use crate::config::read::{Choice, Named, Number, Read, Table, Tables, Text, Time, key, keys};
use crate::config::report::Findings;

pub use lb_common::Scheduler;
use ports::{PORTS, Part, Port};
pub use words::{describe, endpoint};

/// `[service.NAME]`: a virtual service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// NAME.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// The port, `None` for any port.
    pub port: Option<u16>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How a new connection finds its real.
    pub scheduler: Scheduler,
    /// How long a client stays on its real; `None`: each connection goes its own way.
    pub persistence: Option<Persistence>,
    /// What a datagram is to it.
    pub udp: Udp,
    /// Slots of the service's ring, a prime.
    pub ring_size: u32,
    /// How its reals are checked that have no checks of their own.
    pub checks: Checks,
    /// The `[pool.NAME]` that its checks and reals are of; `None` where they are its own.
    pub pool: Option<String>,
    /// What becomes of the connections of a real whose check fails; `None` goes by the kind of failure.
    pub on_failure: Option<OnFailure>,
    /// How long a real that leaves the file may keep its connections; `None` for as long as they live.
    pub drain_deadline: Option<Duration>,
    /// What its reals do together.
    pub fleet: Option<Arc<Fleet>>,
    /// Who hears of changes.
    pub notify: Option<Arc<Notify>>,
    /// Its reals, in the file's order; no address twice.
    pub reals: Reals,
}

/// What becomes of the connections of a real whose check fails. New ones go elsewhere in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They go to other reals at once, which reset them.
    Remove,
    /// They stay.
    Quiesce,
}

impl OnFailure {
    pub(super) const WORDS: Choice<Self> = Choice(&[("remove", Self::Remove), ("quiesce", Self::Quiesce)]);
}

/// Which datagrams belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Udp {
    /// Those of one client's port: a session.
    #[default]
    Session,
    /// None: each is a question of its own.
    Query,
    /// As a session, which an Initial packet begins.
    Quic,
}

impl Udp {
    const WORDS: Choice<Self> = Choice(&[("session", Self::Session), ("query", Self::Query), ("quic", Self::Quic)]);

    /// Its word.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::WORDS.0.iter().find(|(_, udp)| *udp == self).map_or("?", |(word, _)| word)
    }

    /// What it asks of the packet path: a flag of [`lb_common::maps::Service`].
    #[must_use]
    pub const fn flags(self) -> u16 {
        match self {
            Self::Session => 0,
            Self::Query => lb_common::maps::Service::QUERY,
            Self::Quic => lb_common::maps::Service::QUIC,
        }
    }
}

/// A service's transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
}

impl Protocol {
    /// `TCP` or `UDP`, as ipvsadm lists it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// All schedulers by their words.
pub(in crate::config) const SCHEDULERS: Choice<Scheduler> = Choice(Scheduler::WORDS);

/// How a scheduler picks a real, and what it keeps of it, for the documentation.
pub(in crate::config) fn scheduler_doc(scheduler: Scheduler) -> (&'static str, &'static str) {
    match scheduler {
        Scheduler::Mh => (
            "by weighted Maglev hash over client, port, VIP, port and protocol",
            "no state: every director with the same file picks the same real",
        ),
        Scheduler::Sh => (
            "by weighted Maglev hash over the client's address alone, so that one client stays on one real",
            "no state",
        ),
        Scheduler::Rr => {
            ("each real in turn; its weight counts only as 0 or not", "each connection, in the flow table")
        }
        Scheduler::Wrr => (
            "each real in turn, smoothly, as often as its weight says; the sum of the weights over their greatest \
             common divisor is at most 65536",
            "each connection",
        ),
        Scheduler::Lc => (
            "the real with the fewest live connections, an active one counting as 256 inactive ones; its weight counts \
             only as 0 or not",
            "each connection, and counts of each real",
        ),
        Scheduler::Wlc => {
            ("the same, the connections divided by the weight", "each connection, and counts of each real")
        }
        Scheduler::Sed => (
            "the real whose active connections, with the new one, are the fewest for its weight: the shortest expected \
             delay",
            "each connection, and counts of each real",
        ),
        Scheduler::Nq => (
            "a real without active connections, or else as `sed`: a new connection never queues while a real is idle",
            "each connection, and counts of each real",
        ),
    }
}

/// Places within one `[service.NAME]`.
#[derive(Debug, Clone)]
pub struct ServicePlaces {
    /// The section's header.
    pub header: Span,
    /// The value of `address`.
    pub address: Span,
    /// Where its port is.
    pub port: Span,
    /// Each real of its own.
    pub reals: Vec<RealPlaces>,
    /// Its own sorry server.
    pub sorry: Option<RealPlaces>,
    /// The program of `notify`.
    pub program: Option<toml::Spanned<String>>,
}

const ENDPOINT: Text<Endpoint> = Text {
    read: value::endpoint,
    example: "\"192.0.2.1:80\"",
    values: "`\"IP:PORT\"`, `\"[IPv6]:PORT\"`; `\"IP\"` or `\"IP:any\"` for any port",
};
const PROTOCOL: Choice<Protocol> = Choice(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]);

/// Longest drain.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// What `on_failure` is without being written.
pub(super) const BY_FAILURE: &str = "`remove` where the real can't be reached (refused, no answer), `quiesce` where it answers \
     otherwise than it should";

/// Slots of a ring where the file says none.
const RING: u32 = 65_537;

/// Slots of the smallest and the largest ring, both primes.
const RINGS: (u32, u32) = (251, 1_048_573);

/// Turns of one round of `wrr` at most: the sum of the weights over their greatest common divisor.
const MAX_TURNS: u64 = 65_536;

keys! {
    #[derive(Debug)]
    pub struct ServiceKeys {
        /// the VIP, and its port (1 to 65535). Where one service has any port and another a given one of the same
        /// VIP, the given one wins
        address: Endpoint = key(ENDPOINT).required();
        /// what it carries
        protocol: Protocol = key(PROTOCOL).unless("ports");
        /// several ports, each with its protocol, of an `address` without one: they share reals, checks and all else
        ports: Vec<toml::Spanned<Port>> = key(PORTS).example("[\"80/tcp\", \"443/tcp\", \"443/udp\"]").without("that of `address`");
        /// how a new connection finds its real; see below
        scheduler: Scheduler = key(SCHEDULERS).or(Scheduler::Mh);
        /// a client's new connections go where its last ones went, for so long after the last of them has ended; docs/schedulers.md
        persistence: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).without("each connection goes its own way");
        /// how many first bits of an address tell clients apart: with 24, all of 198.51.100.0/24 are one client
        persistence_prefix: u8 = key(Number::of(0..=128).unit("bits")).without("all of them");
        /// services of one VIP and pool with the same word here send a client to the same real (80 and 443, an FTP's ports)
        persistence_group: String = key(ANY).without("the service alone").example("\"shop\"").values("a word");
        /// which datagrams belong together: `session` those of one client's port, `query` none, each being a question of its own (DNS);
        /// `quic` as a session that an Initial packet begins
        udp: Udp = key(Udp::WORDS).or(Udp::Session);
        /// slots of the service's ring: 100 or more for each real share the load evenly, and each slot takes memory
        ring_size: u32 = key(Number::of(RINGS.0..=RINGS.1).unit("slots (a prime)")).or(RING)
            .values("a prime, 251 to 1048573, not less than the number of reals");
        /// the pool that has its reals and their check
        pool: String = key(ANY).without("reals of its own").example("\"ingress\"").values("NAME of a `[pool.NAME]`");
        /// how its reals are checked; without one each counts as healthy
        check: Vec<ReadCheck> = key(OneOrMore);
        /// how several checks of a real are joined: it is up while all are good, or while any of them is
        join_checks: Join = key(Join::WORDS).or(Join::All);
        /// what becomes of the connections of a real whose check fails: `remove` gives them up at once, so that other
        /// reals reset them; `quiesce` leaves them there, and only new ones go elsewhere
        on_failure: OnFailure = key(OnFailure::WORDS)
            .without(BY_FAILURE);
        /// how long a real that is taken out of the file may keep its connections
        drain_deadline: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).without("as long as they live");
        /// what its reals do together: slow starts, a quorum with a sorry server, a panic threshold; see below
        fleet: Read<FleetKeys> = key(Table::new()).without("see below");
        /// a command that is run at each change of its reals and of itself, with what changed as further arguments; see below. No shell is in between
        notify: Vec<toml::Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// when a command that still runs is ended
        notify_timeout: Duration = key(notify::timeout()).or(notify::TIMEOUT);
        /// its real servers, at least one
        reals: Vec<Read<RealKeys>> = key(Tables::new("real")
            .not_empty("has no real to send to", "add a real, or remove the service")).unless("pool");
    }
}

/// The rules of all services. One of several ports has its reals in a pool of its own, of its name, which is added to the others.
pub fn accept(
    declared: Declared<'_>,
    (pools, pool_places): (&mut Vec<Pool>, &mut Vec<PoolPlaces>),
    vips: &Vips,
    source: &Source,
    findings: &mut Findings,
) -> (Vec<Service>, Vec<ServicePlaces>) {
    let mut endpoints = FirstSeen::default();
    let parts: Vec<Vec<Part>> = declared.services.iter().map(|read| ports::parts(read, source, findings)).collect();
    for (service, part) in
        declared.services.iter().zip(&parts).flat_map(|(read, parts)| parts.iter().map(move |part| (read, part)))
    {
        let Some(address) = service.address.get().map(|endpoint| endpoint.address) else { continue };
        // A service of any port and one of a given port of the same address go together: the given port
        // is looked up first.
        if let Some(line) = endpoints.before((address, part.port, part.protocol), part.span.clone(), source) {
            findings.report(
                part.span.clone(),
                format!("another service has this address, port and protocol, on {line}"),
                "make one service of both, or change the port of one",
            );
        }
    }
    let by_name: HashMap<&str, &Pool> = pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let (mut all, mut own) = (Vec::new(), Vec::new());
    for (read, parts) in declared.services.iter().zip(parts) {
        let Some((service, places, sorry)) = one(read, &parts, declared, &by_name, vips, source, findings) else {
            continue;
        };
        if read.ports.key().is_none() || service.pool.is_some() {
            all.extend(parts.into_iter().map(|part| entry(&service, &places, part)));
            continue;
        }
        if let Some(pool) = by_name.get(service.name.as_str()) {
            let span = read.ports.key().unwrap_or(read.span.clone());
            findings.report(
                span,
                format!(
                    "the reals of a service of several ports are a pool of its name, and [pool.{}] is there",
                    pool.name
                ),
                format!("name that pool in the service: pool = \"{}\"; or give one of the two another name", pool.name),
            );
            continue;
        }
        let (pool, places_of_pool) = pool::of_its_own(&service, &places, sorry);
        let service = Service { pool: Some(pool.name.clone()), ..service };
        let places = ServicePlaces { reals: Vec::new(), sorry: None, program: None, ..places };
        own.push((pool, places_of_pool));
        all.extend(parts.into_iter().map(|part| entry(&service, &places, part)));
    }
    persistence::check_groups(&all, source, findings);
    let mut pooled: Vec<(Pool, PoolPlaces)> = pools.drain(..).zip(pool_places.drain(..)).chain(own).collect();
    pooled.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    (*pools, *pool_places) = pooled.into_iter().unzip();
    all.into_iter().unzip()
}

/// One of a service's entries.
fn entry(service: &Service, places: &ServicePlaces, part: Part) -> (Service, ServicePlaces) {
    let Part { name, port, protocol, span } = part;
    (Service { name, port, protocol, ..service.clone() }, ServicePlaces { port: span, ..places.clone() })
}

/// What all entries of a service have, as that of its first one. The place of its sorry server is its pool's, where it has one of its own.
fn one(
    read: &Named<ServiceKeys>,
    parts: &[Part],
    declared: Declared<'_>,
    pools: &HashMap<&str, &Pool>,
    vips: &Vips,
    source: &Source,
    findings: &mut Findings,
) -> Option<(Service, ServicePlaces, Option<RealPlaces>)> {
    let endpoint = read.address.written();
    let list = read.reals.get().map_or(&[][..], Vec::as_slice);
    let vip = endpoint.as_ref().map(|(endpoint, _)| endpoint.address);
    let numbers: BTreeSet<Option<u16>> = parts.iter().map(|part| part.port).collect();
    let owner = Owner::Service(read.name.get_ref().clone());
    let check = |check: &ReadCheck, own: Option<IpAddr>, findings: &mut Findings| {
        let port = match numbers.len() {
            0 => endpoint.as_ref().map(|(endpoint, _)| endpoint.port).filter(|_| read.ports.key().is_none()),
            _ => pool::port_of(&format!("{} has", read.title), check, &numbers, findings),
        };
        check::accept(check, Place { owner: &owner, port, own, family: vip, vips, served: vip.as_slice() }, findings)
    };
    let checks = checks::accept(&read.check, &read.join_checks, &check, findings);
    let (reals, real_places) = real::accept(list, "service", vip, vips, (&checks, &check), source, findings);
    let (fleet, sorry) = fleet::accept(&read.fleet, list, (vip, vips), &check, source, findings);
    let (notify, program) = notify::accept(&read.notify, &read.notify_timeout, findings);
    let pool = pool::of_service(read, pools, findings);
    rules::check_turns(read, declared.reals(read), findings);
    persistence::check_udp(read, findings);
    let persistence = vip.and_then(|vip| persistence::accept(read, vip, findings));
    rules::check_ring(read, declared.reals(read).len(), findings);

    let (&Endpoint { address, .. }, span) = endpoint?;
    let first = parts.first()?;
    let places = ServicePlaces {
        header: read.span.clone(),
        address: span,
        port: first.span.clone(),
        reals: real_places,
        sorry: sorry.clone(),
        program,
    };
    let service = Service {
        name: read.name.get_ref().clone(),
        address,
        port: first.port,
        protocol: first.protocol,
        scheduler: read.scheduler.copied()?,
        persistence,
        udp: read.udp.copied()?,
        ring_size: read.ring_size.copied()?,
        pool: read.pool.cloned(),
        checks: pool.map_or(checks, |pool| pool.checks.clone()),
        reals: pool.map_or_else(|| reals.into(), |pool| pool.reals.clone()),
        on_failure: pool.map_or(read.on_failure.copied(), |pool| pool.on_failure),
        drain_deadline: pool.map_or(read.drain_deadline.copied(), |pool| pool.drain_deadline),
        fleet: pool.map_or(fleet, |pool| pool.fleet.clone()),
        notify: pool.map_or(notify, |pool| pool.notify.clone()),
    };
    Some((service, places, sorry))
}

impl Service {
    /// How one of its reals is checked.
    #[must_use]
    pub fn checks_of<'a>(&'a self, real: &'a Real) -> &'a Checks {
        real.checks.as_ref().unwrap_or(&self.checks)
    }

    /// Who takes new connections while the quorum of its reals is lost.
    #[must_use]
    pub fn sorry(&self) -> Option<&Real> {
        self.fleet.as_ref()?.sorry.as_ref()
    }

    /// Its reals, and its sorry server.
    pub fn all_reals(&self) -> impl Iterator<Item = &Real> + Clone {
        self.reals.iter().chain(self.sorry())
    }
}
