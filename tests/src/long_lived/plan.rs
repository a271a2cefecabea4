//! What a scene's directors are configured with.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};

use super::HEALTH;
use crate::config::{real, service};
use crate::lab::{Builder, Host, Lab, VIP, VIP6};

/// The virtual routers: one for either family.
pub(super) const ROUTERS: [&str; 2] = ["v4", "v6"];

/// The priorities of directors A and B.
const PRIORITIES: [u8; 2] = [200, 100];

/// What is configured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each is that of a service of either family, with a VIP of its own.
    pub schedulers: &'static [&'static str],
    /// Reals by number, with their weights.
    pub reals: BTreeMap<u8, u16>,
    /// Time between checks.
    pub check_interval: &'static str,
    /// More keys of whoever has reals, a service or a pool; a line each.
    pub keys: &'static str,
    /// The services have the reals of a pool, one for either family, whose name begins so.
    pub pool: Option<&'static str>,
    /// The schedulers whose services have reals of their own all the same.
    pub apart: &'static [&'static str],
    /// The directors share their state.
    pub exchange: bool,
}

impl Plan {
    /// A lab whose reals have its VIPs.
    #[must_use]
    pub fn lab(&self) -> Builder {
        Lab::builder().vips(self.services().map(|(_, vip)| vip))
    }

    /// The name of the pool of a family.
    fn pool_of(&self, v6: bool) -> String {
        format!("{}-{}", self.pool.unwrap_or_default(), if v6 { "v6" } else { "v4" })
    }

    /// Each service's scheduler and VIP.
    pub(super) fn services(&self) -> impl Iterator<Item = (&'static str, IpAddr)> {
        (0..).zip(self.schedulers).flat_map(|(place, scheduler)| {
            let v4 = Ipv4Addr::from_bits(VIP.to_bits() + place);
            let v6 = Ipv6Addr::from_bits(VIP6.to_bits() + u128::from(place));
            [(*scheduler, v4.into()), (*scheduler, v6.into())]
        })
    }

    /// The configuration of the director at `place`.
    pub(super) fn config(&self, lab: &Lab, place: usize) -> Result<String> {
        let priority = PRIORITIES.get(place).copied().unwrap_or(1);
        let peers = if self.exchange { self.peers(lab, place)? } else { String::new() };
        let mut text = format!("[director]\ninterfaces = [\"eth1\"]\n\n{peers}");
        for router in ROUTERS {
            let v6 = router == "v6";
            let link_local = v6.then(|| "\"fe80::210/64\"".to_owned());
            let length = if v6 { 64 } else { 24 };
            let vips = self.services().filter(|(_, vip)| vip.is_ipv6() == v6);
            let vips: Vec<String> =
                link_local.into_iter().chain(vips.map(|(_, vip)| format!("\"{vip}/{length}\""))).collect();
            let vips = vips.join(", ");
            text += &format!(
                "[vrrp.{router}]\ninterface = \"eth1\"\nid = 210\npriority = {priority}\nadvertise = \"100ms\"\naddresses = [{vips}]\n\n"
            );
        }
        for v6 in [false, true].into_iter().filter(|_| self.pool.is_some()) {
            let name = self.pool_of(v6);
            text += &format!("[pool.{name}]\n{}\n{}\n", self.check(), self.keys);
            text.extend(self.reals(lab, v6).map(|real| format!("[[pool.{name}.reals]]\n{real}\n")));
        }
        for (scheduler, vip) in self.services() {
            let v6 = vip.is_ipv6();
            let is_pooled = self.pool.is_some() && !self.apart.contains(&scheduler);
            let of = if is_pooled {
                format!("pool = \"{}\"", self.pool_of(v6))
            } else {
                format!("{}\n{}", self.check(), self.keys)
            };
            let keys = format!("protocol = \"tcp\"\nscheduler = \"{scheduler}\"\n{of}");
            let reals = self.reals(lab, v6).filter(|_| !is_pooled);
            text += &service(&name(scheduler, vip), SocketAddr::from((vip, 80)), &keys, reals);
        }
        Ok(text)
    }

    fn check(&self) -> String {
        let interval = self.check_interval;
        format!("check = {{ type = \"tcp\", port = {HEALTH}, interval = \"{interval}\", fall = 3 }}")
    }

    /// Every real as it is configured.
    fn reals(&self, lab: &Lab, v6: bool) -> impl Iterator<Item = String> {
        self.reals.iter().map(move |(number, weight)| {
            let host = lab.real(*number);
            let address: IpAddr = if v6 { host.v6().into() } else { host.v4().into() };
            real(address, &format!("weight = {weight}"))
        })
    }

    /// What joins the director at `place` with the others.
    fn peers(&self, lab: &Lab, place: usize) -> Result<String> {
        let key = lab.dir().join("peers.key");
        if !key.exists() {
            fs::write(&key, "a key that the directors of a lab share\n")?;
            fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        }
        let listen = lab.directors().nth(place).with_context(|| format!("there is no director {place}"))?.v4();
        let others = lab.directors().map(Host::v4).filter(|address| *address != listen);
        let others: Vec<String> = others.map(|address| address.to_string()).collect();
        Ok(format!("[peers]\nlisten = \"{listen}\"\naddresses = {others:?}\nkey_file = {key:?}\n\n"))
    }
}

/// What a service is called.
pub(super) fn name(scheduler: &str, vip: IpAddr) -> String {
    format!("{scheduler}-{}", if vip.is_ipv6() { "v6" } else { "v4" })
}
