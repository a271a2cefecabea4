//! What the agent tells of itself: the model and the counters as a [`Status`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use lb_common::maps::{Address, Drops, Real};
use lb_common::{Scheduler, Verdict};

use crate::api::{
    DropStatus, Estimate, FleetStatus, InterfaceStatus, PanicStatus, QuorumStatus, RealStatus, ServiceStatus, State,
    Status, VerdictStatus,
};
use crate::config::{Protocol, Service};
use crate::dataplane::{Adopted, Desired, Error, StatsReader, Swept};

use crate::planner::fleet::{Fleet, Healthy, Quorum};
use crate::planner::model::{Model, Standing, protocol_of, reals as reals_of};
use crate::planner::plan::{key, mapped_address};
use crate::rates::{Reading, Sampled};

/// What the controller holds of which a status tells.
pub struct Held<'c> {
    /// What is known.
    pub model: &'c Model,
    /// What the maps hold.
    pub desired: &'c Desired,
    /// Their counters: the frames that the kernel dropped are read, the others were.
    pub stats: &'c StatsReader,
    /// The others, as of a moment ago.
    pub reading: &'c Reading,
    /// How those rise.
    pub sampled: &'c Sampled,
    /// What the last walk through the flow table found.
    pub swept: &'c Swept,
}

/// The status of a running agent.
///
/// # Errors
/// The counters can't be read.
pub fn status(held: &Held<'_>, fault: Option<String>) -> Result<Status, Error> {
    let Held { model, desired, stats, reading, sampled, swept } = *held;
    let mut services = Vec::new();
    for service in &model.config.services {
        let at = key(service);
        let placed = desired.services.get(&at);
        let pool = placed.and_then(|placed| desired.pools.get(&placed.reals));
        let numbers: HashMap<Address, u16> =
            pool.into_iter().flat_map(|pool| &pool.reals).map(|(number, real)| (real.address, *number)).collect();
        let mut reals = Vec::new();
        let tracked = service.scheduler.is_tracked();
        for real in reals_of(service, &model.draining) {
            let counted = placed.zip(numbers.get(&mapped_address(real.address)));
            let standing = model.standing(service, real);
            let (quiesced, until) = match &standing {
                Standing::Down { quiesced, .. } => (*quiesced, None),
                Standing::Draining { until, .. } => (false, *until),
                _ => (false, None),
            };
            let share = model.share(service, real);
            let (state, since, why) = describe(standing);
            let state = if state == State::Up && !share.takes_new() { State::Standby } else { state };
            let live = counted.and_then(|(placed, number)| swept.flows.get(&(placed.id, *number)));
            let live = live.copied().unwrap_or_default();
            let sample = counted.and_then(|(placed, number)| swept.sampled.get(&(placed.id, *number)));
            let (weight, set) = (model.weight(service, real), model.overrides.of(service, real.address));
            reals.push(RealStatus {
                address: real.address,
                weight,
                file_weight: (weight != real.weight).then_some(real.weight),
                set_at_run_time: set.is_some(),
                weight_of: set
                    .is_none_or(|set| set.weight.is_none())
                    .then(|| model.asked_weight(service, real))
                    .flatten()
                    .map(|(_, check)| check.label()),
                left: model.draining.get(service, real.address).is_some(),
                sorry: service.sorry().is_some_and(|sorry| sorry.address == real.address),
                slow_start: share.slow_start(),
                panic: state == State::Down && share.takes_new(),
                quiesced,
                until: until.map(seconds),
                active_connections: tracked.then_some(live.active),
                inactive_connections: tracked.then_some(live.inactive),
                estimated_connections: (!tracked).then(|| Estimate::of(sample.copied().unwrap_or_default())),
                remembered_connections: Some(live.active + live.inactive),
                state,
                since: since.map(seconds),
                why,
                doubt: None,
                suspect: None,
                own_fault: None,
                latency_us: None,
                mac: model.hop(real).map(|hop| mac(hop.mac)),
                counters: reading.real(&at, mapped_address(real.address)),
                rates: sampled.real(&at, mapped_address(real.address)),
            });
        }
        reals.sort_by_key(|real| real.address);
        services.push(ServiceStatus {
            name: Some(service.name.clone()),
            protocol: protocol_name(service.protocol).to_owned(),
            address: service.address,
            port: service.port,
            scheduler: service.scheduler.label().to_owned(),
            persistence: service.persistence.as_ref().map(ToString::to_string),
            pool: service.pool.clone(),
            vrrp: None,
            fleet: model.fleets.of(service).map(|fleet| fleet_status(service, fleet)),
            counters: reading.service(&at),
            rates: sampled.service(&at),
            reals,
        });
    }
    services.sort_by(|a, b| (a.address, a.port, &a.protocol).cmp(&(b.address, b.port, &b.protocol)));
    let runs = model.interfaces.values().map(|interface| InterfaceStatus {
        name: interface.name.clone(),
        mode: Some(interface.mode),
        awaited: None,
        since: None,
    });
    let awaited = model.awaited.iter().map(|(name, awaited)| InterfaceStatus {
        name: name.clone(),
        mode: None,
        awaited: Some(awaited.why.clone()),
        since: Some(seconds(awaited.since)),
    });
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agent: true,
        observe: model.config.observed.is_some(),
        interfaces: runs.chain(awaited).collect(),
        services,
        drops: drops(stats)?,
        verdicts: verdicts(reading.verdicts(), |verdict| sampled.verdict(verdict)),
        fault,
        peers: None,
        claims: Vec::new(),
        checks: None,
        log_dropped: crate::log::dropped(),
        maps: Vec::new(),
        program: None,
        rates_over: sampled.apart().map(|apart| apart.as_secs_f64()),
    })
}

fn fleet_status(service: &Service, fleet: &Fleet) -> FleetStatus {
    let quorum = |Quorum { met, weight, needed }| QuorumStatus { met, weight, needed };
    FleetStatus {
        quorum: fleet.quorum().map(quorum),
        sorry: service.sorry().map(|_| fleet.stands_in()),
        panic: fleet.panic().map(|Healthy { healthy, of }| PanicStatus { healthy, of }),
    }
}

/// The status of pinned maps whose agent doesn't answer.
///
/// # Errors
/// The counters can't be read.
pub fn status_of_maps(adopted: &Adopted, interfaces: Vec<String>, stats: &StatsReader) -> Result<Status, Error> {
    let mut services = Vec::new();
    for (key, service) in &adopted.services {
        let mut reals = Vec::new();
        for (number, real) in adopted.reals_of(service) {
            let usable = real.flags & Real::USABLE != 0;
            let state = match (usable, real.weight) {
                (true, 0) => State::Quiesced,
                (true, _) => State::Up,
                (false, _) => State::Down,
            };
            reals.push(RealStatus {
                why: (!usable).then(|| "so it was when the agent was last heard".to_owned()),
                mac: (real.mac != [0; 6]).then(|| mac(real.mac)),
                counters: stats.real(service, number)?,
                ..RealStatus::new(plain_address(real.address), real.weight, state)
            });
        }
        reals.sort_by_key(|real| real.address);
        let port = u16::from_be_bytes(key.port);
        services.push(ServiceStatus {
            name: None,
            protocol: protocol_name(protocol_of(key.protocol)).to_owned(),
            address: plain_address(key.address),
            port: (port != 0).then_some(port),
            pool: None,
            vrrp: None,
            fleet: None,
            scheduler: Scheduler::of(service.scheduler).map_or("?", Scheduler::label).to_owned(),
            persistence: None,
            counters: stats.service(service)?,
            rates: None,
            reals,
        });
    }
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agent: false,
        observe: adopted.observed,
        interfaces: interfaces
            .into_iter()
            .map(|name| InterfaceStatus { name, mode: None, awaited: None, since: None })
            .collect(),
        services,
        drops: drops(stats)?,
        verdicts: verdicts(&stats.verdicts()?, |_| None),
        fault: None,
        peers: None,
        claims: Vec::new(),
        checks: None,
        log_dropped: 0,
        maps: Vec::new(),
        program: None,
        rates_over: None,
    })
}

fn drops(stats: &StatsReader) -> Result<Vec<DropStatus>, Error> {
    let counted = stats.drops()?.into_iter().filter(|(_, drops)| *drops != Drops::default());
    let told = counted.map(|(index, Drops { refused, unsent })| DropStatus { interface: name(index), refused, unsent });
    Ok(told.collect())
}

/// An interface's name, or its index where it is gone.
pub fn name(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index);
    name.map_or_else(|_| format!("interface {index}"), |name| name.to_string_lossy().into())
}

fn verdicts(counted: &[(Verdict, u64)], rate: impl Fn(Verdict) -> Option<f64>) -> Vec<VerdictStatus> {
    let met = counted.iter().filter(|(_, packets)| *packets > 0);
    let told = met.map(|(verdict, packets)| VerdictStatus {
        verdict: verdict.name().to_owned(),
        packets: *packets,
        per_second: rate(*verdict),
    });
    told.collect()
}

pub(super) fn describe(standing: Standing) -> (State, Option<SystemTime>, Option<String>) {
    match standing {
        Standing::Up { since } => (State::Up, since, None),
        Standing::Quiesced => (State::Quiesced, None, None),
        Standing::Draining { since, .. } => (State::Draining, Some(since), None),
        Standing::Drained { since } => (State::Drained, Some(since), None),
        Standing::Disabled { since } => (State::Disabled, Some(since), None),
        Standing::Checking => (State::Checking, None, None),
        Standing::Down { since, why, .. } => (State::Down, Some(since), Some(why)),
    }
}

/// As the API has it.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

/// `02:00:00:00:00:01`.
pub(crate) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// An address as people write it.
pub(crate) fn plain_address(address: Address) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}
