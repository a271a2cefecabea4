//! `type = "smtp"`: a mail server that greets and takes EHLO, perhaps within TLS by STARTTLS.

use super::Asks;
use super::tls::{Tls, TlsTable};
use crate::config::read::value::short;
use crate::config::read::{Keys, Section, Text, key, keys};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// A mail server that greets and takes EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Smtp {
    /// The name that EHLO gives; without it the address that is asked from.
    pub helo: Option<String>,
    /// By STARTTLS, and EHLO once more.
    pub tls: Option<Box<Tls>>,
}

const HELO: Text<String> =
    Text { read: helo, example: "\"lb1.example.org\"", values: "a name, or an address as `[192.0.2.2]`" };

keys! {
    #[derive(Debug)]
    pub struct SmtpKeys {
        /// the name that EHLO gives
        helo: String = key(HELO).without("the address that it asks from, as `[192.0.2.2]`");
        /// by STARTTLS, which the server must offer; then EHLO once more
        tls: Option<Tls> = key(TlsTable).without("plain");
    }
}

impl Asks for Smtp {
    const WORD: &'static str = "smtp";
    const WANTS: &'static str = "a mail server's greeting and its answer to EHLO, perhaps by STARTTLS";
    const HAS_VIA: bool = true;
    type Keys = SmtpKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = SmtpKeys::read(section);
        Some(Self { helo: keys.helo.cloned(), tls: keys.tls.cloned().flatten().map(Box::new) })
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    fn words(&self, port: u16) -> String {
        let name = self.helo.as_ref().map(|name| format!(" as {}", clip(name, WIDTH / 2)));
        let tls = self.tls.as_ref().map(|tls| format!(", then STARTTLS; {}", tls.words()));
        let parts = [name, tls].map(Option::unwrap_or_default).concat();
        format!("SMTP's greeting and EHLO{parts}, on port {port}")
    }
}

/// Characters of a name at most (RFC 5321 section 4.5.3.1.2).
const NAME: usize = 255;

fn helo(text: &str) -> Result<String, Fault> {
    let is_named = |char: char| char.is_ascii_alphanumeric() || "-._[]:".contains(char);
    if !text.is_empty() && text.len() <= NAME && text.chars().all(is_named) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("\"{}\" is not a name that EHLO can give", short(text)),
        "write this director's name such as \"lb1.example.org\", or its address as \"[192.0.2.2]\"",
    ))
}
