//! Standard output and standard error of a verb. Rust's own macros panic where they can't write.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::agent::Misconfigured;
use crate::config;
use crate::findings::Finding;

/// Prints a text as it is. A reader that has seen enough, such as `head`, is no fault.
///
/// # Errors
/// Standard output takes nothing more, such as on a full disk.
pub(super) fn print(text: &str) -> Result<()> {
    write(&mut stdout().lock(), text).context("standard output can't be written")
}

/// Prints a value as JSON for people to read.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Tells why a verb failed, on standard error. Where that can't be written either, the exit code alone says it.
pub(super) fn tell(error: &anyhow::Error) {
    let _ = writeln!(stderr(), "{}", words(error, stderr().is_terminal()));
}

/// The columns that a line may have: the terminal's, where standard output is one.
pub(super) fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(stdout()).map(|(terminal_size::Width(columns), _)| usize::from(columns))
}

/// A text on lines of at most so many columns, the later ones `indent` columns in. A word that is longer stays whole.
pub(super) fn wrapped(text: &str, columns: Option<usize>, indent: usize) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let indent = " ".repeat(indent);
    let options = textwrap::Options::new(columns)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
}

/// Whether output has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    /// On a terminal alone, where `NO_COLOR` isn't set (no-color.org).
    pub(super) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self(stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    /// All of them, wherever.
    #[cfg(test)]
    pub(super) fn bright() -> Self {
        Self(true)
    }

    /// None.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self(false)
    }

    /// Whether there are any.
    pub(super) fn is_on(self) -> bool {
        self.0
    }

    /// A text in a colour.
    pub(super) fn of(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Good => 32,
            Colour::Bad => 31,
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line's columns where there is no terminal.
pub(super) const COLUMNS: usize = 80;

/// What was found: a line or more with its mark, why it matters, and the mend.
pub(super) fn finding(out: &mut String, finding: &Finding, columns: usize, paint: Paint) {
    let mark = if finding.bad { paint.of(Colour::Bad, "!") } else { " ".to_owned() };
    // The mark is one column wide, whatever colours it.
    let text = wrapped(&finding.to_string(), Some(columns.saturating_sub(2)), 4);
    for (number, line) in text.lines().enumerate() {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{} {line}", if number == 0 { mark.as_str() } else { " " });
    }
    if let Some(why) = &finding.why {
        let _ = writeln!(out, "{}", wrapped(&format!("    {why}"), Some(columns), 4));
    }
    if let Some(mend) = &finding.mend {
        let _ = writeln!(out, "{}", wrapped(&format!("    -> {mend}"), Some(columns), 7));
    }
}

/// Says something beside a verb's output, on standard error. Where that can't be written nobody reads it.
pub(super) fn remark(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// An error in words.
pub(super) fn words(error: &anyhow::Error, color: bool) -> String {
    let misconfigured = error.downcast_ref::<Misconfigured>().map(|wrong| &wrong.0);
    match misconfigured.or_else(|| error.downcast_ref::<config::Error>()) {
        Some(error) => error.render(color).trim_end().to_owned(),
        None => format!("lb: {error:#}"),
    }
}

fn write(to: &mut impl io::Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(io::ErrorKind);

    impl io::Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_fault_and_a_full_disk_is_one() {
        assert!(write(&mut Refuses(io::ErrorKind::BrokenPipe), "text").is_ok());
        let full = write(&mut Refuses(io::ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let mut taken = Vec::new();
        write(&mut taken, "text").unwrap();
        assert_eq!(taken, b"text");
    }
}
