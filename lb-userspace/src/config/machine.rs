//! An accepted configuration held against this machine: its interfaces, their addresses and segments.
//! Pure; whoever has a netlink socket fills in the [`Segments`].

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Loaded;
use super::read::source::Span;
use super::report::{Error, Findings, suggest};
use super::section::real::{Real, RealPlaces};
use super::section::vrrp::OWNER;
use super::section::vrrp::vip::Vip;

/// What this machine's interfaces are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments {
    /// All of them, in any order.
    pub interfaces: Vec<Interface>,
}

/// One interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its alternative names.
    pub altnames: Vec<String>,
    /// The kernel's index.
    pub index: u32,
    /// The interface that it runs over: the trunk of a VLAN, the parent of a macvlan (IFLA_LINK). `None`
    /// when that is in another network namespace (IFLA_LINK_NETNSID), as a veth's peer mostly is.
    pub parent: Option<u32>,
    /// The bond or bridge that it is a port of (IFLA_MASTER).
    pub master: Option<u32>,
    /// Its addresses, each with the prefix length of its segment.
    pub addresses: Vec<IpNet>,
}

impl Interface {
    /// All its names.
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.altnames).map(String::as_str)
    }
}

/// Holds the file against the machine: that its interfaces are there, each VIP on the subnet of its virtual
/// router's interface, and each real on a segment that this director reaches at layer 2 (or of a MAC that the
/// file gives), and not this director itself. A virtual router's own interface may appear later, and so may one that is
/// `awaited` by its name.
///
/// # Errors
/// Everything that doesn't fit, at its place in the file.
pub fn check(loaded: &Loaded, segments: &Segments, awaited: impl Fn(&str) -> bool) -> Result<(), Error> {
    let machine = Machine::new(loaded, segments);
    let mut findings = Findings::default();
    let absent = machine.absent(loaded);
    // Without an interface its segments are missing too: say that alone.
    let segments_are_known = absent.is_empty();
    for (name, span) in absent.into_iter().filter(|(name, _)| !awaited(name)) {
        machine.report_absent(name, span, "", &mut findings);
    }
    machine.check_vips(loaded, &mut findings);
    for (real, place) in reals(loaded) {
        machine.check_real(real, place, segments_are_known, &mut findings);
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(findings.into_error(loaded.source.clone()))
}

/// Every real with its places: those of pools once, whoever names the pool. A pool's services have no places of reals.
fn reals(loaded: &Loaded) -> impl Iterator<Item = (&Real, &RealPlaces)> {
    let Loaded { config, places, .. } = loaded;
    let pools = config.pools.iter().map(|pool| &pool.reals).zip(places.pools.iter().map(|places| &places.reals));
    let own = config.services.iter().map(|service| &service.reals);
    let own = own.zip(places.services.iter().map(|places| &places.reals));
    let of_pools = config.pools.iter().map(|pool| &pool.fleet).zip(places.pools.iter().map(|places| &places.sorry));
    let of_services = config.services.iter().map(|service| &service.fleet);
    let of_services = of_services.zip(places.services.iter().map(|places| &places.sorry));
    let sorry = of_pools
        .chain(of_services)
        .filter_map(|(fleet, place)| Some((fleet.as_ref()?.sorry.as_ref()?, place.as_ref()?)));
    pools.chain(own).flat_map(|(reals, places)| reals.iter().zip(places)).chain(sorry)
}

/// Reports the interfaces of the director and its reals that aren't there, as what the agent would wait for.
pub(super) fn report_awaited(loaded: &Loaded, segments: &Segments, findings: &mut Findings) {
    let machine = Machine::new(loaded, segments);
    for (name, span) in machine.absent(loaded) {
        machine.report_absent(name, span, ": the agent would wait for it", findings);
    }
}

/// The VIPs that no address of their interface's own shares a subnet with, each with that interface and its place.
pub(super) fn off_subnet<'a>(loaded: &'a Loaded, segments: &'a Segments) -> Vec<(&'a Vip, &'a str, Span)> {
    let off = Machine::new(loaded, segments).off_subnet(loaded);
    off.into_iter().map(|(vip, interface, span)| (vip, interface.name.as_str(), span.clone())).collect()
}

/// The interfaces by what is asked of them.
struct Machine<'a> {
    by_name: HashMap<&'a str, &'a Interface>,
    owner: HashMap<IpAddr, &'a str>,
    /// Each interface's segments: of its own addresses, and of the VIPs that the file puts on it.
    segments: HashMap<&'a str, Vec<IpNet>>,
    /// Indices of the interfaces whose frames pass the director's: themselves, what runs over them, and
    /// the bonds and bridges that they are ports of.
    reach: HashSet<u32>,
    interfaces: &'a [Interface],
    /// The VIPs of all virtual routers.
    vips: HashSet<IpAddr>,
}

impl<'a> Machine<'a> {
    fn new(loaded: &'a Loaded, machine: &'a Segments) -> Self {
        let interfaces = machine.interfaces.as_slice();
        let by_name: HashMap<&str, &Interface> =
            interfaces.iter().flat_map(|one| one.names().map(move |name| (name, one))).collect();
        let mut owner = HashMap::new();
        let mut segments: HashMap<&str, Vec<IpNet>> = HashMap::new();
        for interface in interfaces {
            for net in &interface.addresses {
                owner.insert(net.addr(), interface.name.as_str());
            }
            let nets = interface.addresses.iter().copied();
            segments.entry(&interface.name).or_default().extend(nets);
        }
        for vrrp in &loaded.config.vrrp {
            for vip in &vrrp.addresses {
                let name = vrrp.interface_of(vip);
                let interface = by_name.get(name).map_or(name, |interface| interface.name.as_str());
                segments.entry(interface).or_default().push(vip.net);
            }
        }
        Self {
            by_name,
            owner,
            segments,
            reach: reach(&loaded.config.director.interfaces, interfaces),
            interfaces,
            vips: loaded.config.vrrp.iter().flat_map(|vrrp| &vrrp.addresses).map(Vip::addr).collect(),
        }
    }

    /// The interfaces that the director and its reals name and that aren't there, with their places.
    fn absent<'l>(&self, loaded: &'l Loaded) -> Vec<(&'l str, &'l Span)> {
        let (config, places) = (&loaded.config, &loaded.places);
        let own = config.director.interfaces.iter().zip(&places.interfaces);
        let reals = reals(loaded).filter_map(|(real, places)| real.interface.as_ref().zip(places.interface.as_ref()));
        let named = own.chain(reals).map(|(name, span)| (name.as_str(), span));
        named.filter(|(name, _)| !self.by_name.contains_key(name)).collect()
    }

    /// Reports VIPs off the subnets of their interface's own addresses. One with a written prefix length is of a
    /// subnet of its own, or routed here (/32, /128); an interface that isn't there, or has no address yet, has no
    /// subnet to be off.
    fn check_vips(&self, loaded: &Loaded, findings: &mut Findings) {
        for (vip, interface, place) in self.off_subnet(loaded) {
            let written = loaded.source.get(place).is_some_and(|text| text.contains('/'));
            if !written {
                let message = format!("{} is off the subnet of {}", vip.addr(), interface.name);
                findings.report(place.clone(), message, mend_vip(vip.addr(), &self.own(interface, vip)));
            }
        }
    }

    /// The VIPs that no address of their interface's own shares a subnet with, though it has some.
    fn off_subnet<'l>(&self, loaded: &'l Loaded) -> Vec<(&'l Vip, &'a Interface, &'l Span)> {
        let mut off = Vec::new();
        for (vrrp, places) in loaded.config.vrrp.iter().zip(&loaded.places.vrrp) {
            for (vip, place) in vrrp.addresses.iter().zip(&places.addresses) {
                // The VIPs of an owner are the interface's own addresses.
                let interface = self.by_name.get(vrrp.interface_of(vip)).filter(|_| vrrp.priority != OWNER);
                let Some(&interface) = interface.filter(|_| !vip.is_link_local()) else {
                    continue;
                };
                let own = self.own(interface, vip);
                if !own.is_empty() && !own.iter().any(|net| net.contains(&vip.addr())) {
                    off.push((vip, interface, place));
                }
            }
        }
        off
    }

    /// The interface's own addresses of the VIP's family. A VIP that an earlier agent left vouches for nothing.
    fn own(&self, interface: &'a Interface, vip: &Vip) -> Vec<&'a IpNet> {
        let own = interface.addresses.iter().filter(|net| {
            net.addr().is_ipv4() == vip.addr().is_ipv4()
                && !is_link_local(net.addr())
                && !self.vips.contains(&net.addr())
        });
        own.collect()
    }

    fn report_absent(&self, name: &str, span: &Span, more: &str, findings: &mut Findings) {
        let names = || self.interfaces.iter().map(|one| one.name.as_str()).filter(|name| *name != "lo");
        let mend = if names().next().is_none() {
            "create it: this machine has no interface but lo".to_owned()
        } else {
            suggest::mend(name, "This machine has", names().take(MANY))
        };
        findings.report(span.clone(), format!("there is no interface {name}{more}"), mend);
    }

    fn check_real(&self, real: &Real, place: &RealPlaces, segments_are_known: bool, findings: &mut Findings) {
        let address = real.address;
        if let Some(interface) = self.owner.get(&address) {
            findings.report(
                place.address.clone(),
                format!("{address} is this director itself, on {interface}: it can't be its own real"),
                "write the address of another machine",
            );
            return;
        }
        if real.mac.is_some() || !segments_are_known {
            return;
        }
        let nets = self.nets(real.interface.as_deref());
        match nets.iter().find(|(_, net)| net.contains(&address)) {
            Some((_, net)) => {
                if let Some(what) = no_host(address, net) {
                    findings.report(
                        place.address.clone(),
                        format!("{address} is {what} of {}", net.trunc()),
                        "write the address of one host in it",
                    );
                }
            }
            None => {
                let message = match &real.interface {
                    Some(interface) => format!("{address} is off the segments of {interface}"),
                    None => format!("{address} is off every segment of this director"),
                };
                let mend = self.mend_segment(real, &nets);
                findings.report(place.address.clone(), message, mend);
            }
        }
    }

    /// The segments that a real can be on, each with its interface: those of the interface that it names,
    /// else of all in reach.
    fn nets(&self, interface: Option<&str>) -> Vec<(&'a str, IpNet)> {
        let asked = |one: &&Interface| match interface {
            Some(name) => one.names().any(|one| one == name),
            None => self.reach.contains(&one.index),
        };
        let interfaces = self.interfaces.iter().filter(asked);
        interfaces
            .flat_map(|one| {
                let nets = self.segments.get(one.name.as_str()).into_iter().flatten();
                nets.map(|net| (one.name.as_str(), *net))
            })
            .collect()
    }

    fn mend_segment(&self, real: &Real, nets: &[(&str, IpNet)]) -> String {
        let elsewhere = self.interfaces.iter().find(|one| {
            let nets = self.segments.get(one.name.as_str()).into_iter().flatten();
            nets.into_iter().any(|net| net.contains(&real.address))
        });
        if let Some(one) = elsewhere {
            return match real.interface {
                Some(_) => format!("it is on {}: write interface = \"{0}\"", one.name),
                None => format!(
                    "it is on {}: add that to director.interfaces, or to the real as \
                     interface = \"{0}\"",
                    one.name
                ),
            };
        }
        let mut seen = HashSet::new();
        let segments: Vec<String> = nets
            .iter()
            .filter(|(_, net)| {
                net.addr().is_ipv4() == real.address.is_ipv4()
                    && net.prefix_len() < net.max_prefix_len()
                    && !is_link_local(net.addr())
            })
            .map(|(name, net)| format!("{} ({name})", net.trunc()))
            .filter(|text| seen.insert(text.clone()))
            .take(MANY)
            .collect();
        if segments.is_empty() {
            let family = if real.address.is_ipv4() { "IPv4" } else { "IPv6" };
            return format!("give this director an {family} address on the real's segment, or the real its `mac`");
        }
        format!(
            "direct routing needs a real at layer 2, on {}; or give the real's `mac`",
            suggest::list(segments.iter().map(String::as_str))
        )
    }
}

fn mend_vip(vip: IpAddr, own: &[&IpNet]) -> String {
    let mut subnets: Vec<String> = own.iter().map(|net| net.trunc().to_string()).collect();
    subnets.dedup();
    subnets.truncate(MANY);
    format!(
        "use an address in {}; if it is of another subnet of that segment, write its prefix length; if a router sends \
         it here by a route of its own, write \"{vip}/{}\"",
        suggest::list(subnets.iter().map(String::as_str)),
        if vip.is_ipv4() { 32 } else { 128 },
    )
}

/// Names that a mend lists at most.
const MANY: usize = 12;

fn reach(names: &[String], interfaces: &[Interface]) -> HashSet<u32> {
    let named = |one: &&Interface| one.names().any(|name| names.iter().any(|one| one == name));
    let mut reach: HashSet<u32> = interfaces.iter().filter(named).map(|one| one.index).collect();
    // Each round adds an interface or is the last.
    loop {
        let before = reach.len();
        for one in interfaces {
            if one.parent.is_some_and(|parent| reach.contains(&parent)) {
                reach.insert(one.index);
            }
            if let Some(master) = one.master
                && reach.contains(&one.index)
            {
                reach.insert(master);
            }
        }
        if reach.len() == before {
            return reach;
        }
    }
}

fn no_host(address: IpAddr, net: &IpNet) -> Option<&'static str> {
    let host_bits = net.max_prefix_len() - net.prefix_len();
    if address.is_ipv6() || host_bits < 2 {
        None
    } else if address == net.network() {
        Some("the network's own address")
    } else if address == net.broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
