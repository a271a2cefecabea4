//! What became of each line. A line that nobody claims is told as unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Options;
use super::report::{Count, Entry, Report, Unfinished};

/// What became of a line; of several, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is in the file, as it was meant.
    Carried,
    /// It is a line of another host's.
    Elsewhere,
    /// It is in the file in another way, or nothing need be done.
    Changed,
    /// It isn't in the file.
    Left,
    /// Its words aren't known.
    Unknown,
}

/// A line of a file: its number in the ledger, and from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub file: usize,
    pub line: usize,
}

#[derive(Debug)]
struct File {
    name: String,
    lines: Vec<String>,
    /// Lines of white space and comments.
    silent: BTreeSet<usize>,
}

#[derive(Debug)]
struct Note {
    places: Vec<Place>,
    fate: Fate,
    what: String,
    how: String,
}

/// What is known of each line.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: Vec<File>,
    notes: Vec<Note>,
}

impl Ledger {
    /// Begins a file; the number of one that was begun before.
    pub(super) fn open(&mut self, name: &str, text: &str) -> usize {
        if let Some(known) = self.files.iter().position(|file| file.name == name) {
            return known;
        }
        let lines = text.lines().map(str::to_owned).collect();
        self.files.push(File { name: name.to_owned(), lines, silent: BTreeSet::new() });
        self.files.len() - 1
    }

    /// A file's name.
    pub(super) fn name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.name)
    }

    /// A place in words, for remarks in the file that is written.
    pub(super) fn place(&self, place: Place) -> String {
        let name = self.name(place.file);
        let short = name.rsplit('/').next().unwrap_or(name);
        format!("{short}:{}", place.line)
    }

    /// A line that says nothing.
    pub(super) fn silent(&mut self, place: Place) {
        if let Some(file) = self.files.get_mut(place.file) {
            file.silent.insert(place.line);
        }
    }

    /// What became of lines that say one thing.
    pub(super) fn note(&mut self, places: &[Place], fate: Fate, what: impl Into<String>, how: impl Into<String>) {
        if !places.is_empty() {
            self.notes.push(Note { places: places.to_vec(), fate, what: what.into(), how: how.into() });
        }
    }

    /// Whether anything has been told.
    pub(super) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// All of it, in the order of files and lines.
    pub(super) fn report(mut self, options: &Options, unfinished: Vec<Unfinished>) -> Report {
        self.claim_the_rest();
        let mut fates: BTreeMap<Place, Fate> = BTreeMap::new();
        for note in &self.notes {
            for place in &note.places {
                let fate = fates.entry(*place).or_insert(note.fate);
                *fate = (*fate).max(note.fate);
            }
        }
        let count = |(number, file): (usize, &File)| {
            let of = |fate| fates.iter().filter(|(place, of)| place.file == number && **of == fate).count();
            Count {
                name: file.name.clone(),
                lines: file.lines.len(),
                silent: file
                    .silent
                    .iter()
                    .filter(|line| !fates.contains_key(&Place { file: number, line: **line }))
                    .count(),
                carried: of(Fate::Carried),
                changed: of(Fate::Changed),
                left: of(Fate::Left),
                unknown: of(Fate::Unknown),
                elsewhere: of(Fate::Elsewhere),
            }
        };
        let files = self.files.iter().enumerate().map(count).collect();
        Report { host: options.host.clone(), files, entries: self.entries(&fates), unfinished }
    }

    /// Tells the lines that say something and that nobody has told of.
    fn claim_the_rest(&mut self) {
        let told: BTreeSet<Place> = self.notes.iter().flat_map(|note| note.places.iter().copied()).collect();
        let mut rest = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            for (line, text) in (1..).zip(&file.lines) {
                let place = Place { file: number, line };
                if !file.silent.contains(&line) && !told.contains(&place) {
                    rest.push((place, shown(text)));
                }
            }
        }
        for (place, text) in rest {
            self.note(&[place], Fate::Unknown, text, "");
        }
    }

    /// Statements of one kind of which the same is told are one entry.
    fn entries(&self, fates: &BTreeMap<Place, Fate>) -> Vec<Entry> {
        let mut merged: BTreeMap<(Fate, &str, &str), Merged<'_>> = BTreeMap::new();
        for note in &self.notes {
            // What else became of a line says more than that a part of it was carried.
            let counts = |place: &&Place| note.fate > Fate::Elsewhere || fates.get(place) == Some(&note.fate);
            let own: Vec<Place> = note.places.iter().filter(counts).copied().collect();
            let Some(&first) = own.first() else { continue };
            let kind = match note.how.is_empty() {
                true => &note.what[..],
                false => note.what.split_whitespace().next().unwrap_or(""),
            };
            // Carried lines are told by their numbers alone.
            let key = match note.fate {
                Fate::Carried => (note.fate, "", ""),
                _ => (note.fate, kind, &note.how[..]),
            };
            let new = || Merged { places: BTreeSet::new(), first, what: &note.what, differs: false };
            let known = merged.entry(key).or_insert_with(new);
            known.places.extend(own);
            known.differs |= known.what != note.what;
            if first < known.first {
                (known.first, known.what) = (first, &note.what);
            }
        }
        let mut entries: Vec<(Place, Entry)> = Vec::new();
        for ((fate, _, how), Merged { places, first, what, differs }) in merged {
            let mut lines: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for place in places {
                lines.entry(place.file).or_default().push(place.line);
            }
            let places = lines.into_iter().map(|(file, lines)| (self.name(file).to_owned(), lines)).collect();
            let more = if differs && fate != Fate::Carried { " …" } else { "" };
            let what = if fate == Fate::Carried { String::new() } else { shown(what) + more };
            entries.push((first, Entry { fate, places, what, how: how.to_owned() }));
        }
        entries.sort_by(|(one, a), (two, b)| (one, &a.what, &a.how).cmp(&(two, &b.what, &b.how)));
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Notes that are one entry.
struct Merged<'a> {
    places: BTreeSet<Place>,
    first: Place,
    what: &'a str,
    differs: bool,
}

/// A statement as a report shows it: in one line, without a password and without control characters.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let secret = words.iter().position(|word| word.contains("auth_pass") || *word == "password");
    let words = words.iter().enumerate().map(|(number, word)| match secret {
        Some(of) if number > of => "****".to_owned(),
        _ => word.replace(char::is_control, "?"),
    });
    words.collect::<Vec<_>>().join(" ")
}
