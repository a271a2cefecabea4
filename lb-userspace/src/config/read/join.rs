//! Several files as one, and what of it holds on one host alone.
//!
//! Sections of all files stand side by side; what is defined twice is a fault with both places. `[on.HOST]` has sections
//! once more: on that host their keys stand in the place of the same keys.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::kind::{Kind, Shape, Site};
use super::source::{Source, Span};
use super::value::{host, short};
use super::{Value, syntax};
use crate::config::report::Findings;

/// The key of the sections that hold on one host.
const ON: &str = "on";

/// The key of other files, which the first file alone has.
const INCLUDE: &str = "include";

/// Hosts that a configuration names at most: it is read as each of them would.
const MAX_HOSTS: usize = 64;

/// All files' tables.
pub struct Joined<'t> {
    common: DeTable<'t>,
    hosts: Vec<(Spanned<String>, DeTable<'t>)>,
    /// The sections that have names.
    named: &'static [&'static str],
}

impl<'t> Joined<'t> {
    /// Parses the files and joins them; `None` when one isn't TOML. `named` are the sections that have names.
    pub fn parse(source: &'t Source, named: &'static [&'static str], findings: &mut Findings) -> Option<Self> {
        let mut tables = Vec::new();
        for (start, text) in source.texts() {
            let (document, errors) = DeTable::parse_recoverable(text);
            if errors.is_empty() {
                tables.push(shifted(document.into_inner(), start));
            } else {
                syntax::report(&errors, text, start, findings);
            }
        }
        if !findings.is_empty() {
            return None;
        }
        let mut joined = Self { common: DeTable::new(), hosts: Vec::new(), named };
        for (at, mut table) in tables.into_iter().enumerate() {
            if let (Some((key, _)), true) = (table.get_key_value(INCLUDE), at > 0) {
                let path = source.path().display();
                findings.report(
                    key.span(),
                    "an included file includes no others".to_owned(),
                    format!("name them in the `include` of {path}"),
                );
                table.remove(INCLUDE);
            }
            if let Some(on) = table.remove(ON) {
                joined.take_hosts(on, source, findings);
            }
            unite(&mut joined.common, table, joined.named, source, findings);
        }
        Some(joined)
    }

    /// The hosts that have sections of their own.
    pub fn hosts(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.hosts.iter().map(|(name, _)| name)
    }

    /// Which of the hosts one of this name is: that of the same name, else that of its name up to the first dot.
    pub fn find(&self, name: &str) -> Option<&str> {
        let short = name.split('.').next().unwrap_or(name);
        let named = |wanted: &str| self.hosts().map(|host| host.get_ref().as_str()).find(|host| *host == wanted);
        named(name).or_else(|| named(short))
    }

    /// What holds on one of the hosts; for another what holds on all.
    pub fn of(&self, host: Option<&str>) -> DeTable<'t> {
        let mut table = self.common.clone();
        let own = self.hosts.iter().find(|(name, _)| Some(name.get_ref().as_str()) == host);
        if let Some((_, own)) = own {
            overlay(&mut table, own, self.named);
        }
        table
    }

    fn take_hosts(&mut self, on: Value<'t>, source: &Source, findings: &mut Findings) {
        let span = on.span();
        let DeValue::Table(hosts) = on.into_inner() else {
            findings.report(
                span,
                "`on` is not a section",
                "write what holds on one host alone below [on.HOST.SECTION]",
            );
            return;
        };
        for (name, value) in hosts {
            let (at, name) = (name.span(), name.into_inner().into_owned());
            if let Err(fault) = host(&name) {
                findings.report(at, fault.message, fault.mend);
                continue;
            }
            let place = value.span();
            let DeValue::Table(mut table) = value.into_inner() else {
                let mend =
                    format!("write what holds there below [on.{0}.SECTION], such as [on.{0}.director]", short(&name));
                findings.report(place, format!("[on.{}] is not a section", short(&name)), mend);
                continue;
            };
            for key in [INCLUDE, ON] {
                if let Some((word, _)) = table.get_key_value(key) {
                    findings.report(
                        word.span(),
                        format!("`{key}` holds on no host alone"),
                        "move it to the top of the file",
                    );
                    table.remove(key);
                }
            }
            let full = self.hosts.len() == MAX_HOSTS;
            match self.hosts.iter_mut().find(|(known, _)| *known.get_ref() == name) {
                Some((_, known)) => unite(known, table, self.named, source, findings),
                None if full => {
                    findings.report(
                        at,
                        format!("more than {MAX_HOSTS} hosts have settings of their own"),
                        "make a file for each group of directors",
                    );
                    return;
                }
                None => self.hosts.push((Spanned::new(at, name), table)),
            }
        }
    }
}

/// Adds the sections of another file.
fn unite<'t>(all: &mut DeTable<'t>, file: DeTable<'t>, named: &[&str], source: &Source, findings: &mut Findings) {
    for (key, value) in file {
        let Some((first, held)) =
            all.get_key_value(key.get_ref().as_ref()).map(|(first, held)| (first.span(), held.span()))
        else {
            all.insert(key, value);
            continue;
        };
        let word = key.get_ref().clone();
        let (place, at) = (value.span(), key.span());
        match (all.get_mut(&*word).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(known)), DeValue::Table(more)) if named.contains(&&*word) => {
                for (name, section) in more {
                    if let Some((first, held)) = known.get_key_value(name.get_ref().as_ref()) {
                        let title = format!("[{word}.{}]", short(name.get_ref()));
                        twice(
                            &title,
                            header(&name.span(), &section.span()),
                            header(&first.span(), &held.span()),
                            source,
                            findings,
                        );
                    } else {
                        known.insert(name, section);
                    }
                }
            }
            (_, DeValue::Table(_)) => {
                twice(&format!("[{}]", short(&word)), header(&at, &place), header(&first, &held), source, findings);
            }
            _ => twice(&format!("`{}`", short(&word)), at, first, source, findings),
        }
    }
}

/// The place of a section: its header, or its name where that is no table by itself.
fn header(name: &Span, table: &Span) -> Span {
    if table.is_empty() { name.clone() } else { table.clone() }
}

fn twice(what: &str, here: Span, first: Span, source: &Source, findings: &mut Findings) {
    let place = source.place(first.start, here.start);
    findings.report(here, format!("{what} is defined twice, first on {place}"), "keep one of the two, or rename one");
}

/// Puts what holds on one host in the place of what holds on all: sections with their keys, a key's value whole.
fn overlay<'t>(common: &mut DeTable<'t>, own: &DeTable<'t>, named: &[&str]) {
    for (key, value) in own {
        let word = key.get_ref().as_ref();
        match (common.get_mut(word).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(known)), DeValue::Table(more)) => merge(known, more, named.contains(&word)),
            _ => replace(common, key, value),
        }
    }
}

fn merge<'t>(known: &mut DeTable<'t>, more: &DeTable<'t>, has_names: bool) {
    for (key, value) in more {
        match (known.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(known)), DeValue::Table(more)) if has_names => merge(known, more, false),
            _ => replace(known, key, value),
        }
    }
}

fn replace<'t>(table: &mut DeTable<'t>, key: &Spanned<DeString<'t>>, value: &Value<'t>) {
    // An entry that is there keeps its key, with its place.
    table.remove(key.get_ref().as_ref());
    table.insert(key.clone(), value.clone());
}

/// A file's table with places in the text of all files.
fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    let place = |span: Span| span.start + by..span.end + by;
    let all =
        table.into_iter().map(|(key, value)| (Spanned::new(place(key.span()), key.into_inner()), moved(value, by)));
    all.collect()
}

fn moved(value: Value<'_>, by: usize) -> Value<'_> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| moved(item, by)).collect::<DeArray<'_>>()),
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, inner)
}

/// `[on.HOST]`, which [`Joined`] takes out before the sections are read.
pub struct Hosts;

impl Kind for Hosts {
    type Value = ();

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<()> {
        site.other_kind(value, "taken out before", "");
        None
    }

    fn example(&self) -> String {
        "{ lb1 = { } }".to_owned()
    }

    fn values(&self) -> String {
        "sections by host and name".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "object", "additionalProperties": true })
    }

    fn shape(&self) -> Shape {
        Shape::NamedTables
    }
}
