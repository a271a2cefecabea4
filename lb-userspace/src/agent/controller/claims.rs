//! Who else answers for a VIP of which this director is the master: told in the log, as an event and in the status.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::SystemTime;

use tracing::{info, warn};

use super::{Controller, Ownership};
use crate::agent::status::{mac, seconds};
use crate::api::ClaimStatus;
use crate::events::{Kind, Said};
use crate::planner::gates::settings_of;
use crate::planner::model::{Hop, Model};
use crate::segment::{Claim, Vips};

impl Controller {
    /// Has the segment asked for the VIPs that are this director's.
    pub(super) fn watch_vips(&self) {
        let Some(Ownership { watch, .. }) = &self.routers else { return };
        let here = |name: &str| self.model.duties.get(name) == Some(&true);
        let mut vips = Vips::new();
        for settings in settings_of(&self.named()).iter().filter(|settings| here(&settings.name)) {
            for address in settings.addresses.iter().map(ipnet::IpNet::addr) {
                let interface = settings.elsewhere.get(&address).unwrap_or(&settings.interface);
                vips.insert(address, interface.clone());
            }
        }
        watch.follow(vips);
    }

    /// Takes who claims VIPs now, and tells what is new of it.
    pub(super) fn fold_claims(&mut self, claims: &[Claim]) {
        let now = seconds(SystemTime::now());
        let before = std::mem::take(&mut self.claims);
        let is_in = |all: &[ClaimStatus], claim: &ClaimStatus| {
            all.iter().position(|held| (held.vip, &held.mac) == (claim.vip, &claim.mac))
        };
        for claim in claims.iter().map(|claim| named(claim, &self.model, now)) {
            match is_in(&before, &claim).and_then(|at| before.get(at)) {
                Some(held) => self.claims.push(held.clone()),
                None => {
                    let (vip, station, mend) = (claim.vip, claim.station(), claim.mend());
                    warn!("VIP {vip}: {station} answers for it too: clients may go past this director; {mend}");
                    let state = format!("{station} answers for it too");
                    self.events.record(of(&claim, state).because(mend));
                    self.claims.push(claim);
                }
            }
        }
        for claim in before.iter().filter(|claim| is_in(&self.claims, claim).is_none()) {
            // Of a VIP that isn't this director's any more nobody knows.
            if self.model.has_duty(claim.vip) {
                let state = format!("{} doesn't answer for it any more", claim.station());
                info!("VIP {}: {state}", claim.vip);
                self.events.record(of(claim, state));
            }
        }
    }
}

fn of(claim: &ClaimStatus, state: String) -> Said {
    Said { reals: claim.real.into_iter().collect(), ..Said::new(Kind::Vrrp, format!("VIP {}", claim.vip), state) }
}

/// Whose a claim is.
fn named(claim: &Claim, model: &Model, now: u64) -> ClaimStatus {
    let at = |hop: &Hop| matches!(hop, Hop::Reached(resolved) if resolved.mac == claim.mac);
    // The least of several, so that it is always the same.
    let real = model.hops.iter().filter(|(_, hop)| at(hop)).map(|(address, _)| *address).min();
    let config = &model.config;
    let peers = config.peers.iter().flat_map(|peers| &peers.addresses).map(std::net::SocketAddr::ip);
    let directors: HashSet<IpAddr> = peers.chain(config.vrrp.iter().flat_map(|router| router.peers.clone())).collect();
    let director = claim.addresses.iter().find(|address| directors.contains(address)).copied();
    let addresses = claim.addresses.clone();
    ClaimStatus {
        vip: claim.vip,
        mac: mac(claim.mac),
        real: real.filter(|_| director.is_none()),
        director,
        addresses,
        since: now,
    }
}
