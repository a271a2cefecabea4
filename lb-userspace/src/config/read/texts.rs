//! The strings that more than one section has.

use std::net::IpAddr;
use std::path::PathBuf;

use super::kind::Text;
use super::value;
use crate::config::report::Fault;

/// An interface's name.
pub const INTERFACE: Text<String> = Text { read: value::interface, example: "\"eth1\"", values: "an interface" };

/// The name of a service, virtual router or group.
pub const NAME: Text<String> = Text { read: name, example: "\"web\"", values: "a NAME" };

/// A real's own address.
pub const REAL: Text<IpAddr> =
    Text { read: value::real, example: "\"192.0.2.40\"", values: "an address, without port" };

/// An address that is asked in a real's place.
pub const ASKED: Text<IpAddr> =
    Text { read: value::real, example: "\"10.0.0.40\"", values: "an address, without port" };

/// One argument of a command.
pub const ARGUMENT: Text<String> = Text { read: value::argument, example: "\"/path/script\"", values: "strings" };

/// A file of this machine.
pub const FILE_PATH: Text<PathBuf> =
    Text { read: value::file, example: "\"/path/file\"", values: "a path from the root" };

/// Any text, which a rule looks at later.
pub const ANY: Text<String> = Text { read: any, example: "\"text\"", values: "a string" };

fn name(text: &str) -> Result<String, Fault> {
    value::name(text).map(|()| text.to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "a reader of texts, of which this one refuses none")]
fn any(text: &str) -> Result<String, Fault> {
    Ok(text.to_owned())
}
