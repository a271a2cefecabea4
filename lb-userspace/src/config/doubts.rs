//! What `lb check` warns of: a file that can be used, but hardly means what its author thinks.
//! Pure; whoever has a file system tells what a program's file is.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Loaded;
use super::machine::{Segments, off_subnet, report_awaited};
use super::report::{Error, Findings, suggest};

/// Why a command can't be run, if it can't.
pub type Obstacle = Option<&'static str>;

/// The machine that a file is held against.
pub struct Here<'a> {
    /// Its interfaces.
    pub segments: &'a Segments,
    /// What is wrong with the file at an absolute path, as a command.
    pub program: &'a dyn Fn(&str) -> Obstacle,
}

/// All doubts about an accepted file, at their places; `None` where there are none. Some are of a machine alone.
#[must_use]
pub fn doubts(loaded: &Loaded, here: Option<&Here<'_>>) -> Option<Error> {
    let mut findings = Findings::default();
    any_port(loaded, &mut findings);
    unnamed(loaded, &mut findings);
    unmet(loaded, &mut findings);
    if let Some(here) = here {
        of_machine(loaded, here, &mut findings);
    }
    findings.into_warnings(loaded.source.clone())
}

fn of_machine(loaded: &Loaded, here: &Here<'_>, findings: &mut Findings) {
    let segments = here.segments;
    nobody(loaded, findings);
    report_awaited(loaded, segments, findings);
    unowned(loaded, segments, findings);
    unreachable(loaded, segments, findings);
    programs(loaded, here.program, findings);
    for (vip, interface, span) in off_subnet(loaded, segments) {
        if vip.net.prefix_len() < vip.net.max_prefix_len() {
            findings.report(
                span,
                format!("{} is of a subnet on which {interface} has no address of its own", vip.net),
                "right if the hosts there have routes to it by this segment; else use an address of the interface's",
            );
        }
    }
}

/// Settings for hosts, none of which is this one.
fn nobody(loaded: &Loaded, findings: &mut Findings) {
    let hosts = &loaded.hosts;
    if let (None, Some(first)) = (&hosts.own, hosts.all.first()) {
        let names = hosts.all.iter().map(|host| host.get_ref().as_str());
        findings.report(
            first.span(),
            format!("this host is {}, which has no [on.HOST] of its own", hosts.name),
            format!("{}; right if it needs none", suggest::mend(&hosts.name, "The file has", names.take(MANY))),
        );
    }
}

/// Names that a mend lists at most.
const MANY: usize = 12;

/// VIPs that no virtual router owns and no interface has: packets for one reach this director by a route alone.
fn unowned(loaded: &Loaded, segments: &Segments, findings: &mut Findings) {
    let vips = || {
        let routers = loaded.config.vrrp.iter();
        routers.flat_map(|vrrp| vrrp.addresses.iter().map(move |vip| (vip.addr(), vrrp.name.as_str())))
    };
    let mut told = HashSet::new();
    let here: Vec<IpAddr> = segments.interfaces.iter().flat_map(|one| &one.addresses).map(IpNet::addr).collect();
    for (service, places) in loaded.config.services.iter().zip(&loaded.places.services) {
        let address = service.address;
        if vips().any(|(vip, _)| vip == address) || here.contains(&address) || !told.insert(places.address.start) {
            continue;
        }
        let words: Vec<(String, &str)> = vips().map(|(vip, name)| (vip.to_string(), name)).collect();
        let near = suggest::nearest(&address.to_string(), words.iter().map(|(vip, _)| vip.as_str()));
        let owner = words.iter().find(|(vip, _)| Some(vip.as_str()) == near).map(|(_, name)| *name);
        let mend = match (near, owner) {
            (Some(vip), Some(name)) => {
                format!("did you mean {vip}, of [vrrp.{name}]? Else add {address} to a [vrrp.NAME]")
            }
            _ => "add it to a [vrrp.NAME], or leave it so if a router sends it here".to_owned(),
        };
        findings.report(
            places.address.clone(),
            format!("no virtual router owns {address} and no interface here has it: packets reach it by a route alone"),
            mend,
        );
    }
}

/// Services of any port whose file doesn't say so.
fn any_port(loaded: &Loaded, findings: &mut Findings) {
    for (service, places) in loaded.config.services.iter().zip(&loaded.places.services) {
        let said = loaded.source.get(&places.port).is_some_and(|text| text.contains("any"));
        if service.port.is_none() && !said {
            let address = service.address;
            let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            findings.report(
                places.address.clone(),
                format!("{address} has no port: the service takes every port of it"),
                format!("write \"{host}:80\" for one port, or \"{host}:any\" to say that all are meant"),
            );
        }
    }
}

/// Pools that no service names.
fn unnamed(loaded: &Loaded, findings: &mut Findings) {
    let named: HashSet<&str> = loaded.config.services.iter().filter_map(|service| service.pool.as_deref()).collect();
    for (pool, places) in loaded.config.pools.iter().zip(&loaded.places.pools) {
        if !named.contains(pool.name.as_str()) {
            findings.report(
                places.header.clone(),
                format!("no service names [pool.{}]: its reals are not checked and take nothing", pool.name),
                format!("write pool = \"{}\" in a service, or remove the pool", pool.name),
            );
        }
    }
}

/// Quorums that the weights of all reals together don't reach.
fn unmet(loaded: &Loaded, findings: &mut Findings) {
    let (config, places) = (&loaded.config, &loaded.places);
    let pools = config.pools.iter().map(|pool| (&pool.fleet, &pool.reals));
    let pools = pools.zip(places.pools.iter().map(|places| &places.header));
    let own = config.services.iter().zip(&places.services).filter(|(service, _)| service.pool.is_none());
    let own = own.map(|(service, places)| ((&service.fleet, &service.reals), &places.header));
    for ((fleet, reals), header) in pools.chain(own) {
        let Some((quorum, hysteresis)) = fleet.as_ref().and_then(|fleet| fleet.quorum_in_force()) else { continue };
        let weight: u64 = reals.iter().map(|real| u64::from(real.weight)).sum();
        let needed = u64::from(quorum) + u64::from(hysteresis);
        if weight < needed {
            findings.report(
                header.clone(),
                format!("its reals weigh {weight} together: a quorum of {quorum} is never met once it was lost"),
                format!("write a quorum that, with its hysteresis, is {weight} at most; or right while a real is out"),
            );
        }
    }
}

/// An address for the peers that this machine doesn't have.
fn unreachable(loaded: &Loaded, segments: &Segments, findings: &mut Findings) {
    let (Some(peers), Some(span)) = (&loaded.config.peers, &loaded.places.listen) else {
        return;
    };
    let listen = peers.listen.ip();
    if !segments.interfaces.iter().flat_map(|one| &one.addresses).any(|net| net.addr() == listen) {
        findings.report(
            span.clone(),
            format!("no interface here has {listen}: no peer finds this director"),
            "write this director's own address; or give it to an interface before the agent starts",
        );
    }
}

/// Commands that couldn't be run.
fn programs(loaded: &Loaded, program: &dyn Fn(&str) -> Obstacle, findings: &mut Findings) {
    let places = &loaded.places;
    let pools = places.pools.iter().filter_map(|places| places.program.as_ref());
    let services = places.services.iter().filter_map(|places| places.program.as_ref());
    let groups = places.sync_groups.iter().flat_map(|places| &places.programs);
    let more = groups.chain(&places.scripts);
    for command in places.vrrp.iter().flat_map(|places| &places.programs).chain(pools).chain(services).chain(more) {
        let path = command.get_ref();
        if let Some(what) = program(path) {
            findings.report(command.span(), format!("{path} {what}"), "make it a file that the agent may execute");
        }
    }
}
