//! `[peers]`: the other directors, which this one shares its state with.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::director::DirectorKeys;
use super::seen::FirstSeen;
use super::vips::Vips;
use crate::config::read::source::{Source, Span};
use crate::config::read::texts::FILE_PATH;
use crate::config::read::value::{peer, socket};
use crate::config::read::{List, Read, Text, Time, hours, key, keys};
use crate::config::report::{Fault, Findings, text::wrap};

/// The port where none is written: the one after IPVS's connection sync, which is another protocol.
pub const PORT: u16 = 8849;

/// `[peers]`: the other directors, which this one shares its state with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// Where they find this director, and where it calls them from.
    pub listen: SocketAddr,
    /// The others, in the file's order; at least one, none twice, none this one, all of `listen`'s family.
    pub addresses: Vec<SocketAddr>,
    /// The file of the secret that all of them have. It was not looked at.
    pub key_file: PathBuf,
    /// How long a director that starts waits for the others' state before it takes a VIP from a living master.
    pub bulk_wait: Duration,
}

const LISTEN: Text<SocketAddr> =
    Text { read: address, example: "\"192.0.2.2\"", values: "an address, with a port unless it is 8849" };
const ADDRESSES: List<Text<SocketAddr>> = List {
    item: Text { example: "\"192.0.2.3\"", ..LISTEN },
    empty: ("there is nobody to share state with", "name the other directors, or remove the section"),
};

const HOUR: Duration = Duration::from_secs(3600);

keys! {
    #[derive(Debug)]
    pub struct PeersKeys {
        /// this director's own address for the others: they call it there, and it calls them from there
        listen: SocketAddr = key(LISTEN).required();
        /// the other directors, each as its `listen` says
        addresses: Vec<Spanned<SocketAddr>> = key(ADDRESSES).required()
            .values("list of addresses, of `listen`'s family");
        /// the secret that all directors share: at least 32 bytes, a file of mode 0600 of root's or the agent's own
        key_file: PathBuf = key(FILE_PATH).example("\"/etc/lb/peers.key\"").required();
        /// how long a director that starts waits for the others' state before it takes a VIP from a living master
        bulk_wait: Duration = key(Time::of(Duration::from_secs(1)..=HOUR).zero("don't wait"))
            .or(Duration::from_secs(10));
    }
}

/// Its rules; `None` when something that it can't be without was refused. With the place of `listen`.
pub fn accept(
    read: &Read<PeersKeys>,
    director: Option<&Read<DirectorKeys>>,
    vips: &Vips,
    source: &Source,
    findings: &mut Findings,
) -> Option<(Peers, Span)> {
    if let Some((_, span)) = director.and_then(|director| director.hash_seed.written()) {
        findings.report(span, "`hash_seed` has no meaning with [peers]: the seed follows from the key", "remove it");
    }
    let listen = read.listen.copied();
    let own = read.listen.written().map(|(&listen, span)| (listen, span));
    let all = own.into_iter().chain(read.addresses.items().iter().map(|item| (*item.get_ref(), item.span())));
    for (address, span) in all {
        if let Some(owner) = vips.owner(address.ip()) {
            let message = format!("{} is a VIP of {owner}: it moves from one director to another", address.ip());
            findings.report(span, message, "write the address that the director itself always has");
        }
    }
    let mut seen = FirstSeen::default();
    for item in read.addresses.items() {
        let address = *item.get_ref();
        if let Some(line) = seen.before(address.ip(), item.span(), source) {
            let message = format!("{} is named twice, first on {line}", address.ip());
            findings.report(item.span(), message, "name it once");
        }
        if let Some(listen) = listen {
            check(listen, address, item, findings);
        }
    }
    let peers = Peers {
        listen: listen?,
        addresses: read.addresses.items().iter().map(|item| *item.get_ref()).collect(),
        key_file: read.key_file.cloned()?,
        bulk_wait: read.bulk_wait.copied()?,
    };
    Some((peers, read.listen.span()?))
}

/// Reports a peer that this director can't call from its own address.
fn check(listen: SocketAddr, address: SocketAddr, item: &Spanned<SocketAddr>, findings: &mut Findings) {
    if address.ip() == listen.ip() {
        findings.report(
            item.span(),
            format!("{} is this director itself, by `listen`", address.ip()),
            "remove it: name the others alone",
        );
    } else if address.is_ipv4() != listen.is_ipv4() {
        findings.report(
            item.span(),
            format!("{} can't be called from {}, which is of the other family", address.ip(), listen.ip()),
            "give `listen` and `addresses` addresses of one family",
        );
    }
}

impl Peers {
    /// What it will do.
    pub fn describe(&self, out: &mut String) {
        let others: Vec<String> = self.addresses.iter().copied().map(shown).collect();
        out.push_str("\nPeers\n");
        out.push_str(&wrap(&format!("  shares its state with {}", others.join(", ")), "    "));
        out.push_str(&wrap(
            &format!("  listens on {}, with the key of {}", self.listen, self.key_file.display()),
            "    ",
        ));
        let _ = match self.bulk_wait {
            Duration::ZERO => writeln!(out, "  at its start waits for nobody's state"),
            wait => writeln!(out, "  at its start waits up to {} for their state", hours(wait)),
        };
    }
}

/// An address, with its port where that isn't the usual one.
fn shown(address: SocketAddr) -> String {
    if address.port() == PORT { address.ip().to_string() } else { address.to_string() }
}

/// `IP`, `IP:PORT` or `[v6]:PORT`, of one director alone.
fn address(text: &str) -> Result<SocketAddr, Fault> {
    let address = socket(text, Some(PORT), "a director's address")?;
    // Loopback addresses are directors of one machine, which labs have.
    if !address.ip().is_loopback() {
        peer(&address.ip().to_string())?;
    }
    Ok(address)
}
