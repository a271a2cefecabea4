//! `type = "http"`: an HTTP response of an expected status, and perhaps of a body that has what is expected; within TLS
//! where `tls` says so.

use toml::Spanned;

use super::Asks;
use super::headers::{Header, Headers};
use super::pattern::{PATTERN, Pattern};
use super::tls::{Tls, TlsTable};
use crate::config::read::value::short;
use crate::config::read::{Choice, Keys, List, Number, Section, Spread, Text, key, keys, value};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// An HTTP response of an expected status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// The protocol's.
    pub version: Version,
    /// `GET`, `HEAD`, ….
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` header; else the real's address.
    pub host: Option<String>,
    /// Further ones.
    pub headers: Vec<Header>,
    /// Inclusive ranges of good status codes.
    pub status: Vec<(u16, u16)>,
    /// What a good body has.
    pub body: Option<Body>,
    /// Bytes of the body that are read at most.
    pub body_limit: u32,
    /// Within TLS.
    pub tls: Option<Box<Tls>>,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2: in plain at once, without an upgrade; within TLS by ALPN.
    Two,
}

/// What is looked for in a body, in its first [`Http::body_limit`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// This text somewhere; never empty.
    Text(String),
    /// A match in the whole.
    Match(Pattern),
}

impl Default for Http {
    /// What a check asks whose file says its type alone.
    fn default() -> Self {
        Self {
            version: Version::One,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            status: vec![(200, 299)],
            body: None,
            body_limit: BODY,
            tls: None,
        }
    }
}

const VERSIONS: Choice<Version> = Choice(&[("1.1", Version::One), ("2", Version::Two)]);
const METHOD: Text<String> = Text { read: value::method, example: "\"GET\"", values: "in capitals" };
const PATH: Text<String> = Text { read: value::path, example: "\"/\"", values: "starts with `/`" };
const HOST: Text<String> =
    Text { read: value::host, example: "\"www.example.org\"", values: "a name, perhaps with a port" };
const TEXT: Text<String> = Text { read: text, example: "\"OK\"", values: "text of 1 to 1024 bytes" };
/// Bytes of that text at most.
const TEXT_BYTES: usize = 1024;
/// Bytes of a body that are read where the file doesn't say; and those that it may say.
const BODY: u32 = 16 * 1024;
const BODIES: std::ops::RangeInclusive<u32> = 1024..=1024 * 1024;
const STATUS: List<Spread> = List {
    item: Spread,
    empty: ("no answer would be good", "name the good ones, such as [\"200-299\", 301], or remove the line"),
};

keys! {
    #[derive(Debug)]
    pub struct HttpKeys {
        /// of HTTP: `2` is spoken at once in plain (h2c by prior knowledge), and agreed on within TLS (ALPN `h2`)
        version: Version = key(VERSIONS).or(Version::One);
        /// what is asked with
        method: String = key(METHOD).or("GET".to_owned());
        /// path and query
        path: String = key(PATH).or("/".to_owned());
        /// the `Host` header: the virtual host that is asked
        host: String = key(HOST).without("the real's address");
        /// further headers; values may be secrets, which no message repeats
        headers: Vec<Header> = key(Headers).without("none but those that a check needs");
        /// the good ones, such as `["200-299", 301]`
        status: Vec<Spanned<(u16, u16)>> = key(STATUS).without("`[\"200-299\"]`");
        /// what is somewhere in the body, byte for byte
        body: String = key(TEXT).without("any body");
        /// what the body matches; it is read to its end or `body_limit` first
        body_regex: Pattern = key(PATTERN).without("any body");
        /// how much of the body is read
        body_limit: u32 = key(Number::of(BODIES).unit("bytes")).or(BODY).values("1024 to 1048576, bytes");
        /// within TLS, so HTTPS
        tls: Option<Tls> = key(TlsTable).without("plain HTTP");
    }
}

impl Asks for Http {
    const WORD: &'static str = "http";
    const WANTS: &'static str = "a response of a good status, by HTTP or HTTPS";
    const HAS_VIA: bool = true;
    type Keys = HttpKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = HttpKeys::read(section);
        if let Some(span) = keys.body.span().or(keys.body_regex.span())
            && keys.method.cloned().is_some_and(|method| method == "HEAD")
        {
            section.report(span, "the answer to HEAD has no body", "remove it, or set method = \"GET\"");
        }
        let body = match (keys.body.cloned(), keys.body_regex.written()) {
            (Some(_), Some((_, span))) => {
                section.report(span, "a check looks for one thing in a body", "remove `body` or `body_regex`");
                return None;
            }
            (text, pattern) => text.map(Body::Text).or(pattern.map(|(pattern, _)| Body::Match(pattern.clone()))),
        };
        Some(Self {
            version: keys.version.copied()?,
            method: keys.method.cloned()?,
            path: keys.path.cloned()?,
            host: keys.host.cloned(),
            headers: keys.headers.cloned().unwrap_or_default(),
            status: match keys.status.items() {
                [] => vec![(200, 299)],
                ranges => ranges.iter().map(|range| *range.get_ref()).collect(),
            },
            body,
            body_limit: keys.body_limit.copied()?,
            tls: keys.tls.cloned().flatten().map(Box::new),
        })
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    fn words(&self, port: u16) -> String {
        let host = self.host.as_ref().map(|host| format!(" of {}", clip(host, WIDTH / 2)));
        let body = self.body.as_ref().map(|body| match body {
            Body::Text(text) => format!(" with \"{}\" in the body", short(text)),
            Body::Match(pattern) => format!(" with a body that matches {}", short(pattern.text())),
        });
        let headers = match self.headers.as_slice() {
            [] => String::new(),
            headers => {
                let names: Vec<&str> = headers.iter().map(|header| header.name.as_str()).collect();
                clip(&format!(" with {}", names.join(", ")), WIDTH / 2)
            }
        };
        let tls = self.tls.as_ref().map(|tls| format!("; {}", tls.words()));
        let ranges: Vec<String> = self.status.iter().map(range).collect();
        format!(
            "{} {} {}{}{headers} on port {port}, good are {}{}{}",
            match (&self.tls, self.version) {
                (None, Version::One) => "HTTP",
                (None, Version::Two) => "HTTP/2",
                (Some(_), Version::One) => "HTTPS",
                (Some(_), Version::Two) => "HTTPS by HTTP/2",
            },
            self.method,
            clip(&self.path, WIDTH / 2),
            host.unwrap_or_default(),
            ranges.join(", "),
            body.unwrap_or_default(),
            tls.unwrap_or_default(),
        )
    }
}

fn text(text: &str) -> Result<String, Fault> {
    match text.len() {
        0 => Err(Fault::new("every body has an empty text in it", "write what a good one has, or remove the line")),
        1..=TEXT_BYTES => Ok(text.to_owned()),
        bytes => Err(Fault::new(
            format!("these are {bytes} bytes, what is looked for in a body has at most {TEXT_BYTES}"),
            "a shorter part of it will do",
        )),
    }
}

fn range(&(low, high): &(u16, u16)) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}
