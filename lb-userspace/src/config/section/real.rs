//! `[[service.NAME.reals]]` and `[[pool.NAME.reals]]`: a real server.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::Arc;

use super::check::{Check, ReadCheck};
use super::checks::{self, Accept, Checks, Join, OneOrMore};
use super::seen::FirstSeen;
use super::vips::{Vips, family};
use crate::config::read::source::{Source, Span};
use crate::config::read::texts::{INTERFACE, REAL};
use crate::config::read::{Number, Read, Text, key, keys, value};
use crate::config::report::Findings;

/// `[[service.NAME.reals]]` and `[[pool.NAME.reals]]`: a real server.
#[derive(Debug, Clone, PartialEq)]
pub struct Real {
    /// Its own address, of the VIP's family, on a segment of this director.
    pub address: IpAddr,
    /// 0 quiesces: new connections go elsewhere. At most 65535.
    pub weight: u32,
    /// A MAC address that replaces neighbour discovery.
    pub mac: Option<[u8; 6]>,
    /// The interface that it is reached by; else the kernel's route says.
    pub interface: Option<String>,
    /// Its VLAN: `None` keeps the frame's tags, 0 is untagged.
    pub vlan: Option<u16>,
    /// Its own checks; else those of its service or pool.
    pub checks: Option<Checks>,
}

/// The reals of a service or of a pool, which its services share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reals(Arc<Vec<Real>>);

impl From<Vec<Real>> for Reals {
    fn from(reals: Vec<Real>) -> Self {
        Self(Arc::new(reals))
    }
}

impl Deref for Reals {
    type Target = Vec<Real>;

    fn deref(&self) -> &Vec<Real> {
        &self.0
    }
}

impl DerefMut for Reals {
    /// Those of this one alone, which shares them no longer.
    fn deref_mut(&mut self) -> &mut Vec<Real> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a> IntoIterator for &'a Reals {
    type Item = &'a Real;
    type IntoIter = slice::Iter<'a, Real>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Places within one real's table.
#[derive(Debug, Clone)]
pub struct RealPlaces {
    /// The value of `address`.
    pub address: Span,
    /// The value of `interface`, where it is given.
    pub interface: Option<Span>,
}

const MAC: Text<[u8; 6]> =
    Text { read: value::mac, example: "\"02:00:5e:10:00:28\"", values: "`\"02:00:5e:10:00:28\"`" };

keys! {
    #[derive(Debug)]
    pub struct RealKeys {
        /// the real's own address, of the VIP's family, on a segment of this director. Direct routing keeps the port.
        /// It can't be a VIP
        address: IpAddr = key(REAL).required();
        /// its share of new connections; 0 quiesces: new connections go elsewhere, those that it has go on
        weight: u32 = key(Number::of(0..=65_535).unit("(0 quiesces)")).or(1);
        /// its MAC address; with it the real need not be on a segment of this director
        mac: [u8; 6] = key(MAC).without("from the neighbour table");
        /// where it is sent to
        interface: String = key(INTERFACE).without("from the routes");
        /// its VLAN; 0 is untagged. On the interface of a real that has it, frames of every VLAN are taken, unless `director.vlans` names them; elsewhere only those of VLANs that this host has a device for, and untagged ones
        vlan: u16 = key(Number::of(0..=4094).unit("(0 is untagged)")).without("the frame's own tags");
        /// how it is checked, in place of what its service or pool says
        check: Vec<ReadCheck> = key(OneOrMore).without("as the others");
        /// as in a service: how several checks are joined
        join_checks: Join = key(Join::WORDS).without("as the others");
    }
}

/// The rules of the reals of a service or a pool, the `owner`, which has these checks: each once, of the VIP's family, and
/// no VIP itself.
pub fn accept(
    reals: &[Read<RealKeys>],
    owner: &str,
    vip: Option<IpAddr>,
    vips: &Vips,
    (theirs, check): (&Checks, &Accept<'_>),
    source: &Source,
    findings: &mut Findings,
) -> (Vec<Real>, Vec<RealPlaces>) {
    let mut seen = FirstSeen::default();
    for (&address, span) in reals.iter().filter_map(|real| real.address.written()) {
        if let Some(line) = seen.before(address, span.clone(), source) {
            findings.report(
                span.clone(),
                format!("{address} is already a real of this {owner}, on {line}"),
                "name it once, with the weight of both",
            );
        }
        is_no_vip(address, &span, vip, vips, findings);
        if let Some(vip) = vip.filter(|vip| vip.is_ipv6() != address.is_ipv6()) {
            findings.report(
                span,
                format!("{address} is {}, but the VIP is {vip}", family(address)),
                format!("direct routing doesn't translate: write the real's {} address", family(vip)),
            );
        }
    }
    let checks: Vec<_> = reals.iter().map(|real| checks::accept_own(real, theirs, check, findings)).collect();
    reals.iter().zip(checks).filter_map(|(real, checks)| one(real, checks)).unzip()
}

fn is_no_vip(address: IpAddr, span: &Span, vip: Option<IpAddr>, vips: &Vips, findings: &mut Findings) {
    let message = if vip == Some(address) {
        format!("{address} is the VIP of this service: it would send to itself")
    } else if let Some(owner) = vips.owner(address) {
        format!("{address} is a VIP, of {owner}: packets would come back here")
    } else {
        return;
    };
    findings.report(span.clone(), message, "write the real's own address; the VIP goes on its lo");
}

fn one(read: &Read<RealKeys>, checks: Option<Checks>) -> Option<(Real, RealPlaces)> {
    let (&address, span) = read.address.written()?;
    let real = Real {
        address,
        weight: read.weight.copied()?,
        mac: read.mac.copied(),
        interface: read.interface.cloned(),
        vlan: read.vlan.copied(),
        checks,
    };
    Some((real, RealPlaces { address: span, interface: read.interface.span() }))
}

/// The weights of reals that the file gives, for those of its rules that add them up.
pub fn weights(reals: &[Read<RealKeys>]) -> impl Iterator<Item = u64> {
    reals.iter().filter_map(|real| real.weight.copied()).map(u64::from)
}

impl Real {
    /// How it is reached and checked, where the file says more than its address.
    pub fn way(&self) -> Option<String> {
        let mac = self.mac.map(|mac| {
            let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("MAC {}", bytes.join(":"))
        });
        let vlan = self.vlan.map(|vlan| match vlan {
            0 => "untagged".to_owned(),
            id => format!("VLAN {id}"),
        });
        let interface = self.interface.as_ref().map(|name| format!("by {name}"));
        let checked = self.checks.as_ref().map(|checks| {
            let labels: Vec<String> = checks.iter().map(Check::label).collect();
            format!("checked by {}", labels.join(if checks.join == Join::All { " and " } else { " or " }))
        });
        let parts: Vec<String> = [interface, vlan, mac, checked].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
