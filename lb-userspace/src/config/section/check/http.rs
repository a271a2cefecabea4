//! `type = "http"`: an HTTP/1.1 response of an expected status.

use toml::Spanned;

use super::Asks;
use crate::config::read::{Keys, List, Section, Spread, Text, key, keys, value};
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
}

const METHOD: Text<String> = Text { read: value::method, example: "\"GET\"", values: "in capitals" };
const PATH: Text<String> = Text { read: value::path, example: "\"/\"", values: "starts with `/`" };
const HOST: Text<String> =
    Text { read: value::host, example: "\"www.example.org\"", values: "a name, perhaps with a port" };
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
    }
}

impl Asks for Http {
    const WORD: &'static str = "http";
    const WANTS: &'static str = "a response of a good status";
    type Keys = HttpKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = HttpKeys::read(section);
        Some(Self {
            method: keys.method.cloned()?,
            path: keys.path.cloned()?,
            host: keys.host.cloned(),
            status: match keys.status.items() {
                [] => vec![(200, 299)],
                ranges => ranges.iter().map(|range| *range.get_ref()).collect(),
            },
        })
    }

    fn words(&self, port: u16) -> String {
        let host = self.host.as_ref().map(|host| format!(" of {}", clip(host, WIDTH / 2)));
        let ranges: Vec<String> = self.status.iter().map(range).collect();
        format!(
            "HTTP {} {}{} on port {port}, good are {}",
            self.method,
            clip(&self.path, WIDTH / 2),
            host.unwrap_or_default(),
            ranges.join(", "),
        )
    }
}

fn range(&(low, high): &(u16, u16)) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}
