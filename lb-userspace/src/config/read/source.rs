//! The text of a configuration, one file or several, and its lines.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Byte offsets into the text of all files, one behind the other.
pub type Span = Range<usize>;

/// The files of a configuration with their texts, and an index of their lines. The first is the one that includes the others.
#[derive(Clone)]
pub struct Source {
    files: Arc<[File]>,
}

/// One file.
struct File {
    path: PathBuf,
    text: Box<str>,
    /// The offset of its first byte in all texts.
    start: usize,
    /// The offset of each line's first byte in its own text.
    lines: Vec<usize>,
}

/// A place as people name it; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line of its file.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Without the texts, which may hold passwords.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Source {
    /// Indexes the text of one file.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        Self::of([(path, text)])
    }

    /// Indexes the texts of files.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Self {
        let mut end = 0;
        let index = |(path, text): (&Path, &str)| {
            let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
            let file = File { path: path.to_owned(), text: text.into(), start: end, lines };
            // The end of a file is a place of its own: something may be missing there.
            end += text.len() + 1;
            file
        };
        Self { files: files.into_iter().map(index).collect() }
    }

    /// The file that includes the others.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// Each file's text, with the offset of its first byte.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.files.iter().map(|file| (file.start, &*file.text))
    }

    /// A part of one of the texts.
    #[must_use]
    pub fn get(&self, span: &Span) -> Option<&str> {
        let file = self.file(span.start)?;
        file.text.get(span.start - file.start..span.end.checked_sub(file.start)?)
    }

    /// Line and column of a byte offset within its file. An offset within a character counts as that character's; one
    /// behind the end as the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        self.file(offset).map_or(Position { line: 1, column: 1 }, |file| file.position(offset - file.start))
    }

    /// The file that a byte offset is in.
    #[must_use]
    pub fn path_of(&self, offset: usize) -> &Path {
        self.file(offset).map_or(Path::new(""), |file| &file.path)
    }

    /// The place of an offset in words, for a message about another: `line 5`, or `line 5 of FILE` where that is of another file.
    #[must_use]
    pub fn place(&self, offset: usize, beside: usize) -> String {
        let (line, path) = (self.position(offset).line, self.path_of(offset));
        if path == self.path_of(beside) { format!("line {line}") } else { format!("line {line} of {}", path.display()) }
    }

    /// The line that an offset is on, without its end.
    #[must_use]
    pub fn line(&self, offset: usize) -> &str {
        self.file(offset).map_or("", |file| file.line(file.position(offset - file.start).line))
    }

    /// The same files with other texts, of the same lines.
    pub(in crate::config) fn with(&self, change: impl Fn(&str) -> String) -> Self {
        let texts: Vec<(&Path, String)> = self.files.iter().map(|file| (&*file.path, change(&file.text))).collect();
        Self::of(texts.iter().map(|(path, text)| (*path, text.as_str())))
    }

    /// The line at the same place of the same file in a source of other texts.
    pub(in crate::config) fn line_in<'a>(&self, other: &'a Self, offset: usize) -> &'a str {
        let at = self.files.partition_point(|file| file.start <= offset).saturating_sub(1);
        other.files.get(at).map_or("", |file| file.line(self.position(offset).line))
    }

    fn file(&self, offset: usize) -> Option<&File> {
        let behind = self.files.partition_point(|file| file.start <= offset);
        self.files.get(behind.checked_sub(1)?)
    }
}

impl File {
    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column =
            self.line(line).char_indices().take_while(|(at, char)| start + at + char.len_utf8() <= offset).count();
        Position { line, column: column + 1 }
    }

    /// Line `number` (from 1) without its end; empty when there is none.
    fn line(&self, number: usize) -> &str {
        let start = number.checked_sub(1).and_then(|at| self.lines.get(at));
        let end = self.lines.get(number).copied().unwrap_or(self.text.len());
        start.and_then(|&start| self.text.get(start..end)).unwrap_or("").trim_end_matches(['\n', '\r'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new(Path::new("f"), "añb\r\n\nc");
        let cases = [
            (0, 1, 1, "añb"),
            (1, 1, 2, "añb"),
            (2, 1, 2, "añb"),
            (3, 1, 3, "añb"),
            (4, 1, 4, "añb"),
            (5, 1, 4, "añb"),
            (6, 2, 1, ""),
            (7, 3, 1, "c"),
            (8, 3, 2, "c"),
            (99, 3, 2, "c"),
        ];
        for (offset, line, column, text) in cases {
            assert_eq!(source.position(offset), Position { line, column }, "{offset}");
            assert_eq!(source.line(offset), text, "{offset}");
        }
        let empty = Source::new(Path::new("f"), "");
        assert_eq!(empty.position(0), Position { line: 1, column: 1 });
        assert_eq!(empty.line(9), "");
    }

    #[test]
    fn each_file_counts_its_own_lines() {
        let files = [("a", "one\ntwo"), ("empty", ""), ("b", "\nthree\n")];
        let source = Source::of(files.map(|(path, text)| (Path::new(path), text)));
        let starts: Vec<usize> = source.texts().map(|(start, _)| start).collect();
        assert_eq!(starts, [0, 8, 9]);
        let cases =
            [(4, "a", 2, "two"), (7, "a", 2, "two"), (8, "empty", 1, ""), (9, "b", 1, ""), (12, "b", 2, "three")];
        for (offset, path, line, text) in cases {
            assert_eq!((source.path_of(offset), source.position(offset).line), (Path::new(path), line), "{offset}");
            assert_eq!(source.line(offset), text, "{offset}");
        }
        assert_eq!(source.get(&(10..15)), Some("three"));
        assert_eq!(source.get(&(4..99)), None);
        assert_eq!((source.place(4, 0).as_str(), source.place(10, 0).as_str()), ("line 2", "line 2 of b"));
    }
}
