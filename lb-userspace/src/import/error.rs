//! Why a text can't be imported at all.

use std::fmt;

/// Why a text can't be imported at all: nothing is written then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    file: String,
    line: Option<usize>,
    message: String,
    mend: String,
}

impl Error {
    /// A fault of a file as a whole.
    pub(super) fn whole(file: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, message: message.into(), mend: mend.into() }
    }

    /// A fault of a line.
    pub(super) fn at(file: &str, line: usize, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::whole(file, message, mend) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, message, mend } = self;
        match line {
            Some(line) => write!(f, "{file}:{line}: {message}\n  fix: {mend}"),
            None => write!(f, "{file}: {message}\n  fix: {mend}"),
        }
    }
}

impl std::error::Error for Error {}
