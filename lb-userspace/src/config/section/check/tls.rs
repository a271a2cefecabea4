//! `tls` of a check: what is asked within a TLS session, and what is asked of the real's certificate.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tokio_rustls::rustls::pki_types::DnsName;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::read::texts::FILE_PATH;
use crate::config::read::value::short;
use crate::config::read::{
    Flag, Keys, Kind, Number, Section, Shape, Site, Table, Text, Value, below, key, keys, schema,
};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// A TLS session (1.2 or 1.3) around a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name that the real is told (SNI) and that its certificate is to be for, where that isn't the check's host.
    pub sni: Option<String>,
    /// PEM: who may have signed the certificate; `None` for this machine's own list. Where it stands in the file is
    /// no part of what is compared.
    pub ca: Option<Spanned<PathBuf>>,
    /// Any certificate will do.
    pub insecure: bool,
    /// What the real may ask of us.
    pub identity: Option<Identity>,
    /// Days that the certificate must be good for from now on.
    pub certificate_days: Option<u16>,
}

/// A certificate of this director's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// PEM: the certificate, then those that signed it.
    pub cert: Spanned<PathBuf>,
    /// PEM: its private key.
    pub key: Spanned<PathBuf>,
}

const SNI: Text<String> = Text { read: sni, example: "\"www.example.org\"", values: "a name" };

keys! {
    #[derive(Debug)]
    pub struct TlsKeys {
        /// the name that the real is told (SNI), and that its certificate must be for
        sni: String = key(SNI).without("that of `host`; else the real's address, which isn't told");
        /// file of the certificates, in PEM, one of which must have signed the real's
        ca: PathBuf = key(FILE_PATH).example("\"/etc/lb/ca.pem\"").without("those that this machine trusts");
        /// whether any certificate will do
        insecure: bool = key(Flag).or(false);
        /// file of a certificate in PEM, and of those that signed it: for reals that ask who checks them
        cert: PathBuf = key(FILE_PATH).example("\"/etc/lb/check.pem\"");
        /// file of its private key in PEM
        key: PathBuf = key(FILE_PATH).example("\"/etc/lb/check.key\"").without("required with `cert`");
        /// a real is bad whose certificate ends within so many days
        certificate_days: u16 = key(Number::of(1..=3650).unit("days")).without("it must not have ended");
    }
}

/// `tls = true`, or a table.
#[derive(Debug, Clone, Copy)]
pub struct TlsTable;

impl Kind for TlsTable {
    type Value = Option<Tls>;

    fn read(&self, site: Site<'_>, value: &Value<'_>) -> Option<Option<Tls>> {
        match value.get_ref() {
            DeValue::Boolean(wanted) => Some(wanted.then(Tls::default)),
            _ => {
                let title = below(&site);
                let mut section = Section::open(site.findings, title, value, TlsKeys::NAMES)?;
                let keys = TlsKeys::read(&mut section);
                accept(&keys, &mut section).map(Some)
            }
        }
    }

    fn example(&self) -> String {
        "true".to_owned()
    }

    fn values(&self) -> String {
        "`true`, or a table, see below".to_owned()
    }

    fn schema(&self) -> Json {
        let mut table = schema(TlsKeys::declared());
        if let Some(object) = table.as_object_mut() {
            object.insert("type".to_owned(), json!(["boolean", "object"]));
        }
        table
    }

    fn shape(&self) -> Shape {
        Table::<TlsKeys>::new().shape()
    }
}

/// Its rules.
fn accept(keys: &TlsKeys, section: &mut Section<'_, '_>) -> Option<Tls> {
    let insecure = keys.insecure.copied()?;
    if let Some((_, span)) = keys.ca.written().filter(|_| insecure) {
        section.report(span, "insecure = true takes any certificate, so `ca` has no meaning", "remove one of them");
    }
    let file = |given: &crate::config::read::Given<PathBuf>| {
        given.written().map(|(path, span)| Spanned::new(span, path.clone()))
    };
    let identity = match (file(&keys.cert), file(&keys.key)) {
        (Some(cert), Some(key)) => Some(Identity { cert, key }),
        (Some(cert), None) if !keys.key.is_refused() => {
            section.report(cert.span(), "`cert` has no `key`", "add key = \"/path/file\", its private key in PEM");
            None
        }
        (None, Some(key)) if !keys.cert.is_refused() => {
            section.report(key.span(), "`key` has no `cert`", "add cert = \"/path/file\", its certificate in PEM");
            None
        }
        _ => None,
    };
    Some(Tls {
        sni: keys.sni.cloned(),
        ca: file(&keys.ca),
        insecure,
        identity,
        certificate_days: keys.certificate_days.copied(),
    })
}

impl Tls {
    /// What is asked of the certificate, in words.
    pub fn words(&self) -> String {
        let by = match &self.ca {
            _ if self.insecure => "any certificate".to_owned(),
            Some(ca) => format!("a certificate by {}", shown(ca.get_ref())),
            None => "a certificate that this machine trusts".to_owned(),
        };
        let name = self.sni.as_ref().map(|name| format!(" for {}", clip(name, WIDTH / 2)));
        let days = self.certificate_days.map(|days| format!(", good for {days} days or more"));
        let own = self.identity.as_ref().map(|own| format!("; ours is {}", shown(own.cert.get_ref())));
        let parts = [name, days, own].map(Option::unwrap_or_default).concat();
        format!("TLS with {by}{parts}")
    }
}

fn shown(path: &Path) -> String {
    clip(&path.display().to_string(), WIDTH / 2)
}

fn sni(text: &str) -> Result<String, Fault> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if !is_address && DnsName::try_from(text).is_ok() {
        return Ok(text.to_owned());
    }
    let why = if is_address { "is an address, which TLS has no SNI for" } else { "is not a name" };
    Err(Fault::new(
        format!("\"{}\" {why}", short(text)),
        "write a name such as \"www.example.org\", or remove it: without a name the certificate must be for the \
         real's address",
    ))
}
