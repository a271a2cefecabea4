//! One table of the file, read key by key. Every fault is reported and reading goes on.

use toml::de::{DeTable, DeValue};

use super::key::{Given, Key};
use super::kind::{self, Kind, Site};
use super::source::Span;
use super::value::short;
use super::{FILE, Value};
use crate::config::report::{Findings, foreign, suggest};

/// A table whose keys were compared with the known ones.
pub struct Section<'t, 'f> {
    /// Its name as in the file, such as `[service.web]`.
    pub title: String,
    /// Its header, or the whole of an inline table.
    pub span: Span,
    table: &'t DeTable<'t>,
    findings: &'f mut Findings,
    /// Known keys that an unknown one was taken for: their absence is no second fault.
    misspelt: Vec<&'static str>,
}

impl<'t, 'f> Section<'t, 'f> {
    /// Takes `value` as a table with no other keys than `known`.
    pub fn open(
        findings: &'f mut Findings,
        title: String,
        value: &'t Value<'t>,
        known: &[&'static str],
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::check(findings, title, value.span(), table, known)),
            other => {
                findings.report(
                    value.span(),
                    format!("{title} is a section, not {}", kind::name(other)),
                    format!("write its keys below {title}, as key = value"),
                );
                None
            }
        }
    }

    /// Takes `table` and reports its keys that aren't in `known`.
    pub fn check(
        findings: &'f mut Findings,
        title: String,
        span: Span,
        table: &'t DeTable<'t>,
        known: &[&'static str],
    ) -> Self {
        let mut misspelt = Vec::new();
        for (key, value) in table {
            let word = key.get_ref().as_ref();
            if known.contains(&word) {
                continue;
            }
            let message = format!("`{}` is not a key of {title}", short(word));
            if let Some((answer, meant)) = foreign::key(&title, word) {
                misspelt.extend(meant);
                findings.report(key.span(), message, answer);
                continue;
            }
            let free = known.iter().copied().filter(|known| !table.contains_key(*known));
            let meant = suggest::nearest(word, free).or_else(|| suggest::nearest(word, known.iter().copied()));
            misspelt.extend(meant);
            if let (FILE, Some(meant), DeValue::Table(tables)) = (title.as_str(), meant, value.get_ref()) {
                // What stands in a misspelt [services.NAME] isn't missing from [service.NAME].
                let names = tables.keys().map(|name| format!("[{meant}.{}]", short(name.get_ref())));
                findings.excuse(names);
            }
            findings.report(key.span(), message, suggest::mend(word, "Its keys are", known.iter().copied()));
        }
        Self { title, span, table, findings, misspelt }
    }

    /// Where its faults are told, for rules that others share.
    pub fn findings(&mut self) -> &mut Findings {
        self.findings
    }

    /// Reads one key.
    pub fn key<K: Kind>(&mut self, name: &'static str, key: Key<K>) -> Given<K::Value> {
        let Some((word, value)) = self.table.get_key_value(name) else {
            let other = key.alternative();
            let stands_in = |other| self.table.contains_key(other) || self.misspelt.contains(&other);
            if key.is_required() && !other.is_some_and(stands_in) {
                let mut add = key.kind().add(&self.title, name, &key.shown_example());
                add.extend(other.into_iter().flat_map(|other| [", or name its ", other]));
                self.lacks(name, &add);
            }
            return Given::absent(key.default());
        };
        let example = key.shown_example();
        let site = Site { title: &self.title, key: name, item: None, example: &example, findings: &mut *self.findings };
        Given::written_at(word.span(), value.span(), key.kind().read(site, value))
    }

    /// The place of a key itself.
    pub fn place(&self, name: &str) -> Option<Span> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Reports a fault at a place.
    pub fn report(&mut self, span: Span, message: impl Into<String>, mend: impl Into<String>) {
        self.findings.report(span, message, mend);
    }

    /// Reports that `name` is absent, unless an unknown key was meant to be it.
    fn lacks(&mut self, name: &str, mend: &str) {
        if self.misspelt.contains(&name) || self.findings.is_excused(&self.title) {
            return;
        }
        let message = format!("{} has no `{name}`", self.title);
        if self.title == FILE {
            self.findings.report_file(message, mend);
        } else {
            self.findings.report(self.span.clone(), message, mend);
        }
    }
}
