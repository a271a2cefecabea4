//! The text of a configuration file, and its lines.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Byte offsets into the file's text.
pub type Span = Range<usize>;

/// A file's path and text, with an index of its lines.
#[derive(Clone)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
    /// The offset of each line's first byte.
    lines: Arc<[usize]>,
}

/// A place as people name it; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Without the text, which may hold passwords.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Indexes `text`.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.to_owned(), text: text.into(), lines }
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset. An offset within a character counts as that character's; one
    /// behind the end as the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column =
            self.line(line).char_indices().take_while(|(at, char)| start + at + char.len_utf8() <= offset).count();
        Position { line, column: column + 1 }
    }

    /// Line `number` (from 1) without its end; empty when there is none.
    #[must_use]
    pub fn line(&self, number: usize) -> &str {
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
            assert_eq!(source.line(line), text, "{offset}");
        }
        assert_eq!(source.line(0), "");
        assert_eq!(source.line(4), "");
        let empty = Source::new(Path::new("f"), "");
        assert_eq!(empty.position(0), Position { line: 1, column: 1 });
    }
}
