//! From the file's text to the values of its keys, each checked by itself and with its place.
//!
//! [`keys!`](keys) declares a section's keys; [`Section`] is one table of the file being read by such a declaration,
//! [`Kind`] a kind of value. The tree is walked by hand, not by a derived `Deserialize`: that stops at the first
//! fault and forgets where keys stand.

pub mod join;
mod key;
mod keys;
mod kind;
mod list;
mod section;
pub mod source;
mod syntax;
mod table;
pub mod texts;
mod time;
pub mod value;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(in crate::config) use keys::keys;

pub use key::{Declared, Given, key, typed};
pub use keys::Keys;
pub use kind::{Choice, Flag, Kind, Number, Shape, Shown, Site, Text};
pub use list::{List, Spread};
pub use section::Section;
pub use table::{Named, NamedTables, Read, Table, Tables, below, schema};
pub use time::{Time, hours};

use super::report::Findings;

/// A value of the file, with its place.
pub type Value<'t> = Spanned<DeValue<'t>>;

/// How messages name the table that is the whole file.
pub const FILE: &str = "the file";

/// Reads the table of all files as one of these keys.
pub fn file<S: Keys>(table: &DeTable<'_>, findings: &mut Findings) -> S {
    let mut section = Section::check(findings, FILE.to_owned(), 0..0, table, S::NAMES);
    S::read(&mut section)
}
