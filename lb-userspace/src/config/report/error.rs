//! What is wrong with a configuration, said so that it can be mended: the place, the line, the fault and the
//! mend, in plain text of at most 80 columns.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use super::mask::mask;
use super::text::{WIDTH, wrap};
use crate::config::read::source::{Position, Source, Span};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where; `None` for the file as a whole.
    pub span: Option<Span>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

/// A configuration that can't be used, with everything that was found wrong. `Display` is the full text for
/// people, several lines without colour.
#[derive(Debug, Clone)]
pub struct Error {
    path: PathBuf,
    source: Option<Box<Source>>,
    diagnostics: Vec<Diagnostic>,
    /// The file can be used all the same.
    doubts: bool,
}

impl Error {
    /// One fault that something else found with an accepted file, such as a driver that refuses the
    /// interface named at `span`.
    #[must_use]
    pub fn at(source: &Source, span: Span, message: impl Into<String>, mend: impl Into<String>) -> Self {
        let mut findings = Findings::default();
        findings.report(span, message, mend);
        findings.into_error(source.clone())
    }

    /// A fault of the file as a whole: `message` follows its path.
    pub fn whole_file(path: &Path, message: impl Into<String>, mend: &str) -> Self {
        Self {
            path: path.to_owned(),
            source: None,
            diagnostics: vec![Diagnostic { span: None, message: message.into(), mend: mend.to_owned() }],
            doubts: false,
        }
    }

    /// The file could not be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "give the file with --config, or create it",
            io::ErrorKind::PermissionDenied => "run as root, or as a user who may read it",
            io::ErrorKind::IsADirectory => "give a file, not its directory",
            _ => "make the file readable",
        };
        Self::whole_file(path, format!("can't be read: {error}"), mend)
    }

    /// The faults, in the order of the file.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Line and column of one of its faults.
    #[must_use]
    pub fn position(&self, diagnostic: &Diagnostic) -> Option<Position> {
        let source = self.source.as_deref()?;
        Some(source.position(diagnostic.span.as_ref()?.start))
    }

    /// The file of one of its faults.
    #[must_use]
    pub fn path_of(&self, diagnostic: &Diagnostic) -> &Path {
        let place = self.source.as_deref().zip(diagnostic.span.as_ref());
        place.map_or(&self.path, |(source, span)| source.path_of(span.start))
    }

    /// The full text, in colour for a terminal if asked.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint { colour };
        let echoed = self.source.as_deref().map(|source| source.with(mask));
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            self.render_one(&mut out, diagnostic, echoed.as_ref(), &paint);
            out.push('\n');
        }
        let (many, of) = (self.diagnostics.len(), if self.doubts { "warnings" } else { "errors" });
        if many > 1 {
            let _ = writeln!(out, "{many} {of}");
        }
        out.truncate(out.trim_end().len());
        out
    }

    fn render_one(&self, out: &mut String, diagnostic: &Diagnostic, echoed: Option<&Source>, paint: &Paint) {
        let at = self.position(diagnostic);
        let path = self.path_of(diagnostic).display();
        let place = match at {
            Some(at) => format!("{path}:{}:{}:", at.line, at.column),
            None => format!("{path}:"),
        };
        let warning = if self.doubts { "warning: " } else { "" };
        let head = wrap(&format!("{place} {warning}{}", diagnostic.message), "    ");
        out.push_str(&paint.first_line(&head));
        if let (Some(source), Some(echoed), Some(span), Some(at)) = (&self.source, echoed, &diagnostic.span, at) {
            let marked = source.get(span).and_then(|text| text.lines().next());
            let marked = marked.map_or(1, |text| text.chars().count());
            excerpt(out, source.line_in(echoed, span.start), marked, at, paint);
        }
        out.push_str(&wrap(&format!("  fix: {}", diagnostic.mend), "       "));
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Error {}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Findings {
    diagnostics: Vec<Diagnostic>,
    /// Tables that lack what stands in another, whose misspelt name was told.
    excused: HashSet<String>,
}

impl Findings {
    /// Notes a fault at a place.
    pub fn report(&mut self, span: Span, message: impl Into<String>, mend: impl Into<String>) {
        self.diagnostics.push(Diagnostic { span: Some(span), message: message.into(), mend: mend.into() });
    }

    /// Notes a fault of the file as a whole.
    pub fn report_file(&mut self, message: impl Into<String>, mend: impl Into<String>) {
        self.diagnostics.push(Diagnostic { span: None, message: message.into(), mend: mend.into() });
    }

    /// Notes what was found of the same text read another way, but for what is noted already; `way` says which.
    pub fn add(&mut self, others: Self, way: &str) {
        for mut other in others.diagnostics {
            if !self.diagnostics.contains(&other) {
                other.message = format!("{way}{}", other.message);
                self.diagnostics.push(other);
            }
        }
    }

    /// Notes tables that won't be blamed for what they lack.
    pub fn excuse(&mut self, titles: impl IntoIterator<Item = String>) {
        self.excused.extend(titles);
    }

    /// Whether a table of this name isn't blamed for what it lacks.
    pub fn is_excused(&self, title: &str) -> bool {
        self.excused.contains(title)
    }

    /// All of them as warnings of a file that can be used; `None` where there are none.
    pub fn into_warnings(self, source: Source) -> Option<Error> {
        (!self.is_empty()).then(|| Error { doubts: true, ..self.into_error(source) })
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// All of them as one error, in the order of the file.
    pub fn into_error(mut self, source: Source) -> Error {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| (span.start, span.end)));
        Error {
            path: source.path().to_owned(),
            source: Some(Box::new(source)),
            diagnostics: self.diagnostics,
            doubts: false,
        }
    }
}

/// The offending line with carets below `marked` of its characters, cut to the width around the place.
fn excerpt(out: &mut String, line: &str, marked: usize, at: Position, paint: &Paint) {
    let line: Vec<char> = line
        .chars()
        .map(|char| match char {
            '\t' => ' ',
            other if other.is_control() => '?',
            other => other,
        })
        .collect();
    let number = at.line.to_string();
    let room = WIDTH - number.len() - " | ".len() - 2;
    let start = at.column - 1;
    let marked = marked.clamp(1, line.len().saturating_sub(start).max(1));

    // A place far to the right moves the window; an ellipsis stands for what is cut off.
    let from =
        if line.len() <= room || start + marked.min(room / 2) < room { 0 } else { start.saturating_sub(room / 3) };
    let mut shown: Vec<char> = line.iter().skip(from).take(room).copied().collect();
    if from > 0
        && let Some(first) = shown.first_mut()
    {
        *first = '…';
    }
    if line.len() > from + room
        && let Some(last) = shown.last_mut()
    {
        *last = '…';
    }
    let shown: String = shown.into_iter().collect();
    let caret = start - from;
    let carets = "^".repeat(marked.min(room.saturating_sub(caret)).max(1));
    let _ = writeln!(out, "  {number} | {}", shown.trim_end());
    let _ = writeln!(out, "  {:width$} | {:caret$}{}", "", "", paint.caret(&carets), width = number.len());
}

/// The colours of a terminal, or none.
struct Paint {
    colour: bool,
}

impl Paint {
    fn first_line(&self, text: &str) -> String {
        self.with("\x1b[1m", text)
    }

    fn caret(&self, text: &str) -> String {
        self.with("\x1b[1;31m", text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let body = text.trim_end_matches('\n');
        let end = text.get(body.len()..).unwrap_or("");
        format!("{code}{body}\x1b[0m{end}")
    }
}
