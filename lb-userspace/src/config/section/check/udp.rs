//! `type = "udp"`: a datagram, and the answer that is expected to it.

use super::Asks;
use super::pattern::{PATTERN, Pattern};
use crate::config::read::value::short;
use crate::config::read::{Keys, Section, Shown, Text, key, keys};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// A datagram, and the answer that is expected to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Udp {
    /// What is sent; may be empty.
    pub send: Vec<u8>,
    /// What the answer starts with. `None`: no answer is waited for, and a real is bad only where the port is said to
    /// be unreachable.
    pub expect: Option<Vec<u8>>,
    /// What the answer matches.
    pub matches: Option<Pattern>,
}

impl Udp {
    /// Whether no answer is waited for.
    pub fn expects_none(&self) -> bool {
        self.expect.is_none() && self.matches.is_none()
    }
}

impl Shown for Vec<u8> {}

/// Bytes of a check's datagram at most: it fits in one frame of any network.
const DATAGRAM_BYTES: usize = 1200;

const BYTES: Text<Vec<u8>> = Text { read: bytes, example: "\"ping\"", values: "text, or bytes as `\"hex:00 ff\"`" };

keys! {
    #[derive(Debug)]
    pub struct UdpKeys {
        /// what is sent
        send: Vec<u8> = key(BYTES).without("an empty datagram");
        /// what an answer starts with; `""` takes any. Without it none is waited for: the real is bad only if its port
        /// is unreachable by ICMP, and its silence for the whole `timeout` is good
        expect: Vec<u8> = key(BYTES).without("no answer");
        /// what an answer matches somewhere, byte for byte: `\x00` is a zero byte, `(?-u:\xff)` one that is no text
        expect_regex: Pattern = key(PATTERN).without("no answer");
    }
}

impl Asks for Udp {
    const WORD: &'static str = "udp";
    const WANTS: &'static str = "the expected answer to a datagram, or at least no ICMP error";
    const HAS_VIA: bool = true;
    type Keys = UdpKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = UdpKeys::read(section);
        Some(Self {
            send: keys.send.cloned().unwrap_or_default(),
            expect: keys.expect.cloned(),
            matches: keys.expect_regex.cloned(),
        })
    }

    fn words(&self, port: u16) -> String {
        let sent = match self.send.as_slice() {
            [] => "an empty datagram".to_owned(),
            bytes => format!("the datagram {}", quoted(bytes)),
        };
        let good = match self.expect.as_deref() {
            None if self.expects_none() => "good unless the port is unreachable".to_owned(),
            None | Some([]) => "good is any answer".to_owned(),
            Some(bytes) => format!("good is an answer of {}", quoted(bytes)),
        };
        let matches = self.matches.as_ref().map(|pattern| format!(" that matches {}", short(pattern.text())));
        format!("{sent} to UDP port {port}, {good}{}", matches.unwrap_or_default())
    }
}

fn quoted(bytes: &[u8]) -> String {
    clip(&format!("\"{}\"", bytes.escape_ascii()), WIDTH / 2)
}

/// Bytes of a datagram: the text itself, or behind `hex:` two digits for each, spaces between them or not.
fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
    let bytes = match text.strip_prefix("hex:") {
        None => Some(text.as_bytes().to_vec()),
        Some(digits) => hex(digits),
    };
    match bytes {
        Some(bytes) if bytes.len() <= DATAGRAM_BYTES => Ok(bytes),
        Some(bytes) => Err(Fault::new(
            format!("these are {} bytes, a check's datagram has at most {DATAGRAM_BYTES}", bytes.len()),
            "shorten it: it must pass in one frame",
        )),
        None => Err(Fault::new(
            format!("\"{}\" has no pairs of hexadecimal digits behind \"hex:\"", short(text)),
            "write it as in \"hex:00 01 fe ff\"",
        )),
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = digits.chars().filter(|char| !char.is_whitespace()).collect();
    let byte = |pair: &[char]| match pair {
        [high, low] => u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}
