//! One table of the file, read key by key. Every fault is reported and reading goes on; a value that is
//! absent or wrong comes back as `None`.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::Findings;
use super::source::Span;
use super::{suggest, value};

/// Why a value is refused, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it.
    pub(super) mend: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { message: message.into(), mend: mend.into() }
    }
}

/// A table whose keys were compared with the known ones.
pub(super) struct Section<'t> {
    /// Its name as in the file, such as `[service.web]`.
    title: String,
    /// Its header, or the whole of an inline table.
    pub(super) span: Span,
    table: &'t DeTable<'t>,
    /// Known keys that an unknown one was taken for: their absence is no second fault.
    misspelt: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// Takes `value` as a table with no other keys than `known`.
    pub(super) fn open(
        findings: &mut Findings,
        title: String,
        value: &'t Spanned<DeValue<'t>>,
        known: &[&'static str],
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::check(findings, title, value.span(), table, known)),
            other => {
                findings.report(
                    value.span(),
                    format!("{title} is a section, not {}", kind(other)),
                    format!("write its keys below {title}, as key = value"),
                );
                None
            }
        }
    }

    /// Takes `table` and reports its keys that aren't in `known`.
    pub(super) fn check(
        findings: &mut Findings,
        title: String,
        span: Span,
        table: &'t DeTable<'t>,
        known: &[&'static str],
    ) -> Self {
        let mut misspelt = Vec::new();
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if known.contains(&word) {
                continue;
            }
            let free = known.iter().copied().filter(|known| !table.contains_key(*known));
            misspelt.extend(suggest::nearest(word, free));
            findings.report(
                key.span(),
                format!("`{}` is not a key of {title}", value::short(word)),
                suggest::mend(word, "Its keys are", known.iter().copied()),
            );
        }
        Self { title, span, table, misspelt }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// The place of a key itself.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    pub(super) fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Reports `key` if it is absent (and no unknown key was meant to be it).
    pub(super) fn require(&self, findings: &mut Findings, key: &str, mend: &str) {
        if self.table.contains_key(key) || self.misspelt.contains(&key) {
            return;
        }
        let message = format!("{} has no `{key}`", self.title);
        if self.span.is_empty() {
            findings.report_file(message, mend);
        } else {
            findings.report(self.span.clone(), message, mend);
        }
    }

    /// A string that `read` understands.
    pub(super) fn parsed<T>(
        &self,
        findings: &mut Findings,
        key: &str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Spanned<T>> {
        parsed(findings, &format!("`{key}`"), example, self.value(key)?, read)
    }

    /// A whole number within `range`, counted in `unit` (which may be empty).
    pub(super) fn number(
        &self,
        findings: &mut Findings,
        key: &str,
        unit: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Spanned<u64>> {
        let value = self.value(key)?;
        let mend = format!(
            "write a whole number from {} to {}{}{unit}",
            range.start(),
            range.end(),
            if unit.is_empty() { "" } else { " " },
        );
        let DeValue::Integer(number) = value.get_ref() else {
            let message = format!("`{key}` is a whole number, not {}", kind(value.get_ref()));
            findings.report(value.span(), message, mend);
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                findings.report(value.span(), format!("`{key}` = {number} is out of range"), mend);
                None
            }
        }
    }

    /// A whole number within `range`, which may be below zero.
    pub(super) fn signed(
        &self,
        findings: &mut Findings,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> Option<Spanned<i64>> {
        let value = self.value(key)?;
        let mend = format!("write a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value.get_ref() else {
            let message = format!("`{key}` is a whole number, not {}", kind(value.get_ref()));
            findings.report(value.span(), message, mend);
            return None;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(Spanned::new(value.span(), number)),
            _ => {
                findings.report(value.span(), format!("`{key}` = {number} is out of range"), mend);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, findings: &mut Findings, key: &str) -> Option<Spanned<bool>> {
        let value = self.value(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(Spanned::new(value.span(), *flag));
        }
        let message = format!("`{key}` is true or false, not {}", kind(value.get_ref()));
        findings.report(value.span(), message, format!("write {key} = true or {key} = false, without quotes"));
        None
    }

    /// One word of a few.
    pub(super) fn choice<T: Copy>(
        &self,
        findings: &mut Findings,
        key: &str,
        choices: &[(&'static str, T)],
    ) -> Option<Spanned<T>> {
        let words = choices.iter().map(|(word, _)| *word);
        let example = choices.first().map_or("", |(word, _)| *word);
        self.parsed(findings, key, &format!("\"{example}\""), |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let message = format!("\"{}\" is not a `{key}`", value::short(text));
                Fault::new(message, suggest::mend(text, "Write", words))
            })
        })
    }

    /// The items of an array.
    pub(super) fn items(
        &self,
        findings: &mut Findings,
        key: &str,
        example: &str,
    ) -> Option<&'t [Spanned<DeValue<'t>>]> {
        let value = self.value(key)?;
        if let DeValue::Array(items) = value.get_ref() {
            return Some(items);
        }
        let message = format!("`{key}` is a list, not {}", kind(value.get_ref()));
        findings.report(value.span(), message, format!("write {key} = {example}"));
        None
    }

    /// The place of an array that has no items.
    pub(super) fn empty_list(&self, key: &str) -> Option<Span> {
        let value = self.value(key)?;
        let empty = matches!(value.get_ref(), DeValue::Array(items) if items.is_empty());
        empty.then(|| value.span())
    }

    /// The named tables below `key`, in the order of their names.
    pub(super) fn named(
        &self,
        findings: &mut Findings,
        key: &'static str,
    ) -> Vec<(Spanned<String>, &'t Spanned<DeValue<'t>>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Table(table) = value.get_ref() else {
            findings.report(
                value.span(),
                format!("`{key}` is not {}", kind(value.get_ref())),
                format!("write a section for each by name: [{key}.NAME]"),
            );
            return Vec::new();
        };
        table.iter().map(|(name, value)| (Spanned::new(name.span(), name.get_ref().to_string()), value)).collect()
    }
}

/// Takes `value` as a string that `read` understands; `what` names it.
pub(super) fn parsed<T>(
    findings: &mut Findings,
    what: &str,
    example: &str,
    value: &Spanned<DeValue<'_>>,
    read: impl FnOnce(&str) -> Result<T, Fault>,
) -> Option<Spanned<T>> {
    let DeValue::String(text) = value.get_ref() else {
        findings.report(
            value.span(),
            format!("{what} is a string, not {}", kind(value.get_ref())),
            format!("write it in quotes, such as {example}"),
        );
        return None;
    };
    match read(text) {
        Ok(parsed) => Some(Spanned::new(value.span(), parsed)),
        Err(fault) => {
            findings.report(value.span(), fault.message, fault.mend);
            None
        }
    }
}

/// A value's kind, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
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
