//! Tables within tables: sections, named sections, and lists of tables.

use std::marker::PhantomData;
use std::ops::Deref;

use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::key::Declared;
use super::keys::Keys;
use super::kind::{self, Kind, Shape, Site};
use super::list::items;
use super::section::Section;
use super::source::Span;
use super::{FILE, Value, value};
use crate::config::report::{Fault, Findings};

/// A table's keys, with its name and place.
#[derive(Debug)]
pub struct Read<S> {
    /// As messages name it, such as `[service.web]`.
    pub title: String,
    /// Its header, or the whole of an inline table.
    pub span: Span,
    keys: S,
}

impl<S> Deref for Read<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.keys
    }
}

impl<S: Keys> Read<S> {
    /// Reads a whole table.
    pub fn open(findings: &mut Findings, title: String, value: &Value<'_>) -> Option<Self> {
        let mut section = Section::open(findings, title, value, S::NAMES)?;
        let keys = S::read(&mut section);
        Some(Self { title: section.title, span: section.span, keys })
    }
}

impl<S> Read<S> {
    /// Keys that were read from a table of this name and place.
    pub fn new(title: String, span: Span, keys: S) -> Self {
        Self { title, span, keys }
    }
}

/// The JSON schema of a table of these keys.
pub fn schema(keys: Vec<Declared>) -> Json {
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let properties: Map<String, Json> = keys.into_iter().map(|key| (key.name.to_owned(), key.schema)).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if let (false, Some(object)) = (required.is_empty(), schema.as_object_mut()) {
        object.insert("required".to_owned(), json!(required));
    }
    schema
}

/// The keys that a table must have, as they could stand in the file.
fn least<S: Keys>() -> String {
    let required = S::declared().into_iter().filter(|key| key.required && key.shape == Shape::Value);
    required.map(|key| format!("{} = {}", key.name, key.example)).collect::<Vec<_>>().join(", ")
}

/// One table.
pub struct Table<S>(PhantomData<S>);

impl<S> Table<S> {
    /// Of these keys.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Keys> Kind for Table<S> {
    type Value = Read<S>;

    fn read(&self, site: Site<'_>, value: &Value<'_>) -> Option<Read<S>> {
        let title = below(&site);
        Read::open(site.findings, title, value)
    }

    fn example(&self) -> String {
        format!("{{ {} }}", least::<S>())
    }

    fn values(&self) -> String {
        "a table, see below".to_owned()
    }

    fn schema(&self) -> Json {
        schema(S::declared())
    }

    fn shape(&self) -> Shape {
        Shape::Table
    }

    fn add(&self, _: &str, key: &str, _: &str) -> String {
        format!("add [{key}] and below it {}", least::<S>())
    }
}

/// The name of a table within the site's.
pub fn below(site: &Site<'_>) -> String {
    if site.title == FILE { format!("[{}]", site.key) } else { format!("the {} of {}", site.key, site.title) }
}

/// A list of tables: `[[…]]`, or `[{ … }]`.
pub struct Tables<S> {
    /// What one of them is called.
    pub one: &'static str,
    /// Why there can't be none, and the mend; `None` where there can.
    pub empty: Option<(&'static str, &'static str)>,
    keys: PhantomData<S>,
}

impl<S> Tables<S> {
    /// Of these keys.
    pub fn new(one: &'static str) -> Self {
        Self { one, empty: None, keys: PhantomData }
    }

    /// There must be one, since without one the table …; the mend.
    pub fn not_empty(self, what: &'static str, mend: &'static str) -> Self {
        Self { empty: Some((what, mend)), ..self }
    }
}

impl<S: Keys> Kind for Tables<S> {
    type Value = Vec<Read<S>>;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Vec<Read<S>>> {
        if matches!(value.get_ref(), DeValue::Table(_)) && site.title.starts_with('[') && self.empty.is_some() {
            let path = format!("{}.{}", site.title.trim_matches(['[', ']']), site.key);
            let mend = format!("write [[{path}]] with two brackets above each, or {} = {}", site.key, site.example);
            site.other_kind(value, "a list", mend);
            return None;
        }
        let items = items(&mut site, value)?;
        if let (true, Some((what, mend))) = (items.is_empty(), self.empty) {
            let message = format!("{} {what}", site.title);
            site.report(value.span(), Fault::new(message, mend));
        }
        let title = format!("a {} of {}", self.one, site.title);
        Some(items.iter().filter_map(|item| Read::open(site.findings, title.clone(), item)).collect())
    }

    fn example(&self) -> String {
        format!("[{{ {} }}]", least::<S>())
    }

    fn values(&self) -> String {
        "list of tables, see below".to_owned()
    }

    fn schema(&self) -> Json {
        let items = schema(S::declared());
        match self.empty {
            Some(_) => json!({ "type": "array", "items": items, "minItems": 1 }),
            None => json!({ "type": "array", "items": items }),
        }
    }

    fn add(&self, title: &str, key: &str, _: &str) -> String {
        let path = title.trim_matches(['[', ']']);
        format!("add [[{path}.{key}]] and below it {}", least::<S>())
    }
}

/// One of the sections that have names.
#[derive(Debug)]
pub struct Named<S> {
    /// Its name.
    pub name: Spanned<String>,
    /// The rest.
    pub read: Read<S>,
}

impl<S> Deref for Named<S> {
    type Target = Read<S>;

    fn deref(&self) -> &Read<S> {
        &self.read
    }
}

/// Sections by name: `[key.NAME]`, in the order of their names.
pub struct NamedTables<S>(PhantomData<S>);

impl<S> NamedTables<S> {
    /// Of these keys.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Keys> Kind for NamedTables<S> {
    type Value = Vec<Named<S>>;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Vec<Named<S>>> {
        let key = site.key;
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("`{key}` is not {}", kind::name(value.get_ref()));
            let mend = format!("write a section for each by name: [{key}.NAME]");
            site.report(value.span(), Fault::new(message, mend));
            return None;
        };
        let mut all = Vec::new();
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            if let Err(fault) = value::name(text) {
                site.report(name.span(), fault);
            }
            let title = format!("[{key}.{}]", value::short(text));
            let read = Read::open(site.findings, title, value);
            all.extend(read.map(|read| Named { name: Spanned::new(name.span(), text.to_owned()), read }));
        }
        Some(all)
    }

    fn example(&self) -> String {
        format!("{{ NAME = {{ {} }} }}", least::<S>())
    }

    fn values(&self) -> String {
        "sections by name".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "object", "additionalProperties": schema(S::declared()) })
    }

    fn shape(&self) -> Shape {
        Shape::NamedTables
    }
}
