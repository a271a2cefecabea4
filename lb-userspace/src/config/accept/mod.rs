//! From the file's shape to a [`Config`]: defaults, and what clashes, is too much or can't work together.

mod service;
mod vrrp;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use lb_common::maps::MAX_REALS;
use toml::Spanned;

use super::diagnose::Findings;
use super::model::{Config, Director, Limits, Mode, WhenAgentDies};
use super::raw::{self, AgentDeath, File, MAX_SERVICES};
use super::source::{Places, Source, Span};

/// An agent that is started again by its unit is back long before.
const DEFAULT_RELEASE: Duration = Duration::from_secs(30);
const RELEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Builds the configuration. `None`, or a finding, when the file is refused.
pub(super) fn accept(path: &Path, file: &File, source: &Source, findings: &mut Findings) -> Option<(Config, Places)> {
    let limits = limits(&file.limits, findings);
    let vips = Vips::of(file);
    let director = director(&file.director, source, findings);
    let (vrrp, vrrp_places) = vrrp::accept(file, source, findings);
    let (services, service_places) = service::accept(&file.services, &vips, source, findings);
    fits(file, limits, findings);
    let config = Config { path: path.to_owned(), director: director?, limits, vrrp, services };
    let places = Places {
        interfaces: file.director.interfaces.iter().map(Spanned::span).collect(),
        vrrp: vrrp_places,
        services: service_places,
    };
    Some((config, places))
}

fn director(raw: &raw::Director, source: &Source, findings: &mut Findings) -> Option<Director> {
    let mut seen = FirstSeen::default();
    for interface in &raw.interfaces {
        if let Some(line) = seen.before(interface.get_ref(), interface.span(), source) {
            findings.report(
                interface.span(),
                format!("{} is named twice, first on line {line}", interface.get_ref()),
                "name it once",
            );
        }
    }
    let when_agent_dies = when_agent_dies(raw, findings);
    (!raw.interfaces.is_empty()).then(|| Director {
        interfaces: raw.interfaces.iter().map(|name| name.get_ref().clone()).collect(),
        mode: raw.mode.as_ref().map_or(Mode::Auto, |mode| *mode.get_ref()),
        hash_seed: raw.hash_seed.as_ref().map_or(0, |seed| *seed.get_ref()),
        when_agent_dies,
    })
}

fn when_agent_dies(raw: &raw::Director, findings: &mut Findings) -> WhenAgentDies {
    let releases = raw.when_agent_dies.as_ref().is_some_and(|what| *what.get_ref() == AgentDeath::Release);
    if let Some(after) = &raw.release_after {
        if !releases {
            findings.report(
                after.span(),
                "`release_after` has no meaning without when_agent_dies = \"release\"",
                "add that line, or remove this one",
            );
        }
        let mend = "\"1s\" to \"24h\"";
        vrrp::check_range("release_after", Some(after), RELEASE, mend, findings);
    }
    if !releases {
        return WhenAgentDies::Forward;
    }
    WhenAgentDies::Release { after: raw.release_after.as_ref().map_or(DEFAULT_RELEASE, |after| *after.get_ref()) }
}

fn limits(raw: &raw::Limits, findings: &mut Findings) -> Limits {
    let default = Limits::default();
    if let Some(flows) = &raw.flows {
        let asked = *flows.get_ref();
        if !asked.is_power_of_two() {
            let up = asked.next_power_of_two();
            findings.report(
                flows.span(),
                format!("`flows` = {asked} is not a power of two"),
                format!("write {} or {up}", up / 2),
            );
        }
    }
    Limits {
        services: number(raw.services.as_ref(), default.services),
        reals: number(raw.reals.as_ref(), default.reals),
        flows: number(raw.flows.as_ref(), default.flows),
    }
}

/// Reports more services or reals than the maps will hold.
fn fits(file: &File, limits: Limits, findings: &mut Findings) {
    let services = file.services.len();
    let reals = file.services.iter().map(|service| service.reals.len()).sum();
    let cases = [
        ("services", services, limits.services, MAX_SERVICES as usize, &file.limits.services),
        ("reals", reals, limits.reals, MAX_REALS as usize, &file.limits.reals),
    ];
    for (key, count, limit, most, place) in cases {
        if u32::try_from(count).is_ok_and(|count| count <= limit) {
            continue;
        }
        let message = format!("the file has {count} {key}, but the limit is {limit}");
        let mend = if count > most {
            format!("a director holds at most {most}: split them among several")
        } else {
            format!("set {key} = {} in [limits]", count.next_power_of_two().min(most))
        };
        match place {
            Some(place) => findings.report(place.span(), message, mend),
            None => findings.report_file(message, mend),
        }
    }
}

/// Every VIP that the file names, and who names it.
pub(super) struct Vips(HashMap<IpAddr, String>);

impl Vips {
    fn of(file: &File) -> Self {
        let services = file.services.iter().filter_map(|service| {
            let address = service.address.as_ref()?.get_ref().address;
            Some((address, format!("[service.{}]", service.name.get_ref())))
        });
        let vrrp = file.vrrp.iter().flat_map(|vrrp| {
            let owner = format!("[vrrp.{}]", vrrp.name.get_ref());
            let addresses = vrrp.addresses.iter();
            addresses.map(move |net| (net.get_ref().addr(), owner.clone()))
        });
        Self(vrrp.chain(services).collect())
    }

    /// The section that names `address` as a VIP.
    pub(super) fn owner(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }
}

/// Where each of some things was first said.
pub(super) struct FirstSeen<K>(HashMap<K, Span>);

impl<K> Default for FirstSeen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> FirstSeen<K> {
    /// The line that `key` was said on before; else this place becomes its first.
    pub(super) fn before(&mut self, key: K, span: Span, source: &Source) -> Option<usize> {
        match self.0.entry(key) {
            Entry::Occupied(first) => Some(source.position(first.get().start).line),
            Entry::Vacant(free) => {
                free.insert(span);
                None
            }
        }
    }
}

/// A number whose range was checked when it was read, or its default.
pub(super) fn number<T: TryFrom<u64>>(value: Option<&Spanned<u64>>, default: T) -> T {
    value.and_then(|value| T::try_from(*value.get_ref()).ok()).unwrap_or(default)
}
