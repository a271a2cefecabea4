//! `type = "grpc"`: gRPC's health protocol, a service that is SERVING.

use super::Asks;
use super::tls::{Tls, TlsTable};
use crate::config::read::value::short;
use crate::config::read::{Keys, Section, Text, key, keys, value};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// A gRPC server whose health service says that it is SERVING.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Grpc {
    /// The service that is asked for; empty for the server as a whole.
    pub service: String,
    /// The authority, as HTTP's `Host`; else the real's address.
    pub host: Option<String>,
    /// Within TLS.
    pub tls: Option<Box<Tls>>,
}

const SERVICE: Text<String> = Text { read: service, example: "\"shop.v1.Cart\"", values: "a service's full name" };
const HOST: Text<String> =
    Text { read: value::host, example: "\"www.example.org\"", values: "a name, perhaps with a port" };

keys! {
    #[derive(Debug)]
    pub struct GrpcKeys {
        /// the service that is asked for
        service: String = key(SERVICE).without("the server as a whole");
        /// the authority that is asked
        host: String = key(HOST).without("the real's address");
        /// within TLS
        tls: Option<Tls> = key(TlsTable).without("plain, by HTTP/2 at once");
    }
}

impl Asks for Grpc {
    const WORD: &'static str = "grpc";
    const WANTS: &'static str = "SERVING of gRPC's health service, in plain or within TLS";
    const HAS_VIA: bool = true;
    type Keys = GrpcKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = GrpcKeys::read(section);
        Some(Self {
            service: keys.service.cloned().unwrap_or_default(),
            host: keys.host.cloned(),
            tls: keys.tls.cloned().flatten().map(Box::new),
        })
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    fn words(&self, port: u16) -> String {
        let of = match self.service.as_str() {
            "" => String::new(),
            service => format!(" of {}", clip(service, WIDTH / 2)),
        };
        let host = self.host.as_ref().map(|host| format!(" at {}", clip(host, WIDTH / 2)));
        let tls = self.tls.as_ref().map(|tls| format!("; {}", tls.words()));
        let [host, tls] = [host, tls].map(Option::unwrap_or_default);
        format!("gRPC health{of}{host} on port {port}, good is SERVING{tls}")
    }
}

/// Bytes of a service's name at most.
const NAME: usize = 255;

fn service(text: &str) -> Result<String, Fault> {
    let is_name = text.chars().all(|char| char.is_ascii_graphic());
    if !text.is_empty() && text.len() <= NAME && is_name {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("\"{}\" is not a service's name", short(text)),
        "write its full name such as \"shop.v1.Cart\", or remove the line: the server as a whole is asked then",
    ))
}
