//! Kinds of single values: how each is read, and what messages and documentation say of it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::Value;
use super::source::Span;
use super::value::{Endpoint, short};
use crate::config::report::{Fault, Findings, foreign, suggest};

/// A kind of value.
pub trait Kind {
    /// What it is read as.
    type Value;

    /// The value; `None` after a fault was reported.
    fn read(&self, site: Site<'_>, value: &Value<'_>) -> Option<Self::Value>;

    /// A value as it could stand in the file.
    fn example(&self) -> String;

    /// Its values, in Markdown.
    fn values(&self) -> String;

    /// What a JSON schema says of it: an object.
    fn schema(&self) -> Json;

    /// A value as it would stand in the file, for a default.
    fn show(&self, value: &Self::Value) -> String {
        let _ = value;
        self.example()
    }

    /// How a key of this kind is written.
    fn shape(&self) -> Shape {
        Shape::Value
    }

    /// What to add to a table called `title` that lacks `key`.
    fn add(&self, title: &str, key: &str, example: &str) -> String {
        let _ = title;
        format!("add {key} = {example}")
    }
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `key = value`.
    Value,
    /// `[key]`, or `key = { … }`.
    Table,
    /// `[key.NAME]`.
    NamedTables,
}

/// Where a value stands, for messages.
pub struct Site<'a> {
    /// The table's name, such as `[service.web]`.
    pub title: &'a str,
    /// The key.
    pub key: &'a str,
    /// What an item of the key's list is called; `None` for the value itself.
    pub item: Option<&'a str>,
    /// A value as it could stand there.
    pub example: &'a str,
    /// Where faults go.
    pub findings: &'a mut Findings,
}

impl Site<'_> {
    /// Reports a fault at a place.
    pub fn report(&mut self, span: Span, fault: Fault) {
        self.findings.report(span, fault.message, fault.mend);
    }

    /// The value's name in a sentence.
    pub fn what(&self) -> String {
        self.item.map_or_else(|| format!("`{}`", self.key), str::to_owned)
    }

    /// Reports a value of another kind than `wanted`.
    pub fn other_kind(&mut self, value: &Value<'_>, wanted: &str, mend: impl Into<String>) {
        let message = format!("{} must be {wanted}, not {}", self.what(), name(value.get_ref()));
        self.findings.report(value.span(), message, mend);
    }
}

/// A kind of TOML value, with its article.
pub fn name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A string, or the report that it is none.
pub fn string<'v>(site: &mut Site<'_>, value: &'v Value<'_>) -> Option<&'v str> {
    if let DeValue::String(text) = value.get_ref() {
        return Some(text);
    }
    let mend = format!("write it in quotes, such as {}", site.example);
    site.other_kind(value, "a string", mend);
    None
}

/// A string that a function understands.
#[derive(Debug, Clone, Copy)]
pub struct Text<T> {
    /// Its reader.
    pub read: fn(&str) -> Result<T, Fault>,
    /// With its quotes.
    pub example: &'static str,
    /// In Markdown.
    pub values: &'static str,
}

impl<T: Shown> Kind for Text<T> {
    type Value = T;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<T> {
        let text = string(&mut site, value)?;
        (self.read)(text).map_err(|fault| site.report(value.span(), fault)).ok()
    }

    fn example(&self) -> String {
        self.example.to_owned()
    }

    fn values(&self) -> String {
        self.values.to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }

    fn show(&self, value: &T) -> String {
        value.shown().map_or_else(|| self.example(), |text| format!("{text:?}"))
    }
}

/// What a text is read as, and how it is written where it is a key's default.
pub trait Shown {
    /// The text, for those that are some key's default.
    fn shown(&self) -> Option<&str> {
        None
    }
}

impl Shown for String {
    fn shown(&self) -> Option<&str> {
        Some(self)
    }
}

impl Shown for [u8; 6] {}
impl Shown for std::net::IpAddr {}
impl Shown for std::net::SocketAddr {}
impl Shown for ipnet::IpNet {}
impl Shown for Endpoint {}
impl Shown for std::path::PathBuf {}

/// A whole number within a range.
#[derive(Debug, Clone)]
pub struct Number<T> {
    range: RangeInclusive<T>,
    unit: &'static str,
}

impl<T> Number<T> {
    /// Within this range.
    pub fn of(range: RangeInclusive<T>) -> Self {
        Self { range, unit: "" }
    }

    /// Counted in, or with a remark.
    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

impl<T: Copy + Display + TryFrom<i128> + Into<i128> + PartialOrd> Kind for Number<T> {
    type Value = T;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<T> {
        let space = if self.unit.is_empty() { "" } else { " " };
        let mend =
            || format!("write a whole number from {} to {}{space}{}", self.range.start(), self.range.end(), self.unit);
        let DeValue::Integer(number) = value.get_ref() else {
            site.other_kind(value, "a whole number", mend());
            return None;
        };
        let read = i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|number| number.try_into().ok());
        let read = read.filter(|number| self.range.contains(number));
        if read.is_none() {
            let message = format!("{} = {number} is out of range", site.what());
            site.report(value.span(), Fault::new(message, mend()));
        }
        read
    }

    fn example(&self) -> String {
        self.range.start().to_string()
    }

    fn values(&self) -> String {
        format!("{} to {}", self.range.start(), self.range.end())
    }

    fn schema(&self) -> Json {
        let (low, high): (i128, i128) = ((*self.range.start()).into(), (*self.range.end()).into());
        // JSON's numbers are 64 bits wide at most.
        let number =
            |number: i128| i64::try_from(number).map(Json::from).or_else(|_| u64::try_from(number).map(Json::from));
        json!({ "type": "integer", "minimum": number(low).ok(), "maximum": number(high).ok() })
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }

    fn add(&self, _: &str, key: &str, example: &str) -> String {
        format!("add {key} = {example} ({} to {})", self.range.start(), self.range.end())
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<bool> {
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        let mend = format!("write {0} = true or {0} = false, without quotes", site.key);
        site.other_kind(value, "true or false", mend);
        None
    }

    fn example(&self) -> String {
        "true".to_owned()
    }

    fn values(&self) -> String {
        "`true`, `false`".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "boolean" })
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// One word of a few.
#[derive(Debug, Clone, Copy)]
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> Choice<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.0.iter().map(|(word, _)| *word)
    }

    fn quoted(&self, quote: &str) -> Vec<String> {
        self.words().map(|word| format!("{quote}\"{word}\"{quote}")).collect()
    }
}

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<T> {
        let text = string(&mut site, value)?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let message = format!("\"{}\" is not a `{}`", short(text), site.key);
            let mend = match foreign::value(site.key, text) {
                Some(answer) => format!("{answer}; write {}", suggest::list(self.words())),
                None => suggest::mend(text, "Write", self.words()),
            };
            site.report(value.span(), Fault::new(message, mend));
        }
        found.map(|(_, choice)| *choice)
    }

    fn example(&self) -> String {
        self.quoted("").into_iter().next().unwrap_or_default()
    }

    fn values(&self) -> String {
        self.quoted("`").join(", ")
    }

    fn schema(&self) -> Json {
        json!({ "enum": self.words().collect::<Vec<_>>() })
    }

    fn show(&self, value: &T) -> String {
        let found = self.0.iter().find(|(_, choice)| choice == value);
        found.map_or_else(String::new, |(word, _)| format!("\"{word}\""))
    }

    fn add(&self, _: &str, key: &str, _: &str) -> String {
        format!("add {key} = {}", suggest::list(self.quoted("").iter().map(String::as_str)))
    }
}

/// A value with its place in the file.
pub fn placed<T>(value: &Value<'_>, read: Option<T>) -> Option<Spanned<T>> {
    read.map(|read| Spanned::new(value.span(), read))
}
