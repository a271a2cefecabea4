//! The files of a configuration: the one that is named, and those that it includes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::MAX_BYTES;
use super::read::source::{Source, Span};
use super::read::value::short;
use super::report::{Error, Fault, Findings};

/// Files that one includes at most; more are a pattern that meant others.
const MAX_FILES: usize = 4096;

/// The texts of a configuration's files, the including one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    files: Vec<Text>,
    /// What of them could not be read: in which file, where in it, and why.
    #[serde(skip)]
    faults: Vec<(usize, Span, Fault)>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    path: PathBuf,
    text: String,
}

impl Texts {
    /// One file, which includes none.
    #[must_use]
    pub fn one(path: &Path, text: &str) -> Self {
        Self { files: vec![Text { path: path.to_owned(), text: text.to_owned() }], faults: Vec::new() }
    }

    /// Another one, as if the first included it.
    #[must_use]
    pub fn and(mut self, path: &Path, text: &str) -> Self {
        self.files.push(Text { path: path.to_owned(), text: text.to_owned() });
        self
    }

    /// Reads the file at `path`, and what it includes. What is wrong with the included is told by [`super::accept`].
    ///
    /// # Errors
    /// The file itself can't be read.
    pub fn gather(path: &Path) -> Result<Self, Error> {
        let bytes = load(path, MAX_BYTES).map_err(|error| match error {
            Unread::Io(error) => Error::unreadable(path, &error),
            _ => Error::whole_file(
                path,
                format!("is larger than {} MiB", MAX_BYTES >> 20),
                "give lb its own configuration file",
            ),
        })?;
        let mut texts = Self { files: Vec::new(), faults: Vec::new() };
        texts.push(path, bytes);
        texts.include(path);
        Ok(texts)
    }

    /// The texts as one, for places in them.
    pub(super) fn source(&self) -> Source {
        Source::of(self.files.iter().map(|file| (file.path.as_path(), file.text.as_str())))
    }

    /// The including file.
    pub(super) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// Reports what could not be read.
    pub(super) fn report(&self, source: &Source, findings: &mut Findings) {
        let starts: Vec<usize> = source.texts().map(|(start, _)| start).collect();
        for (file, span, Fault { message, mend }) in &self.faults {
            let start = starts.get(*file).copied().unwrap_or(0);
            findings.report(start + span.start..start + span.end, message, mend);
        }
    }

    fn push(&mut self, path: &Path, bytes: Vec<u8>) {
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let good = error.utf8_error().valid_up_to();
            // Up to `good` the lossy text and the bytes are the same, so the offset fits both.
            let fault = Fault::new("this byte isn't UTF-8", "save the file as UTF-8");
            self.faults.push((self.files.len(), good..good + 1, fault));
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        self.files.push(Text { path: path.to_owned(), text });
    }

    /// Reads what the first file includes: in the order of its patterns, by name, each file once.
    fn include(&mut self, path: &Path) {
        let Some(first) = self.files.first().map(|file| file.text.clone()) else { return };
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut seen = HashSet::from([real(path)]);
        let mut room = MAX_BYTES.saturating_sub(first.len() as u64);
        for (pattern, span) in patterns(&first) {
            let mut refuse =
                |message: String, mend: &str| self.faults.push((0, span.clone(), Fault::new(message, mend)));
            let found = match list(path, &pattern) {
                Ok(found) => found,
                Err(fault) => {
                    self.faults.push((0, span, fault));
                    continue;
                }
            };
            if seen.len() + found.len() > MAX_FILES {
                refuse(
                    format!("\"{}\" names {} files", short(&pattern), found.len()),
                    "name those of lb alone: 4096 at most",
                );
                continue;
            }
            for file in found {
                if !seen.insert(real(&file)) {
                    continue;
                }
                // A pipe would keep whoever opens it waiting.
                let is_other = fs::metadata(&file).is_ok_and(|file| !file.is_file());
                let read = if is_other { Err(Unread::NoFile) } else { load(&file, room) };
                let what = match read {
                    Ok(bytes) => {
                        room = room.saturating_sub(bytes.len() as u64);
                        self.push(&file, bytes);
                        continue;
                    }
                    Err(Unread::Io(error)) => format!("can't be read: {error}"),
                    Err(Unread::NoFile) => "is not a file".to_owned(),
                    Err(Unread::TooLarge) => {
                        format!("is too large: all files together have {} MiB at most", MAX_BYTES >> 20)
                    }
                };
                let fault =
                    Fault::new(format!("{} {what}", file.display()), "mend the file, or write a pattern without it");
                self.faults.push((0, span.clone(), fault));
            }
        }
    }
}

/// The good patterns of the file's `include`, with their places; what is wrong with it is told when it is read.
fn patterns(text: &str) -> Vec<(String, Span)> {
    if !text.contains("include") {
        return Vec::new();
    }
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(items)) = document.get_ref().get("include").map(toml::Spanned::get_ref) else {
        return Vec::new();
    };
    let pattern = |item: &toml::Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(pattern) => Some((pattern.to_string(), item.span())),
        _ => None,
    };
    items.iter().filter_map(pattern).collect()
}

/// The files that a pattern names, sorted. None is no fault where it has wildcards.
fn list(path: &Path, pattern: &str) -> Result<Vec<PathBuf>, Fault> {
    let base = path.parent().unwrap_or(Path::new("")).to_string_lossy();
    let whole = match pattern.starts_with('/') || base.is_empty() {
        true => pattern.to_owned(),
        false => format!("{}/{pattern}", glob::Pattern::escape(&base)),
    };
    let options =
        glob::MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, case_sensitive: true };
    let found = glob::glob_with(&whole, options).map_err(|error| {
        Fault::new(
            format!("\"{}\" is not a pattern: {}", short(pattern), error.msg),
            "write one such as \"conf.d/*.toml\"",
        )
    })?;
    let files: Vec<PathBuf> = found.collect::<Result<_, _>>().map_err(|error| {
        Fault::new(
            format!("{} can't be read: {}", error.path().display(), error.error()),
            "let the agent read the directory",
        )
    })?;
    if files.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(Fault::new(
            format!("there is no file \"{}\"", short(pattern)),
            "create it, or remove it here; a pattern with * may name none",
        ));
    }
    Ok(files)
}

/// Why a file has no bytes for us.
enum Unread {
    Io(io::Error),
    /// It is a directory, or a device.
    NoFile,
    TooLarge,
}

/// The bytes of a file, up to `room`.
fn load(path: &Path, room: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(room + 1).read_to_end(&mut bytes)).map_err(Unread::Io)?;
    if bytes.len() as u64 > room { Err(Unread::TooLarge) } else { Ok(bytes) }
}
