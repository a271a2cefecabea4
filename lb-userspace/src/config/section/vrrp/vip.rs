//! `addresses`: a virtual router's VIPs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{AddrParseError, IpNet};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::config::read::Keys;
use crate::config::read::texts::INTERFACE;
use crate::config::read::{Kind, Read, Site, Text, Value, key, keys, schema, value};

/// A VIP, as it is put on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// With the prefix length of its segment.
    pub net: IpNet,
    /// Where it is put, if not on the virtual router's own interface.
    pub interface: Option<String>,
}

impl Vip {
    /// The address alone.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.net.addr()
    }

    /// Whether it means something on its own link alone (RFC 4007).
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        matches!(self.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local())
    }
}

impl FromStr for Vip {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        Ok(Self { net: text.parse()?, interface: None })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            None => self.net.fmt(f),
            Some(interface) => write!(f, "{} on {interface}", self.net),
        }
    }
}

const NET: Text<IpNet> =
    Text { read: value::interface_address, example: "\"192.0.2.1/24\"", values: "`\"ADDRESS/LENGTH\"`" };

keys! {
    #[derive(Debug)]
    pub struct VipKeys {
        /// the VIP, with the prefix length of its segment
        address: IpNet = key(NET).required();
        /// where it is put, if not on the interface of the adverts
        interface: String = key(INTERFACE).without("the virtual router's").example("\"eth2\"");
    }
}

/// A VIP: its address alone, or a table.
#[derive(Debug, Clone, Copy)]
pub struct VipKind;

impl Kind for VipKind {
    type Value = Vip;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Vip> {
        match value.get_ref() {
            DeValue::String(_) => Some(Vip { net: NET.read(site, value)?, interface: None }),
            DeValue::Table(_) => {
                let title = format!("an address of {}", site.title);
                let read: Read<VipKeys> = Read::open(site.findings, title, value)?;
                Some(Vip { net: read.address.copied()?, interface: read.interface.cloned() })
            }
            _ => {
                let mend = format!("write it in quotes, such as {}", self.example());
                site.other_kind(value, "a string or a table", mend);
                None
            }
        }
    }

    fn example(&self) -> String {
        NET.example()
    }

    fn values(&self) -> String {
        NET.values()
    }

    fn schema(&self) -> Json {
        json!({ "oneOf": [NET.schema(), schema(VipKeys::declared())] })
    }
}
