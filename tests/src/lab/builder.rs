//! From a wish to a running lab.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::sync::Once;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::Lab;
use super::address::{self, Segment, VIP, VIP6};
use super::host::{Host, Nic, Role};
use super::namespace::Namespace;
use super::port::Port;
use super::preflight::require;
use super::process::ip_batch;
use super::remains::{self, Claim};
use super::switch;
use super::sys;

/// What a lab is to have. The default is the smallest reference lab: one client, one director, two reals, one
/// segment, and the VIP on the reals' `lo`. Nobody owns the VIP yet: see [`Host::own`].
#[derive(Debug, Clone)]
pub struct Builder {
    clients: u8,
    directors: u8,
    reals: u8,
    vips: Vec<IpAddr>,
    router: bool,
    places: BTreeMap<String, Segment>,
    ports: BTreeMap<String, Port>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            clients: 1,
            directors: 1,
            reals: 2,
            vips: vec![VIP.into(), VIP6.into()],
            router: false,
            places: BTreeMap::new(),
            ports: BTreeMap::new(),
        }
    }
}

/// A host before it is made.
#[derive(Debug, Clone)]
struct Plan {
    name: String,
    title: String,
    role: Role,
    nics: Vec<Nic>,
}

impl Builder {
    /// Clients `client`, `client-2`, … at .10, .11, …
    #[must_use]
    pub fn clients(mut self, count: u8) -> Self {
        self.clients = count;
        self
    }

    /// Directors `director-a`, `director-b`, … at .2, .3, …
    #[must_use]
    pub fn directors(mut self, count: u8) -> Self {
        self.directors = count;
        self
    }

    /// Reals `real-1`, `real-2`, … at .40, .50, …
    #[must_use]
    pub fn reals(mut self, count: u8) -> Self {
        self.reals = count;
        self
    }

    /// The addresses that all reals have on `lo`, in place of [`VIP`] and [`VIP6`].
    #[must_use]
    pub fn vips(mut self, vips: impl IntoIterator<Item = IpAddr>) -> Self {
        self.vips = vips.into_iter().collect();
        self
    }

    /// Puts a host on a segment other than the front one. As soon as one host is on the back segment, every director
    /// is on both (`eth1` front, `eth2` back), and there is a router.
    #[must_use]
    pub fn place(mut self, host: &str, segment: Segment) -> Self {
        self.places.insert(host.to_owned(), segment);
        self
    }

    /// A router at .1 of each segment, every other host's default gateway.
    #[must_use]
    pub fn router(mut self) -> Self {
        self.router = true;
        self
    }

    /// Makes the front segment VLAN-aware, and sets how the port of `host` treats tags. Needs Linux 6.6.
    #[must_use]
    pub fn port(mut self, host: &str, port: Port) -> Self {
        self.ports.insert(host.to_owned(), port);
        self
    }

    /// Makes the lab.
    ///
    /// # Errors
    /// When this machine can't carry it ([`require`]), a wish can't be met, or a step fails; nothing is left then.
    pub fn build(self) -> Result<Lab> {
        require().map_err(|reason| anyhow!(reason))?;
        sweep_once();
        let plans = self.plan()?;
        let _making = remains::making();
        let mut lab = Lab::empty(Claim::new()?, self.vips.clone());
        create_namespaces(&lab, &plans)?;
        lab.hosts = thread::scope(|scope| {
            let opened: Vec<_> = plans.iter().map(|plan| scope.spawn(|| self.open(&lab, plan))).collect();
            opened.into_iter().map(joined).collect::<Result<_>>()
        })?;
        let switch = lab.switch();
        switch::wire(switch, &self.nics(&plans))?;
        thread::scope(|scope| {
            let done: Vec<_> = lab
                .hosts
                .iter()
                .filter(|host| host.role() != Role::Switch)
                .map(|host| scope.spawn(|| self.configure(host, &plans)))
                .collect();
            done.into_iter().try_for_each(joined)
        })?;
        switch::finish(switch, &self.nics(&plans), &self.ports)?;
        Ok(lab)
    }

    fn plan(&self) -> Result<Vec<Plan>> {
        for (what, count, most) in [
            ("clients", self.clients, address::MOST_CLIENTS),
            ("directors", self.directors, address::MOST_DIRECTORS),
            ("reals", self.reals, address::MOST_REALS),
        ] {
            ensure!(count <= most, "{count} {what}: the lab has addresses for {most}");
        }
        let mut plans =
            vec![Plan { name: "switch".to_owned(), title: "Switch".to_owned(), role: Role::Switch, nics: Vec::new() }];
        let both = [Segment::Front, Segment::Back];
        let two = self.places.values().any(|place| *place == Segment::Back);
        let all = if two { &both[..] } else { &both[..1] };
        if self.router || two {
            plans.push(planned("router".to_owned(), Role::Router, address::ROUTER, all));
        }
        for index in 0..self.clients {
            let name = match index {
                0 => "client".to_owned(),
                _ => format!("client-{}", index + 1),
            };
            let segment = [self.place_of(&name)];
            plans.push(planned(name, Role::Client, address::client_number(index), &segment));
        }
        for index in 0..self.directors {
            let name = format!("director-{}", char::from(b'a' + index));
            plans.push(planned(name, Role::Director, address::director_number(index), all));
        }
        for index in 0..self.reals {
            let name = format!("real-{}", index + 1);
            let segment = [self.place_of(&name)];
            plans.push(planned(name, Role::Real, address::real_number(index), &segment));
        }
        for name in self.places.keys().chain(self.ports.keys()) {
            let known = plans.iter().any(|plan| plan.name == *name);
            ensure!(known, "there is no host {name:?} in this lab");
        }
        Ok(plans)
    }

    fn place_of(&self, host: &str) -> Segment {
        self.places.get(host).copied().unwrap_or(Segment::Front)
    }

    fn nics(&self, plans: &[Plan]) -> Vec<switch::Plug> {
        plans
            .iter()
            .flat_map(|plan| plan.nics.iter().map(move |nic| (plan, nic)))
            .map(|(plan, nic)| switch::Plug {
                host: plan.name.clone(),
                director: plan.role == Role::Director,
                nic: nic.clone(),
            })
            .collect()
    }

    /// Makes a host of its namespace, which has no interface yet.
    fn open(&self, lab: &Lab, plan: &Plan) -> Result<Host> {
        let private = matches!(plan.role, Role::Director | Role::Switch);
        let namespace = Namespace::open(lab.namespace_of(&plan.name), private)?;
        let vips = match plan.role {
            Role::Real => self.vips.clone(),
            _ => Vec::new(),
        };
        namespace.within(|| set_sysctls(plan.role))?.with_context(|| format!("cannot prepare {}", plan.name))?;
        let dir = lab.dir().join(&plan.name);
        Host::new(plan.name.clone(), plan.title.clone(), plan.role, plan.nics.clone(), vips, dir, namespace)
    }

    /// Gives a host its addresses and routes.
    fn configure(&self, host: &Host, plans: &[Plan]) -> Result<()> {
        let mut lines = "link set lo up\n".to_owned();
        if host.role() == Role::Real {
            for vip in &self.vips {
                let length = if vip.is_ipv4() { 32 } else { 128 };
                writeln!(lines, "address add {vip}/{length} dev lo")?;
            }
        }
        for Nic { device, v4, v6, .. } in host.nics() {
            writeln!(lines, "link set {device} up")?;
            writeln!(lines, "address add {v4}/24 dev {device}")?;
            writeln!(lines, "address add {v6}/64 dev {device} nodad")?;
        }
        let routed = plans.iter().any(|plan| plan.role == Role::Router);
        if routed && host.role() != Role::Router {
            let Nic { device, segment, .. } = host.nic();
            let (v4, v6) = (segment.v4(address::ROUTER), segment.v6(address::ROUTER));
            writeln!(lines, "route add default via {v4} dev {device}")?;
            writeln!(lines, "route add ::/0 via {v6} dev {device}")?;
        }
        ip_batch(Some(host.namespace()), &lines)?;
        host.within(|| {
            host.nics().iter().try_for_each(|nic| {
                sys::offloads_off(&nic.device).with_context(|| format!("offloads of {}'s {}", host.name(), nic.device))
            })
        })?
    }
}

fn planned(name: String, role: Role, number: u8, segments: &[Segment]) -> Plan {
    let nics = segments.iter().map(|segment| Nic {
        device: segment.device().to_owned(),
        segment: *segment,
        port: segment.port(&name),
        mac: segment.mac(number),
        v4: segment.v4(number),
        v6: segment.v6(number),
    });
    let mut title = name.clone();
    // ASCII, so the first byte is the first letter.
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Plan { nics: nics.collect(), name, title, role }
}

fn create_namespaces(lab: &Lab, plans: &[Plan]) -> Result<()> {
    let mut lines = String::new();
    for plan in plans {
        writeln!(lines, "netns add {}", lab.namespace_of(&plan.name))?;
    }
    ip_batch(None, &lines)
}

/// Sets the namespace up before its interfaces come, which then inherit `default`.
fn set_sysctls(role: Role) -> Result<()> {
    let mut settings = Vec::new();
    for scope in ["all", "default"] {
        // The machine's own settings are inherited, whatever they are.
        settings.push((format!("net/ipv4/conf/{scope}/rp_filter"), "0"));
        settings.push((format!("net/ipv4/conf/{scope}/send_redirects"), "0"));
        // Usable at once: no duplicate detection, and nobody to ask for a prefix.
        settings.push((format!("net/ipv6/conf/{scope}/accept_dad"), "0"));
        settings.push((format!("net/ipv6/conf/{scope}/accept_ra"), "0"));
        settings.push((format!("net/ipv6/conf/{scope}/router_solicitations"), "0"));
        let silent = if role == Role::Switch { "1" } else { "0" };
        settings.push((format!("net/ipv6/conf/{scope}/disable_ipv6"), silent));
        if role == Role::Real {
            settings.push((format!("net/ipv4/conf/{scope}/arp_ignore"), "1"));
            settings.push((format!("net/ipv4/conf/{scope}/arp_announce"), "2"));
        }
    }
    if role == Role::Router {
        settings.push(("net/ipv4/ip_forward".to_owned(), "1"));
        settings.push(("net/ipv6/conf/all/forwarding".to_owned(), "1"));
    }
    for (name, value) in settings {
        fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("cannot set {name} to {value}"))?;
    }
    if role == Role::Switch {
        for kind in ["iptables", "ip6tables", "arptables"] {
            // There only when the kernel filters bridged packets at all.
            let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{kind}"), "0");
        }
    }
    Ok(())
}

/// Removes what killed runs have left, once in this process.
fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        if let Err(error) = remains::sweep() {
            eprintln!("what an earlier lab has left can't be removed: {error:#}");
        }
    });
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
