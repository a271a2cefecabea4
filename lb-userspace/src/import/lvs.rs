//! Virtual servers of IPVS, from whichever language: what of them `lb` has, and what is told of the rest.

use std::net::{IpAddr, Ipv4Addr};

use super::ledger::{Fate, Ledger, Place};
use super::model::{Check, End, Fleet, Kept, Mark, Model, Pool, Real, Service, Side};

/// How IPVS sends to a real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Direct routing.
    Direct,
    /// Translated addresses.
    Nat,
    /// IP in IP, GUE or GRE.
    Tunnel,
    /// The director itself.
    Local,
}

/// A virtual server, with those of its lines told that are about more than one real.
#[derive(Debug)]
pub(super) struct Virtual {
    /// Its first line.
    pub place: Place,
    pub ends: Vec<End>,
    pub marks: Vec<u32>,
    /// What a pool of it is called.
    pub name: String,
    pub protocol: &'static str,
    pub scheduler: &'static str,
    pub kept: Option<Kept>,
    pub check: Option<Check>,
    pub quiesce: bool,
    pub fleet: Fleet,
    pub notify: Vec<String>,
    pub reals: Vec<Real>,
    pub remarks: Vec<String>,
}

/// A real as it is written.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub places: &'a [Place],
    /// Its statement.
    pub what: String,
    pub address: &'a str,
    pub port: Option<u16>,
    pub weight: u32,
    pub method: Method,
    /// Whether that was told for the whole virtual server.
    pub told: bool,
}

impl Virtual {
    /// Takes a real, or tells why it can't be one.
    pub(super) fn take(&mut self, real: Candidate<'_>, ledger: &mut Ledger) -> bool {
        let Candidate { places, what, address, port, weight, method, told } = real;
        let mut left = |how: String| {
            ledger.note(places, Fate::Left, what.clone(), how);
            false
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return left(format!(
                "\"{address}\" is not an IP address, and names aren't looked up: write the address (ipvsadm has them with -n)"
            ));
        };
        if address.is_loopback() || method == Method::Local {
            return left(
                "the director itself can't be a real here. Without a usable real packets of a service go to the \
                 director's own stack: what listens there is a stand-in, not one of several"
                    .to_owned(),
            );
        }
        if let Some(vip) = self.ends.first().map(|end| end.address)
            && vip.is_ipv6() != address.is_ipv6()
        {
            return left(format!(
                "it is of another family than {vip}: direct routing doesn't translate; write its own"
            ));
        }
        if self.reals.iter().any(|known| known.address == address) {
            return left(format!(
                "{address} is a real of this service already; direct routing keeps the port, so that one host is one \
                 real: add its weight to the other's, or make services of the ports"
            ));
        }
        self.reals.push(Real { address, weight, check: None });
        let other = match (port, self.port()) {
            (Some(own), Some(vips)) if own != vips => Some((own, vips)),
            _ => None,
        };
        match (method, other) {
            (Method::Nat | Method::Tunnel, _) if !told => {
                ledger.note(places, Fate::Left, what, elsewhere(method, other));
            }
            (Method::Nat | Method::Tunnel, Some((own, vips))) => {
                let how = format!(
                    "have it listen on port {vips}, and the check ask that: direct routing keeps the port, here it is {own}"
                );
                ledger.note(places, Fate::Left, what, how);
            }
            (_, Some((own, vips))) => {
                let how =
                    format!("direct routing keeps the port, in IPVS too: the real is sent to on {vips}, not {own}");
                ledger.note(places, Fate::Changed, what, how);
            }
            _ => ledger.note(places, Fate::Carried, what, ""),
        }
        true
    }

    /// The port of all its ends, if they have one.
    pub(super) fn port(&self) -> Option<u16> {
        let first = self.ends.first()?.port;
        first.filter(|_| self.ends.iter().all(|end| end.port == first))
    }

    /// Puts it into the model. One without reals is told of by its caller.
    pub(super) fn settle(self, model: &mut Model) {
        let Self {
            ends, marks, name, protocol, scheduler, kept, check, quiesce, fleet, notify, reals, remarks, ..
        } = self;
        let side = Side { check, quiesce, fleet, notify, reals };
        if let ([end], true) = (&ends[..], marks.is_empty()) {
            model.services.push(Service {
                name: String::new(),
                remarks,
                end: *end,
                protocol,
                scheduler,
                kept,
                side: Err(side),
            });
            return;
        }
        let number = model.pools.len();
        let marks: Vec<String> = marks.iter().map(u32::to_string).collect();
        let mark = (!marks.is_empty()).then(|| Mark { marks: marks.join(" or "), scheduler, kept });
        model.pools.push(Pool { name, remarks, side, mark });
        let service = |end| Service {
            name: String::new(),
            remarks: Vec::new(),
            end,
            protocol,
            scheduler,
            kept,
            side: Ok(number),
        };
        model.services.extend(ends.into_iter().map(service));
    }
}

/// What is to be done with reals that aren't sent to by direct routing. `ports` are the real's and the VIP's, where they
/// differ.
pub(super) fn elsewhere(method: Method, ports: Option<(u16, u16)>) -> String {
    let from = match method {
        Method::Tunnel => "tunnels aren't there",
        _ => "NAT isn't there",
    };
    let listen =
        ports.map_or_else(String::new, |(own, vips)| format!(", and have it listen on port {vips}: here it is {own}"));
    format!(
        "{from}: lb sends to a real by its MAC address alone. Before the service takes traffic, give each real an \
         address on a segment of the director, the VIP on its lo (arp_ignore = 1, arp_announce = 2) and a default route \
         that doesn't lead through the director{listen}"
    )
}

/// What is to be done with a firewall mark.
pub(super) const MARK: &str = "firewall marks aren't there, and what they mark isn't in this file: its reals are in a \
    [pool.NAME]; write a service for each address, port and protocol that the rules of iptables or nftables mark \
    (commented out below the pool), and remove these rules";

/// A scheduler: ours, and what is told of it.
pub(super) fn scheduler(word: &str, ports: bool, persistent: bool) -> (&'static str, Fate, String) {
    let changed = |ours: &'static str, how: &str| (ours, Fate::Changed, how.to_owned());
    let left = |ours: &'static str, how: &str| (ours, Fate::Left, how.to_owned());
    match word {
        "rr" => ("rr", Fate::Carried, String::new()),
        "wrr" => ("wrr", Fate::Carried, String::new()),
        "lc" => ("lc", Fate::Carried, String::new()),
        "wlc" => ("wlc", Fate::Carried, String::new()),
        "sed" => ("sed", Fate::Carried, String::new()),
        "nq" => ("nq", Fate::Carried, String::new()),
        // Both of IPVS hash the client's address alone, unless a flag adds the port (net/netfilter/ipvs/ip_vs_mh.c).
        "sh" | "mh" if ports && !persistent => {
            changed("mh", "scheduler = \"mh\", which hashes the client's address and port by Maglev")
        }
        "sh" => ("sh", Fate::Carried, String::new()),
        "mh" => changed("sh", "scheduler = \"sh\": IPVS's mh hashes the client's address alone, and sh does so here"),
        "dh" => left(
            "sh",
            "dh isn't there: it is for caches by destination. scheduler = \"sh\" is the nearest; look whether it is meant",
        ),
        "lblc" | "lblcr" => left(
            "wlc",
            "it isn't there: it is for caches by destination. scheduler = \"wlc\" is written; look whether it is meant",
        ),
        "fo" => left(
            "wlc",
            "it isn't there: scheduler = \"wlc\" sends to all reals. Give those that are to wait weight = 0; `lb weight` raises it by hand",
        ),
        "ovf" => left("wlc", "it isn't there: scheduler = \"wlc\" sends to all reals by their load"),
        "twos" => changed("wlc", "scheduler = \"wlc\", which compares up to 32 reals instead of two"),
        _ => left(
            "wlc",
            "there is no such scheduler: scheduler = \"wlc\" is written, which is IPVS's own where none is given",
        ),
    }
}

/// Longest persistence here, in seconds.
const DAY: u32 = 86_400;

/// Persistence with this scheduler of ours, by what stands for its time and its mask; and what is told of either.
pub(super) fn persistence(scheduler: &str, seconds: u32, mask: Option<&str>) -> (Option<Kept>, Told, Option<Told>) {
    if scheduler == "sh" {
        let how =
            "sh sends a client to one real by its address alone, as long as the reals stay the same: it needs no time";
        let of_mask =
            mask.map(|mask| (Fate::Left, format!("mask {mask} isn't there: sh goes by the client's whole address")));
        return (None, (Fate::Changed, how.to_owned()), of_mask);
    }
    let prefix = mask.map(|mask| {
        prefix(mask).ok_or_else(|| format!("{mask} is no mask that a prefix has: a client's whole address counts"))
    });
    let told = if seconds > DAY {
        (Fate::Changed, "persistence lasts a day at most here".to_owned())
    } else {
        (Fate::Carried, String::new())
    };
    let of_mask = prefix.as_ref().map(|prefix| match prefix {
        Ok(_) => (Fate::Carried, String::new()),
        Err(how) => (Fate::Left, how.clone()),
    });
    (Some(Kept { seconds: seconds.min(DAY), prefix: prefix.and_then(Result::ok) }), told, of_mask)
}

/// How a word was carried over, and what is told of it.
pub(super) type Told = (Fate, String);

/// A mask's ones: of dotted bytes, of the kernel's eight digits, or a prefix's length.
fn prefix(mask: &str) -> Option<u8> {
    let word = match mask.parse::<Ipv4Addr>() {
        Ok(dotted) => u32::from(dotted),
        Err(_) if mask.len() == 8 => u32::from_str_radix(mask, 16).ok()?,
        Err(_) => return mask.parse().ok().filter(|prefix| *prefix <= 128),
    };
    (word.leading_ones() == word.count_ones()).then(|| word.leading_ones() as u8)
}
