//! The file's text.

use std::fmt::Write as _;
use std::time::Duration;

use super::model::{Check, End, Kept, Key, Mark, Model, Pool, Router, Service, Side, Vip, list, quoted, time};

/// The whole file. The same model makes the same text.
pub(super) fn file(from: &str, model: &Model) -> String {
    let from: String = from.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let mut out = format!("# Written by `lb import` from {from}: read its report before this is used.\n\n[director]\n");
    let _ = writeln!(out, "interfaces = {}", list(model.interfaces.iter().map(String::as_str)));
    if !model.flows.is_empty() {
        out.push_str("\n[flows]\n");
        keys(&mut out, &model.flows);
    }
    for one in &model.routers {
        router(&mut out, one);
    }
    for (kind, sections) in [("sync_group", &model.groups), ("script", &model.scripts)] {
        for (name, own) in sections {
            head(&mut out, &[], &format!("[{kind}.{name}]"));
            keys(&mut out, own);
        }
    }
    for one in &model.pools {
        pool(&mut out, one);
    }
    for one in &model.services {
        service(&mut out, one, model);
    }
    out
}

fn keys(out: &mut String, keys: &[Key]) {
    for (key, value) in keys {
        let _ = writeln!(out, "{key} = {value}");
    }
}

fn inline(keys: &[Key]) -> String {
    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", keys.join(", "))
}

fn head(out: &mut String, remarks: &[String], title: &str) {
    out.push('\n');
    for remark in remarks {
        let _ = writeln!(out, "# {}", remark.replace(char::is_control, "?"));
    }
    let _ = writeln!(out, "{title}");
}

fn router(out: &mut String, router: &Router) {
    head(out, &router.remarks, &format!("[vrrp.{}]", router.name));
    keys(out, &router.keys);
    let addresses: Vec<String> = router.addresses.iter().map(vip).collect();
    let _ = match &addresses[..] {
        [one] => writeln!(out, "addresses = [{one}]"),
        all => writeln!(out, "addresses = [\n    {},\n]", all.join(",\n    ")),
    };
    keys(out, &router.preempt);
    if !router.announce.is_empty() {
        let _ = writeln!(out, "announce = {}", inline(&router.announce));
    }
    if let Some(group) = &router.sync_group {
        let _ = writeln!(out, "sync_group = {}", quoted(group));
    }
    if !router.track.is_empty() {
        let items: Vec<String> = router.track.iter().map(|item| inline(item)).collect();
        let _ = writeln!(out, "track = [\n    {},\n]", items.join(",\n    "));
    }
    keys(out, &router.notify);
}

fn vip(vip: &Vip) -> String {
    match &vip.interface {
        None => quoted(&vip.net),
        Some(interface) => {
            format!("{{ address = {}, interface = {} }}", quoted(&vip.net), quoted(interface))
        }
    }
}

fn pool(out: &mut String, pool: &Pool) {
    head(out, &pool.remarks, &format!("[pool.{}]", pool.name));
    side(out, &pool.side, None);
    if let Some(Mark { marks, scheduler, kept: of }) = &pool.mark {
        let _ = write!(
            out,
            "\n# One of these for each address, port and protocol that the firewall gives mark {marks}:\n\
             #[service.{name}-1]\n#address = \"192.0.2.1:80\"\n#protocol = \"tcp\"\n#scheduler = \"{scheduler}\"\n#pool = \"{name}\"\n",
            name = pool.name
        );
        if let Some(of) = of {
            kept(out, "#", of);
            // A mark's clients have one real for all that it marks.
            let _ = writeln!(out, "#persistence_group = {}", quoted(&pool.name));
        }
    }
}

fn kept(out: &mut String, before: &str, kept: &Kept) {
    let _ = writeln!(out, "{before}persistence = {}", time(Duration::from_secs(kept.seconds.into())));
    if let Some(prefix) = kept.prefix {
        let _ = writeln!(out, "{before}persistence_prefix = {prefix}");
    }
}

fn service(out: &mut String, service: &Service, model: &Model) {
    let Service { name, remarks, end: End { address, port }, protocol, scheduler, kept: stays, side: of } = service;
    head(out, remarks, &format!("[service.{name}]"));
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let shown = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    let _ = writeln!(out, "address = \"{host}:{shown}\"\nprotocol = \"{protocol}\"\nscheduler = \"{scheduler}\"");
    if let Some(stays) = stays {
        kept(out, "", stays);
    }
    match of {
        Ok(number) => {
            let name = model.pools.get(*number).map_or("", |pool| &pool.name);
            let _ = writeln!(out, "pool = {}", quoted(name));
        }
        Err(own) => side(out, own, *port),
    }
}

/// `port` is the service's, which its check asks by itself.
fn side(out: &mut String, side: &Side, port: Option<u16>) {
    if let Some(own) = &side.check {
        let _ = writeln!(out, "check = {}", check(own, port));
    }
    if side.quiesce {
        out.push_str("on_failure = \"quiesce\"\n");
    }
    let quorum = side.fleet.quorum.map(|quorum| ("quorum", quorum.to_string()));
    let hysteresis = (side.fleet.hysteresis > 0).then(|| ("hysteresis", side.fleet.hysteresis.to_string()));
    let sorry = side.fleet.sorry.map(|address| ("sorry", format!("{{ address = \"{address}\" }}")));
    let fleet: Vec<Key> = [quorum, hysteresis, sorry].into_iter().flatten().collect();
    if !fleet.is_empty() {
        let _ = writeln!(out, "fleet = {}", inline(&fleet));
    }
    if !side.notify.is_empty() {
        let _ = writeln!(out, "notify = {}", list(side.notify.iter().map(String::as_str)));
    }
    let real = |real: &super::model::Real| {
        let own = real.check.as_ref().map(|own| format!(", check = {}", check(own, port)));
        format!("{{ address = \"{}\", weight = {}{} }}", real.address, real.weight, own.unwrap_or_default())
    };
    let reals: Vec<String> = side.reals.iter().map(real).collect();
    let _ = writeln!(out, "reals = [\n    {},\n]", reals.join(",\n    "));
}

fn check(check: &Check, port: Option<u16>) -> String {
    let mut keys: Vec<Key> = vec![("type", quoted(check.kind))];
    keys.extend(check.keys.iter().cloned());
    if let Some(asked) = check.port.filter(|asked| Some(*asked) != port) {
        keys.push(("port", asked.to_string()));
    }
    keys.push(("interval", time(check.interval)));
    if check.fast != check.interval {
        keys.push(("fast", time(check.fast)));
    }
    keys.push(("timeout", time(check.timeout)));
    keys.push(("fall", check.fall.to_string()));
    inline(&keys)
}
