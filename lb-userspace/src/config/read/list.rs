//! Lists of single values.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::Value;
use super::kind::{Kind, Site, placed};
use super::value;
use crate::config::report::Fault;

/// A list of values of one kind, each with its place. Bad ones are reported and left out.
#[derive(Debug, Clone, Copy)]
pub struct List<K> {
    /// The items' kind.
    pub item: K,
    /// What an empty list would mean, and the mend.
    pub empty: (&'static str, &'static str),
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<Spanned<K::Value>>;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let items = items(&mut site, value)?;
        if items.is_empty() {
            let (what, mend) = self.empty;
            site.report(value.span(), Fault::new(format!("`{}` is empty: {what}", site.key), mend));
            return None;
        }
        let (called, example) = (format!("an item of `{}`", site.key), self.item.example());
        let read = |item| {
            let site = Site { item: Some(&called), example: &example, findings: &mut *site.findings, ..site };
            placed(item, self.item.read(site, item))
        };
        Some(items.iter().filter_map(read).collect())
    }

    fn example(&self) -> String {
        format!("[{}]", self.item.example())
    }

    fn values(&self) -> String {
        format!("list of {}", self.item.values())
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": self.item.schema(), "minItems": 1 })
    }
}

/// The items of an array, or the report that it is none.
pub fn items<'v, 't>(site: &mut Site<'_>, value: &'v Value<'t>) -> Option<&'v [Value<'t>]> {
    if let DeValue::Array(items) = value.get_ref() {
        return Some(items);
    }
    let own = match value.get_ref() {
        DeValue::Integer(number) => Some(format!("[{number}]")),
        // A string of several words is a command, which is a list of them.
        DeValue::String(text) if !text.contains(char::is_whitespace) => Some(format!("[\"{}\"]", value::short(text))),
        _ => None,
    };
    let mend = format!("write {} = {}", site.key, own.as_deref().unwrap_or(site.example));
    site.other_kind(value, "a list", mend);
    None
}

/// A range of status codes: a number, or a string of one or two.
#[derive(Debug, Clone, Copy)]
pub struct Spread;

impl Kind for Spread {
    type Value = (u16, u16);

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Self::Value> {
        let read = match value.get_ref() {
            DeValue::Integer(code) => value::status(&code.to_string()),
            DeValue::String(text) => value::status(text),
            _ => {
                let mend = format!("write a code, or a range in quotes such as {}", self.example());
                site.other_kind(value, "a code or a range", mend);
                return None;
            }
        };
        read.map_err(|fault| site.report(value.span(), fault)).ok()
    }

    fn example(&self) -> String {
        "\"200-299\"".to_owned()
    }

    fn values(&self) -> String {
        "codes and ranges, 100 to 599".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": ["integer", "string"], "minimum": 100, "maximum": 599 })
    }

    fn show(&self, (low, high): &(u16, u16)) -> String {
        format!("\"{low}-{high}\"")
    }
}
