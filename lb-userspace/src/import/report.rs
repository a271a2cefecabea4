//! The report: what became of each line, in 80 columns and as JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::ledger::Fate;
use crate::config::wrap;

/// What became of a text.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name that conditions were held against.
    #[serde(skip)]
    pub host: String,
    /// The files that were read.
    pub files: Vec<Count>,
    /// What there is to tell, in the order of their lines.
    pub entries: Vec<Entry>,
    /// What `lb check` refuses of the file that was written.
    pub unfinished: Vec<Unfinished>,
}

/// The lines of one file.
#[derive(Debug, Clone, Serialize)]
pub struct Count {
    /// Its name.
    pub name: String,
    /// All of them.
    pub lines: usize,
    /// White space and comments.
    pub silent: usize,
    /// See [`Fate::Carried`].
    pub carried: usize,
    /// See [`Fate::Changed`].
    pub changed: usize,
    /// See [`Fate::Left`].
    pub left: usize,
    /// See [`Fate::Unknown`].
    pub unknown: usize,
    /// See [`Fate::Elsewhere`].
    pub elsewhere: usize,
}

/// One thing that lines say, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// What became of it.
    pub fate: Fate,
    /// The lines of each file.
    pub places: Vec<(String, Vec<usize>)>,
    /// The statement, without its values where they are secret.
    pub what: String,
    /// How it was carried, or what to do.
    pub how: String,
}

/// Something that an operator has to write.
#[derive(Debug, Clone, Serialize)]
pub struct Unfinished {
    /// The line of the file that was written; none for the file as a whole.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub message: String,
    /// What to write.
    pub mend: String,
}

impl Report {
    /// Whether all of the text is in the file.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.files.iter().all(|file| file.left == 0 && file.unknown == 0)
    }

    /// The whole report; `written` is what the file that was written is called.
    #[must_use]
    pub fn text(&self, written: &str) -> String {
        let mut out = String::new();
        for file in &self.files {
            let said = file.lines - file.silent;
            let parts = [
                (file.carried, "carried over"),
                (file.changed, "differently"),
                (file.left, "not carried over"),
                (file.unknown, "not known"),
                (file.elsewhere, "for other hosts"),
            ];
            let parts: Vec<String> =
                parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            let lines = if said == 1 { "line" } else { "lines" };
            let line = format!("{}: {said} {lines}: {}", file.name, parts.join(", "));
            out.push_str(&wrap(line.trim_end_matches([':', ' ']), "  "));
        }
        self.finish(&mut out, written);
        self.section(&mut out, Fate::Left, "Not carried over, and what to do");
        self.section(&mut out, Fate::Unknown, "Not known to lb import: look these up, none of them is in the file");
        self.section(&mut out, Fate::Changed, "Carried over differently");
        self.lines(&mut out, Fate::Elsewhere, &format!("For other hosts than {} (--host)", self.host));
        self.lines(&mut out, Fate::Carried, "Carried over as it is");
        out
    }

    fn finish(&self, out: &mut String, written: &str) {
        if self.unfinished.is_empty() {
            let line =
                format!("{written} has no fault in itself; `lb check --here {written}` holds it against a host.");
            out.push('\n');
            return out.push_str(&wrap(&line, "  "));
        }
        let _ = writeln!(out, "\nTo finish: `lb check` refuses the file until this is written");
        for one in &self.unfinished {
            let place = one.line.map_or_else(|| written.to_owned(), |line| format!("{written}:{line}"));
            out.push_str(&wrap(&format!("  {place}: {}", one.message), "    "));
            out.push_str(&wrap(&format!("    {}", one.mend), "    "));
        }
    }

    fn of(&self, fate: Fate) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.fate == fate)
    }

    fn section(&self, out: &mut String, fate: Fate, title: &str) {
        if self.of(fate).next().is_none() {
            return;
        }
        let _ = writeln!(out, "\n{title}");
        for entry in self.of(fate) {
            out.push_str(&wrap(&format!("  {}: {}", entry.lines(), entry.what), "      "));
            if !entry.how.is_empty() {
                out.push_str(&wrap(&format!("    {}", entry.how), "    "));
            }
        }
    }

    /// Lines that are told by their numbers alone.
    fn lines(&self, out: &mut String, fate: Fate, title: &str) {
        let mut entries = self.of(fate).peekable();
        if entries.peek().is_none() {
            return;
        }
        let _ = writeln!(out, "\n{title}");
        for entry in entries {
            out.push_str(&wrap(&format!("  {}", entry.lines()), "    "));
        }
    }
}

impl Entry {
    /// `keepalived.conf:3-5, 9`.
    fn lines(&self) -> String {
        let file = |(name, lines): &(String, Vec<usize>)| format!("{name}:{}", ranges(lines));
        self.places.iter().map(file).collect::<Vec<_>>().join(", ")
    }
}

/// Numbers in order, as ranges where they follow each other.
fn ranges(lines: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let one = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text("lb.toml"))
    }
}
