//! What happens before the first event: the configuration is read and held against the machine, the program
//! loaded and attached, the maps brought to what was adopted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use lb_common::maps::{self, Address};
use nix::fcntl::{Flock, FlockArg};
use tracing::{info, warn};

use crate::api::RUN;
use crate::config::{self, Config, Limits, Loaded, Mode, Real, Service};
use crate::dataplane::{Adopted, Attached, Dataplane, Hook, Pins, Purpose, Sizes};
use crate::health::join::join;
use crate::health::kept::Records;
use crate::health::{self, Failure, Health, Target};
use crate::host::links::{self, Link};
use crate::host::neighbour::Resolved;
use crate::host::stack;
use crate::peers::Key;

use crate::planner::allocation::PoolName;
use crate::planner::model::{GUESSED, Hop, Interface, Model, probes};
use crate::planner::overrides::Overrides;
use crate::planner::plan::{key, mapped_address};

/// Held while an agent runs: two would write the same maps.
pub struct Lock(#[expect(dead_code, reason = "it is held, not used")] Flock<File>);

/// The lock is tried this often, this far apart, before another agent is taken to hold it.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(10);

/// Takes the agent's lock, and makes its directory.
///
/// # Errors
/// Another agent runs, or the directory can't be made.
pub fn lock() -> Result<Lock> {
    fs::create_dir_all(RUN).with_context(|| format!("{RUN} can't be made; run as root"))?;
    let path = Path::new(RUN).join("lock");
    let file = File::create(&path).with_context(|| format!("{} can't be made; run as root", path.display()))?;
    let mut file = file;
    // A guard or `lb release` that looks holds it for a moment.
    for _ in 0..LOOKS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((held, _)) => file = held,
        }
        std::thread::sleep(LOOK);
    }
    bail!(
        "another lb agent runs on this machine (it holds {}).\n\
         Stop it first, or reload it with SIGHUP.",
        path.display()
    )
}

/// Whether an agent runs on this machine: it holds the lock.
///
/// # Errors
/// The lock can't be looked at.
pub fn is_locked() -> Result<bool> {
    let path = Path::new(RUN).join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("{} can't be opened; run as root", path.display())),
    };
    // Shared, so that two that look don't take each other for an agent.
    Ok(Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}

/// The configuration file is wrong in itself, whatever this machine is like.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Misconfigured(pub config::Error);

/// Reads the configuration and holds it against the machine, where an interface may be missing that is `awaited` by name. It is
/// that of a director that observes alone where `observe` says so.
///
/// # Errors
/// Every fault of the file, at its place; or every one of the files that its checks name.
pub async fn read(path: &Path, observe: bool, awaited: impl Fn(&str) -> bool) -> Result<(Loaded, Vec<Link>)> {
    let (mut loaded, links) = hold(config::read(path).map_err(Misconfigured)?, awaited).await?;
    if observe {
        loaded.config = loaded.config.observing();
    }
    Ok((loaded, links))
}

/// Holds a configuration against the machine, as [`read`] does.
///
/// # Errors
/// Whatever doesn't fit it.
pub async fn hold(mut loaded: Loaded, awaited: impl Fn(&str) -> bool) -> Result<(Loaded, Vec<Link>)> {
    if let Some(peers) = &loaded.config.peers {
        // What all directors of one key compute alike, and nobody else.
        loaded.config.director.hash_seed = Key::read(&peers.key_file).context("[peers]: key_file")?.hash_seed();
    }
    let links = links::snapshot().await?;
    config::machine::check(&loaded, &segments(&links), awaited)?;
    config::check_files(&loaded, health::unusable)?;
    Ok((loaded, links))
}

/// The machine's interfaces, as the configuration's check asks for them.
pub fn segments(links: &[Link]) -> config::machine::Segments {
    let interface = |link: &Link| config::machine::Interface {
        name: link.name.clone(),
        altnames: link.altnames.clone(),
        index: link.index,
        parent: link.vlan.and_then(|vlan| vlan.parent),
        master: link.controller,
        addresses: link.addresses.clone(),
    };
    config::machine::Segments { interfaces: links.iter().map(interface).collect() }
}

/// Map sizes by the configuration: its rings have room to be half as many again.
pub fn sizes(config: &Config) -> Sizes {
    let Limits { services, reals, slots, flows } = config.limits;
    let rings: u64 = config.services.iter().map(|service| u64::from(service.ring_size) + 1).sum();
    let slots = u32::try_from((rings + rings / 2).max(slots.into())).unwrap_or(u32::MAX);
    Sizes { services, reals, slots, flows }
}

/// Loads the program over what is pinned, and attaches it to those of the configuration's interfaces that are there.
///
/// # Errors
/// Nothing stays that was not there before.
pub fn open(config: &Config, links: &[Link]) -> Result<(Dataplane, BTreeMap<String, Interface>)> {
    let pins = Pins::default();
    let fresh = !pins.exist();
    let opened = open_at(&pins, config, links);
    if opened.is_err() && fresh {
        let _ = pins.remove();
    }
    opened
}

fn open_at(pins: &Pins, config: &Config, links: &[Link]) -> Result<(Dataplane, BTreeMap<String, Interface>)> {
    let purpose = if config.observed.is_some() { Purpose::Observe } else { Purpose::Forward };
    let mut dataplane = Dataplane::open(pins.clone(), sizes(config), purpose)?;
    if purpose == Purpose::Observe && !dataplane.adopted().observed && !dataplane.adopted().services.is_empty() {
        bail!(
            "lb forwards on this machine, and would cease to if it observed.\n\
             End that first with `lb detach`, or run it without --observe."
        );
    }
    let mut interfaces = BTreeMap::new();
    for name in config.director.interfaces.iter().filter(|name| links::named(links, name).is_some()) {
        let interface = attach(&mut dataplane, name, config.director.mode, links)?;
        interfaces.insert(name.clone(), interface);
    }
    if let Err(error) = dataplane.watch_drops() {
        warn!("what the kernel drops behind the program isn't counted: {error}");
    }
    Ok((dataplane, interfaces))
}

/// Attaches the program to one interface.
///
/// # Errors
/// There is no such interface, or it can't run the program.
pub fn attach(dataplane: &mut Dataplane, name: &str, mode: Mode, links: &[Link]) -> Result<Interface> {
    let link = links::named(links, name);
    let (index, device, mac) = match link.map(|link| (link, stack::mac(links, link.index))) {
        Some((link, Some(mac))) => (link.index, link.name.clone(), mac),
        Some(_) => bail!("{name} has no MAC address: it is no Ethernet interface.\nSee `interfaces` in [director]."),
        None => bail!("no interface {name} on this machine.\nSee `ip link`, and `interfaces` in [director]."),
    };
    let attached = dataplane.attach(name, index, mode)?;
    let how = match attached {
        Attached::Adopted(_) => "adopted, without a gap",
        Attached::New(_) => "attached",
    };
    let place = match attached.hook() {
        Hook::Native => "native XDP",
        Hook::Tc => "tc",
    };
    info!("{name}: program {how}, {place}");
    let (vlans, slaves) = (stack::vlans(links, index), stack::slaves(links, index));
    Ok(Interface { name: name.to_owned(), device, index, mac, mode: attached.hook(), vlans, slaves })
}

/// What is there of an agent before this one.
pub struct Before<'a> {
    /// What the pinned maps hold.
    pub adopted: &'a Adopted,
    /// What its checks knew.
    pub records: &'a Records,
}

/// A model that starts from what the pinned maps hold: a real that took traffic goes on taking it until a
/// check or the neighbour table says otherwise. One that the configuration doesn't name, but a service of it had, drains:
/// it did so when the last agent ended, or was left out meanwhile.
pub fn adopt(
    config: Arc<Config>,
    interfaces: BTreeMap<String, Interface>,
    links: &[Link],
    before: &Before<'_>,
    mut overrides: Overrides,
    now: SystemTime,
) -> Model {
    let adopted = before.adopted;
    let mut model = Model::new(config, interfaces, now);
    model.fresh = adopted.services.is_empty();
    for gone in overrides.follow(&model.config) {
        info!("{gone} is not in the file: what was set for it at run time is forgotten");
    }
    overrides.expire(now);
    model.overrides = overrides;
    let mut pools = BTreeSet::new();
    for service in &model.config.clone().services {
        let Some(placed) = adopted.services.get(&key(service)) else { continue };
        // One of its services tells of a pool.
        if !pools.insert((PoolName::of(service), placed.reals)) {
            continue;
        }
        let held: HashMap<Address, &maps::Real> =
            adopted.reals_of(placed).map(|(_, real)| (real.address, real)).collect();
        let named: HashSet<Address> = service.all_reals().map(|real| mapped_address(real.address)).collect();
        let left =
            held.values().filter(|entry| entry.flags & maps::Real::USABLE != 0 && !named.contains(&entry.address));
        let left: Vec<Real> = left.map(|entry| left_out(entry, &model.interfaces, links)).collect();
        for real in &left {
            model.draining.begin(service, real.clone(), now);
        }
        let sorry = service.sorry().and_then(|sorry| held.get(&mapped_address(sorry.address)));
        if sorry.is_some_and(|entry| entry.weight > 0) {
            model.fleets.adopt_lost(service);
        }
        for real in service.all_reals().chain(&left) {
            for target in probes(service, real).filter(|target| target.check.weighs()) {
                let weight = before.records.weight(&target);
                model.set_weight(&target, weight);
            }
            let entry = held.get(&mapped_address(real.address)).copied();
            let entry = entry.filter(|entry| entry.flags & maps::Real::USABLE != 0);
            let guessed = entry.map(|entry| adopted_health(&model, service, real, entry, now));
            let takes_new = entry.is_some_and(|entry| entry.weight > 0);
            match known(service, real, before.records, takes_new, guessed.as_ref(), now) {
                Some(known) => model.health.extend(known),
                None => model.health.extend(
                    guessed.into_iter().flat_map(|held| probes(service, real).map(move |probe| (probe, held.clone()))),
                ),
            }
            let Some(entry) = entry else { continue };
            let vlan = (entry.vlan != maps::Real::KEEP_VLAN).then_some(entry.vlan);
            let maps::Real { mac, ifindex, source_mac, .. } = *entry;
            let hop = Resolved { mac, ifindex, source_mac, vlan, by_kernel: false };
            model.hops.insert(real.address, Hop::Reached(hop));
        }
    }
    model
}

/// What is known of each check of a real, where all of it counts still and goes with the maps, which were written first: a real
/// that is up took traffic, one that is down got no new connections.
fn known(
    service: &Service,
    real: &Real,
    records: &Records,
    takes_new: bool,
    guessed: Option<&Health>,
    now: SystemTime,
) -> Option<Vec<(Target, Health)>> {
    let each = |target: Target| records.health(&target, now).cloned().map(|health| (target, health));
    let each: Vec<(Target, Health)> = probes(service, real).map(each).collect::<Option<_>>()?;
    let joined = join(service.checks_of(real).join, each.iter().map(|(_, health)| (String::new(), Some(health))))?;
    let agrees = match joined {
        Health::Up { .. } => matches!(guessed, Some(Health::Up { .. })),
        Health::Down { .. } => !takes_new,
        Health::Unknown => false,
    };
    agrees.then_some(each)
}

/// What is known of a real that took traffic: one that got no new connections, though nobody had said so, had failed
/// its check.
fn adopted_health(model: &Model, service: &Service, real: &Real, entry: &maps::Real, now: SystemTime) -> Health {
    let waits = service.sorry().is_some_and(|sorry| sorry.address == real.address);
    let told = waits || model.weight(service, real) == 0 || model.overrides.of(service, real.address).is_some();
    if entry.weight > 0 || told {
        return Health::Up { since: now };
    }
    let reason = GUESSED.to_owned();
    Health::Down { since: now, failure: Failure::Wrong, reason }
}

/// A real that the configuration doesn't name, by its entry. Off the segments of this machine it was configured with its
/// MAC address; on one the neighbour table knows better.
fn left_out(entry: &maps::Real, interfaces: &BTreeMap<String, Interface>, links: &[Link]) -> Real {
    let address = IpAddr::from(entry.address).to_canonical();
    let near = links.iter().flat_map(|link| &link.addresses).any(|segment| segment.contains(&address));
    let by = interfaces.values().find(|interface| interface.has(entry.ifindex));
    Real {
        address,
        weight: 0,
        mac: (!near).then_some(entry.mac),
        interface: by.filter(|_| !near).map(|interface| interface.name.clone()),
        vlan: (entry.vlan != maps::Real::KEEP_VLAN).then_some(entry.vlan),
        checks: None,
    }
}

/// Lets the health checks have as many connections at once as the system allows this process.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("the limit of open files can't be raised: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::history::History;
    use crate::health::kept::{Asked, Record};
    use crate::health::machine::Kept;

    /// A real with two checks, of which each is up, down or not known any more; what the maps have of it (nothing, or a weight); and
    /// whether what was known of the checks is taken over.
    #[test]
    fn what_is_known_of_checks_is_taken_over_where_it_goes_with_the_maps() {
        let text = "[director]\ninterfaces = [\"eth1\"]\n[service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n\
                    check = [{ type = \"tcp\" }, { type = \"ping\" }]\njoin_checks = \"JOIN\"\n\
                    reals = [{ address = \"192.0.2.40\" }]\n";
        let now = SystemTime::now();
        let up = Health::Up { since: now };
        let down = Health::Down { since: now, failure: Failure::Unreachable, reason: "refused".to_owned() };
        let guess = Health::Down { since: now, failure: Failure::Wrong, reason: GUESSED.to_owned() };
        let (u, d) = (Some(&up), Some(&down));
        #[rustfmt::skip]
        let rows = [
            ("all", [u, u],    Some(1), true),
            ("all", [u, u],    None,    false),
            ("all", [u, u],    Some(0), false),
            ("all", [u, d],    None,    true),
            ("all", [u, d],    Some(0), true),
            ("all", [u, d],    Some(1), false),
            ("all", [u, None], Some(1), false),
            ("any", [u, d],    Some(1), true),
            ("any", [u, d],    None,    false),
            ("any", [d, d],    None,    true),
        ];
        for (how, each, weight, expected) in rows {
            let config = config::parse(Path::new("lb.toml"), &text.replace("JOIN", how)).unwrap().config;
            let (service, real) = (&config.services[0], &config.services[0].reals[0]);
            let record = |(target, health): (Target, Option<&Health>)| {
                let kept =
                    Kept { health: health?.clone(), heard: now, weight: None, against: 0, held: Default::default() };
                Some((Asked::of(&target), Record { kept, history: History::default() }))
            };
            let records: Records = probes(service, real).zip(each).filter_map(record).collect();
            let guessed = weight.map(|weight| if weight > 0 { &up } else { &guess });
            let takes_new = weight.is_some_and(|weight| weight > 0);
            let known = known(service, real, &records, takes_new, guessed, now);
            let wanted: Vec<(Target, Health)> =
                probes(service, real).zip(each.into_iter().flatten().cloned()).collect();
            assert_eq!(known, expected.then_some(wanted), "{how} {each:?} {weight:?}");
        }
    }
}
