//! The checks of a real_server, and the one that a service has of them.

mod datagram;
mod script;

use std::time::Duration;

use super::tree::Node;
use super::words::{Context, changed, left, stranger};
use super::{carried, flag, number, taken, timer, track::bounded};
use crate::import::ledger::Ledger;
use crate::import::model::{Check, Key, quoted};
use datagram::Datagram;
use script::Script;

/// keepalived's kinds.
pub(super) const KINDS: [&str; 10] = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "MISC_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "BFD_CHECK",
    "FILE_CHECK",
];

/// What checks have that a virtual server, a real or the check itself gives.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    delay_loop: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry: Option<u32>,
    delay_before_retry: Option<Duration>,
    virtualhost: Option<String>,
    /// `inhibit_on_failure`.
    pub inhibits: bool,
}

const LOW: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3600);

impl Base {
    /// Takes a statement if it is one of these.
    pub(super) fn read(&mut self, node: &Node, ledger: &mut Ledger) -> bool {
        let mut time = |low| {
            let time = timer(node, ledger)?;
            Some(bounded(node, time, low, HOUR, ledger))
        };
        match node.word() {
            "delay_loop" => self.delay_loop = time(LOW),
            "connect_timeout" => self.connect_timeout = time(Duration::from_millis(1)),
            "delay_before_retry" => self.delay_before_retry = time(LOW),
            "retry" | "nb_get_retry" => {
                self.retry = number(node, ledger);
                if let Some(retry) = self.retry {
                    let fall = fall(retry);
                    let how = format!("fall = {fall}: the first check that fails, and as many more");
                    changed(node, how, ledger);
                }
            }
            "warmup" => changed(node, "nothing need be done: checks spread out by `jitter`", ledger),
            "virtualhost" => {
                self.virtualhost = node.arg().map(str::to_owned);
                taken(node, 1, ledger);
            }
            _ => return false,
        }
        true
    }

    /// `inhibit_on_failure [BOOL]`.
    pub(super) fn inhibit(&mut self, node: &Node, ledger: &mut Ledger) {
        self.inhibits = flag(node).unwrap_or(true);
        if self.inhibits {
            changed(
                node,
                "on_failure = \"quiesce\": a real that fails takes no new connections, those that it has go on",
                ledger,
            );
        } else {
            taken(node, 1, ledger);
        }
    }

    /// `retry` and `pause` are keepalived's for the kind where the file says nothing.
    fn check(&self, kind: &'static str, keys: Vec<Key>, port: Option<u16>, retry: u32, pause: u64) -> Check {
        let interval = self.delay_loop.unwrap_or(Duration::from_secs(60));
        let fast = self.delay_before_retry.unwrap_or(Duration::from_secs(pause)).min(interval);
        let timeout = self.connect_timeout.unwrap_or(Duration::from_secs(5)).min(interval);
        Check { kind, keys, port, interval, fast, timeout, fall: fall(self.retry.unwrap_or(retry)) }
    }
}

/// Bad answers in a row for so many retries.
fn fall(retry: u32) -> u32 {
    retry.saturating_add(1).min(100)
}

/// A check that was read, with its block.
pub(super) struct Found<'a> {
    node: &'a Node,
    pub check: Check,
    /// Of several of a real, the one that says most is taken.
    rank: u8,
    /// What isn't there, where this stands in for it.
    missing: Option<&'static str>,
}

/// Who a check is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Real<'a> {
    pub address: &'a str,
    /// Its own.
    pub port: Option<u16>,
    pub protocol: &'a str,
}

/// The check of a real.
pub(super) fn of_real<'a>(nodes: &[&'a Node], base: &Base, real: Real<'_>, ledger: &mut Ledger) -> Option<Found<'a>> {
    let mut found: Vec<Found<'a>> = nodes.iter().filter_map(|node| read(node, base, real, ledger)).collect();
    let best = (0..found.len()).rev().max_by_key(|number| found.get(*number).map(|one| one.rank))?;
    let best = found.swap_remove(best);
    if let Some(missing) = best.missing {
        let how = format!(
            "{missing}: check = {{ type = \"{}\" }} stands in its place, which shows that the port is open",
            best.check.kind
        );
        left(best.node, how, ledger);
    }
    for other in found {
        let missing = other.missing.map(|missing| format!("{missing}, and ")).unwrap_or_default();
        let line = best.node.place().line;
        left(
            other.node,
            format!(
                "{missing}one check is written, the {} on line {line}: `check` may be a list, which this one can be put into",
                best.node.word()
            ),
            ledger,
        );
    }
    Some(best)
}

/// The check that most of these reals have.
pub(super) fn choose(found: &[&Found<'_>]) -> Option<Check> {
    let count = |check: &Check| found.iter().filter(|one| one.check == *check).count();
    let best = (0..found.len()).rev().max_by_key(|number| found.get(*number).map_or(0, |one| count(&one.check)))?;
    found.get(best).map(|one| one.check.clone())
}

fn read<'a>(node: &'a Node, base: &Base, real: Real<'_>, ledger: &mut Ledger) -> Option<Found<'a>> {
    let Real { address, port, protocol } = real;
    carried(node, ledger);
    let answered = node.children.iter().any(|child| child.word() == "require_reply");
    let mut reading = Reading { base: base.clone(), port, address: address.to_owned(), answered, ..Reading::default() };
    reading.script.has_user = node.children.iter().any(|child| child.word() == "user");
    for child in &node.children {
        reading.one(node.word(), child, ledger);
    }
    let found = |check, rank| Some(Found { node, check, rank, missing: None });
    let port = reading.port;
    // Where nothing else asks it, whether the port is open.
    let instead = |base: &Base, rank, missing, ledger: &mut Ledger| {
        let kind = if protocol == "tcp" { "tcp" } else { "udp" };
        if port.is_none() {
            left(node, format!("{missing}, and without a port nothing else can be asked: there is no check"), ledger);
            return None;
        }
        Some(Found { node, check: base.check(kind, Vec::new(), port, 1, 1), rank, missing: Some(missing) })
    };
    match node.word() {
        "PING_CHECK" => found(reading.base.check("ping", Vec::new(), None, 1, 1), 1),
        "TCP_CHECK" | "HTTP_GET" | "DNS_CHECK" | "SMTP_CHECK" | "UDP_CHECK" if port.is_none() => {
            left(node, "it asks a port, and neither it nor its real has one: there is no check", ledger);
            None
        }
        "TCP_CHECK" => found(reading.base.check("tcp", Vec::new(), port, 1, 1), 3),
        "HTTP_GET" => {
            let keys = reading.http();
            found(reading.base.check("http", keys, port, 1, 3), 5)
        }
        "SSL_GET" if port.is_none() => {
            left(node, "it asks a port, and neither it nor its real has one: there is no check", ledger);
            None
        }
        "SSL_GET" => {
            let mut keys = reading.http();
            keys.push(("tls", "{ insecure = true }".to_owned()));
            let how = "`tls`: certificates aren't verified there, and with `insecure` not here; without it they are, by the \
                       system's authorities or by `ca`";
            changed(node, how, ledger);
            found(reading.base.check("http", keys, port, 1, 3), 5)
        }
        "UDP_CHECK" => found(reading.base.check("udp", reading.datagram.keys(), port, 1, 1), 2),
        "SMTP_CHECK" => found(reading.base.check("smtp", reading.keys, port, 1, 1), 5),
        "DNS_CHECK" => {
            let keys = reading.dns();
            // A pause that nobody wrote is the interval.
            found(reading.base.check("dns", keys, port, 3, u64::MAX), 5)
        }
        "MISC_CHECK" if port.is_none() => {
            left(node, "a script is told a port, and its real has none: write `port` of a check", ledger);
            None
        }
        "MISC_CHECK" => {
            let Some(keys) = reading.script.keys() else {
                left(node, "it has no misc_path", ledger);
                return None;
            };
            // It may run for as long as the interval, if nothing is said.
            let longest = reading.script.timeout.or(reading.base.delay_loop).unwrap_or(Duration::from_secs(60));
            let base = Base { connect_timeout: Some(longest), ..reading.base };
            found(base.check("script", keys, port, 0, 1), 4)
        }
        "BFD_CHECK" => instead(&reading.base, 0, "BFD isn't there", ledger),
        _ => instead(&reading.base, 0, "a file isn't looked at", ledger),
    }
}

/// A check while its lines are read.
#[derive(Debug, Default)]
struct Reading {
    base: Base,
    port: Option<u16>,
    /// The real's.
    address: String,
    keys: Vec<Key>,
    urls: usize,
    /// Of the first URL.
    host: Option<String>,
    has_path: bool,
    datagram: Datagram,
    script: Script,
    /// Whether the check wants an answer.
    answered: bool,
}

/// keepalived's kinds of records.
const RECORDS: [&str; 7] = ["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"];

/// Words of kinds that have no place here, which the block itself is told for.
const OF_OTHERS: [&str; 9] =
    ["misc_path", "misc_timeout", "misc_dynamic", "user", "name", "track_file", "dynamic", "weight", "enable_sni"];

impl Reading {
    fn one(&mut self, kind: &str, node: &Node, ledger: &mut Ledger) {
        match node.word() {
            "connect_port" => {
                if let Some(port) = number::<u16>(node, ledger) {
                    self.port = Some(port).filter(|port| *port != 0);
                    taken(node, 1, ledger);
                }
            }
            "connect_ip" if node.arg() == Some(&self.address) => taken(node, 1, ledger),
            "connect_ip" => left(
                node,
                "a check asks the real's own address: a `check` of the real's own may have another `address`",
                ledger,
            ),
            "url" if matches!(kind, "HTTP_GET" | "SSL_GET") => {
                self.urls += 1;
                if self.urls > 1 {
                    return left(node, "one URL is asked: the first", ledger);
                }
                carried(node, ledger);
                for child in &node.children {
                    self.url(child, ledger);
                }
            }
            "type" if kind == "DNS_CHECK" => {
                let word = node.arg().unwrap_or_default().to_uppercase();
                if !RECORDS.contains(&&word[..]) {
                    return left(node, "this is no kind of record that a check asks for: SOA is written", ledger);
                }
                self.keys.push(("record", quoted(&word)));
                taken(node, 1, ledger);
            }
            "host" if kind == "SMTP_CHECK" => {
                carried(node, ledger);
                for child in &node.children {
                    self.one(kind, child, ledger);
                }
            }
            "helo_name" if kind == "SMTP_CHECK" => {
                self.keys.push(("helo", quoted(node.arg().unwrap_or_default())));
                taken(node, 1, ledger);
            }
            _ if kind == "MISC_CHECK" && self.script.read(node, ledger) => {}
            "name" if kind == "DNS_CHECK" => {
                self.keys.push(("name", quoted(node.arg().unwrap_or("."))));
                taken(node, 1, ledger);
            }
            _ if kind == "UDP_CHECK" && self.datagram.read(node, self.answered, ledger) => {}
            // What they say is told with their block.
            word if OF_OTHERS.contains(&word)
                && !matches!(
                    kind,
                    "HTTP_GET" | "SSL_GET" | "TCP_CHECK" | "DNS_CHECK" | "SMTP_CHECK" | "UDP_CHECK" | "PING_CHECK"
                ) =>
            {
                carried(node, ledger);
            }
            "alpha" if flag(node) == Some(false) => taken(node, 1, ledger),
            _ if self.base.read(node, ledger) => {}
            _ => stranger(Context::Check, node, ledger),
        }
    }

    fn url(&mut self, node: &Node, ledger: &mut Ledger) {
        let text = node.args().join(" ");
        match node.word() {
            "path" => {
                self.has_path = true;
                self.keys.push(("path", quoted(&text)));
                carried(node, ledger);
            }
            "status_code" => {
                let codes: Vec<&str> = node.args();
                let is_code = |code: &str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
                let all = codes.iter().all(|code| code.split('-').all(is_code));
                if !all || codes.is_empty() {
                    return left(node, "a status has three digits: write `status` of the check", ledger);
                }
                let one = |code: &&str| if is_code(code) { (*code).to_owned() } else { quoted(code) };
                self.keys.push(("status", format!("[{}]", codes.iter().map(one).collect::<Vec<_>>().join(", "))));
                carried(node, ledger);
            }
            "virtualhost" => {
                self.host = Some(text);
                carried(node, ledger);
            }
            "regex" => {
                let plain = !text.is_empty() && !text.contains(|char: char| "\\^$.|?*+()[]{}".contains(char));
                if plain {
                    self.keys.push(("body", quoted(&text)));
                    changed(node, "`body`: the text is looked for byte by byte", ledger);
                } else if !text.is_empty() && regex::bytes::Regex::new(&text).is_ok() {
                    self.keys.push(("body_regex", quoted(&text)));
                    changed(
                        node,
                        "`body_regex`: a pattern as the Rust crate regex has it, which is much like theirs",
                        ledger,
                    );
                } else {
                    left(node, "the pattern can't be read here: write `body` or `body_regex` of the check", ledger);
                }
            }
            _ => stranger(Context::Check, node, ledger),
        }
    }

    fn http(&mut self) -> Vec<Key> {
        let mut keys = std::mem::take(&mut self.keys);
        if !self.has_path {
            keys.insert(0, ("path", quoted("/")));
        }
        keys.extend(self.host.take().or(self.base.virtualhost.clone()).map(|host| ("host", quoted(&host))));
        keys
    }

    /// `type` and `name`, which are SOA and the root where the file says nothing.
    fn dns(&mut self) -> Vec<Key> {
        let keys = std::mem::take(&mut self.keys);
        let of = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let name = of("name").unwrap_or_else(|| quoted("."));
        vec![("name", name), ("record", of("record").unwrap_or_else(|| quoted("SOA")))]
    }
}
