//! Lines: comments, continuations, conditions, includes and definitions (keepalived.conf.5, "CONFIGURATION PARSER" and
//! "ADVANCED CONFIGURATION").

use std::path::{Component, Path, PathBuf};

use super::define::{self, Definitions};
use crate::import::error::Error;
use crate::import::ledger::{Fate, Ledger, Place};
use crate::import::{Files, MAX_BYTES};

/// A statement, or a part of one, with the lines that it is of.
#[derive(Debug)]
pub(super) struct Line {
    pub words: Vec<Word>,
    pub places: Vec<Place>,
}

/// A word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// Whether a quote was in it: then it is no brace.
    pub quoted: bool,
}

/// Files within files, and definitions within definitions, at most.
const DEPTH: usize = 32;
/// Lines that definitions and sequences make at most.
const LINES: usize = 100_000;

/// Reads files into lines.
pub(super) struct Reader<'a> {
    host: &'a str,
    files: &'a dyn Files,
    ledger: &'a mut Ledger,
    definitions: Definitions,
    /// The files that are being read.
    open: Vec<PathBuf>,
    bytes: usize,
    steps: usize,
    lines: Vec<Line>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(host: &'a str, files: &'a dyn Files, ledger: &'a mut Ledger) -> Self {
        let definitions = Definitions::new(host);
        Self { host, files, ledger, definitions, open: Vec::new(), bytes: 0, steps: 0, lines: Vec::new() }
    }

    /// All lines of a file and of those that it includes.
    pub(super) fn read(mut self, path: &Path, text: &str) -> Result<Vec<Line>, Error> {
        self.file(path, text)?;
        for (name, places) in self.definitions.unused() {
            self.ledger.note(&places, Fate::Changed, format!("${name}="), "it is defined, and used nowhere");
        }
        Ok(self.lines)
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let file = self.ledger.open(&path.display().to_string(), text);
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        self.open.push(path.to_owned());
        let mut gathered: Vec<(String, Place)> = Vec::new();
        for (line, raw) in (1..).zip(text.lines()) {
            let place = Place { file, line };
            let fault = |message| Error::at(&path.display().to_string(), line, message, "close the quote on its line");
            let said = uncommented(raw).map_err(fault)?.trim();
            if said.is_empty() {
                self.ledger.silent(place);
                // A comment between the lines of one statement.
                if !gathered.is_empty() && !raw.trim().is_empty() {
                    continue;
                }
            }
            match said.strip_suffix('\\') {
                Some(said) => gathered.push((said.trim().to_owned(), place)),
                None => {
                    gathered.push((said.to_owned(), place));
                    self.definitions.at(&folder);
                    self.statement(std::mem::take(&mut gathered), &folder)?;
                }
            }
        }
        self.definitions.at(&folder);
        self.statement(gathered, &folder)?;
        self.open.pop();
        Ok(())
    }

    /// One statement of one line, or of several that `\` joins.
    fn statement(&mut self, mut gathered: Vec<(String, Place)>, folder: &Path) -> Result<(), Error> {
        let places: Vec<Place> = gathered.iter().map(|(_, place)| *place).collect();
        let Some((first, _)) = gathered.first_mut() else { return Ok(()) };
        // keepalived looks for these before all else.
        let mut words = first.split_whitespace();
        if let (Some(word), Some(pattern)) = (words.next(), words.next())
            && let Some(rule) = include_rule(word)
        {
            let pattern = pattern.trim_matches('"').to_owned();
            return self.include(&pattern, rule, &places, folder);
        }
        let Some(rest) = self.condition(first, &places) else { return Ok(()) };
        *first = rest;
        if gathered.len() > 1
            && let Some((name, start)) = gathered.first().and_then(|(first, _)| define::definition(first))
        {
            let (name, start) = (name.to_owned(), start.to_owned());
            if let Some((first, place)) = gathered.first_mut() {
                *first = start;
                self.ledger.note(&[*place], Fate::Carried, "", "");
            }
            self.definitions.many(name, gathered.into_iter().map(|(text, place)| (text, vec![place])).collect());
            return Ok(());
        }
        let text = gathered.iter().map(|(text, _)| &text[..]).collect::<Vec<_>>().join(" ");
        self.text(text.trim(), &places, 0)
    }

    /// What follows `@` conditions that hold; `None`, told, where one doesn't.
    fn condition(&mut self, text: &str, places: &[Place]) -> Option<String> {
        let mut text = text.trim_start();
        while let Some(rest) = text.strip_prefix('@') {
            let (name, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            let holds = match name.strip_prefix('^') {
                Some(other) => other != self.host,
                None => name == self.host,
            };
            if !holds {
                self.ledger.note(places, Fate::Elsewhere, "", "");
                return None;
            }
            // Where nothing follows it has been said all the same.
            self.ledger.note(places, Fate::Carried, "", "");
            text = after.trim_start();
        }
        Some(text.to_owned())
    }

    /// A statement in one text: definitions, sequences and what they stand for.
    fn text(&mut self, text: &str, places: &[Place], depth: usize) -> Result<(), Error> {
        let at = places.first().copied().unwrap_or(Place { file: 0, line: 0 });
        let name = self.ledger.name(at.file).to_owned();
        let fault = |message: &str, mend: &str| Error::at(&name, at.line, message, mend);
        self.steps += 1;
        if depth > DEPTH || self.steps > LINES.saturating_mul(4) || self.lines.len() > LINES {
            return Err(fault("its definitions never come to an end", "write out what they stand for"));
        }
        let Some(text) = self.condition(text, places) else { return Ok(()) };
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        if let Some((name, value)) = define::definition(text) {
            self.definitions.one(name.to_owned(), value.to_owned());
            self.ledger.note(places, Fate::Carried, "", "");
            return Ok(());
        }
        if let Some(sequence) = define::sequence(text) {
            let (bindings, rest) =
                sequence.map_err(|message| fault(message, "write it as ~SEQ(VAR, 1, 9) or ~LST(VAR, a, b)"))?;
            for binding in bindings {
                for (name, value) in binding {
                    self.definitions.one(name, value);
                }
                self.text(&rest, places, depth + 1)?;
            }
            return Ok(());
        }
        if let Some(body) = self.definitions.body(text) {
            self.ledger.note(places, Fate::Carried, "", "");
            for (text, places) in body {
                self.text(&text, &places, depth + 1)?;
            }
            return Ok(());
        }
        let replaced = self
            .definitions
            .replace(text)
            .ok_or_else(|| fault("its definitions never come to an end", "write out what they stand for"))?;
        if replaced != text {
            return self.text(&replaced, places, depth + 1);
        }
        let words = words(text).map_err(|message| fault(message, "close the quote on its line"))?;
        self.lines.push(Line { words, places: places.to_vec() });
        Ok(())
    }

    fn include(&mut self, pattern: &str, rule: Rule, places: &[Place], folder: &Path) -> Result<(), Error> {
        let at = places.first().copied().unwrap_or(Place { file: 0, line: 0 });
        let name = self.ledger.name(at.file).to_owned();
        let fault = |message: String, mend: &str| Error::at(&name, at.line, message, mend);
        let unreadable = |path: &Path, error: std::io::Error| {
            fault(
                format!("{} can't be read: {error}", path.display()),
                "copy it beside this file as it is on the director",
            )
        };
        self.ledger.note(places, Fate::Carried, "", "");
        let mut matched = 0_usize;
        for one in define::braces(pattern) {
            let path = normal(&folder.join(&one));
            let paths = if one.contains(['*', '?', '[']) {
                self.files.list(&path).map_err(|error| unreadable(&path, error))?
            } else {
                vec![path]
            };
            for path in paths {
                matched += 1;
                if self.open.contains(&path) {
                    return Err(fault(format!("{} includes itself", path.display()), "remove one of the two includes"));
                }
                if self.open.len() >= DEPTH {
                    return Err(fault("files include each other too deep".to_owned(), "write them into one"));
                }
                let text = self.files.read(&path).map_err(|error| unreadable(&path, error))?;
                self.bytes += text.len();
                if self.bytes > MAX_BYTES || text.contains('\0') {
                    return Err(fault(
                        format!("{} is too large, or no text", path.display()),
                        "include files of keepalived's alone",
                    ));
                }
                self.file(&path, &text)?;
            }
        }
        if matched == 0 {
            if rule == Rule::Match {
                return Err(fault(
                    format!("no file is called {pattern}"),
                    "copy them beside this file, or write include",
                ));
            }
            self.ledger.note(
                places,
                Fate::Changed,
                format!("include {pattern}"),
                "no file is called so: nothing is included",
            );
        }
        Ok(())
    }
}

/// What an include wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Nothing,
    /// One file at least.
    Match,
}

fn include_rule(word: &str) -> Option<Rule> {
    match word {
        "include" | "includer" => Some(Rule::Nothing),
        "includem" | "includew" | "includeb" | "includea" => Some(Rule::Match),
        _ => None,
    }
}

/// A path without `.` and `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// What stands before a `#` or `!` outside of double quotes.
fn uncommented(line: &str) -> Result<&str, &'static str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, char) in line.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '#' | '!' if !quoted => return Ok(line.get(..at).unwrap_or(line)),
            _ => {}
        }
    }
    if quoted { Err("a quote isn't closed") } else { Ok(line) }
}

/// The words of a text. Quotes join words, `"` anywhere and `'` where it begins one; within `"` a `\` takes the meaning
/// of `"` and of itself.
pub(super) fn words(text: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&char) = chars.peek() {
        if char.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = Word { text: String::new(), quoted: false };
        while let Some(char) = chars.next_if(|char| !char.is_whitespace()) {
            let ends = match char {
                '"' => '"',
                '\'' if word.text.is_empty() && !word.quoted && chars.clone().any(|char| char == '\'') => '\'',
                _ => {
                    word.text.push(char);
                    continue;
                }
            };
            word.quoted = true;
            loop {
                match chars.next() {
                    None => return Err("a quote isn't closed"),
                    Some(char) if char == ends => break,
                    Some('\\') if ends == '"' && matches!(chars.peek(), Some('"' | '\\')) => {
                        word.text.extend(chars.next());
                    }
                    Some(char) => word.text.push(char),
                }
            }
        }
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_quotes() {
        let rows = [
            ("a # b", Ok("a ")),
            ("a!b", Ok("a")),
            ("a \"#!\" b # c", Ok("a \"#!\" b ")),
            ("a \\# b", Ok("a \\# b")),
            ("a \"b", Err("a quote isn't closed")),
        ];
        for (line, expected) in rows {
            assert_eq!(uncommented(line), expected, "{line}");
        }
        let split = |text| words(text).map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>());
        let rows: [(&str, Result<&[&str], _>); 7] = [
            ("a  b", Ok(&["a", "b"])),
            ("abcd\" efg h\" \"mn op\"", Ok(&["abcd efg h", "mn op"])),
            ("\"a 'b c' \\\"d\\\"\"", Ok(&["a 'b c' \"d\""])),
            ("'a b' it's", Ok(&["a b", "it's"])),
            ("^a\\.b$", Ok(&["^a\\.b$"])),
            ("\"\"", Ok(&[""])),
            ("\"a", Err("a quote isn't closed")),
        ];
        for (text, expected) in rows {
            assert_eq!(
                split(text).map_err(|_| "a quote isn't closed"),
                expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect()),
                "{text}"
            );
        }
        assert_eq!(normal(Path::new("/etc/./keepalived/../x")), Path::new("/etc/x"));
        assert_eq!(normal(Path::new("../x")), Path::new("../x"));
    }
}
