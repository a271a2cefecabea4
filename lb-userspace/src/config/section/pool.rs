//! `[pool.NAME]`: reals and their check, named once for several services.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::check::{self, Owner, Place, ReadCheck};
use super::checks::{self, Checks, Join, OneOrMore};
use super::fleet::{self, Fleet, FleetKeys};
use super::notify::{self, Notify};
use super::real::{self, RealKeys, RealPlaces, Reals};
use super::script::Script;
use super::service::{BY_FAILURE, DAY, OnFailure, Service, ServiceKeys, ServicePlaces};
use super::vips::{Vips, family};
use crate::config::read::source::{Source, Span};
use crate::config::read::value::short;
use crate::config::read::{Named, Read, Table, Tables, Time, key, keys};
use crate::config::report::{Findings, suggest, text::wrap};

/// `[pool.NAME]`: reals and their check, named once for several services.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// NAME.
    pub name: String,
    /// How its reals are checked that have no checks of their own; none in a pool that no service names.
    pub checks: Checks,
    /// What becomes of the connections of a real whose check fails; `None` goes by the kind of failure.
    pub on_failure: Option<OnFailure>,
    /// How long a real that leaves the file may keep its connections; `None` for as long as they live.
    pub drain_deadline: Option<Duration>,
    /// What its reals do together.
    pub fleet: Option<Arc<Fleet>>,
    /// Who hears of changes.
    pub notify: Option<Arc<Notify>>,
    /// Its reals, in the file's order, all of one family; no address twice. Its services share them.
    pub reals: Reals,
}

/// Places within one `[pool.NAME]`.
#[derive(Debug, Clone)]
pub struct PoolPlaces {
    /// The section's header.
    pub header: Span,
    /// Each real.
    pub reals: Vec<RealPlaces>,
    /// Its sorry server.
    pub sorry: Option<RealPlaces>,
    /// The program of `notify`.
    pub program: Option<toml::Spanned<String>>,
}

keys! {
    #[derive(Debug)]
    pub struct PoolKeys {
        /// how its reals are checked; without one each counts as healthy. Its `port` is that of the pool's services, where
        /// they have the same, and required where they don't
        check: Vec<ReadCheck> = key(OneOrMore);
        /// as in a service: how several checks of a real are joined
        join_checks: Join = key(Join::WORDS).or(Join::All);
        /// as in a service: what becomes of the connections of a real whose check fails
        on_failure: OnFailure = key(OnFailure::WORDS).without(BY_FAILURE);
        /// as in a service: how long a real that is taken out of the file may keep its connections
        drain_deadline: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).without("as long as they live");
        /// as in a service: what its reals do together
        fleet: Read<FleetKeys> = key(Table::new()).without("see below");
        /// as in a service: a command that hears of changes of its reals, and of its services
        notify: Vec<toml::Spanned<String>> = key(notify::COMMAND).values(notify::COMMAND_VALUES);
        /// when a command that still runs is ended
        notify_timeout: Duration = key(notify::timeout()).or(notify::TIMEOUT);
        /// its real servers, at least one
        reals: Vec<Read<RealKeys>> = key(Tables::new("real")
            .not_empty("has no real to send to", "add a real, or remove the pool")).required();
    }
}

/// The services and pools of a file, as they were read.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    /// `[service.NAME]`.
    pub services: &'a [Named<ServiceKeys>],
    /// `[pool.NAME]`.
    pub pools: &'a [Named<PoolKeys>],
    /// `[script.NAME]`; `None` for one that was refused.
    pub scripts: &'a BTreeMap<String, Option<Script>>,
}

impl<'a> Declared<'a> {
    /// The pool of this name.
    pub fn pool(self, name: &str) -> Option<&'a Named<PoolKeys>> {
        self.pools.iter().find(|pool| pool.name.get_ref() == name)
    }

    /// A service's reals, its own or its pool's.
    pub fn reals(self, service: &'a Named<ServiceKeys>) -> &'a [Read<RealKeys>] {
        let reals = match service.pool.get() {
            Some(name) => self.pool(name).and_then(|pool| pool.reals.get()),
            None => service.reals.get(),
        };
        reals.map_or(&[], Vec::as_slice)
    }

    /// How many reals a service has, its sorry server among them.
    pub fn count_reals(self, service: &'a Named<ServiceKeys>) -> usize {
        let fleet = match service.pool.get() {
            Some(name) => self.pool(name).and_then(|pool| pool.fleet.get()),
            None => service.fleet.get(),
        };
        self.reals(service).len() + usize::from(fleet.is_some_and(|fleet| fleet.sorry.get().is_some()))
    }
}

/// The pool that a service of several ports has its reals in: its own, of its name.
pub(super) fn of_its_own(service: &Service, places: &ServicePlaces, sorry: Option<RealPlaces>) -> (Pool, PoolPlaces) {
    let pool = Pool {
        name: service.name.clone(),
        checks: service.checks.clone(),
        on_failure: service.on_failure,
        drain_deadline: service.drain_deadline,
        fleet: service.fleet.clone(),
        notify: service.notify.clone(),
        reals: service.reals.clone(),
    };
    let places = PoolPlaces {
        header: places.header.clone(),
        reals: places.reals.clone(),
        sorry,
        program: places.program.clone(),
    };
    (pool, places)
}

/// The rules of all pools.
pub fn accept(
    declared: Declared<'_>,
    vips: &Vips,
    source: &Source,
    findings: &mut Findings,
) -> (Vec<Pool>, Vec<PoolPlaces>) {
    let mut ports: HashMap<&str, BTreeSet<Option<u16>>> = HashMap::new();
    let mut addresses: HashMap<&str, BTreeSet<IpAddr>> = HashMap::new();
    for service in declared.services {
        if let (Some(name), Some(endpoint)) = (service.pool.get(), service.address.get()) {
            let own = service.ports.items().iter().map(|port| port.get_ref().0);
            let one = Some(endpoint.port).filter(|_| service.ports.key().is_none());
            ports.entry(name).or_default().extend(own.chain(one));
            addresses.entry(name).or_default().insert(endpoint.address);
        }
    }
    let one = |read: &Named<PoolKeys>| {
        let list = read.reals.get().map_or(&[][..], Vec::as_slice);
        let family = list.iter().find_map(|real| real.address.copied());
        let ports = ports.remove(read.name.get_ref().as_str()).unwrap_or_default();
        let served: Vec<IpAddr> =
            addresses.remove(read.name.get_ref().as_str()).unwrap_or_default().into_iter().collect();
        let owner = Owner::Pool(read.name.get_ref().clone());
        let check = |check: &ReadCheck, own: Option<IpAddr>, findings: &mut Findings| {
            let port = port_of(&format!("the services of {} have", read.title), check, &ports, findings);
            check::accept(check, Place { owner: &owner, port, own, family, vips, served: &served }, findings)
        };
        let checks = checks::accept(&read.check, &read.join_checks, &check, findings);
        let (reals, places) = real::accept(list, "pool", None, vips, (&checks, &check), source, findings);
        is_of_one_family(list, findings);
        let (fleet, sorry) = fleet::accept(&read.fleet, list, (None, vips), &check, source, findings);
        let (notify, program) = notify::accept(&read.notify, &read.notify_timeout, findings);
        let pool = Pool {
            name: read.name.get_ref().clone(),
            checks,
            on_failure: read.on_failure.copied(),
            drain_deadline: read.drain_deadline.copied(),
            fleet,
            notify,
            reals: reals.into(),
        };
        (pool, PoolPlaces { header: read.span.clone(), reals: places, sorry, program })
    };
    declared.pools.iter().map(one).unzip()
}

/// The port of a pool's services, for a check of reals that are asked once, whichever services they are of.
pub(super) fn port_of(
    whose: &str,
    check: &ReadCheck,
    ports: &BTreeSet<Option<u16>>,
    findings: &mut Findings,
) -> Option<Option<u16>> {
    match ports.first() {
        Some(port) if ports.len() == 1 => Some(*port),
        _ if check.has_port() => Some(None),
        None => None,
        Some(_) => {
            let words = |port: &Option<u16>| port.map_or_else(|| "any".to_owned(), |port| port.to_string());
            let ports: Vec<String> = ports.iter().take(MANY).map(words).collect();
            findings.report(
                check.span(),
                format!("{whose} ports {}, so its check needs one", ports.join(", ")),
                "add the port that shows whether a real works, such as port = 80; or make a pool for each port",
            );
            None
        }
    }
}

fn is_of_one_family(reals: &[Read<RealKeys>], findings: &mut Findings) {
    let mut all = reals.iter().filter_map(|real| real.address.written());
    let Some((&first, _)) = all.next() else { return };
    if let Some((&other, span)) = all.find(|(address, _)| address.is_ipv6() != first.is_ipv6()) {
        findings.report(
            span,
            format!("{other} is {}, but {first} of this pool is {}", family(other), family(first)),
            "make a pool of each family: a VIP's reals are of its own",
        );
    }
}

/// The pool that a service names, which may then have no reals and no check of its own.
pub fn of_service<'a>(
    read: &Named<ServiceKeys>,
    pools: &'a HashMap<&str, &'a Pool>,
    findings: &mut Findings,
) -> Option<&'a Pool> {
    let (name, span) = read.pool.written()?;
    if let Some(own) = read.reals.key() {
        findings.report(
            own,
            format!("{} has a pool, and reals of its own", read.title),
            format!("remove one of the two; the pool's reals are in [pool.{}]", short(name)),
        );
    }
    if let Some(own) = read.check.key() {
        findings.report(
            own,
            format!("{} has a pool, whose reals are checked once for all its services", read.title),
            format!("move the check to [pool.{0}], or the reals of [pool.{0}] to this service", short(name)),
        );
    }
    for (own, key) in [
        (read.on_failure.key(), "on_failure"),
        (read.drain_deadline.key(), "drain_deadline"),
        (read.join_checks.key(), "join_checks"),
        (read.fleet.key(), "fleet"),
        (read.notify.key(), "notify"),
        (read.notify_timeout.key(), "notify_timeout"),
    ] {
        if let Some(own) = own {
            findings.report(
                own,
                format!("{} has a pool, and its reals' `{key}` is the pool's", read.title),
                format!("move the line to [pool.{}]", short(name)),
            );
        }
    }
    if findings.is_excused(&format!("[pool.{}]", short(name))) {
        return None;
    }
    let Some(pool) = pools.get(name.as_str()) else {
        let mend = if pools.is_empty() {
            format!("add [pool.{}], or give the service reals of its own", short(name))
        } else {
            let mut names: Vec<&str> = pools.keys().copied().collect();
            names.sort_unstable();
            suggest::mend(name, "The file's pools are", names.into_iter().take(MANY))
        };
        findings.report(span, format!("there is no pool \"{}\"", short(name)), mend);
        return None;
    };
    let vip = read.address.get().map(|endpoint| endpoint.address);
    if let (Some(vip), Some(real)) = (vip, pool.reals.first())
        && vip.is_ipv6() != real.address.is_ipv6()
    {
        findings.report(
            span,
            format!("the reals of [pool.{name}] are {}, but the VIP is {vip}", family(real.address)),
            format!("direct routing doesn't translate: name a pool of {} reals", family(vip)),
        );
    }
    Some(pool)
}

/// Names that a line lists at most.
const MANY: usize = 12;

/// All pools in words.
pub fn describe(out: &mut String, pools: &[Pool], services: &[Service]) {
    out.push_str("\nPools\n");
    let mut users: HashMap<&str, usize> = HashMap::new();
    services.iter().filter_map(|service| service.pool.as_deref()).for_each(|name| *users.entry(name).or_default() += 1);
    for pool in pools {
        let count = users.get(pool.name.as_str()).copied().unwrap_or(0);
        let plural = if count == 1 { "" } else { "s" };
        let _ = writeln!(out, "  {}: for {count} service{plural}", pool.name);
        for line in pool.checks.words() {
            out.push_str(&wrap(&format!("     {line}"), "       "));
        }
        let notify = pool.notify.iter().map(|notify| notify.words());
        for line in pool.fleet.iter().flat_map(|fleet| fleet.words()).chain(notify) {
            out.push_str(&wrap(&format!("     {line}"), "       "));
        }
        let widest = pool.reals.iter().map(|real| real.address.to_string().len()).max().unwrap_or(0);
        for real in &pool.reals {
            let quiesced = if real.weight == 0 { " (quiesced)" } else { "" };
            let address = real.address.to_string();
            let _ = writeln!(out, "  -> {address:widest$}  weight {:6}{quiesced}", real.weight);
            if let Some(way) = real.way() {
                let _ = writeln!(out, "     {way}");
            }
        }
    }
}
