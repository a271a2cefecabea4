//! Regular expressions of a check.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::bytes::RegexBuilder;

use crate::config::read::value::short;
use crate::config::read::{Shown, Text};
use crate::config::report::Fault;

type Matches = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A regular expression over bytes: its text, and what was made of it. Two of the same text are the same. It is
/// matched in a time that grows with what it reads alone.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    /// The compiled pattern, as a function: its caches are no part of what is compared.
    matches: Arc<Matches>,
}

/// Bytes of a pattern at most.
const PATTERN_BYTES: usize = 1024;
/// What one may become: bytes of memory.
const COMPILED_BYTES: usize = 1 << 20;

/// A key that is one.
pub const PATTERN: Text<Pattern> =
    Text { read: pattern, example: "'^ok\\b'", values: "a regular expression of Rust's `regex`" };

impl Pattern {
    /// Whether it matches somewhere.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        (self.matches)(bytes)
    }

    /// As in the file.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Shown for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, out)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Compiles a pattern.
pub fn pattern(text: &str) -> Result<Pattern, Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            "an empty pattern matches everything",
            "write what a good answer has, or remove the line",
        ));
    }
    if text.len() > PATTERN_BYTES {
        let message = format!("these are {} bytes, a pattern has at most {PATTERN_BYTES}", text.len());
        return Err(Fault::new(message, "a shorter one will do"));
    }
    match RegexBuilder::new(text).size_limit(COMPILED_BYTES).dfa_size_limit(COMPILED_BYTES).build() {
        Ok(regex) => Ok(Pattern { text: text.to_owned(), matches: Arc::new(move |bytes| regex.is_match(bytes)) }),
        Err(regex::Error::CompiledTooBig(_)) => Err(Fault::new(
            format!("\"{}\" is too large a pattern once its repetitions are written out", short(text)),
            "repeat less: {10} in place of {100000}",
        )),
        Err(error) => {
            // The last of its lines says what is wrong.
            let said = error.to_string();
            let why = said.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            Err(Fault::new(
                format!("\"{}\" is not a regular expression: {why}", short(text)),
                "mend it; in 'single quotes' TOML takes backslashes as they are, and \\. is a plain dot",
            ))
        }
    }
}
