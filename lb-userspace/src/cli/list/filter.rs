//! What of a status is listed.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::Arguments;
use crate::api::{ServiceStatus, Status};
use crate::config::is_meant;

/// Names that a refusal lists at most.
const LISTED: usize = 8;

/// Keeps the services and reals that are asked for.
///
/// # Errors
/// There is no such service, VIP or real; the text says which there are.
pub(super) fn keep(status: &mut Status, arguments: &Arguments) -> Result<()> {
    let wanted: Vec<&String> = arguments.services.iter().chain(&arguments.service).collect();
    if !wanted.is_empty() {
        if !status.agent {
            bail!(
                "the names of services are the agent's, and none answers: `lb list --vip ADDRESS` lists those of a VIP"
            );
        }
        let has = |name: &String| status.services.iter().any(|service| is_named(service, name));
        if let Some(unknown) = wanted.iter().find(|name| !has(name)) {
            let names = status.services.iter().filter_map(|service| service.name.clone());
            bail!("there is no service {unknown}.\nServices: {}", few(names));
        }
        status.services.retain(|service| wanted.iter().any(|name| is_named(service, name)));
    }
    if let Some(vip) = arguments.vip {
        let mut vips: Vec<IpAddr> = status.services.iter().map(|service| service.address).collect();
        vips.dedup();
        status.services.retain(|service| service.address == vip);
        if status.services.is_empty() {
            bail!("no service has the VIP {vip}.\nVIPs: {}", few(vips.into_iter().map(|vip| vip.to_string())));
        }
    }
    if let Some(real) = arguments.real {
        let has = |service: &ServiceStatus| service.reals.iter().any(|held| held.address == real);
        if !status.services.iter().any(has) {
            let mut reals: Vec<IpAddr> =
                status.services.iter().flat_map(|service| &service.reals).map(|held| held.address).collect();
            reals.sort();
            reals.dedup();
            bail!("no service has a real {real}.\nReals: {}", few(reals.into_iter().map(|real| real.to_string())));
        }
        status.services.retain(has);
        status.services.iter_mut().for_each(|service| service.reals.retain(|held| held.address == real));
    }
    Ok(())
}

fn is_named(service: &ServiceStatus, name: &str) -> bool {
    service.name.as_ref().is_some_and(|own| is_meant(own, name))
}

fn few(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let (shown, more) = names.split_at(names.len().min(LISTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::well;

    fn kept(arguments: &Arguments) -> Result<Vec<(String, usize)>> {
        let mut status = well();
        let mut dns = status.services[0].clone();
        dns.name = Some("dns".to_owned());
        dns.address = "fd00::1".parse()?;
        dns.reals.truncate(1);
        status.services.push(dns);
        keep(&mut status, arguments)?;
        Ok(status.services.iter().map(|one| (one.name.clone().unwrap_or_default(), one.reals.len())).collect())
    }

    #[test]
    fn what_is_asked_for_is_kept_and_what_is_not_there_is_told_with_what_is() {
        let of = |service: &[&str], vip: Option<&str>, real: Option<&str>| Arguments {
            services: service.iter().map(|name| (*name).to_owned()).collect(),
            vip: vip.map(|vip| vip.parse().unwrap()),
            real: real.map(|real| real.parse().unwrap()),
            ..Arguments::default()
        };
        let named = |name: &str, reals: usize| (name.to_owned(), reals);
        assert_eq!(kept(&of(&[], None, None)).unwrap(), [named("web", 2), named("dns", 1)]);
        assert_eq!(kept(&of(&["dns"], None, None)).unwrap(), [named("dns", 1)]);
        assert_eq!(kept(&of(&["web", "dns"], Some("fd00::1"), None)).unwrap(), [named("dns", 1)]);
        assert_eq!(kept(&of(&[], None, Some("192.0.2.40"))).unwrap(), [named("web", 1), named("dns", 1)]);
        assert_eq!(kept(&of(&[], None, Some("192.0.2.50"))).unwrap(), [named("web", 1)]);
        for (arguments, text) in [
            (of(&["wbe"], None, None), "there is no service wbe.\nServices: web, dns"),
            (of(&[], Some("fd00::2"), None), "no service has the VIP fd00::2.\nVIPs: 192.0.2.1, fd00::1"),
            (of(&[], None, Some("fd00::2")), "no service has a real fd00::2.\nReals: 192.0.2.40, 192.0.2.50"),
        ] {
            assert_eq!(kept(&arguments).unwrap_err().to_string(), text);
        }
    }
}
