//! A key, declared once: its kind of value, whether it must be there or what stands in for it, and its line of doc.

use serde_json::{Value as Json, json};

use super::kind::{Kind, Shape};
use super::source::Span;

/// What a key's declaration says of it, for documentation.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its line of doc.
    pub doc: &'static str,
    /// Whether the table must have it.
    pub required: bool,
    /// What stands in for it, in Markdown.
    pub default: String,
    /// Its values, in Markdown.
    pub values: String,
    /// Its part of the JSON schema.
    pub schema: Json,
    /// Its value as it could stand in the file.
    pub example: String,
    /// How it is written: a key with a value, or a section of its own.
    pub shape: Shape,
}

/// A key's declaration, without its name.
pub struct Key<K: Kind> {
    kind: K,
    need: Need<K::Value>,
    /// The key that may stand in its place.
    alternative: Option<&'static str>,
    example: Option<&'static str>,
    values: Option<&'static str>,
    /// Its absence is a table without keys.
    implied: bool,
}

enum Need<T> {
    Required,
    Default {
        value: T,
        shown: String,
    },
    /// Its absence means something of its own, in these words.
    Optional(&'static str),
}

/// A key of this kind, which may be absent.
pub fn key<K: Kind>(kind: K) -> Key<K> {
    Key { kind, need: Need::Optional("none"), alternative: None, example: None, values: None, implied: false }
}

/// The same key, its kind known by the type that it is read as.
pub fn typed<T, K: Kind<Value = T>>(key: Key<K>) -> Key<K> {
    key
}

impl<K: Kind> Key<K> {
    /// The table must have it.
    #[must_use]
    pub fn required(self) -> Self {
        Self { need: Need::Required, ..self }
    }

    /// The table must have it, or the other key.
    #[must_use]
    pub fn unless(self, other: &'static str) -> Self {
        Self { need: Need::Required, alternative: Some(other), ..self }
    }

    /// What stands in for it.
    #[must_use]
    pub fn or(self, value: K::Value) -> Self {
        let shown = self.kind.show(&value);
        Self { need: Need::Default { value, shown }, ..self }
    }

    /// What its absence means, in Markdown.
    #[must_use]
    pub fn without(self, meaning: &'static str) -> Self {
        Self { need: Need::Optional(meaning), ..self }
    }

    /// Its absence is the same as a table without keys, each of which has its default then.
    #[must_use]
    pub fn implied(self) -> Self {
        Self { implied: true, ..self }
    }

    /// A value as it could stand in the file; else the default or the kind's own.
    #[must_use]
    pub fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// Its values in Markdown, where the kind's words don't say all.
    #[must_use]
    pub fn values(self, values: &'static str) -> Self {
        Self { values: Some(values), ..self }
    }

    /// What the documentation says of it.
    pub fn declared(self, name: &'static str, doc: &'static str) -> Declared {
        let mut schema = self.kind.schema();
        let default = match &self.need {
            Need::Required => match self.alternative {
                Some(other) => format!("required without `{other}`"),
                None => "required".to_owned(),
            },
            Need::Optional(meaning) => (*meaning).to_owned(),
            Need::Default { shown, .. } => {
                // A default that is written alike in TOML and JSON.
                if let (Ok(value), Some(schema)) = (serde_json::from_str::<Json>(shown), schema.as_object_mut()) {
                    schema.insert("default".to_owned(), value);
                }
                format!("`{shown}`")
            }
        };
        if let Some(schema) = schema.as_object_mut() {
            if self.implied {
                schema.insert("default".to_owned(), json!({}));
            }
            schema.insert("description".to_owned(), json!(doc.trim()));
        }
        Declared {
            name,
            doc: doc.trim(),
            required: self.is_required() && self.alternative.is_none(),
            default,
            values: self.values.map_or_else(|| self.kind.values(), str::to_owned),
            schema,
            example: self.shown_example(),
            shape: self.kind.shape(),
        }
    }

    /// Its kind.
    pub(super) fn kind(&self) -> &K {
        &self.kind
    }

    /// A value as it could stand in the file.
    pub(super) fn shown_example(&self) -> String {
        match (self.example, &self.need) {
            (Some(example), _) => example.to_owned(),
            (None, Need::Default { shown, .. }) => shown.clone(),
            (None, _) => self.kind.example(),
        }
    }

    /// Whether the table must have it.
    pub(super) fn is_required(&self) -> bool {
        matches!(self.need, Need::Required)
    }

    /// The key that may stand in its place.
    pub(super) fn alternative(&self) -> Option<&'static str> {
        self.alternative
    }

    /// What stands in for it when it is absent.
    pub(super) fn default(self) -> Option<K::Value> {
        match self.need {
            Need::Required | Need::Optional(_) => None,
            Need::Default { value, .. } => Some(value),
        }
    }
}

/// What the file says for one key.
#[derive(Debug)]
pub struct Given<T> {
    value: Option<T>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    key: Span,
    value: Span,
}

impl<T> Given<T> {
    /// From a value that stands in the file, `None` when it was refused.
    pub(super) fn written_at(key: Span, value: Span, read: Option<T>) -> Self {
        Self { value: read, place: Some(Place { key, value }) }
    }

    /// From a default.
    pub(super) fn absent(default: Option<T>) -> Self {
        Self { value: default, place: None }
    }

    /// The value or its default; `None` when it was refused, or is absent without a default.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// A good value that stands in the file, with its place.
    pub fn written(&self) -> Option<(&T, Span)> {
        Some((self.value.as_ref()?, self.span()?))
    }

    /// The place of the value, good or not.
    pub fn span(&self) -> Option<Span> {
        self.place.as_ref().map(|place| place.value.clone())
    }

    /// The place of the key itself.
    pub fn key(&self) -> Option<Span> {
        self.place.as_ref().map(|place| place.key.clone())
    }

    /// Whether it stands in the file but was refused.
    pub fn is_refused(&self) -> bool {
        self.value.is_none() && self.place.is_some()
    }
}

impl<T: Copy> Given<T> {
    /// The value or its default.
    pub fn copied(&self) -> Option<T> {
        self.value
    }
}

impl<T: Clone> Given<T> {
    /// The value or its default.
    pub fn cloned(&self) -> Option<T> {
        self.value.clone()
    }
}

impl<T> Given<Vec<toml::Spanned<T>>> {
    /// The good items of a list; none when it is absent.
    pub fn items(&self) -> &[toml::Spanned<T>] {
        self.value.as_deref().unwrap_or_default()
    }
}
