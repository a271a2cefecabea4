//! The keys of one kind of table: declared together, read together.

use super::key::Declared;
use super::section::Section;
use super::source::Span;

/// Declares the keys of one kind of table.
///
/// `/// doc` `name: type = key(kind)….;` stands for one key; `as "name"` gives it a name that Rust has for itself.
/// It becomes a field of the struct, [`Given`](super::Given) of the type, and the table's reader, its list of known keys and its
/// documentation ([`Keys`]).
macro_rules! keys {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $word:literal)?: $Type:ty = $declared:expr; )*
        }
    ) => {
        $(#[$meta])*
        $vis struct $Name {
            $( $(#[doc = $doc])+ pub $field: $crate::config::read::Given<$Type>, )*
        }

        impl $crate::config::read::Keys for $Name {
            const NAMES: &'static [&'static str] = &[$( keys!(@name $field $($word)?) ),*];

            fn read(section: &mut $crate::config::read::Section<'_, '_>) -> Self {
                let _ = &section;
                Self { $( $field: section.key(keys!(@name $field $($word)?), $declared), )* }
            }

            fn declared() -> Vec<$crate::config::read::Declared> {
                vec![$(
                    $crate::config::read::typed::<$Type, _>($declared)
                        .declared(keys!(@name $field $($word)?), concat!($($doc),+))
                ),*]
            }

            fn present(&self) -> Vec<(&'static str, $crate::config::read::source::Span)> {
                let all: Vec<(&'static str, Option<$crate::config::read::source::Span>)> =
                    vec![$( (keys!(@name $field $($word)?), self.$field.key()) ),*];
                all.into_iter().filter_map(|(name, span)| Some((name, span?))).collect()
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $word:literal) => { $word };
}
pub(in crate::config) use keys;

/// The keys of one kind of table, as [`keys!`](keys) declares them.
pub trait Keys: Sized {
    /// Their names, in the order of the documentation.
    const NAMES: &'static [&'static str];

    /// Reads them from a table, with every fault reported.
    fn read(section: &mut Section<'_, '_>) -> Self;

    /// What the documentation says of them.
    fn declared() -> Vec<Declared>;

    /// Those that stand in the file, good or not, each with its place.
    fn present(&self) -> Vec<(&'static str, Span)>;
}
