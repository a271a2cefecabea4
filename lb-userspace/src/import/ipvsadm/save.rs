//! `ipvsadm-save -n`, and scripts of `ipvsadm` commands.

use std::time::Duration;

use super::{Head, Line, Services};
use crate::import::format::command;
use crate::import::ledger::{Fate, Ledger, Place};
use crate::import::lvs::Method;
use crate::import::model::{Model, time};

/// Reads it. Lines of a script that are no `ipvsadm` are left unclaimed.
pub(in crate::import) fn save(name: &str, text: &str, ledger: &mut Ledger, model: &mut Model) {
    let file = ledger.open(name, text);
    let mut services = Services::default();
    for (line, text) in (1..).zip(text.lines()) {
        let place = Place { file, line };
        let said = text.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            ledger.silent(place);
        } else if let Some(words) = command(said) {
            one(&words, place, said, &mut services, ledger, model);
        }
    }
    services.settle(ledger, model);
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Service,
    Real,
    Nothing,
    Timeouts,
    Sync,
}

fn one(words: &[&str], place: Place, what: &str, services: &mut Services, ledger: &mut Ledger, model: &mut Model) {
    let mut words = Words { words, at: 0 };
    let (mut verb, mut head) = (None, Head::default());
    let (mut address, mut method, mut weight) = (None, Method::Direct, None);
    let mut told: Vec<(Fate, String)> = Vec::new();
    while let Some((word, inline)) = words.next() {
        let value = |words: &mut Words<'_>| inline.map(str::to_owned).or_else(|| words.value().map(str::to_owned));
        match word {
            "-A" | "--add-service" => verb = Some(Verb::Service),
            "-a" | "--add-server" => verb = Some(Verb::Real),
            "-C" | "--clear" | "-Z" | "--zero" | "-n" | "--numeric" | "-6" => {
                verb = verb.or(Some(Verb::Nothing));
            }
            "--set" => {
                verb = Some(Verb::Timeouts);
                let seconds: Vec<Option<u64>> = (0..3).map(|_| words.value()?.parse().ok()).collect();
                timeouts(&seconds, model);
            }
            "--start-daemon" => {
                verb = Some(Verb::Sync);
                while words.next().is_some() {}
            }
            "-t" | "--tcp-service" => head.key = ("tcp".to_owned(), value(&mut words).unwrap_or_default()),
            "-u" | "--udp-service" => head.key = ("udp".to_owned(), value(&mut words).unwrap_or_default()),
            "--sctp-service" => head.key = ("sctp".to_owned(), value(&mut words).unwrap_or_default()),
            "-f" | "--fwmark-service" => head.key = ("mark".to_owned(), value(&mut words).unwrap_or_default()),
            "-s" | "--scheduler" => head.scheduler = value(&mut words),
            // 300 s where none are given (ipvsadm.8).
            "-p" | "--persistent" => {
                head.persistent = Some(value(&mut words).and_then(|text| text.parse().ok()).unwrap_or(300));
            }
            "-M" | "--netmask" => {
                head.mask = value(&mut words).filter(|mask| mask != "255.255.255.255" && mask != "128");
            }
            "-o" | "--ops" => head.ops = true,
            "-b" | "--sched-flags" => head.flags = value(&mut words).unwrap_or_default(),
            "--pe" => head.engine = value(&mut words),
            "-r" | "--real-server" => address = value(&mut words),
            "-g" | "--gatewaying" => method = Method::Direct,
            "-m" | "--masquerading" => method = Method::Nat,
            "-i" | "--ipip" => method = Method::Tunnel,
            "--tun-type" | "--tun-port" => drop(value(&mut words)),
            "--tun-nocsum" | "--tun-csum" | "--tun-remcsum" => {}
            "-w" | "--weight" => weight = value(&mut words),
            "-x" | "-y" | "--u-threshold" | "--l-threshold" => {
                if value(&mut words).is_some_and(|text| text != "0") {
                    let how =
                        "thresholds of connections aren't there: the schedulers wlc, sed and nq weigh by connections";
                    told.push((Fate::Left, how.to_owned()));
                }
            }
            other => told.push((Fate::Unknown, format!("{other} isn't known"))),
        }
    }
    match verb {
        Some(Verb::Service) => services.begin(&head, place, what, ledger),
        Some(Verb::Real) => {
            let address = address.unwrap_or_default();
            let weight = weight.as_deref();
            let line = Line { place, what: what.to_owned(), address: &address, method, weight };
            services.add(&head.key, &line, ledger);
        }
        Some(Verb::Nothing) => {
            ledger.note(&[place], Fate::Changed, what, "nothing need be done: lb begins with its file alone");
        }
        Some(Verb::Timeouts) => ledger.note(&[place], Fate::Carried, what, ""),
        Some(Verb::Sync) => {
            let how = "IPVS's connection sync isn't there; [peers] shares connections between directors that run lb";
            ledger.note(&[place], Fate::Left, what, how);
        }
        None => ledger.note(&[place], Fate::Unknown, what, "no command of ipvsadm that adds something"),
    }
    for (fate, how) in told {
        ledger.note(&[place], fate, what, how);
    }
}

/// `--set tcp tcpfin udp`, in seconds; 0 leaves what is.
fn timeouts(seconds: &[Option<u64>], model: &mut Model) {
    for (key, seconds) in ["tcp", "closing", "udp"].into_iter().zip(seconds) {
        if let Some(seconds @ 1..) = *seconds {
            model.flows.retain(|(known, _)| *known != key);
            model.flows.push((key, time(Duration::from_secs(seconds))));
        }
    }
}

/// The words of a command.
struct Words<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Words<'a> {
    /// The next option, and its value where `=` gives it.
    fn next(&mut self) -> Option<(&'a str, Option<&'a str>)> {
        let word = *self.words.get(self.at)?;
        self.at += 1;
        match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => Some((option, Some(value))),
            _ => Some((word, None)),
        }
    }

    /// The value of an option: the next word, unless it is an option itself.
    fn value(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at)?;
        if word.starts_with('-') {
            return None;
        }
        self.at += 1;
        Some(word)
    }
}
