//! `ipvsadm -Ln`, and `/proc/net/ip_vs`.

use super::{Head, Line, Services};
use crate::import::ledger::{Fate, Ledger, Place};
use crate::import::lvs::Method;
use crate::import::model::Model;

/// Reads it.
pub(in crate::import) fn listing(name: &str, text: &str, ledger: &mut Ledger, model: &mut Model) {
    let file = ledger.open(name, text);
    let mut services = Services::default();
    let mut current = None;
    for (line, text) in (1..).zip(text.lines()) {
        let place = Place { file, line };
        let words: Vec<&str> = text.split_whitespace().collect();
        match &words[..] {
            []
            | ["IP", "Virtual", "Server", ..]
            | ["Prot", "LocalAddress:Port", ..]
            | ["->", "RemoteAddress:Port", ..] => {
                ledger.silent(place);
            }
            ["->", real @ ..] => match &current {
                Some(key) => add(key, real, place, text, &mut services, ledger),
                None => ledger.note(&[place], Fate::Left, text, "no service stands above it"),
            },
            [protocol @ ("TCP" | "UDP" | "SCTP" | "FWM"), address, rest @ ..] => {
                let head = head(protocol, address, rest);
                services.begin(&head, place, text, ledger);
                for word in unknown(rest) {
                    ledger.note(&[place], Fate::Unknown, text, format!("{word} isn't known"));
                }
                current = Some(head.key);
            }
            // Left unclaimed.
            _ => {}
        }
    }
    services.settle(ledger, model);
}

fn add(key: &(String, String), real: &[&str], place: Place, text: &str, services: &mut Services, ledger: &mut Ledger) {
    let (&[address, method, weight], rest) = match real {
        [address, method, weight, rest @ ..] => (&[*address, *method, *weight], rest),
        _ => {
            return ledger.note(
                &[place],
                Fate::Unknown,
                text,
                "a real has an address, how it is sent to, and a weight",
            );
        }
    };
    let method = match method {
        "Route" => Method::Direct,
        "Masq" => Method::Nat,
        "Tunnel" => Method::Tunnel,
        "Local" => Method::Local,
        _ => {
            let how = "how it is sent to doesn't stand there: print it without --stats, --rate and the like";
            return ledger.note(&[place], Fate::Left, text, how);
        }
    };
    // Active and inactive connections.
    for word in rest.iter().filter(|word| word.parse::<u64>().is_err()) {
        ledger.note(&[place], Fate::Unknown, text, format!("{word} isn't known"));
    }
    let line = Line { place, what: text.trim().to_owned(), address, method, weight: Some(weight) };
    services.add(key, &line, ledger);
}

fn head(protocol: &str, address: &str, rest: &[&str]) -> Head {
    let protocol = if protocol == "FWM" { "mark".to_owned() } else { protocol.to_lowercase() };
    let mut head = Head { key: (protocol, address.to_owned()), ..Head::default() };
    let mut words = rest.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "IPv6" => {}
            "ops" => head.ops = true,
            "persistent" => {
                head.persistent = Some(words.next().and_then(|text| text.parse().ok()).unwrap_or(300));
            }
            "mask" => head.mask = words.next().map(str::to_owned),
            "pe" => head.engine = words.next().map(str::to_owned),
            // The kernel's own mask.
            "FFFFFFFF" => {}
            mask if head.persistent.is_some() && mask.len() == 8 && u32::from_str_radix(mask, 16).is_ok() => {
                head.mask = Some(mask.to_owned());
            }
            flags if flags.starts_with('(') => head.flags = flags.to_owned(),
            scheduler if head.scheduler.is_none() => head.scheduler = Some(scheduler.to_owned()),
            _ => {}
        }
    }
    head
}

/// Words behind a service that [`head`] has no place for.
fn unknown<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    let mut takes = 0;
    let mut scheduler = false;
    let mut unknown = Vec::new();
    for &word in rest {
        if takes > 0 {
            takes -= 1;
            continue;
        }
        match word {
            "IPv6" | "ops" => {}
            "persistent" | "mask" | "pe" => takes = 1,
            hex if hex.len() == 8 && u32::from_str_radix(hex, 16).is_ok() => {}
            flags if flags.starts_with('(') => {}
            _ if !scheduler => scheduler = true,
            other => unknown.push(other),
        }
    }
    unknown
}
