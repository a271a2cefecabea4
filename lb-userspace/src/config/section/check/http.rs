//! `type = "http"`: an HTTP/1.1 response of an expected status, and perhaps of a body that has an expected text.

use toml::Spanned;

use super::Asks;
use crate::config::read::value::short;
use crate::config::read::{Keys, List, Section, Spread, Text, key, keys, value};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// An HTTP/1.1 response of an expected status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// `GET`, `HEAD`, ….
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` header; else the real's address.
    pub host: Option<String>,
    /// Inclusive ranges of good status codes.
    pub status: Vec<(u16, u16)>,
    /// What the start of the body ([`Http::BODY`]) has somewhere; never empty.
    pub body: Option<String>,
}

impl Http {
    /// Bytes of a response body that are read at most.
    pub const BODY: usize = 16 * 1024;
}

const METHOD: Text<String> = Text { read: value::method, example: "\"GET\"", values: "in capitals" };
const PATH: Text<String> = Text { read: value::path, example: "\"/\"", values: "starts with `/`" };
const HOST: Text<String> =
    Text { read: value::host, example: "\"www.example.org\"", values: "a name, perhaps with a port" };
const TEXT: Text<String> = Text { read: text, example: "\"OK\"", values: "text of 1 to 1024 bytes" };
/// Bytes of that text at most.
const TEXT_BYTES: usize = 1024;
const STATUS: List<Spread> = List {
    item: Spread,
    empty: ("no answer would be good", "name the good ones, such as [\"200-299\", 301], or remove the line"),
};

keys! {
    #[derive(Debug)]
    pub struct HttpKeys {
        /// what is asked with
        method: String = key(METHOD).or("GET".to_owned());
        /// path and query
        path: String = key(PATH).or("/".to_owned());
        /// the `Host` header
        host: String = key(HOST).without("the real's address");
        /// the good ones, such as `["200-299", 301]`
        status: Vec<Spanned<(u16, u16)>> = key(STATUS).without("`[\"200-299\"]`");
        /// what is somewhere in the first 16 KiB of the body, byte for byte
        body: String = key(TEXT).without("any body");
    }
}

impl Asks for Http {
    const WORD: &'static str = "http";
    const WANTS: &'static str = "a response of a good status";
    const HAS_VIA: bool = true;
    type Keys = HttpKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = HttpKeys::read(section);
        if let Some(span) = keys.body.span()
            && keys.method.cloned().is_some_and(|method| method == "HEAD")
        {
            section.report(span, "the answer to HEAD has no body", "remove it, or set method = \"GET\"");
        }
        Some(Self {
            method: keys.method.cloned()?,
            path: keys.path.cloned()?,
            host: keys.host.cloned(),
            status: match keys.status.items() {
                [] => vec![(200, 299)],
                ranges => ranges.iter().map(|range| *range.get_ref()).collect(),
            },
            body: keys.body.cloned(),
        })
    }

    fn words(&self, port: u16) -> String {
        let host = self.host.as_ref().map(|host| format!(" of {}", clip(host, WIDTH / 2)));
        let body = self.body.as_ref().map(|body| format!(" with \"{}\" in the body", short(body)));
        let ranges: Vec<String> = self.status.iter().map(range).collect();
        format!(
            "HTTP {} {}{} on port {port}, good are {}{}",
            self.method,
            clip(&self.path, WIDTH / 2),
            host.unwrap_or_default(),
            ranges.join(", "),
            body.unwrap_or_default(),
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
