//! The configuration in force, written out: what a host reads of all files, with the defaults of what they don't say.
//!
//! Values are those of the files, defaults those of the keys' declarations, by the JSON schema that follows from them. Where a default must
//! not be written (since its key goes with another one alone), the rules say so: the text is read again, and what they refuse is left
//! out. So it always reads back as the same.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::Value;
use super::read::join::Joined;
use super::report::{Error, Findings, mask};
use super::section::{Config, NAMED};
use super::{Texts, parse, reference};

/// Rounds of leaving out what is refused; each leaves something out.
const ROUNDS: usize = 16;

/// What a host of this name reads, as one file. Passwords are left out unless `secrets` are asked for.
///
/// # Errors
/// The configuration is refused.
pub fn show(texts: &Texts, host: &str, secrets: bool) -> Result<String, Error> {
    let loaded = super::accept(texts, host)?;
    let source = texts.source();
    let mut findings = Findings::default();
    let Some(joined) = Joined::parse(&source, &NAMED, &mut findings) else {
        return Err(findings.into_error(source));
    };
    let mut table = joined.of(joined.find(host));
    table.remove("include");
    let mut schema = reference::json_schema();
    if let Some(keys) = schema.pointer_mut("/properties").and_then(Json::as_object_mut) {
        keys.retain(|key, _| !["include", "on"].contains(&key.as_str()));
    }
    let mut left_out = HashSet::new();
    for _ in 0..ROUNDS {
        let page = Page::of(&table, &schema, &left_out, true);
        let refused = page.refused(&loaded.config);
        if refused.is_empty() {
            return Ok(if secrets { page.text } else { Page::of(&table, &schema, &left_out, false).text });
        }
        left_out.extend(refused);
    }
    Ok(Page::of(&table, &Json::Null, &left_out, secrets).text)
}

/// A key by the path of its table.
type Place = (String, String);

/// A text under way.
struct Page<'a> {
    text: String,
    /// Which default stands on a line, from 1.
    defaults: BTreeMap<usize, Place>,
    left_out: &'a HashSet<Place>,
    secrets: bool,
}

impl<'a> Page<'a> {
    fn of(table: &DeTable<'_>, schema: &Json, left_out: &'a HashSet<Place>, secrets: bool) -> Self {
        let mut page = Self { text: String::new(), defaults: BTreeMap::new(), left_out, secrets };
        page.table("", table, schema, None);
        page
    }

    /// The defaults that keep the text from being read as `expected`.
    fn refused(&self, expected: &Config) -> Vec<Place> {
        let error = match parse(&expected.path, &self.text) {
            Ok(read) if read.config == *expected => return Vec::new(),
            // Which of them it is isn't known.
            Ok(_) => return self.defaults.values().cloned().collect(),
            Err(error) => error,
        };
        let lines = error.diagnostics().iter().filter_map(|one| Some(error.position(one)?.line));
        let at_fault: Vec<Place> = lines.filter_map(|line| self.defaults.get(&line).cloned()).collect();
        if at_fault.is_empty() { self.defaults.values().cloned().collect() } else { at_fault }
    }

    /// One table: its values, then its tables. `header` is its line, where it has one.
    fn table(&mut self, path: &str, table: &DeTable<'_>, schema: &Json, header: Option<&str>) {
        let mut all: Vec<(&Spanned<_>, &Value<'_>)> = table.iter().collect();
        all.sort_by_key(|(key, _)| key.span().start);
        let (tables, values): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, value)| is_table(value.get_ref()));
        let absent = |key: &&String| !table.contains_key(key.as_str());
        let properties = schema.get("properties").and_then(Json::as_object);
        let defaults = properties.into_iter().flatten().filter(|(key, _)| absent(key));
        let defaults: Vec<(&String, &Json, &Json)> =
            defaults.filter_map(|(key, property)| Some((key, property, property.get("default")?))).collect();
        let (implied, defaults): (Vec<_>, Vec<_>) = defaults.into_iter().partition(|(.., value)| value.is_object());
        if let Some(header) = header {
            let only_tables =
                values.is_empty() && defaults.is_empty() && !tables.is_empty() && !header.starts_with("[[");
            if !only_tables {
                let _ = writeln!(self.text, "{}{header}", if self.text.is_empty() { "" } else { "\n" });
            }
        }
        for (word, value) in values {
            let word = word.get_ref();
            if !self.secrets && mask::is_secret(word) {
                let _ = writeln!(self.text, "# {word} = … is not shown: --secrets does");
                continue;
            }
            let _ = writeln!(self.text, "{} = {}", key(word), inline(value.get_ref()));
        }
        for (word, _, value) in defaults {
            let place = (path.to_owned(), word.clone());
            if !self.left_out.contains(&place) {
                let _ = writeln!(self.text, "{} = {value} # default", key(word));
                self.defaults.insert(self.text.matches('\n').count(), place);
            }
        }
        for (word, value) in tables {
            let property = property(schema, word.get_ref());
            let path = below(path, word.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => self.table(&path, table, shape(property), Some(&format!("[{path}]"))),
                DeValue::Array(items) => {
                    for item in items.iter() {
                        let DeValue::Table(table) = item.get_ref() else { continue };
                        self.table(&path, table, shape(property), Some(&format!("[[{path}]]")));
                    }
                }
                _ => {}
            }
        }
        for (word, property, _) in implied {
            let path = below(path, word);
            self.table(&path, &DeTable::new(), shape(property), Some(&format!("[{path}]")));
        }
    }
}

/// Whether it stands below a header of its own: a table, or a list of tables alone.
fn is_table(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => {
            !items.is_empty() && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
        }
        _ => false,
    }
}

/// The schema of a key, or of a name's section.
fn property<'s>(schema: &'s Json, word: &str) -> &'s Json {
    let named = schema.get("properties").and_then(|all| all.get(word));
    named.or_else(|| schema.get("additionalProperties")).unwrap_or(&Json::Null)
}

/// The schema of a table of it: itself, its items', or that of the first kind that is a table.
fn shape(schema: &Json) -> &Json {
    if let Some(items) = schema.get("items") {
        return shape(items);
    }
    let kinds = schema.get("anyOf").and_then(Json::as_array).into_iter().flatten();
    let table = kinds.map(shape).find(|kind| kind.get("properties").is_some());
    table.unwrap_or(schema)
}

fn below(path: &str, word: &str) -> String {
    if path.is_empty() { key(word) } else { format!("{path}.{}", key(word)) }
}

/// A key as it is written, with quotes where it needs them.
fn key(word: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !word.is_empty() && word.bytes().all(bare) { word.to_owned() } else { quoted(word) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A value on one line.
fn inline(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| inline(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let keys =
                table.iter().map(|(word, value)| format!("{} = {}", key(word.get_ref()), inline(value.get_ref())));
            let keys: Vec<String> = keys.collect();
            if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
        }
    }
}
