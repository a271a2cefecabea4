//! `$NAME=value`, `~SEQ`, `~LST`, and patterns with braces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::import::ledger::Place;

/// The lines of a definition of several.
pub(super) type Body = Vec<(String, Vec<Place>)>;

/// What is defined.
#[derive(Debug)]
pub(super) struct Definitions {
    one: BTreeMap<String, String>,
    many: BTreeMap<String, Body>,
    /// Definitions of several lines that were used.
    used: BTreeSet<String>,
    /// Those that were replaced unused.
    gone: Vec<(String, Body)>,
}

/// Replacements of one text at most, and its bytes.
const REPLACEMENTS: usize = 1000;
const BYTES: usize = 64 << 10;

impl Definitions {
    /// Those that keepalived has by itself.
    pub(super) fn new(host: &str) -> Self {
        let own = [("_INSTANCE", host), ("_HASH", "#"), ("_BANG", "!")];
        let one = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { one, many: BTreeMap::new(), used: BTreeSet::new(), gone: Vec::new() }
    }

    /// The folder of the file that is read.
    pub(super) fn at(&mut self, folder: &Path) {
        self.one.insert("_PWD".to_owned(), folder.display().to_string());
    }

    /// `$NAME=value`.
    pub(super) fn one(&mut self, name: String, value: String) {
        self.forget(&name);
        self.one.insert(name, value);
    }

    /// The same of several lines.
    pub(super) fn many(&mut self, name: String, body: Body) {
        self.forget(&name);
        self.one.remove(&name);
        self.many.insert(name, body);
    }

    fn forget(&mut self, name: &str) {
        if let Some(body) = self.many.remove(name)
            && !self.used.remove(name)
        {
            self.gone.push((name.to_owned(), body));
        }
    }

    /// The lines that a text stands for which is the name of a definition of several.
    pub(super) fn body(&mut self, text: &str) -> Option<Body> {
        let name = text.strip_prefix('$')?;
        let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        let body = self.many.get(name)?.clone();
        self.used.insert(name.to_owned());
        // Its first line has nothing but the name.
        Some(body)
    }

    /// A text with all that is defined in its place; `None` where that has no end.
    pub(super) fn replace(&self, text: &str) -> Option<String> {
        let mut text = text.to_owned();
        let mut from = 0;
        for _ in 0..REPLACEMENTS {
            let Some((range, value)) = self.next(&text, from) else { return Some(text) };
            from = range.start;
            text.replace_range(range, value);
            if text.len() > BYTES {
                return None;
            }
        }
        None
    }

    /// The next name that is defined, where it stands from a place on, and its value.
    fn next(&self, text: &str, from: usize) -> Option<(std::ops::Range<usize>, &str)> {
        for (at, _) in text.get(from..)?.match_indices('$') {
            let start = from + at;
            let rest = text.get(start + 1..)?;
            let (name, length) = match rest.strip_prefix('{') {
                Some(rest) => {
                    let Some((name, _)) = rest.split_once('}') else { continue };
                    (name, name.len() + 2)
                }
                None => {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    (rest.get(..end)?, end)
                }
            };
            if let Some(value) = self.one.get(name) {
                return Some((start..start + 1 + length, value));
            }
        }
        None
    }

    /// Definitions of several lines that were used nowhere, with their lines.
    pub(super) fn unused(&mut self) -> Vec<(String, Vec<Place>)> {
        let mut all = std::mem::take(&mut self.gone);
        let used = &self.used;
        all.extend(std::mem::take(&mut self.many).into_iter().filter(|(name, _)| !used.contains(name)));
        let places = |body: Body| body.into_iter().flat_map(|(_, places)| places).collect();
        all.into_iter().map(|(name, body)| (name, places(body))).collect()
    }
}

/// `$NAME=value`, in parts.
pub(super) fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let plain = !name.is_empty()
        && !name.starts_with(|char: char| char.is_ascii_digit())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    plain.then(|| (name, value.trim()))
}

/// Each turn's names and values.
type Bindings = Vec<Vec<(String, String)>>;

/// Turns of one sequence at most.
const TURNS: i64 = 100_000;

/// `~SEQ(…) rest` or `~LST(…) rest`; `None` for other texts.
pub(super) fn sequence(text: &str) -> Option<Result<(Bindings, String), &'static str>> {
    let (hexadecimal, is_list, rest) = if let Some(rest) = text.strip_prefix("~SEQx(") {
        (true, false, rest)
    } else if let Some(rest) = text.strip_prefix("~SEQ(") {
        (false, false, rest)
    } else {
        (false, true, text.strip_prefix("~LST(")?)
    };
    let Some((inside, rest)) = rest.split_once(')') else { return Some(Err("a sequence isn't closed")) };
    let bindings = if is_list { listed(inside) } else { counted(inside, hexadecimal) };
    Some(bindings.map(|bindings| (bindings, rest.trim().to_owned())))
}

fn counted(inside: &str, hexadecimal: bool) -> Result<Bindings, &'static str> {
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).map_err(|_| "a sequence has no number there"),
        None => text.parse::<i64>().map_err(|_| "a sequence has no number there"),
    };
    let (name, start, step, end) = match parts[..] {
        [name, end] => {
            let end = number(end)?;
            (name, if end < 0 { -1 } else { 1 }, None, end)
        }
        [name, start, end] => (name, number(start)?, None, number(end)?),
        [name, start, step, end] => (name, number(start)?, Some(number(step)?), number(end)?),
        _ => return Err("a sequence has a name, a start and an end"),
    };
    let step = step.unwrap_or(if end < start { -1 } else { 1 });
    if step == 0 || end.abs_diff(start) / step.unsigned_abs() > TURNS.unsigned_abs() {
        return Err("a sequence has too many turns");
    }
    let mut bindings = Vec::new();
    let mut value = start;
    while if step > 0 { value <= end } else { value >= end } {
        let shown = if hexadecimal { format!("{value:x}") } else { value.to_string() };
        bindings.push(vec![(name.to_owned(), shown)]);
        let Some(next) = value.checked_add(step) else { break };
        value = next;
    }
    Ok(bindings)
}

fn listed(inside: &str) -> Result<Bindings, &'static str> {
    let mut groups = grouped(inside).into_iter();
    let names = groups.next().ok_or("a list has a name")?;
    let one = |values: Vec<String>| {
        if values.len() != names.len() {
            return Err("a list has a value for each of its names");
        }
        Ok(names.iter().cloned().zip(values).collect())
    };
    groups.map(one).collect()
}

/// `a, {b, c}` as `[[a], [b, c]]`.
fn grouped(text: &str) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut inside = false;
    for part in text.split(',') {
        let part = part.trim();
        let opens = part.starts_with('{');
        let value = part.trim_start_matches('{').trim_end_matches('}').trim().to_owned();
        match groups.last_mut() {
            Some(group) if inside && !opens => group.push(value),
            _ => groups.push(vec![value]),
        }
        inside = (inside || opens) && !part.ends_with('}');
    }
    groups
}

/// A pattern without its braces: `{a,b}.conf` is `a.conf` and `b.conf`. At most a thousand.
pub(super) fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        // The innermost braces first.
        let found = pattern.find('}').and_then(|end| Some((pattern.get(..end)?.rfind('{')?, end)));
        let Some((start, end)) = found else {
            if !done.contains(&pattern) {
                done.push(pattern);
            }
            continue;
        };
        let part = |range| pattern.get(range).unwrap_or_default();
        let (before, inside, after) = (part(0..start), part(start + 1..end), part(end + 1..pattern.len()));
        if open.len() + done.len() > 1000 {
            break;
        }
        open.extend(inside.rsplit(',').map(|choice| format!("{before}{choice}{after}")));
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacement_is_recursive_and_ends() {
        let mut definitions = Definitions::new("one");
        definitions.one("BASE".to_owned(), "10.2.${SUB}".to_owned());
        definitions.one("SUB".to_owned(), "0".to_owned());
        assert_eq!(
            definitions.replace("${BASE}.100/32 $SUB ${NOT} $SUBx").as_deref(),
            Some("10.2.0.100/32 0 ${NOT} $SUBx")
        );
        assert_eq!(definitions.replace("${_HASH}${_INSTANCE}").as_deref(), Some("#one"));
        definitions.one("LOOP".to_owned(), "a ${LOOP} b".to_owned());
        definitions.one("DOUBLE".to_owned(), "${DOUBLE}${DOUBLE}".to_owned());
        assert_eq!(definitions.replace("$LOOP"), None);
        assert_eq!(definitions.replace("$DOUBLE"), None);
        assert_eq!(definition("$A=b c"), Some(("A", "b c")));
        assert_eq!((definition("$1=b"), definition("$A =b"), definition("A=b")), (None, None, None));
    }

    #[test]
    fn sequences_and_lists() {
        let values = |text: &str| {
            let (bindings, rest) = sequence(text).unwrap()?;
            let shown = |(name, value): &(String, String)| format!("{name}={value}");
            let turns = bindings.iter().map(|turn| turn.iter().map(shown).collect::<Vec<_>>().join(" "));
            Ok::<_, &str>(format!("{} | {rest}", turns.collect::<Vec<_>>().join(", ")))
        };
        assert_eq!(values("~SEQ(A, 0, 2) x ${A}"), Ok("A=0, A=1, A=2 | x ${A}".to_owned()));
        assert_eq!(values("~SEQ(A, 3) x"), Ok("A=1, A=2, A=3 | x".to_owned()));
        assert_eq!(values("~SEQ(A, 4, -2, 0) x"), Ok("A=4, A=2, A=0 | x".to_owned()));
        assert_eq!(values("~SEQx(A, 0x90, 0x10, 0xa0) x"), Ok("A=90, A=a0 | x".to_owned()));
        assert_eq!(values("~LST(A, 1, b) x"), Ok("A=1, A=b | x".to_owned()));
        assert_eq!(values("~LST({A, B}, {10,1},{20,4}) x"), Ok("A=10 B=1, A=20 B=4 | x".to_owned()));
        for bad in ["~SEQ(A, 1", "~SEQ(A, x)", "~SEQ(A, 1, 0, 2)", "~SEQ(A, 0, 9999999)", "~SEQ(A)", "~LST({A,B}, 1)"] {
            assert!(values(bad).is_err(), "{bad}");
        }
        assert!(sequence("x ~SEQ(A, 1)").is_none());
    }

    #[test]
    fn patterns_with_braces() {
        assert_eq!(braces("a.conf"), ["a.conf"]);
        assert_eq!(braces("{a,b}.conf"), ["a.conf", "b.conf"]);
        assert_eq!(braces("{foo/{,cat,dog},bar}"), ["foo/", "bar", "foo/cat", "foo/dog"]);
        assert_eq!(braces("a}b{"), ["a}b{"]);
    }
}
