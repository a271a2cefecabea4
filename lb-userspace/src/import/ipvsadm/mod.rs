//! What `ipvsadm` prints: the commands of `ipvsadm-save`, and the list of `ipvsadm -Ln`, which is also
//! `/proc/net/ip_vs` (net/netfilter/ipvs/ip_vs_ctl.c, `ip_vs_info_seq_show`).

mod listing;
mod save;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ledger::{Fate, Ledger, Place};
use super::lvs::{self, Candidate, Method, Virtual};
use super::model::{End, Model};

pub(super) use listing::listing;
pub(super) use save::save;

/// Of names, which lb doesn't look up.
const NAMES: &str = "names aren't looked up: print it once more with `ipvsadm-save -n` or `ipvsadm -Ln`";
/// Of datagrams' take-turns mode.
const OPS: &str = "one-packet scheduling isn't there: datagrams of one client and port go to one real";

/// What a service line says.
#[derive(Debug, Default)]
struct Head {
    /// As it stands there, by which reals name it.
    key: (String, String),
    scheduler: Option<String>,
    persistent: Option<u32>,
    mask: Option<String>,
    flags: String,
    ops: bool,
    engine: Option<String>,
}

/// What a real's line says.
#[derive(Debug)]
struct Line<'a> {
    place: Place,
    what: String,
    address: &'a str,
    method: Method,
    weight: Option<&'a str>,
}

/// The services, as they are read.
#[derive(Debug, Default)]
struct Services {
    known: Vec<((String, String), Virtual)>,
}

impl Services {
    /// Takes a service, or tells why there is none of it here.
    fn begin(&mut self, head: &Head, place: Place, what: &str, ledger: &mut Ledger) {
        let mut left = |how: &str| ledger.note(&[place], Fate::Left, what, how);
        let (protocol, address) = (&head.key.0[..], &head.key.1[..]);
        let (mut ends, mut marks) = (Vec::new(), Vec::new());
        let ours = match protocol {
            "tcp" | "mark" => "tcp",
            "udp" => "udp",
            _ => return left("lb has TCP and UDP alone"),
        };
        if protocol == "mark" {
            match mark(address) {
                Some(number) => marks.push(number),
                None => return left("this is no firewall mark"),
            }
            left(lvs::MARK);
        } else {
            match endpoint(address) {
                Some(end) => ends.push(end),
                None => return left(NAMES),
            }
        }
        let word = head.scheduler.as_deref().unwrap_or("wlc");
        let ports = head.flags.contains("sh-port") || head.flags.contains("mh-port");
        let (scheduler, fate, how) = lvs::scheduler(word, ports, head.persistent.is_some());
        let told = if how.is_empty() { String::new() } else { format!("{word}: {how}") };
        ledger.note(&[place], fate, what, told);
        let mut kept = None;
        if let Some(seconds) = head.persistent {
            let (found, told, of_mask) = lvs::persistence(scheduler, seconds, head.mask.as_deref());
            kept = found;
            for (fate, how) in [Some(told), of_mask].into_iter().flatten() {
                ledger.note(&[place], fate, what, how);
            }
        }
        if head.ops {
            ledger.note(&[place], Fate::Left, what, OPS);
        }
        if head.flags.contains("fallback") {
            let how = "fallback is how it is here: a slot of a real that is down goes to another";
            ledger.note(&[place], Fate::Changed, what, how);
        }
        if let Some(engine) = &head.engine {
            ledger.note(&[place], Fate::Left, what, format!("persistence by {engine} isn't there"));
        }
        let name = match marks.first() {
            Some(mark) => format!("fwmark-{mark}"),
            None => format!("{protocol}-{address}"),
        };
        let one = Virtual {
            place,
            ends,
            marks,
            name,
            protocol: ours,
            scheduler,
            kept,
            check: None,
            quiesce: false,
            fleet: Default::default(),
            notify: Vec::new(),
            reals: Vec::new(),
            remarks: vec![format!("{}: {what}; it had no check in IPVS", ledger.place(place))],
        };
        self.known.push((head.key.clone(), one));
    }

    /// Takes a real of a service.
    fn add(&mut self, of: &(String, String), line: &Line<'_>, ledger: &mut Ledger) {
        let Line { place, what, address, method, weight } = line;
        let Some((_, service)) = self.known.iter_mut().rev().find(|(key, _)| key == of) else {
            let how = "its service isn't in this text before it, or couldn't be carried over: see its own line";
            return ledger.note(&[*place], Fate::Left, what.clone(), how);
        };
        let (host, port) = match endpoint(address) {
            Some(end) => (end.address.to_string(), end.port),
            None => ((*address).to_owned(), None),
        };
        let weight = match weight {
            None => 1,
            Some(text) => match text.parse() {
                Ok(weight) => weight,
                Err(_) => return ledger.note(&[*place], Fate::Left, what.clone(), "its weight is no number"),
            },
        };
        let candidate = Candidate {
            places: &[*place],
            what: what.clone(),
            address: &host,
            port,
            weight,
            method: *method,
            told: false,
        };
        if service.take(candidate, ledger)
            && matches!(method, Method::Nat | Method::Tunnel)
            && service.remarks.len() == 1
        {
            service
                .remarks
                .push("Not by direct routing there: prepare the reals before this takes traffic.".to_owned());
        }
    }

    /// Puts those that have reals into the model.
    fn settle(self, ledger: &mut Ledger, model: &mut Model) {
        for (_, service) in self.known {
            if service.reals.is_empty() {
                let how = "no real of it is left, and a service here has one at least";
                ledger.note(&[service.place], Fate::Left, "a service", how);
            } else {
                service.settle(model);
            }
        }
    }
}

/// A firewall mark: ipvsadm's is decimal, the kernel's has eight hexadecimal digits.
fn mark(text: &str) -> Option<u32> {
    match text.len() {
        8 => u32::from_str_radix(text, 16).ok(),
        _ => text.parse().ok(),
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, each without a port, and the kernel's `C0000201:0050` and
/// `[2001:0db8:0000:0000:0000:0000:0000:0001]:0050`. Port 0 is any.
fn endpoint(text: &str) -> Option<End> {
    let end = |address: IpAddr, port: u16| End { address, port: (port != 0).then_some(port) };
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let address = IpAddr::V6(host.parse::<Ipv6Addr>().ok()?);
        // The kernel writes all eight groups with four digits, and then a hexadecimal port.
        let radix = if host.len() == 39 { 16 } else { 10 };
        let port = match rest.strip_prefix(':') {
            Some(port) => u16::from_str_radix(port, radix).ok()?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        return Some(end(address, port));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(end(address, 0));
    }
    let (host, port) = text.rsplit_once(':')?;
    if host.len() == 8 && port.len() == 4 && !host.contains('.') {
        let address = u32::from_str_radix(host, 16).ok()?;
        return Some(end(Ipv4Addr::from(address).into(), u16::from_str_radix(port, 16).ok()?));
    }
    Some(end(host.parse::<Ipv4Addr>().ok()?.into(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_both_kinds() {
        let rows = [
            ("192.0.2.1:80", Some(("192.0.2.1", Some(80)))),
            ("192.0.2.1:0", Some(("192.0.2.1", None))),
            ("192.0.2.1", Some(("192.0.2.1", None))),
            ("2001:db8::1", Some(("2001:db8::1", None))),
            ("[2001:db8::1]:8080", Some(("2001:db8::1", Some(8080)))),
            ("[2001:db8::1]", Some(("2001:db8::1", None))),
            ("C0000201:0050", Some(("192.0.2.1", Some(80)))),
            ("[2001:0db8:0000:0000:0000:0000:0000:0001]:1F90", Some(("2001:db8::1", Some(8080)))),
            ("www.example.org:http", None),
            ("192.0.2.1:http", None),
            ("192.0.2.1:65536", None),
            ("[2001:db8::1]x", None),
            ("[::", None),
            ("", None),
            (":", None),
        ];
        for (text, expected) in rows {
            let read = endpoint(text).map(|end| (end.address.to_string(), end.port));
            assert_eq!(read, expected.map(|(address, port)| (address.to_owned(), port)), "{text}");
        }
        assert_eq!((mark("1"), mark("0000000A"), mark("x")), (Some(1), Some(10), None));
    }
}
