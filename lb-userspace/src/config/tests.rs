//! The reference file, one row per kind of error, whole texts of a few, and texts of any kind.

use std::path::Path;

use super::{Loaded, parse};

mod docs;
mod errors;
mod hostile;
mod machine;
mod ports;
mod reference;
mod several;
mod show;
mod texts;

/// Parses `text` as if it stood in `lb.toml`.
fn load(text: &str) -> Result<Loaded, super::Error> {
    parse(Path::new("lb.toml"), text)
}

/// The reference lab, as the package ships it.
const REFERENCE: &str = include_str!("../../../packaging/lb.toml");
