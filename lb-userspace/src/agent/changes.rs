//! What a reload changes, in words.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{Fate, Reloaded, Touched};
use crate::config::{
    Checks, Config, Director, Fleet, Notify, OnFailure, Pool, Real, Reals, Scheduler, Service, SyncGroup, Vrrp,
    WhenAgentDies,
};

/// What another configuration changes: a line for each service, real and virtual router. Empty when nothing does.
pub fn changes(before: &Config, after: &Config) -> Vec<String> {
    let mut out = director(&before.director, &after.director);
    let listen = |config: &Config| config.metrics.as_ref().map(|metrics| metrics.listen);
    if listen(before) != listen(after) {
        out.push(
            listen(after).map_or("metrics: removed".to_owned(), |listen| format!("metrics: served on {listen} now")),
        );
    }
    if before.peers != after.peers {
        out.push("peers: changed: the exchange begins anew".to_owned());
    }
    if before.flows != after.flows {
        let shown = humantime::format_duration;
        let crate::config::Flows { tcp, udp, opening, closing } = after.flows;
        out.push(format!(
            "flows: tcp {}, udp {}, opening {}, closing {}",
            shown(tcp),
            shown(udp),
            shown(opening),
            shown(closing)
        ));
    }
    compare(
        &mut out,
        "service",
        by_name(&before.services, |it| &it.name),
        by_name(&after.services, |it| &it.name),
        service,
    );
    compare(&mut out, "pool", by_name(&before.pools, |it| &it.name), by_name(&after.pools, |it| &it.name), pool);
    compare(
        &mut out,
        "sync_group",
        by_name(&before.sync_groups, |it| &it.name),
        by_name(&after.sync_groups, |it| &it.name),
        |_, _| vec!["its scripts changed".to_owned()],
    );
    compare(&mut out, "vrrp", by_name(&before.vrrp, |it| &it.name), by_name(&after.vrrp, |it| &it.name), router);
    out
}

/// All that a reload says of it.
pub fn reloaded(before: &Config, after: &Config) -> Reloaded {
    Reloaded {
        changes: changes(before, after),
        without_effect: without_effect(before, after),
        touched: touched(before, after),
    }
}

/// The connections that it touches.
pub fn touched(before: &Config, after: &Config) -> Vec<Touched> {
    let rehashed = before.director.hash_seed != after.director.hash_seed;
    let mut out = Vec::new();
    for then in &before.services {
        let whole = |fate| Touched { service: then.name.clone(), real: None, fate };
        let key = |service: &Service| (service.protocol, service.address, service.port);
        // By its address it may go on under another name.
        let Some(now) = after.services.iter().find(|service| key(service) == key(then)) else {
            out.push(whole(Fate::End));
            continue;
        };
        if rehashed || is_rehashed(then, now) {
            out.push(whole(Fate::Move));
            continue;
        }
        for real in &then.reals {
            let kept = now.reals.iter().find(|kept| kept.address == real.address);
            let fate = match kept {
                None => Fate::Drain(now.drain_deadline.map(|time| time.as_secs())),
                Some(kept) if kept.weight == 0 && real.weight > 0 => Fate::Stay,
                Some(_) => continue,
            };
            out.push(Touched { service: then.name.clone(), real: Some(real.address), fate });
        }
    }
    out
}

/// Whether a service's connections find other slots.
fn is_rehashed(before: &Service, after: &Service) -> bool {
    let by_source = |service: &Service| service.scheduler == Scheduler::Sh;
    by_source(before) != by_source(after) || before.ring_size != after.ring_size
}

/// What of it has no effect before the director is made anew.
pub fn without_effect(before: &Config, after: &Config) -> Vec<String> {
    let mut out = Vec::new();
    if before.limits != after.limits {
        out.push("[limits] has no effect yet: the maps keep their sizes until `lb detach` and a new start".to_owned());
    }
    if before.director.mode != after.director.mode {
        out.push(
            "director.mode has no effect yet on interfaces that the program runs on: until `lb detach` and a new start"
                .to_owned(),
        );
    }
    out
}

fn director(before: &Director, after: &Director) -> Vec<String> {
    let mut out = Vec::new();
    let missing = |from: &Director, name: &&String| !from.interfaces.contains(name);
    out.extend(
        after.interfaces.iter().filter(|name| missing(before, name)).map(|name| format!("interface {name}: added")),
    );
    out.extend(
        before.interfaces.iter().filter(|name| missing(after, name)).map(|name| format!("interface {name}: removed")),
    );
    if before.hash_seed != after.hash_seed {
        out.push("director: hash_seed changed: connections move, since they are hashed otherwise".to_owned());
    }
    if before.vlans != after.vlans {
        out.push(match &after.vlans {
            Some(vlans) => {
                let vlans: Vec<String> = vlans.iter().map(u16::to_string).collect();
                format!("director: clients' VLANs are {} now", vlans.join(", "))
            }
            None => "director: clients' VLANs aren't named any more".to_owned(),
        });
    }
    if before.when_agent_dies != after.when_agent_dies {
        out.push(match after.when_agent_dies {
            WhenAgentDies::Forward => "director: when_agent_dies is \"forward\" now".to_owned(),
            WhenAgentDies::Release { after } => {
                format!("director: when_agent_dies is \"release\" now, after {}", humantime::format_duration(after))
            }
        });
    }
    out
}

fn by_name<'a, T>(things: &'a [T], name: impl Fn(&'a T) -> &'a String) -> BTreeMap<&'a str, &'a T> {
    things.iter().map(|thing| (name(thing).as_str(), thing)).collect()
}

/// A line for each that came, went or changed; `differ` tells the lines of one that changed.
fn compare<T: PartialEq + Summary>(
    out: &mut Vec<String>,
    kind: &str,
    before: BTreeMap<&str, &T>,
    after: BTreeMap<&str, &T>,
    differ: impl Fn(&T, &T) -> Vec<String>,
) {
    for (name, now) in &after {
        match before.get(name) {
            None => out.push(format!("{kind}.{name}: added, {}", now.summary())),
            Some(then) if then == now => {}
            Some(then) => out.extend(differ(then, now).into_iter().map(|line| format!("{kind}.{name}: {line}"))),
        }
    }
    out.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{kind}.{name}: removed")));
}

/// What is told of one that is new.
trait Summary {
    fn summary(&self) -> String;
}

impl Summary for Service {
    fn summary(&self) -> String {
        format!("{} {}, {} reals", self.protocol.label().to_lowercase(), endpoint(self), self.reals.len())
    }
}

impl Summary for Pool {
    fn summary(&self) -> String {
        format!("{} reals", self.reals.len())
    }
}

impl Summary for Vrrp {
    fn summary(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        format!("id {} on {}, {}", self.id, self.interface, addresses.join(", "))
    }
}

impl Summary for SyncGroup {
    fn summary(&self) -> String {
        "with scripts of its own".to_owned()
    }
}

fn endpoint(service: &Service) -> String {
    match service.port {
        Some(port) => std::net::SocketAddr::new(service.address, port).to_string(),
        None => format!("{}, any port", service.address),
    }
}

fn service(before: &Service, after: &Service) -> Vec<String> {
    let mut out = Vec::new();
    if (before.protocol, before.address, before.port) != (after.protocol, after.address, after.port) {
        out.push(format!("is at {} {} now", after.protocol.label().to_lowercase(), endpoint(after)));
    }
    if before.pool != after.pool {
        out.push(match &after.pool {
            Some(pool) => format!("has the reals and the check of pool {pool} now"),
            None => "has reals of its own now".to_owned(),
        });
    }
    changed(&mut out, "scheduler", before.scheduler.label(), after.scheduler.label());
    let persistence = |service: &Service| {
        service.persistence.as_ref().map_or_else(|| "without persistence".to_owned(), ToString::to_string)
    };
    if before.persistence != after.persistence {
        out.push(format!("{} now, was {}", persistence(after), persistence(before)));
    }
    changed(&mut out, "udp", before.udp.label(), after.udp.label());
    changed(&mut out, "ring_size", before.ring_size, after.ring_size);
    if is_rehashed(before, after) {
        out.push("its connections move: they are hashed otherwise".to_owned());
    }
    // What a pool's services have in common is told of the pool.
    if before.pool.is_none() || before.pool != after.pool {
        reals_and_check(&mut out, (&before.reals, &before.checks), (&after.reals, &after.checks));
        keeping(&mut out, (before.on_failure, before.drain_deadline), (after.on_failure, after.drain_deadline));
        together(&mut out, before.fleet.as_deref(), after.fleet.as_deref());
        changed_notify(&mut out, before.notify.as_deref(), after.notify.as_deref());
    }
    out
}

fn pool(before: &Pool, after: &Pool) -> Vec<String> {
    let mut out = Vec::new();
    reals_and_check(&mut out, (&before.reals, &before.checks), (&after.reals, &after.checks));
    keeping(&mut out, (before.on_failure, before.drain_deadline), (after.on_failure, after.drain_deadline));
    together(&mut out, before.fleet.as_deref(), after.fleet.as_deref());
    changed_notify(&mut out, before.notify.as_deref(), after.notify.as_deref());
    out
}

fn changed_notify(out: &mut Vec<String>, before: Option<&Notify>, after: Option<&Notify>) {
    if before != after {
        out.push("notify changed".to_owned());
    }
}

fn together(out: &mut Vec<String>, before: Option<&Fleet>, after: Option<&Fleet>) {
    let none = Fleet::default();
    let (b, a) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let keys = [
        ("slow_start", b.slow_start != a.slow_start),
        ("quorum", b.quorum_in_force() != a.quorum_in_force()),
        ("sorry", b.sorry != a.sorry),
        ("panic_below", b.panic_below != a.panic_below),
    ];
    let named: Vec<&str> = keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    if !named.is_empty() {
        out.push(format!("fleet: {} changed", named.join(", ")));
    }
}

/// What becomes of connections: of a service with reals of its own, or of a pool.
type Keeping = (Option<OnFailure>, Option<Duration>);

fn keeping(out: &mut Vec<String>, before: Keeping, after: Keeping) {
    if before.0 != after.0 {
        out.push("on_failure changed".to_owned());
    }
    if before.1 != after.1 {
        out.push("drain_deadline changed, for reals that leave from now on".to_owned());
    }
}

fn reals_and_check(out: &mut Vec<String>, before: (&Reals, &Checks), after: (&Reals, &Checks)) {
    if before.1 != after.1 {
        out.push(match after.1.len() {
            0 => "is not checked any more: its reals count as healthy".to_owned(),
            _ if before.1.is_empty() => "is checked now".to_owned(),
            _ => "its check changed; what is known of its reals stays until the new one has an answer".to_owned(),
        });
    }
    let reals = |of: &'_ Reals| of.iter().map(|real| (real.address, real.clone())).collect::<BTreeMap<_, _>>();
    let (then, now) = (reals(before.0), reals(after.0));
    for (address, held) in &now {
        match then.get(address) {
            None => out.push(format!("real {address} added, weight {}", held.weight)),
            Some(before) => out.extend(real(before, held).into_iter().map(|line| format!("real {address}: {line}"))),
        }
    }
    out.extend(
        then.keys().filter(|address| !now.contains_key(address)).map(|address| format!("real {address} removed")),
    );
}

fn real(before: &Real, after: &Real) -> Vec<String> {
    let mut out = Vec::new();
    changed(&mut out, "weight", before.weight, after.weight);
    if (before.mac, &before.interface, before.vlan) != (after.mac, &after.interface, after.vlan) {
        out.push("is reached another way (mac, interface or vlan)".to_owned());
    }
    if before.checks != after.checks {
        out.push("is checked otherwise than before".to_owned());
    }
    out
}

fn changed<T: PartialEq + std::fmt::Display>(out: &mut Vec<String>, key: &str, before: T, after: T) {
    if before != after {
        out.push(format!("{key} {after}, was {before}"));
    }
}

/// The keys that changed, without their values: one of them is a password.
fn router(before: &Vrrp, after: &Vrrp) -> Vec<String> {
    let (b, a) = (before, after);
    let keys = [
        ("interface", b.interface != a.interface),
        ("id", b.id != a.id),
        ("version", b.version != a.version),
        ("priority", b.priority != a.priority),
        ("advertise", b.advertise != a.advertise),
        ("password", b.password != a.password),
        ("addresses", b.addresses != a.addresses),
        ("peers", b.peers != a.peers),
        ("preempt", b.preempt != a.preempt),
        ("preempt_delay", b.preempt_delay != a.preempt_delay),
        ("handover", b.handover != a.handover),
        ("backup", b.backup != a.backup),
        ("sync_group", b.sync_group != a.sync_group),
        ("announce", b.announce != a.announce),
        ("track", b.track != a.track),
        ("track_link", b.track_link != a.track_link),
        ("notify", b.scripts != a.scripts),
    ];
    let named: Vec<&str> = keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    vec![if named.is_empty() { "changed".to_owned() } else { format!("{} changed", named.join(", ")) }]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("[director]\ninterfaces = [\"eth1\"]\n{text}");
        crate::config::parse(Path::new("lb.toml"), &text)
            .unwrap_or_else(|error| panic!("{}", error.render(false)))
            .config
    }

    const WEB: &str = "[service.web]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n\
        [[service.web.reals]]\naddress = \"192.0.2.40\"\n[[service.web.reals]]\naddress = \"192.0.2.50\"\n";
    const ROUTER: &str = "[vrrp.web]\ninterface = \"eth1\"\nid = 9\nversion = 2\npassword = \"s3cret77\"\n\
        addresses = [\"192.0.2.1/24\"]\n";

    #[test]
    fn each_change_is_a_line() {
        let rows: [(&str, String, &[&str]); 9] = [
            (WEB, WEB.to_owned(), &[]),
            ("", WEB.to_owned(), &["service.web: added, tcp 192.0.2.1:80, 2 reals"]),
            (WEB, String::new(), &["service.web: removed"]),
            (
                WEB,
                WEB.replace(".50", ".60"),
                &["service.web: real 192.0.2.60 added, weight 1", "service.web: real 192.0.2.50 removed"],
            ),
            (WEB, WEB.to_owned() + "weight = 0\n", &["service.web: real 192.0.2.50: weight 0, was 1"]),
            (WEB, WEB.replace("\"tcp\"", "\"tcp\"\nscheduler = \"rr\""), &["service.web: scheduler rr, was mh"]),
            (WEB, WEB.replace("\"tcp\"", "\"tcp\"\ncheck = { type = \"tcp\" }"), &["service.web: is checked now"]),
            (WEB, WEB.replace(":80", ":81"), &["service.web: is at tcp 192.0.2.1:81 now"]),
            (
                ROUTER,
                ROUTER.replace("s3cret77", "s3cret78") + "priority = 7\n",
                &["vrrp.web: priority, password changed"],
            ),
        ];
        for (before, after, expected) in rows {
            assert_eq!(changes(&config(before), &config(&after)), expected, "{after}");
        }
    }

    #[test]
    fn the_connections_that_are_touched() {
        let real = |address: &str, fate| Touched { service: "web".to_owned(), real: address.parse().ok(), fate };
        let whole = |fate| Touched { service: "web".to_owned(), real: None, fate };
        let rows = [
            (WEB.to_owned(), vec![]),
            (WEB.replace("service.web", "service.shop"), vec![]),
            (String::new(), vec![whole(Fate::End)]),
            (WEB.replace(":80", ":81"), vec![whole(Fate::End)]),
            (WEB.replace("\"tcp\"", "\"tcp\"\nscheduler = \"sh\""), vec![whole(Fate::Move)]),
            (WEB.replace("\"tcp\"", "\"tcp\"\nscheduler = \"rr\""), vec![]),
            (WEB.replace(".50", ".60"), vec![real("192.0.2.50", Fate::Drain(None))]),
            (
                WEB.replace(".50", ".60").replace("\"tcp\"", "\"tcp\"\ndrain_deadline = \"2m\""),
                vec![real("192.0.2.50", Fate::Drain(Some(120)))],
            ),
            (WEB.to_owned() + "weight = 0\n", vec![real("192.0.2.50", Fate::Stay)]),
        ];
        for (after, expected) in rows {
            assert_eq!(touched(&config(WEB), &config(&after)), expected, "{after}");
        }
        let mut seeded = config(WEB);
        seeded.director.hash_seed = 7;
        assert_eq!(touched(&config(WEB), &seeded), [whole(Fate::Move)]);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let before = config(WEB);
        assert!(without_effect(&before, &before).is_empty());
        let mut after = before.clone();
        after.limits.services += 1;
        after.director.mode = crate::config::Mode::Generic;
        let told = without_effect(&before, &after);
        assert!(
            told[0].contains("[limits] has no effect") && told[1].contains("director.mode has no effect"),
            "{told:?}"
        );
        assert!(changes(&before, &after).is_empty());
    }
}
