//! A file that isn't TOML: the parser's words, and the mend that it doesn't say.

use crate::config::report::Findings;

/// Reports what isn't TOML. One broken line makes the parser stumble over what follows it, so that only
/// its first error tells. The text starts at `start` of all files'.
pub fn report(errors: &[toml::de::Error], text: &str, start: usize, findings: &mut Findings) {
    let Some(error) = errors.iter().min_by_key(|error| error.span().map(|span| span.start)) else {
        return;
    };
    let end = text.len();
    let span = error.span().unwrap_or(end..end);
    let mend = match reals(text, span.start) {
        Some(path) if error.message().contains("duplicate key") => {
            format!("a list has two brackets: write [[{path}]] above each, and no `reals = …` beside them")
        }
        _ => mend(error.message(), span.is_empty()).to_owned(),
    };
    findings.report(start + span.start..start + span.end, error.message().replace('\n', " "), mend);
}

/// The path of the header of a list of reals, with one bracket or two, in whose line `at` is.
fn reals(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    let path = line.strip_prefix('[')?.split(']').next()?.trim_start_matches('[').trim();
    path.ends_with(".reals").then_some(path)
}

/// What to do about the parser's words; `at_end` when it missed something rather than disliked it.
fn mend(message: &str, at_end: bool) -> &'static str {
    let rows = [
        ("duplicate key", "keep one of the two, or rename one"),
        ("cannot extend", "keep the key or the section of this name, not both"),
        ("missing escaped value", "double the backslash, or use single quotes"),
        ("key with no value", "write it as key = value"),
        ("leading zero", "remove the zero"),
        ("missing comma", "put a comma between the items"),
        ("inline table element", "close the { before this with }, or write a key = value here"),
        ("unclosed", "close it"),
        ("string, expected", "close the quotes"),
    ];
    if message.contains("must be quoted") {
        return if at_end { "write a value behind the =, such as \"text\" or 1" } else { "put quotes around it" };
    }
    let row = rows.iter().find(|(words, _)| message.contains(words));
    row.map_or("a line is a [section], a key = value or a # comment (see toml.io)", |(_, mend)| mend)
}
