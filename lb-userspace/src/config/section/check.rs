//! `check`: how the reals of a service are checked. What all kinds of checks have is here; what one asks, in the
//! file of its kind.

mod dns;
mod grpc;
mod headers;
mod http;
mod pattern;
mod ping;
mod rules;
mod script;
mod smtp;
mod tcp;
pub mod tls;
mod udp;
mod via;

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};

pub use dns::Dns;
pub use grpc::Grpc;
pub use headers::Header;
pub use http::{Body, Http, Version};
pub use pattern::Pattern;
pub use ping::Ping;
pub use rules::{Place, accept};
pub use script::{Command, NOBODY, Owner};
pub use smtp::Smtp;
pub use tcp::Tcp;
pub use tls::Tls;
pub use udp::Udp;
pub use via::{Via, ViaWord};

use super::times::{self, INTERVAL, TIMEOUT_WORDS};
use crate::config::read::source::Span;
use crate::config::read::texts::ASKED;
use crate::config::read::{
    Choice, Declared, Keys, Kind, Number, Read, Section, Shape, Shown, Site, Text, Time, Value, below, hours, key,
    keys, schema, value,
};
use crate::config::report::{Fault, suggest};
use via::VIA;

/// How a real is checked. `Eq` and `Hash`, since one probe serves every service that asks the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// The port that is asked; the service's own where the file says none, 0 where the kind asks none.
    pub port: u16,
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// The same while results speak against what holds; no longer than `interval`.
    pub fast: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// Good answers in a row that bring a real up.
    pub rise: u32,
    /// Bad ones in a row that take it down.
    pub fall: u32,
    /// Each wait is lengthened by a random part of up to this percentage (0 to 50), so that checks spread out.
    pub jitter: u8,
    /// On which addresses a real is asked.
    pub via: Via,
    /// Who is asked in the real's place: another address of its, mostly.
    pub address: Option<IpAddr>,
    /// What it is sent from; else what the routes say, but never a VIP.
    pub source: Option<Origin>,
    /// What a real that goes up and down again and again is held down by.
    pub damping: Option<Damping>,
}

/// What a check is sent from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This address of the director.
    Address(IpAddr),
    /// An address of this interface.
    Interface(String),
}

impl Shown for Origin {}

/// A real that goes down so often is held down until it has been good for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Damping {
    /// So many times down (at least 2) …
    pub after: u32,
    /// … within this time.
    pub within: Duration,
    /// How long without a bad answer brings it up then.
    pub good_for: Duration,
}

/// One kind of check.
trait Asks: Sized {
    /// Its word in the file.
    const WORD: &'static str;
    /// What it wants, for the documentation.
    const WANTS: &'static str;
    /// Whether it asks a port.
    const HAS_PORT: bool = true;
    /// Whether it can be asked on a VIP: all its sockets are made by the probes' `connect` or `Datagrams`.
    const HAS_VIA: bool = false;
    /// The keys that it has besides those of every check.
    type Keys: Keys;

    /// From the check's table; `None` where one of its keys was refused.
    fn read(section: &mut Section<'_, '_>) -> Option<Self>;

    /// What is asked, in words.
    fn words(&self, port: u16) -> String;

    /// The TLS session that it asks within.
    fn tls(&self) -> Option<&Tls> {
        None
    }
}

/// Makes the kinds of checks out of their list.
macro_rules! kinds {
    ($($Asked:ident),*) => {
        /// What a check asks.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum CheckKind {
            $(
                #[doc = concat!("See [`", stringify!($Asked), "`].")]
                $Asked($Asked),
            )*
        }

        impl CheckKind {
            fn words(&self, port: u16) -> String {
                match self { $( Self::$Asked(asked) => asked.words(port), )* }
            }

            /// The TLS session that it asks within, if it does.
            #[must_use]
            pub fn tls(&self) -> Option<&Tls> {
                match self { $( Self::$Asked(asked) => asked.tls(), )* }
            }

            /// Its word in the file.
            pub fn word(&self) -> &'static str {
                match self { $( Self::$Asked(_) => <$Asked as Asks>::WORD, )* }
            }
        }

        /// All kinds by their words.
        const KINDS: Choice<&Entry> = Choice(&[$((<$Asked as Asks>::WORD, &Entry {
            word: <$Asked as Asks>::WORD,
            wants: <$Asked as Asks>::WANTS,
            has_port: <$Asked as Asks>::HAS_PORT,
            has_via: <$Asked as Asks>::HAS_VIA,
            keys: <<$Asked as Asks>::Keys as Keys>::NAMES,
            declared: <<$Asked as Asks>::Keys as Keys>::declared,
            read: |section| <$Asked as Asks>::read(section).map(CheckKind::$Asked),
        })),*]);
    };
}

kinds!(Tcp, Http, Grpc, Dns, Smtp, Udp, Ping, Command);

/// What the list has of one kind.
#[derive(Debug)]
pub struct Entry {
    /// Its word in the file.
    pub word: &'static str,
    /// What it wants.
    pub wants: &'static str,
    has_port: bool,
    has_via: bool,
    keys: &'static [&'static str],
    /// The keys that it has besides those of every check.
    pub declared: fn() -> Vec<Declared>,
    read: fn(&mut Section<'_, '_>) -> Option<CheckKind>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

/// All kinds.
pub fn kinds() -> impl Iterator<Item = &'static Entry> + Clone {
    KINDS.0.iter().map(|(_, entry)| *entry)
}

keys! {
    #[derive(Debug)]
    pub struct CheckKeys {
        /// what is asked; see below
        kind as "type": &'static Entry = key(KINDS).required();
        /// the port that is asked; required for a service of any port
        port: u16 = key(Number::of(1..=65_535)).without("the service's");
        /// time between the starts of two checks
        interval: Duration = key(times::interval()).or(INTERVAL);
        /// the same while results speak against what holds: a real is coming up or going down
        fast: Duration = key(times::interval()).without("the interval").example("\"200ms\"")
            .values("10ms to the interval");
        /// time that one check may take
        timeout: Duration = key(times::timeout()).without(TIMEOUT_WORDS).example("\"1s\"")
            .values("1ms to the interval");
        /// good answers in a row that bring a real up: one shows that it works
        rise: u32 = key(Number::of(1..=100)).or(1);
        /// bad ones in a row that take it down: one lost packet doesn't show that it is dead
        fall: u32 = key(Number::of(1..=100)).or(2);
        /// each wait is lengthened by a random part of up to this, so that checks spread out
        jitter: u8 = key(Number::of(0..=50).unit("percent")).or(10).values("0 to 50, percent");
        /// on which address a real is asked: `real` its own; `vip` the service's VIP, as clients do, in frames to that real's
        /// MAC address, on master and backup alike; `both` asks on both, and tells which of them fails
        via: ViaWord = key(VIA).or(ViaWord::Real);
        /// who is asked in the real's place, such as its address of a management network; in a check of one real's own
        address: IpAddr = key(ASKED).without("the real's");
        /// what it is sent from: an address of this director, or an interface, of which an address is taken. The routes
        /// say by which interface it leaves
        source: Origin = key(ORIGIN).without("by the routes, but never a VIP");
        /// how many times a real goes down within `damp_within` before it is held down, until it was good for `damp_for`
        damp_after: u32 = key(Number::of(2..=100)).without("never").example("5");
        /// the time that these are counted in
        damp_within: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).or(Duration::from_secs(600));
        /// how long without a bad answer brings it up then
        damp_for: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).or(Duration::from_secs(60));
    }
}

const ORIGIN: Text<Origin> =
    Text { read: origin, example: "\"192.0.2.2\"", values: "an address of this director, or an interface" };

fn origin(text: &str) -> Result<Origin, Fault> {
    match text.parse() {
        Ok(address) => Ok(Origin::Address(address)),
        Err(_) if text.contains([':', '/']) => Err(Fault::new(
            format!("\"{}\" is neither an address nor an interface", value::short(text)),
            "write an address alone such as \"192.0.2.2\", or an interface such as \"eth1\"",
        )),
        Err(_) => value::interface(text).map(Origin::Interface),
    }
}

/// A check's table: the keys of every check, and what its kind made of its own.
#[derive(Debug)]
pub struct ReadCheck {
    read: Read<CheckKeys>,
    asked: Option<CheckKind>,
}

impl ReadCheck {
    /// Its place.
    pub fn span(&self) -> Span {
        self.read.span.clone()
    }

    /// Whether the port of a service isn't needed: the file says which is asked, or none is.
    pub fn has_port(&self) -> bool {
        self.read.port.span().is_some() || self.asks_no_port()
    }

    fn asks_no_port(&self) -> bool {
        self.read.kind.copied().is_some_and(|entry| !entry.has_port)
    }
}

/// The table of a check, whose keys depend on its type.
#[derive(Debug, Clone, Copy)]
pub struct CheckTable;

impl Kind for CheckTable {
    type Value = ReadCheck;

    fn read(&self, site: Site<'_>, value: &Value<'_>) -> Option<ReadCheck> {
        let mut known = CheckKeys::NAMES.to_vec();
        for name in kinds().flat_map(|entry| entry.keys) {
            if !known.contains(name) {
                known.push(name);
            }
        }
        let title = below(&site);
        let mut section = Section::open(site.findings, title, value, &known)?;
        let keys = CheckKeys::read(&mut section);
        let asked = match keys.kind.copied() {
            Some(entry) => {
                refuse_others(entry, &mut section);
                (entry.read)(&mut section)
            }
            None => {
                read_any(&mut section);
                None
            }
        };
        Some(ReadCheck { asked, read: Read::new(section.title, section.span, keys) })
    }

    fn example(&self) -> String {
        "{ type = \"tcp\" }".to_owned()
    }

    fn values(&self) -> String {
        "a table, see below".to_owned()
    }

    fn schema(&self) -> Json {
        let keys = kinds().flat_map(|entry| (entry.declared)()).chain(CheckKeys::declared());
        let mut schema = schema(keys.collect());
        // Which keys go with which type is left to `lb check`.
        if let Some(object) = schema.as_object_mut() {
            object.insert("required".to_owned(), json!(["type"]));
        }
        schema
    }

    fn shape(&self) -> Shape {
        Shape::Table
    }
}

/// Reports the keys of other kinds than the check's own.
fn refuse_others(own: &Entry, section: &mut Section<'_, '_>) {
    let mut told: Vec<&str> = own.keys.to_vec();
    for key in kinds().flat_map(|entry| entry.keys) {
        if told.contains(key) {
            continue;
        }
        told.push(key);
        if let Some(span) = section.place(key) {
            let owners: Vec<String> = kinds()
                .filter(|entry| entry.keys.contains(key))
                .map(|entry| format!("type = \"{}\"", entry.word))
                .collect();
            section.report(
                span,
                format!("a check of type \"{}\" has no `{key}`", own.word),
                format!("remove it, or set {}", suggest::list(owners.iter().map(String::as_str))),
            );
        }
    }
}

/// Reads the keys of the kind that has most of those that are there: a type that isn't known leaves them to be
/// checked all the same.
fn read_any(section: &mut Section<'_, '_>) {
    let there = |entry: &&Entry| entry.keys.iter().filter(|key| section.place(key).is_some()).count();
    if let Some(entry) = kinds().max_by_key(there).filter(|entry| there(entry) > 0) {
        (entry.read)(section);
    }
}

/// Longest time of damping.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Check {
    /// Where a real is asked: "on port 80", or by what else.
    pub fn place(&self) -> String {
        match self.kind {
            CheckKind::Ping(_) => "by ping".to_owned(),
            _ => format!("on port {}", self.port),
        }
    }

    /// What it is called where a real has several: "http on port 80", "ping".
    pub fn label(&self) -> String {
        let word = self.kind.word();
        let at = self.address.map(|address| format!(" at {address}")).unwrap_or_default();
        match self.port {
            0 => format!("{word}{at}"),
            port => format!("{word} on port {port}{at}"),
        }
    }

    /// Who is asked for this real.
    #[must_use]
    pub fn asked(&self, real: IpAddr) -> IpAddr {
        self.address.unwrap_or(real)
    }

    /// Whether a good answer to it may be a weight.
    #[must_use]
    pub fn weighs(&self) -> bool {
        matches!(&self.kind, CheckKind::Command(command) if command.dynamic_weight)
    }

    /// Whether it asks the same, if not at the same pace.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.question() == other.question()
    }

    /// What it asks, without the pace: what is compared, and hashed, of two that ask the same.
    #[must_use]
    pub fn question(&self) -> impl PartialEq + Hash + use<'_> {
        (&self.kind, self.port, self.address, &self.source, &self.via)
    }

    /// What is asked and how often.
    pub fn words(&self) -> String {
        let jitter = match self.jitter {
            0 => String::new(),
            percent => format!(" (+ up to {percent} %)"),
        };
        let fast = match self.fast {
            fast if fast == self.interval => String::new(),
            fast => format!(", in doubt every {}", hours(fast)),
        };
        let via = match &self.via {
            Via::Real => "",
            Via::Vip(_) => ", on the VIP",
            Via::Both(_) => ", on the real's own address and on the VIP",
        };
        let at = self.address.map(|address| format!(", at {address}")).unwrap_or_default();
        let from = self.source.as_ref().map(|source| match source {
            Origin::Address(address) => format!(", from {address}"),
            Origin::Interface(name) => format!(", from an address of {name}"),
        });
        let held = self.damping.map(|Damping { after, within, good_for }| {
            let (within, good_for) = (hours(within), hours(good_for));
            format!("; down {after} times within {within}, held down until it was good for {good_for}")
        });
        format!(
            "check: {}{via}{at}{}; every {}{jitter}{fast}, {} to answer, up after {}, down after {}{}",
            self.kind.words(self.port),
            from.unwrap_or_default(),
            hours(self.interval),
            hours(self.timeout),
            self.rise,
            self.fall,
            held.unwrap_or_default(),
        )
    }
}
