//! The sections of the file, one file each: its keys as they are declared, its model, the rules that join its keys
//! with others, and its words for `lb check`.

pub mod check;
pub mod checks;
pub mod director;
pub mod fleet;
pub mod flows;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod peers;
pub mod persistence;
pub mod pool;
pub mod real;
pub mod script;
mod seen;
pub mod service;
pub mod sync_group;
mod times;
mod vips;
pub mod vrrp;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use toml::Spanned;

use super::read::join::Hosts;
use super::read::source::{Source, Span};
use super::read::texts::ANY;
use super::read::{Keys, List, Named, NamedTables, Read, Shape, Table, Text, key, keys};
use super::report::Findings;
use director::{Director, DirectorKeys, WhenAgentDies};
use flows::{Flows, FlowsKeys};
use limits::{Counts, Limits, LimitsKeys};
use metrics::{Metrics, MetricsKeys};
use peers::{Peers, PeersKeys};
use pool::{Declared, Pool, PoolKeys, PoolPlaces};
use script::{Script, ScriptKeys};
use service::{Service, ServiceKeys, ServicePlaces};
use sync_group::{SyncGroup, SyncGroupKeys, SyncGroupPlaces};
use vips::Vips;
use vrrp::{Vrrp, VrrpKeys, VrrpPlaces};

/// A whole configuration file that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// `[director]`.
    pub director: Director,
    /// `[flows]`.
    pub flows: Flows,
    /// `[limits]`.
    pub limits: Limits,
    /// `[peers]`, if there is one.
    pub peers: Option<Peers>,
    /// `[metrics]`, if there is one.
    pub metrics: Option<Metrics>,
    /// `[vrrp.NAME]`, in the order of their names.
    pub vrrp: Vec<Vrrp>,
    /// `[sync_group.NAME]`, in the order of their names.
    pub sync_groups: Vec<SyncGroup>,
    /// `[pool.NAME]`, in the order of their names.
    pub pools: Vec<Pool>,
    /// `[service.NAME]`, in the order of their names.
    pub services: Vec<Service>,
    /// `lb run --observe`: the file's virtual routers, which this director takes no part in; `None` of one that forwards.
    pub observed: Option<Vec<Vrrp>>,
}

impl Config {
    /// The same of a director that observes alone: others have its VIPs. It takes part in no virtual router, tells no other
    /// director anything, gives up no VIP when it dies and runs no script.
    #[must_use]
    pub fn observing(mut self) -> Self {
        self.observed = Some(std::mem::take(&mut self.vrrp));
        self.peers = None;
        self.director.when_agent_dies = WhenAgentDies::Forward;
        self.services.iter_mut().for_each(|service| service.notify = None);
        self
    }

    /// Services, but only one of each pool: whoever asks for the reals of all services meets each once.
    pub fn owners(&self) -> impl Iterator<Item = &Service> + Clone {
        let mut seen = HashSet::new();
        let firsts: Vec<&Service> =
            self.services.iter().filter(|service| service.pool.as_ref().is_none_or(|name| seen.insert(name))).collect();
        firsts.into_iter()
    }
}

/// Places in the order of the same lists in [`Config`].
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Each of `director.interfaces`.
    pub interfaces: Vec<Span>,
    /// `listen` of `[peers]`, if there is one.
    pub listen: Option<Span>,
    /// Each `[vrrp.NAME]`.
    pub vrrp: Vec<VrrpPlaces>,
    /// Each `[sync_group.NAME]`.
    pub sync_groups: Vec<SyncGroupPlaces>,
    /// The program of each `[script.NAME]`.
    pub scripts: Vec<Spanned<String>>,
    /// Each `[pool.NAME]`.
    pub pools: Vec<PoolPlaces>,
    /// Each `[service.NAME]`.
    pub services: Vec<ServicePlaces>,
}

const INCLUDE: List<Text<String>> = List { item: ANY, empty: ("it names no file", "name one, or remove the line") };

keys! {
    #[derive(Debug)]
    pub struct File {
        /// files whose sections belong to this one, relative to it; those of a pattern in the order of their names
        include: Vec<Spanned<String>> = key(INCLUDE).example("[\"conf.d/*.toml\"]").values("list of paths and patterns with `*`, `?` and `[…]`");
        /// what holds on one host alone, by its name; see below
        on: () = key(Hosts).without("the same on all hosts");
        /// this machine's part
        director: Read<DirectorKeys> = key(Table::new()).required();
        /// how long connections are remembered without a packet of theirs
        flows: Read<FlowsKeys> = key(Table::new()).implied();
        /// sizes of the pinned maps, fixed when the maps are created
        limits: Read<LimitsKeys> = key(Table::new()).implied();
        /// the other directors, which this one shares its state with
        peers: Read<PeersKeys> = key(Table::new());
        /// where Prometheus and browsers find this director
        metrics: Read<MetricsKeys> = key(Table::new());
        /// virtual routers, by name
        vrrp: Vec<Named<VrrpKeys>> = key(NamedTables::new());
        /// who hears of the state that virtual routers have together, by their `sync_group`
        sync_group: Vec<Named<SyncGroupKeys>> = key(NamedTables::new());
        /// commands that virtual routers track, by name
        script: Vec<Named<ScriptKeys>> = key(NamedTables::new());
        /// reals and their checks that several services have, by name
        pool: Vec<Named<PoolKeys>> = key(NamedTables::new());
        /// virtual services, by name
        service: Vec<Named<ServiceKeys>> = key(NamedTables::new());
    }
}

/// The sections that have names. What all keys are declared to be is much, and asked for once.
pub static NAMED: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let named = <File as Keys>::declared().into_iter().filter(|key| key.shape == Shape::NamedTables);
    named.map(|key| key.name).collect()
});

impl File {
    fn routers(&self) -> &[Named<VrrpKeys>] {
        self.vrrp.get().map_or(&[], Vec::as_slice)
    }

    fn services(&self) -> &[Named<ServiceKeys>] {
        self.service.get().map_or(&[], Vec::as_slice)
    }

    fn declared<'a>(&'a self, scripts: &'a BTreeMap<String, Option<Script>>) -> Declared<'a> {
        Declared { services: self.services(), pools: self.pool.get().map_or(&[], Vec::as_slice), scripts }
    }
}

/// What clashes, is too much or can't work together. `None`, or a finding, when the file is refused.
pub fn accept(path: &Path, file: &File, source: &Source, findings: &mut Findings) -> Option<(Config, Places)> {
    let director = file.director.get().and_then(|read| director::accept(read, source, findings));
    let (scripts, programs) = script::accept(file.script.get().map_or(&[], Vec::as_slice), findings);
    let (vips, declared) = (vips(file), file.declared(&scripts));
    let peers = file.peers.get().map(|read| peers::accept(read, file.director.get(), &vips, source, findings));
    let metrics = file.metrics.get().map(|read| metrics::accept(read, &vips, findings));
    let (vrrp, vrrp_places) = vrrp::accept(file.routers(), declared, source, findings);
    let groups = file.sync_group.get().map_or(&[][..], Vec::as_slice);
    let (sync_groups, group_places) = sync_group::accept(groups, file.routers(), findings);
    let (mut pools, mut pool_places) = pool::accept(declared, &vips, source, findings);
    let own = (&mut pools, &mut pool_places);
    let (services, service_places) = service::accept(declared, own, &vips, source, findings);
    let parts = |service: &Named<ServiceKeys>| service::ports::names(service).len();
    let counts = Counts {
        services: file.services().iter().map(parts).sum(),
        reals: declared.services.iter().map(|service| declared.count_reals(service) * parts(service)).sum(),
    };
    let limits = limits::accept(file.limits.get(), counts, findings);
    let (director, interfaces) = director?;
    let (peers, listen) = peers.flatten().unzip();
    let flows = flows::accept(file.flows.get())?;
    let config = Config {
        path: path.to_owned(),
        director,
        flows,
        limits: limits?,
        peers,
        metrics: metrics.flatten(),
        vrrp,
        sync_groups,
        pools,
        services,
        observed: None,
    };
    let places = Places {
        interfaces,
        listen,
        vrrp: vrrp_places,
        sync_groups: group_places,
        scripts: programs,
        pools: pool_places,
        services: service_places,
    };
    Some((config, places))
}

/// Every VIP that the file names.
fn vips(file: &File) -> Vips {
    let services = file.services().iter().filter_map(|service| {
        let endpoint = service.address.get()?;
        Some((endpoint.address, service.title.clone()))
    });
    let vrrp = file.routers().iter().flat_map(|vrrp| {
        let addresses = vrrp.addresses.items().iter();
        addresses.map(|net| (net.get_ref().addr(), vrrp.title.clone()))
    });
    vrrp.chain(services).collect()
}
